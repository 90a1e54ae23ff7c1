"""Forecasts in the unit of the data: from frames, labelled or not, to the tensors of a network and back.

:func:`run_forecast` is the body of :meth:`~convrnn_zoo.Forecaster.forecast`. Forecasts of files and archives, which
read frames themselves, share its other functions: step, pixel size, default horizon, missing frames, names of targets.
"""

import functools
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ... import _checks as check
from ..._extras import need
from ..._hints import suggest, warn
from ..._stores import Place, Store, find_place, open_zarr_store
from ...values.labels.axes import CHANNEL, Layout, axis_coordinate
from ...values.labels.forecast import OUTSIDE, choose_pixel_km, describe_conversions, label_forecast, name_targets
from ...values.labels.form import align, choose_variable, is_data_array, is_labelled, normal_form, stack, to_units
from ...values.labels.times import at_times, check_step, extend_times, find_step, get_times
from ...values.preprocessing import Preprocessing
from ...values.steps import Step, check_same
from ...values.tensors import to_tensor
from ...values.units import plural
from .model import ZooModel, evaluating, reference_tensor

logger = logging.getLogger("convrnn_zoo")
Inputs = int | Literal["all"] | None
"""Number of the latest frames that a forecast reads; None for as many as in training."""


class ForecastWarning(UserWarning):
    """Warning of the frames or the horizon of one forecast, which a run of many forecasts reports itself."""


class SourceFrames(NamedTuple):
    """Frames ``(N, T, C, H, W)`` that a user passed to a forecast.

    `labels` are those of the T frames in normal form, and `layout` is the layout of their source. Frames of a tensor or
    an array have no labels. `has_batch` and `has_channels` state whether the frames had an axis N and an axis C.
    """

    x: Tensor
    has_batch: bool
    has_channels: bool
    labels: Any = None
    layout: Layout = Layout()

    def select(self, steps: slice) -> "SourceFrames":
        """Returns some of the frames."""
        labels = None if self.labels is None else self.labels.isel(time=steps)
        return self._replace(x=self.x[:, steps], labels=labels)


def run_forecast(
    model: ZooModel,
    frames: Any,
    call_model: Callable[..., Any],
    *,
    horizon: int | None = None,
    inputs: Inputs = None,
    batch_size: int = 16,
    storage_options: Mapping[str, Any] | None = None,
    static: Any = None,
    future: Any = None,
    minutes: float | None = None,
    pixel_km: float | None = None,
    thresholds: Sequence[float] = (),
) -> tuple[Any, Any]:
    """Forecasts from frames in the unit of the data, and returns the forecast as the frames came, and its mask.

    `call_model` maps preprocessed frames ``(N, T, C, H, W)``, the horizon and known inputs (by name) to a result
    ``(…, N, horizon, C, H, W)``, which is converted to the unit of the data. It may also return a tuple of a result in
    this unit and a mask ``(N, horizon, …, H, W)`` of pixels whose rain comes from outside the map. With `thresholds`,
    the result has an axis of thresholds before H and no unit. For a model of any time step, it also receives `minutes`
    and `pixel_km`, by default those of labelled frames. The mask is ``([N,] horizon, H, W)``, a coordinate of a
    labelled forecast, or None if it returns none. Other arguments are those of
    :meth:`~convrnn_zoo.Forecaster.forecast`.
    """
    values = get_preprocessing(model)
    values.check_channels(model.in_chans, model.out_chans, model.static_chans, model.future_chans)
    if len({*thresholds}) < len(thresholds):
        raise ValueError(f"thresholds must differ, got {', '.join(f'{t:g}' for t in thresholds)}")
    if is_address(frames):
        frames = open_latest(model, find_place(frames, storage_options), inputs)
    elif storage_options:
        raise ValueError(f"storage_options are for the address of a Zarr store, got {check.describe(frames)}")
    all_frames = read_frames(model, frames)
    observed, steps = all_frames, all_frames.x.shape[1]
    if all_frames.labels is not None:  # without later frames that have no value
        end = max([t + 1 for t in range(steps) if all_frames.x[:, t].isfinite().any()], default=steps)
        observed = all_frames.select(slice(end))
    source = observed.select(slice(-count_inputs(model, observed.x.shape[1], inputs), None))
    source = leave_out_missing(model, source)
    x, labels = source.x, source.labels
    step = choose_step(model, None if labels is None else get_times(labels), minutes)
    scales = choose_scales(model, labels, step if minutes is None else minutes, pixel_km)
    if scales and pixel_km is None:
        edge, text = scales["pixel_km"], describe_pixels(model, scales["pixel_km"])
        if edge is None and labels is not None and any(axis_coordinate(labels, axis) is not None for axis in "yx"):
            warn(text, ForecastWarning)  # coordinates without a unit look as if they stated the size
        else:
            log_once(logging.WARNING if edge is None else logging.INFO, text)
    horizon = choose_horizon(model, horizon, step)
    values.check(x)
    x, ends = x.float(), (observed.x.shape[1], steps)
    known = dict(_known_inputs(model, static, future, source._replace(x=x), step, ends, horizon))
    batch_size = check.positive_int("batch_size", batch_size)
    y, outside = _run_batches(model, x, call_model, horizon, batch_size, known, scales, thresholds)
    inner = bool(thresholds)
    if not source.has_batch:
        y, outside = y.squeeze(-5 - inner), None if outside is None else outside[0]
    y = y if source.has_channels or model.out_chans > 1 else y.squeeze(-3 - inner)
    if labels is not None:
        result = _label(model, frames, source, y, step, thresholds, outside)
        return result, result.coords.get(OUTSIDE)
    if isinstance(frames, Tensor):
        return y, outside
    return y.numpy(), None if outside is None else outside.numpy()


