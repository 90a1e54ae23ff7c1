"""Training from recipes, evaluation, and prediction for files; the zoo's weights were trained with this package."""

from .prediction import Trained, load_forecaster
from .recipe import RECIPES, ClassifierRecipe, ForecasterRecipe, Recipe
from .tasks import train

__all__ = ["RECIPES", "ClassifierRecipe", "ForecasterRecipe", "Recipe", "Trained", "load_forecaster", "train"]
