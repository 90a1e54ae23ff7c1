"""Training from recipes; the zoo's weights were trained with this package."""

from .._deprecation import renamed_names
from ..recipes import RECIPES, ClassifierRecipe, ForecasterRecipe, Recipe
from .loop import Trainer
from .run import train

__all__ = ["RECIPES", "ClassifierRecipe", "ForecasterRecipe", "Recipe", "Trainer", "train"]
__getattr__ = renamed_names(
    __name__, removed_in="0.2", Trained="convrnn_zoo.predict.Trained",
    load_forecaster="convrnn_zoo.predict.load_forecaster",
)  # fmt: skip