def get_preprocessing(model: ZooModel) -> Preprocessing:
    """Returns the preprocessing of a model; raises ValueError if it has none."""
    if model.preprocessing is None:
        raise ValueError(
            f"this {type(model).__name__} has no preprocessing: the unit of its values is unknown; set "
            "model.preprocessing = convrnn_zoo.Preprocessing(...), or call the model on values as in training"
        )
    return model.preprocessing


# ---- frames --------------------------------------------------------------------------------------------------------
def is_address(frames: Any) -> bool:
    """Returns whether frames are given by the address of a Zarr store, or by a store of zarr."""
    return isinstance(frames, str | os.PathLike | Store) or hasattr(frames, "read_only")


def open_latest(model: Any, place: Place, inputs: Inputs) -> Any:
    """Opens the latest frames of a Zarr store, as many as a forecast reads, as a Dataset in normal form."""
    xarray = need("xarray", "zarr")
    if isinstance(place, Path) and place.suffix.lower() != ".zarr":
        raise ValueError(f"{place}: forecast reads frames or Zarr stores; read other files by convrnn_zoo.predict")
    if not place.exists():
        raise FileNotFoundError(f"{place} does not exist")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Failed to open Zarr store with consolidated metadata")
        data = xarray.open_zarr(open_zarr_store(place), chunks={}, decode_timedelta=False)
    names = [v.name for v in get_preprocessing(model).variables]
    data = normal_form(data, names or None)[0]
    return data.isel(time=slice(-count_inputs(model, data.sizes["time"], inputs), None))


def read_frames(model: ZooModel, frames: Any) -> SourceFrames:
    """Reads frames that a user passed; raises ValueError or TypeError if the model cannot read them."""
    labels, layout = _read_labels(model, frames) if is_labelled(frames) else (None, Layout())
    x = given = to_tensor("frames", frames if labels is None else stack(labels, labels.data_vars))
    has_channels = given.dim() > 3 if labels is None else CHANNEL in labels.dims or len(labels) > 1
    if x.dim() == 3 and model.in_chans == 1:
        x = x[:, None]
    if x.dim() == 4:
        x = x[None]
    if x.dim() != 5 or x.shape[2] != model.in_chans or 0 in x.shape:
        expected = f"{'(T, H, W) or ' if model.in_chans == 1 else ''}([N,] T, {model.in_chans}, H, W), no axis of 0"
        raise ValueError(f"frames must be {expected}, got {check.describe(given)}; permute or reshape them")
    return SourceFrames(x, given.dim() == 5, has_channels, labels, layout)


