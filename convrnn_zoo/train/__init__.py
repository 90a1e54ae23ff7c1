"""Training from recipes: the loop, its batches, optimizers and processes, and one file per task.

It writes weights with their metadata and scores, which the other packages load by name.
"""

from .._deprecation import renamed_names
from ..recipes import RECIPES, ClassifierRecipe, ForecasterRecipe, Recipe
from .loop import Trainer
from .run import train

__all__ = ["RECIPES", "ClassifierRecipe", "ForecasterRecipe", "Recipe", "Trainer", "train"]
__getattr__ = renamed_names(
    __name__, removed_in="0.2", Trained="convrnn_zoo.predict.Trained",
    load_forecaster="convrnn_zoo.predict.load_forecaster",
)  # fmt: skip
