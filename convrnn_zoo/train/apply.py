"""A trained forecaster with its recipe and its record."""

import dataclasses
from typing import NamedTuple

from torch import Tensor

from ..data import FrameSequences, ReadOptions, read_frame_dataset
from ..models import Forecaster, Preprocessing, Weights, from_pretrained
from .losses import LOSSES
from .recipe import ForecasterRecipe, NowcastRecipe, Recipe, choose


def preprocessing_of(recipe: ForecasterRecipe, train: FrameSequences | None = None) -> Preprocessing:
    """What a model of a recipe sees of its data, and what its outputs mean.

    In `train`, the training split, the constants of an encoding are found where it has such.
    """
    activation = choose("loss", recipe.loss, LOSSES).activation
    return read_frame_dataset(recipe.data).preprocessing(train, recipe.inputs, recipe.horizon, activation)


def read_options_of(model: Forecaster, recipe: str | None = None) -> ReadOptions:
    """Returns how files are read for a forecaster: as its training read them.

    Args:
        model: a forecaster with preprocessing.
        recipe: name or file of its recipe; by default the recipe in its metadata, if it has any.
    """
    values = model.preprocessing
    options = ReadOptions(unit=None if values is None else values.unit)
    text = model.record.recipe if model.record else ""
    chosen = Recipe.read(recipe) if recipe else Recipe.parse(text) if text else None
    if isinstance(chosen, ForecasterRecipe) and not isinstance(chosen, NowcastRecipe):
        options = read_frame_dataset(chosen.data).read_options()
        options = dataclasses.replace(options, unit=None if values is None else values.unit, variable_optional=True)
    return dataclasses.replace(options, channels=3 if model.in_chans == 3 else 1)


class Trained(NamedTuple):
    """A trained forecaster with its recipe and its record.

    Called, it forecasts frames in the unit of its data and of any size: see :meth:`~convrnn_zoo.Forecaster.forecast`.
    """

    model: Forecaster
    recipe: ForecasterRecipe
    record: Weights

    def __call__(self, frames: Tensor, horizon: int | None = None) -> Tensor:
        """The frames that follow: ``(N, T, C, H, W)`` to ``(N, horizon, C, H, W)``, the model's horizon by default."""
        return self.model.forecast(frames, horizon)


def load_forecaster(name: str, recipe: str | None = None) -> Trained:
    """A trained forecaster with its recipe, by whatever :func:`~convrnn_zoo.from_pretrained` takes.

    Args:
        name: weights of the zoo, a directory, the file of a record, or the address of a repository.
        recipe: name or file of the recipe; the record's by default.

    Raises:
        ValueError: there are no such weights, they are not a forecaster's, or without a record.
        FileNotFoundError: there is no such file or recipe.
    """
    model = from_pretrained(name)
    if not isinstance(model, Forecaster):
        raise ValueError(f"{name} is no forecaster; `convrnn-zoo info {name}` tells what it is")
    record = model.record
    if record is None:
        raise ValueError(
            f"{name} has no record, which tells its data and recipe; forecast with from_pretrained({name!r})"
        )
    chosen = Recipe.read(recipe) if recipe else Recipe.parse(record.recipe)
    if not isinstance(chosen, ForecasterRecipe):
        raise ValueError(f"the recipe of {chosen.weights} is of no forecaster; pass another")
    if chosen.weights != record.name:
        raise ValueError(f"the recipe makes {chosen.weights}, and these weights are {record.name}; pass theirs")
    return Trained(model.eval(), chosen, record)