def _read_labels(model: ZooModel, frames: Any) -> tuple[Any, Layout]:
    """Returns a DataArray or a Dataset in normal form, with the variables that the model reads in its units."""
    values: Any = get_preprocessing(model)
    names, units = [v.name for v in values.variables], {v.unit for v in values.encodings}
    if names and not is_data_array(frames):
        data, layout = normal_form(frames, names)
        return to_units(data, {v.name: v.unit for v in values.variables}, find_step(get_times(data))), layout
    data, layout = normal_form(frames)
    name = choose_variable(data, values.unit, layout.rejected)
    if names and CHANNEL in data.dims and (labels := axis_coordinate(data, CHANNEL)) is not None:
        listed = [str(label) for label in labels.values.tolist()]
        if set(names) & set(listed):
            if missing := [n for n in names if n not in listed]:
                raise ValueError(f"frames have no channel {missing[0]}; {suggest(missing[0], listed)}")
            data = data.isel({CHANNEL: [listed.index(n) for n in names]})
    if len(units) > 1 and data[name].attrs.get("units") is not None:
        stated, expected = data[name].attrs["units"], ", ".join(sorted(units))
        raise ValueError(f"frames have units={stated!r}, and the variables have {expected}; pass a Dataset")
    return to_units(data, {name: units.pop() if len(units) == 1 else None}, find_step(get_times(data))), layout


def count_inputs(model: ZooModel, total: int, inputs: Inputs = None) -> int:
    """Returns the number of frames to read, of `total`, that a forecast reads; warns or raises if they are too few."""
    if inputs == "all":
        return total
    trained = model.input_frames or (model.preprocessing.inputs if model.preprocessing else None)
    count = (trained or total) if inputs is None else check.positive_int("inputs", inputs)
    if count > total and inputs is None and not model.input_frames:
        hint = f'pass {count}, or inputs="all" to forecast from {total}'
        warn(f"got {plural(total, 'frame')}, and the weights expect {count}; {hint}")
    elif count > total:
        raise ValueError(f"expected at least {count} frames to read, got {total}; pass more")
    return min(count, total)


def leave_out_missing(model: ZooModel, source: SourceFrames) -> SourceFrames:
    """Warns of frames without a value of a variable; models that interpolate them leave out the first ones."""
    count, labels = source.x.shape[1], source.labels
    dates = None if labels is None or "time" not in labels.coords else labels["time"].values
    names = [str(t) if dates is None else str(dates[t])[:19] for t in range(count)]
    known = warn_of_missing(model, source.x, names)
    first = known.index(True) if any(known) else 0
    return source.select(slice(first, None)) if model.default_step and first < count - 1 else source


def warn_of_missing(model: ZooModel, x: Tensor, names: Sequence[str], owner: str = "") -> list[bool]:
    """Returns which frames of `x` ``(N, T, C, H, W)`` have a value; warns of the `names` of those that lack one.

    The warning lists frames without a value of a variable in any sequence; there is none if no frame has a value.
    """
    known = x.isfinite().flatten(-2).any(-1)
    missing = [name for t, name in enumerate(names) if not known[:, t].all(-1).any()]
    if missing and known.any():
        hint = "those between others are interpolated" if model.default_step else "pass complete ones"
        listed = ", ".join(missing)
        among = f"{owner}frames without a value are among the {len(names)} that are read"
        warn(f"{among}: {listed}; {hint}", ForecastWarning)
    return known.any(-1).any(0).tolist()


# ---- time and space ------------------------------------------------------------------------------------------------
def choose_step(model: ZooModel, times: Any, minutes: float | None, fix: str = "correct minutes, or omit it") -> Any:
    """Returns the time between frames: `minutes`, or that of decoded `times`, of the training, or of the model.

    Raises ValueError if the times have another step than expected. A model with a `default_step` reads any step.
    `fix` is the advice if `minutes` differ from the times.
    """
    expected: Step | None = get_preprocessing(model).step
    step = check_step(times, expected)
    if minutes is not None:
        expected = check.number("minutes", minutes, positive=True)
    elif model.default_step:
        expected = step or expected or model.default_step
    if model.default_step and isinstance(expected, str):
        raise ValueError(f"frames are a {expected} apart; pass frames of which one comes every few minutes")
    check_same(step, expected, "frames", "pass frames at the step of the training" if minutes is None else fix)
    return step or expected


def choose_scales(
    model: ZooModel, labels: Any, step: Step | None, pixel_km: float | None, name: str = "frames"
) -> dict[str, Any]:
    """Returns the arguments `minutes` and `pixel_km` of a model of any time step; empty for others.

    The pixel size is by default that of the coordinates of `labels`, and None if they state none. Warns of pixels that
    differ from those of training if the model cannot resample them.
    """
    if pixel_km is not None:
        check.number("pixel_km", pixel_km, positive=True)
    is_read = model.default_step is not None
    edge = choose_pixel_km(labels, pixel_km, get_preprocessing(model).pixel_km, is_read, name)
    return {"minutes": step, "pixel_km": edge} if is_read else {}


