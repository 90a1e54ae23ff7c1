"""Training from recipes: the loop, its batches, optimizers and processes, and one file per task.

``run.py`` starts the processes by ``launch.py`` and calls the file of the task, whose trainer makes the updates in
``loop.py``. Weights are written with their metadata and scores.
"""

from ..recipes import RECIPES, ClassifierRecipe, ForecasterRecipe, Recipe
from .loop import Trainer
from .run import train

__all__ = ["RECIPES", "ClassifierRecipe", "ForecasterRecipe", "Recipe", "Trainer", "train"]
