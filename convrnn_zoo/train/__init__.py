"""Training: data, recipes and the loop that made the zoo's weights."""

from .recipe import RECIPES, Recipe

__all__ = ["RECIPES", "Recipe"]
