"""Options of a forecast of files or of an archive, and what they mean for a model."""

import dataclasses
import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import _checks as check
from .._typed import field
from ..data import ReadOptions
from ..data.datasets.frame_dataset import variable_options
from ..data.formats.radar import COARSEN
from ..data.frames import ROLES
from ..models import Ensemble, EnsembleForecaster, Forecaster
from ..recipes import ForecasterRecipe, Recipe, find_recipe
from ..values.labels.axes import NAMES
from ..values.preprocessing import Preprocessing
from ..verify import find_loss


@dataclass(kw_only=True)
class ForecastOptions:
    """Options of a forecast of files or of an archive.

    Each is also an option of ``convrnn-zoo predict`` and ``convrnn-zoo archive``, of which `thresholds` is named
    ``--probability``.

    Raises:
        ValueError: a number is below 1, or `thresholds` has a value twice.
        TypeError: an option has another type.
    """

    inputs: int | None = field(None, description="Number of frames to read [default: as in training].")
    horizon: int | None = field(None, description="Number of frames to forecast [default: as in training].")
    members: int | None = field(None, description="Number of ensemble members to forecast.")
    seed: int | None = field(None, description="Seed of the ensemble members [default: 0].")
    thresholds: Sequence[float] = field(
        (), description="Forecast the probabilities that these values are reached, with --members as shares."
    )
    minutes: float | None = field(
        None, description="Minutes between frames, for models of any time step [default: as in training]."
    )
    pixel_km: float | None = field(
        None, description="Edge of a pixel in km, for models that resample maps [default: by coordinates]."
    )
    outside: str | None = field(
        None, description="Rain from outside the map in nowcasts: climatology or nan [default: climatology]."
    )
    coarsen: int | None = field(
        None, description="Edge of the blocks that are averaged in radar composites [default: as in training]."
    )
    rain_relation: Sequence[float] | None = field(
        None, description="Constants of Z = A R^B, by which reflectivity in dBZ becomes rain [default: 200,1.6]."
    )
    key: str | None = field(
        None, description="Name of the array in .npz, HDF5, NetCDF, GRIB or Zarr files with several."
    )
    sel: Mapping[str, Any] | None = field(
        None, description="Part of a labelled dimension, such as level=850 or lat=50,55 (a range); may be repeated."
    )
    recipe: str | None = field(
        None, description="Recipe of a forecaster whose weights do not specify the unit of the data."
    )

    def __post_init__(self) -> None:
        for name in ("inputs", "horizon", "members", "coarsen"):
            if (count := getattr(self, name)) is not None:
                check.positive_int(name, count)
        values: Any = () if self.thresholds is None else self.thresholds
        values = values.tolist() if hasattr(values, "tolist") else values
        if not isinstance(values, list | tuple):
            raise TypeError(f"thresholds must be a list of numbers, got {check.describe(values)}")
        self.thresholds = tuple(check.number(f"thresholds[{i}]", t) for i, t in enumerate(values))
        if len(set(self.thresholds)) < len(self.thresholds):
            raise ValueError(f"thresholds must differ, got {', '.join(f'{t:g}' for t in self.thresholds)}")
        if self.sel is not None and not isinstance(self.sel, Mapping):
            raise TypeError(f"sel must map dimensions to values, such as {{'lat': 50}}, got {check.describe(self.sel)}")

    def check_model(self, model: Forecaster, name: str) -> None:
        """Raises ValueError for an option that a model does not support."""
        has_probabilities = self.members or hasattr(model, "probabilities")
        fixed = f"{name} forecasts at the {{}} of its training; omit the option"
        rules = {
            "members": (isinstance(model, Ensemble), f"{name} makes one forecast; omit the option"),
            "seed": (self.members, "an option of an ensemble; pass members (--members) as well"),
            "thresholds": (
                has_probabilities,
                f"{name} forecasts no probabilities; pass weights of convgru_advection, or members with a model that "
                "forecasts ensembles",
            ),
            "outside": (accepts(model, "outside"), f"{name} does not know where rain comes from; omit the option"),
            "minutes": (accepts(model, "minutes"), fixed.format("time step")),
            "pixel_km": (accepts(model, "pixel_km"), fixed.format("pixel size")),
        }
        for option, (is_supported, reason) in rules.items():
            if getattr(self, option) not in (None, ()) and not is_supported:
                raise ValueError(f"{option} ({FLAGS[option]}): {reason}")

    def describe_fix(self, model: Forecaster) -> str:
        """Returns what to do about frames at another step than the expected one."""
        if self.minutes:
            return "correct --minutes, or omit it"
        if accepts(model, "minutes"):
            return "pass their step with --minutes"
        return "pass frames at the step of the training"

    def resolve_reading(self, model: Forecaster, name: str) -> tuple[Preprocessing, ReadOptions]:
        """Returns the preprocessing of a model, or of the recipe, and the options for reading its files.

        Radar composites are averaged over blocks of `coarsen` pixels, by default as in the recipe. Without a recipe,
        blocks have 2×2 pixels, unless `pixel_km` is passed or the model is an :class:`EnsembleForecaster`. `sel` is
        selected in addition to ``data.sel`` of the recipe.
        """
        recipe = find_recipe(model, self.recipe)
        values = resolve_preprocessing(model, name, self.recipe, recipe)
        options, coarsen = ReadOptions(), 1 if isinstance(model, EnsembleForecaster) else COARSEN
        if isinstance(recipe, ForecasterRecipe):
            options = recipe.data.read_options()
            coarsen = options.coarsen
            others = {d: v for d, v in options.sel.items() if not _is_period(d, v, options)}
            options = dataclasses.replace(options, variable_optional=True, sel=others)
        fields: dict[str, Any] = {"unit": None if values.variables else values.unit}
        fields |= variable_options(values, options) if values.variables else {}
        if self.key:
            if variables := ", ".join(v.name for v in values.variables):
                raise ValueError(f"--key: {name} reads the variables {variables} by their names; omit the option")
            fields |= {"variable": self.key, "variable_optional": False}
        if self.rain_relation:
            fields["rain_relation"] = tuple(self.rain_relation)
        return values, dataclasses.replace(
            options,
            channels=3 if model.in_chans == 3 else 1,
            coarsen=self.coarsen or (1 if self.pixel_km else coarsen),
            step=self.minutes or values.step,
            sel={**options.sel, **(self.sel or {})},
            **fields,
        )