def describe_pixels(model: ZooModel, pixel_km: float | None) -> str:
    """Returns the pixel size that a forecast uses, for a message; None means that nothing states it."""
    if pixel_km is not None:
        return f"pixels of {pixel_km:.3g} km"
    return f"pixels of {trained_pixel_km(model):g} km are assumed, since the frames state no size (pixel_km)"


def trained_pixel_km(model: ZooModel) -> float | None:
    """Returns the edge of the pixels that a model was trained on, which it resamples other maps to."""
    return get_preprocessing(model).pixel_km or model.default_pixel_km


@functools.cache
def log_once(level: int, message: str) -> None:
    """Logs a message the first time that it comes."""
    logger.log(level, message)


def choose_horizon(model: ZooModel, horizon: int | None, step: Step | None) -> int:
    """Returns the number of frames to forecast, by default those of the time that the model was trained for.

    Warns if a model of any time step forecasts a longer time.
    """
    trained = get_preprocessing(model).step or model.default_step
    longest = model.horizon
    if model.default_step and isinstance(trained, float | int) and isinstance(step, float | int):
        longest = max(1, round(model.horizon * trained / step))
    if model.default_step and horizon is not None and model.check_horizon(horizon) > longest:
        warn(
            f"horizon={horizon} is beyond the {plural(longest, 'frame')} of the time that the model was trained on; "
            "forecasts there were not tested",
            ForecastWarning,
        )
    return model.check_horizon(longest if horizon is None else horizon)


# ---- known inputs --------------------------------------------------------------------------------------------------
def _known_inputs(
    model: ZooModel,
    static: Any,
    future: Any,
    source: SourceFrames,
    step: Step | None,
    ends: tuple[int, int],
    horizon: int,
) -> Iterator[tuple[str, Tensor]]:
    """Yields the known inputs of a forecast, encoded, by name.

    `ends` are the number of frames up to the last one of `source`, and that of all frames that the user passed.
    """
    values, (end, steps), labels = get_preprocessing(model), ends, source.labels
    if static is not None or model.static_chans:
        yield "static", values.encode_static(_read_known(model, "static", static, (), source))
    if future is not None or model.future_chans:
        is_dated = labels is not None and "time" in labels.coords
        dates = extend_times(labels, step, horizon) if is_dated and step else None
        every = _read_known(model, "future", future, (steps + horizon,), source, dates)
        every = every if dates is not None and every.shape[1] < steps + horizon else every[:, : end + horizon]
        yield "future", values.encode_future(every[:, -source.x.shape[1] - horizon :])


def _read_known(
    model: ZooModel, name: str, passed: Any, steps: tuple[int, ...], source: SourceFrames, times: Any = None
) -> Tensor:
    """Converts the static or future inputs of a forecast to ``(N or 1, [steps,] channels, H or 1, W or 1)``.

    Labelled inputs are aligned with the labelled frames, if there are any. Inputs without coordinates have the rows and
    columns of the source of the frames. Future inputs with times are those at `times`, of the frames that are read and
    of the frames to forecast.
    """
    located: list[str] = []  # axes of labelled inputs that are north or west first; others are as in the source
    if is_labelled(passed):
        data, steps = _read_known_labels(model, name, passed, steps, times)
        if source.labels is not None:
            align(data, source.labels, name, ("y", "x"), source.layout.dims)
            located = [axis for axis in ("y", "x") if axis_coordinate(data, axis) is not None]
        passed = stack(data, data.data_vars)[0 if name == "static" else slice(None)]
    if passed is not None:
        passed, axes = to_tensor(name, passed).float(), 4 + len(steps)
        if passed.dim() == axes - 2 and getattr(model, f"{name}_chans") == 1:
            passed = passed.unsqueeze(-3)
        passed = passed[None] if passed.dim() == axes - 1 else passed
        turned = [axis for axis in source.layout.turned if axis not in located]
        passed = passed.flip([{"y": -2, "x": -1}[axis] for axis in turned])
    known = model.check_known(name, passed, steps, source.x)
    if known.isinf().any() or known.isnan().all():
        raise ValueError(f"{name} must be finite, or NaN where it is unknown; it has infinite values or only NaN")
    return known


