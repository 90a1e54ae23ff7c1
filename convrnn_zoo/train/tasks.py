"""The table of tasks: which function trains which kind of recipe."""

from collections.abc import Callable
from pathlib import Path

from ..models import Weights
from .classify import train_classifier
from .forecast import train_forecaster
from .nowcast import train_nowcast
from .recipe import ClassifierRecipe, ForecasterRecipe, NowcastRecipe, Recipe

TASKS: dict[type[Recipe], Callable[..., Weights | None]] = {
    ClassifierRecipe: train_classifier,
    ForecasterRecipe: train_forecaster,
    NowcastRecipe: train_nowcast,
}


def train(
    recipe: Recipe, *, data: Path | None = None, out: Path, into: Path | None = None, progress: bool = True
) -> Weights | None:
    """Trains the weights of a recipe and writes them with their record.

    Args:
        recipe: what to train.
        data: directory of the data set; None for its default place.
        out: directory of the checkpoints; an interrupted run goes on from them.
        into: directory of the weights and the record; `out` by default.
        progress: whether to show bars.

    Returns:
        The record; None in the processes that only helped, where several train together.
    """
    return TASKS[type(recipe)](recipe, data=data, out=out, into=into or out, progress=progress)
