"""Training: data, recipes and the loop that made the zoo's weights."""

from .recipe import RECIPES, ClassifierRecipe, ForecasterRecipe, Recipe

__all__ = ["RECIPES", "ClassifierRecipe", "ForecasterRecipe", "Recipe"]
