"""A trained forecaster by its name, with its recipe."""

from typing import NamedTuple

from torch import Tensor

from ..models import Forecaster, Weights
from .recipe import ForecasterRecipe, Recipe
from .use import model_of


class Trained(NamedTuple):
    """A trained forecaster with its recipe and its record.

    Called, it forecasts frames in the unit of its data and of any size: see :meth:`convrnn_zoo.Forecaster.forecast`.
    """

    model: Forecaster
    recipe: ForecasterRecipe
    record: Weights

    def __call__(self, frames: Tensor, horizon: int | None = None) -> Tensor:
        """The frames that follow: ``(N, T, C, H, W)`` to ``(N, horizon, C, H, W)``, the recipe's horizon by default."""
        return self.model.forecast(frames, horizon)


def load_forecaster(name: str, recipe: str | None = None) -> Trained:
    """A trained forecaster by the name of its weights."""
    model = model_of(name)
    return Trained(model.eval(), Recipe.parse(model.record.recipe), model.record)
