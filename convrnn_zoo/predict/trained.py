"""Trained forecasters with their recipes."""

from typing import Any, NamedTuple

from torch import Tensor

from ..models import Forecaster, from_pretrained
from ..pretrained.metadata import WeightsMetadata
from ..recipes import ForecasterRecipe, find_recipe


class Trained(NamedTuple):
    """A trained forecaster with its recipe and its metadata.

    Call it to forecast frames of any size in the unit of its data, as with :meth:`~convrnn_zoo.Forecaster.forecast`.
    """

    model: Forecaster
    recipe: ForecasterRecipe
    record: WeightsMetadata

    def __call__(self, frames: Tensor, horizon: int | None = None, **known: Any) -> Tensor:
        """Forecasts frames ``(N, horizon, C, H, W)`` from ``(N, T, C, H, W)``; by default with the model's horizon.

        `known` are the known inputs `static` and `future`, if the model reads them.
        """
        return self.model.forecast(frames, horizon, **known)


def load_forecaster(name: str, recipe: str | None = None) -> Trained:
    """Loads a trained forecaster with its recipe.

    Args:
        name: weights of the zoo, a directory, a metadata file, or the address of a repository, as for
            :func:`~convrnn_zoo.from_pretrained`.
        recipe: name or file of the recipe; by default the one in the metadata.

    Raises:
        ValueError: the weights do not exist, belong to no forecaster, have no metadata, or belong to another recipe.
        FileNotFoundError: the file or recipe does not exist.
    """
    model = from_pretrained(name)
    if not isinstance(model, Forecaster):
        raise ValueError(f"{name} is not a forecaster; `convrnn-zoo info {name}` describes it")
    settings = find_recipe(model, recipe)
    if model.metadata is None or settings is None:
        raise ValueError(
            f"{name} has no metadata with its data and recipe; forecast with from_pretrained({name!r}).forecast"
        )
    if not isinstance(settings, ForecasterRecipe):
        raise ValueError(f"the recipe of {settings.weights} does not train a forecaster; pass another")
    if settings.weights != model.metadata.name:
        raise ValueError(
            f"the recipe trains {settings.weights}, and these weights are {model.metadata.name}; pass theirs"
        )
    return Trained(model.eval(), settings, model.metadata)
