"""Training from recipes: the loop, its batches, optimizers and processes, and one file per task.

``run.py`` starts the processes by ``launch.py`` and calls the file of the task, whose trainer makes the updates in
``loop.py``. Weights are written with their metadata and scores.
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