def _read_known_labels(
    model: ZooModel, name: str, passed: Any, steps: tuple[int, ...], times: Any
) -> tuple[Any, tuple[int, ...]]:
    """Returns labelled known inputs in normal form, in the units of the model, and the number of their steps."""
    described = {v.name: v.unit for v in getattr(get_preprocessing(model), name)}
    names = None if is_data_array(passed) or not described else list(described)
    data, _ = normal_form(passed, names, is_static=name == "static")
    if is_data_array(passed) and passed.name is None:
        data = data.rename(dict.fromkeys(data.data_vars, name))
    if "time" not in data.dims:  # the time of the map from which it was selected
        data = data.drop_vars("time", errors="ignore")
    if name == "static" and data.sizes.get("time", 1) > 1:
        raise ValueError(f"static has {data.sizes['time']} times; select one, or build with future_chans")
    units = set(described.values())
    common = units.pop() if len(units) == 1 else None
    listed: dict[str, Any] = dict(described) if names else dict.fromkeys(map(str, data.data_vars), common)
    data = to_units(data, listed, find_step(get_times(data)))
    if times is not None and steps and "time" in data.coords:
        return at_times(data, times, name), (len(times),)
    return data, steps


# ---- values and labels of the forecast -----------------------------------------------------------------------------
def _run_batches(
    model: ZooModel,
    x: Tensor,
    call_model: Callable[..., Any],
    horizon: int,
    batch_size: int,
    known: dict[str, Tensor],
    scales: dict[str, Any],
    thresholds: Sequence[float],
) -> tuple[Tensor, Tensor | None]:
    """Returns the outputs of `call_model` in the unit of the data, NaN where all frames are unknown, and their mask.

    Maps are padded to multiples of the model's `reduction` for the network.
    """
    values, like, (height, width) = get_preprocessing(model), reference_tensor(model), x.shape[-2:]
    edges = (0, -width % model.reduction, 0, -height % model.reduction)
    for name, v in known.items():
        pads = [edge if v.shape[-1 - i // 2] == (width, height)[i // 2] else 0 for i, edge in enumerate(edges)]
        known[name] = F.pad(v, pads).to(like)
    outputs: list[Tensor] = []
    masks: list[Tensor] = []
    inner = int(bool(thresholds))
    with evaluating(model):
        for i in range(0, len(x), batch_size):
            part = slice(i, i + batch_size)
            padded = model.preprocess(F.pad(x[part], edges, value=torch.nan)).to(like)
            others = {k: v if len(v) == 1 else v[part] for k, v in known.items()}
            y = call_model(padded, horizon, **others, **scales)
            if isinstance(y, tuple):  # in the unit of the data, with a mask
                y, mask = y
                masks.append(mask[..., :height, :width].to(x.device))
            y = y.float()[..., :height, :width].to(x.device)
            outputs.append(y if masks else values.decode(y))
    unknown = model.unknown_pixels(x)
    unknown = unknown.reshape(*unknown.shape[:3], *(1,) * inner, height, width)
    y = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-5 - inner)
    fill = Tensor.masked_fill_ if masks else Tensor.masked_fill  # in place, where no model holds the result
    return fill(y, unknown, torch.nan), torch.cat(masks).flatten(2, -3)[:, :, 0] if masks else None


def _label(
    model: ZooModel,
    frames: Any,
    source: SourceFrames,
    y: Tensor,
    step: Step | None,
    thresholds: Sequence[float],
    outside: Tensor | None,
) -> Any:
    """Returns a forecast ``([members, N,] horizon, [C, thresholds,] H, W)`` with labels, in the form of `frames`."""
    values, labels, layout = get_preprocessing(model), source.labels, source.layout
    has_channels = source.has_channels or model.out_chans > 1
    targets: dict[str, str | None] = {**name_targets(values, labels, model.out_chans)}
    is_array, names = is_data_array(frames), list(targets)
    if is_array and has_channels:
        units = set(targets.values())
        targets = {str(next(iter(labels))): units.pop() if len(units) == 1 else None}
    result: Any = label_forecast(
        y.numpy(),
        labels,
        targets,
        layout,
        step=step,
        thresholds=thresholds,
        has_channels=has_channels,
        has_members=y.dim() > 3 + source.has_batch + has_channels + bool(thresholds),
        note=describe_conversions(labels),
        outside=None if outside is None else outside.numpy(),
    )
    if not is_array:
        return result
    [array] = result.data_vars.values()
    result = array.rename(None) if frames.name is None else array
    if has_channels and values.variables:
        result = result.assign_coords({layout.dims.get(CHANNEL, CHANNEL): names})
    return result
