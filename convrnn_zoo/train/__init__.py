"""Training from recipes: the loop, its batches, optimizers and processes, and one file per task.

accelerate's launcher starts the processes, if there are several, and ``launch.py`` joins them. ``run.py`` trains a
model for each seed and writes the weights of the first one, with their metadata and scores. The trainer in the file of
the task adds batches, loss and scores to :class:`~convrnn_zoo.train.task.TaskTrainer`, which builds the optimizer, and
to the loop of updates in ``loop.py``.
"""

from ..recipes import RECIPES, ClassifierRecipe, ForecasterRecipe, Recipe
from .loop import Trainer
from .run import train

__all__ = ["RECIPES", "ClassifierRecipe", "ForecasterRecipe", "Recipe", "Trainer", "train"]
