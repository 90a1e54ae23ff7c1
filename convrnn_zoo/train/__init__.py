"""Training: data, recipes and the loop that made the zoo's weights."""

from .prediction import Trained, load_forecaster
from .recipe import RECIPES, ClassifierRecipe, ForecasterRecipe, Recipe
from .tasks import train

__all__ = ["RECIPES", "ClassifierRecipe", "ForecasterRecipe", "Recipe", "Trained", "load_forecaster", "train"]