FLAGS = {f.name: f"--{f.name.replace('_', '-')}" for f in dataclasses.fields(ForecastOptions)}
FLAGS["thresholds"] = "--probability"
"""Names of the options of the commands by field."""


def accepts(model: Forecaster, option: str) -> bool:
    """Returns whether ``model.forecast`` takes an argument."""
    return option in inspect.signature(model.forecast).parameters


def resolve_preprocessing(model: Forecaster, name: str, source: str | None, recipe: Recipe | None) -> Preprocessing:
    """Returns the model's preprocessing, else that of ``--recipe``; raises ValueError if they differ or are missing."""
    if source is not None:
        if not isinstance(recipe, ForecasterRecipe):
            raise ValueError(f"the recipe {source} does not train a forecaster; pass another to --recipe, or omit it")
        if model.preprocessing is None:
            model.preprocessing = recipe.preprocessing()
        elif not _describes(recipe, model.preprocessing):
            raise ValueError(f"the recipe {source} describes other data than {name} was trained on; omit --recipe")
    if model.preprocessing is None:
        raise ValueError(f"{name} does not specify the unit and scale of its data; pass its recipe with --recipe")
    return model.preprocessing


def _describes(recipe: ForecasterRecipe, values: Preprocessing) -> bool:
    """Returns whether a recipe's data and a preprocessing agree in step, variables, encodings and known units."""
    stated: dict[str, Any] = {v.name: v for v in recipe.data.all_variables} or {"": recipe.data}
    trained: dict[str, Any] = {v.name: v for role in ROLES for v in getattr(values, role)} or {"": values}
    if list(stated) != list(trained) or recipe.data.step != values.step:
        return False
    is_ignored = find_loss(recipe.loss).is_probabilistic  # the encoding
    for ours, theirs in zip(stated.values(), trained.values(), strict=True):
        names = ("encoding", "floor", "top") if ours.encoding == "log" else ("encoding",)
        is_encoded = is_ignored or all(getattr(ours, n) == getattr(theirs, n) for n in names)
        if ours.unit not in (None, theirs.unit) or not is_encoded:
            return False
    return True


def _is_period(dim: str, value: Any, options: ReadOptions) -> bool:
    """Returns whether a key of ``data.sel`` selects times of the training data, which other files do not have."""
    is_time = dim.lower() in NAMES["time"] or dim == options.dims.get("time")
    first = value[0] if isinstance(value, list | tuple) else value
    is_date = isinstance(first, str) and re.match(r"\d{4}-\d", first) is not None
    return is_date or (is_time and isinstance(value, list | tuple | str))
