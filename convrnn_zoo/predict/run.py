"""Forecasts from the frames of a source, by the options that files and archives share."""

import dataclasses
import os
import warnings
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import _checks as check
from .._stores import Store, find_place
from ..data import Frames, ReadOptions, split_channels
from ..data.datasets.frame_dataset import check_values
from ..data.frames import read_variables
from ..data.readers import open_files
from ..models import EnsembleForecaster, Forecaster
from ..models.base.forecasting import ForecastWarning, choose_horizon, choose_scales, describe_pixels, trained_pixel_km
from ..values.labels.forecast import describe_conversions
from ..values.labels.form import is_labelled
from ..values.preprocessing import Preprocessing
from ..values.steps import Step, is_same
from .labelled import to_dataset
from .options import ForecastOptions, accepts


class Result(NamedTuple):
    """Forecast, probabilities and mask of rain from outside; what the options do not request is None.

    The axes are ``([N,] [members,] horizon, [C,] H, W)``, ``([N,] horizon, [C,] thresholds, H, W)`` and ``([N,]
    horizon, H, W)``. There is an axis of channels if the model reads or forecasts several.
    """

    forecast: Tensor | None
    probabilities: Tensor | None = None
    outside: Tensor | None = None

    def at(self, number: int) -> "Result":
        """Returns the result of one of N sequences."""
        return Result(*(None if part is None else part[number] for part in self))


def open_source(source: Any, options: ReadOptions) -> Frames:
    """Opens the frames of a path or an address, of a list of them, of a Zarr store, or of xarray."""
    if is_labelled(source):
        reader = partial(read_variables, source, options)
        return Frames.from_dataset(reader, Path("archive"), len(options.variables) or None)
    parts = source if isinstance(source, list | tuple) else [source]
    if not parts or not all(isinstance(p, str | os.PathLike | Store) or hasattr(p, "read_only") for p in parts):
        raise TypeError(
            f"archive must be a path, an address, a list of these, a Zarr store, or an object of xarray, got "
            f'{check.describe(source)}; label an array: xarray.DataArray(array, {{"time": times}}, ("time", "y", "x"))'
        )
    return open_files(list(map(find_place, parts)), options)


@dataclass(eq=False)
class ForecastRun:
    """A forecaster, the frames of a source, and the options of the forecasts from them.

    Copies in other processes open the frames themselves. Attributes have the name of the `weights`, the number of
    `members` (0 for a single forecast), whether these `are_quantiles` at each pixel or random, and whether the forecast
    `has_channels`, that is, an axis of channels. Raises ValueError if an option does not fit the model or the frames.
    """

    model: Forecaster
    name: str
    """Name of the model in messages."""
    source: Any
    options: ForecastOptions

    def __post_init__(self) -> None:
        model = self.model
        self.options.check_model(model, self.name)
        self.values, self.read_options = self.options.resolve_reading(model, self.name)
        # The first use of the frames opens the source.
        labels, path, step = self.frames.dataset, str(self.frames.path), self.frames.step
        self.conversions = "" if labels is None else describe_conversions(labels)
        if (self.options.coarsen or 1) > 1 and "radar composites" not in self.conversions:
            raise ValueError(f"coarsen (--coarsen): {path} is no radar composite; leave it out")
        if self.options.rain_relation and "reflectivity" not in self.conversions:
            raise ValueError(f"rain_relation (--rain-relation): {path} is no reflectivity; leave it out")
        if self.options.minutes is None and accepts(model, "minutes") and isinstance(step, float):
            self.options = dataclasses.replace(
                self.options, minutes=None if is_same(step, self.expected_step) else step
            )
        self.weights = model.metadata.name if model.metadata else self.name
        self.members, self.are_quantiles = self.options.members or 0, not isinstance(model, EnsembleForecaster)
        self.has_channels = model.in_chans > 1 or model.out_chans > 1
        self.horizon = choose_horizon(model, self.options.horizon, self.expected_step)
        self.trained_inputs = model.input_frames or self.values.inputs
        self.expected_inputs = self.options.inputs or self.trained_inputs
        self.scales = choose_scales(model, labels, self.expected_step, self.options.pixel_km, path)
        self.is_sized, self.pixels = bool(self.scales.get("pixel_km")), ""
        if self.scales:
            self.pixels = describe_pixels(model, self.scales["pixel_km"])
            self.scales["pixel_km"] = self.scales["pixel_km"] or trained_pixel_km(model)

    @cached_property
    def frames(self) -> Frames:
        """The frames of the source, which each process opens."""
        return open_source(self.source, self.read_options)

    @property
    def expected_step(self) -> Step | None:
        """Step of the frames by the options or the training; None if neither states it."""
        return self.options.minutes or self.values.step

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in vars(self).items() if not isinstance(getattr(type(self), k, None), cached_property)}

    def forecast_frames(self, frames: Tensor, count: int) -> Result:
        """Forecasts from the first `count` of the frames ``(N, T, C, H, W)``, and from the known inputs in all.

        There is no warning of frames without a value, which the callers report.
        """
        model: Any = self.model
        options = self.options
        x, known = split_channels(frames, self.values)
        x = x[:, :count]
        check_inputs(x.flatten(0, 1), self.frames, self.values)
        arguments: dict[str, Any] = {"horizon": self.horizon, "inputs": "all", **known, **self.scales}
        if options.members:
            arguments |= {"members": options.members, "seed": options.seed or 0}
        only_probabilities = bool(options.thresholds) and not options.members
        if only_probabilities:
            arguments["thresholds"] = options.thresholds
        if has_mask := accepts(model, "outside"):
            arguments["outside"] = options.outside or "climatology"
            method = model.probabilities_with_outside if only_probabilities else model.forecast_with_outside
        else:
            method = model.probabilities if only_probabilities else model.forecast
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ForecastWarning)
            y, outside = method(x, **arguments) if has_mask else (method(x, **arguments), None)
        if only_probabilities:
            return Result(None, y if self.has_channels else y.squeeze(-4), outside)
        y = y if self.has_channels else y.squeeze(-3)
        y = y.movedim(0, 1) if options.members else y  # N first
        if not options.thresholds:
            return Result(y, None, outside)
        reached = [(y >= t).float().masked_fill(y.isnan(), torch.nan).mean(1) for t in options.thresholds]
        return Result(y, torch.stack(reached, dim=-3), outside)

    def label(self, result: Result, frames: Frames, step: Step | None) -> Any:
        """Returns the result for one sequence of input frames, `step` apart, as a Dataset; see :func:`to_dataset`."""
        options: Any = {"step": step, "model": self.weights, "outside": result.outside}
        parts: Any = (
            (result.forecast, {"members": self.members}),
            (result.probabilities, {"thresholds": self.options.thresholds}),
        )
        labelled = [to_dataset(x, frames, self.values, **kind, **options) for x, kind in parts if x is not None]
        labelled[0].update(labelled[-1])
        return labelled[0]


def check_inputs(frames: Tensor, source: Frames, values: Preprocessing) -> None:
    """Raises FileError if input frames ``(T, C, H, W)`` have values that cannot be in the unit of the model.

    These are numbers that mark missing values, and infinite ones. Rain rates that look like dBZ are rejected if the
    file does not state their unit. The model warns of others.
    """
    units = source.units[: frames.shape[1]] or (source.unit,)
    highest = [1e300 if source.dataset is not None and unit is not None else None for unit in units]  # no limits
    variables = zip(values.variables or (values,), highest, strict=True)
    check_values([frames], source.path, [dataclasses.replace(v, lowest=-1e300, highest=h) for v, h in variables])
