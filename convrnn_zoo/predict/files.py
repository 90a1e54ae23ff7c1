"""Forecasts of frames in files."""

import contextlib
import dataclasses
import inspect
import re
import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .._hints import warn
from ..data import ReadOptions
from ..data.datasets.variables import ROLES, variable_options
from ..data.readers import ARRAY_READERS, COARSEN, Frames, open_files
from ..models import EnsembleForecaster, Forecaster
from ..recipes import ForecasterRecipe, Recipe, find_recipe
from ..values.labels import times
from ..values.labels.axes import NAMES, warn_of_oblong_pixels
from ..values.labels.forecast import describe_conversions
from ..values.preprocessing import Preprocessing
from ..values.steps import Step, check_same, is_same
from ..values.units import plural
from ..verify import split_known
from ..verify.losses import find_loss
from .forecast import Forecast
from .labelled import drop_unstorable_attrs

NAMED = tuple(suffix for suffix in ARRAY_READERS if suffix != ".npy")
"""Suffixes of files that may hold several arrays, by name."""


def resolve_preprocessing(model: Forecaster, name: str, recipe: str | None, settings: Recipe | None) -> Preprocessing:
    """Returns the model's preprocessing, else that of ``--recipe``; raises ValueError if they differ or are missing."""
    if recipe is not None:
        if not isinstance(settings, ForecasterRecipe):
            raise ValueError(f"the recipe {recipe} does not train a forecaster; pass another to --recipe, or omit it")
        if model.preprocessing is None:
            model.preprocessing = settings.preprocessing()
        elif not _describes(settings, model.preprocessing):
            raise ValueError(f"the recipe {recipe} describes other data than {name} was trained on; omit --recipe")
    if model.preprocessing is None:
        raise ValueError(f"{name} does not specify the unit and scale of its data; pass its recipe with --recipe")
    return model.preprocessing


def _describes(recipe: ForecasterRecipe, values: Preprocessing) -> bool:
    """Returns whether a recipe's data and a preprocessing agree in step, variables, encodings and known units."""
    data = recipe.data
    stated: dict[str, Any] = {v.name: v for v in data.all_variables} or {"": data}
    trained: dict[str, Any] = {v.name: v for role in ROLES for v in getattr(values, role)} or {"": values}
    if list(stated) != list(trained) or data.step != values.step:
        return False

    def encoding(variable: Any) -> tuple[Any, ...]:
        constants = (variable.floor, variable.top) if variable.encoding == "log" else ()
        return variable.encoding, *constants

    is_ignored = find_loss(recipe.loss).is_probabilistic
    return all(
        s.unit in (None, t.unit) and (is_ignored or encoding(s) == encoding(t))
        for s, t in zip(stated.values(), trained.values(), strict=True)
    )


def choose_read_options(
    model: Forecaster, name: str, recipe: Recipe | None, key: str | None, pixel_km: float | None = None,
    minutes: float | None = None, coarsen: int | None = None, sel: Mapping[str, Any] | None = None,
) -> ReadOptions:  # fmt: skip
    """Returns the options for reading the files of a forecaster, from its preprocessing and its recipe.

    Radar composites are averaged over blocks of `coarsen` pixels, by default as in the recipe. Without a recipe, blocks
    have 2×2 pixels, unless `pixel_km` is passed or the model is an :class:`EnsembleForecaster`. `sel` is selected in
    addition to ``data.sel`` of the recipe.
    """
    values: Any = model.preprocessing
    options = ReadOptions(unit=values.unit)
    if isinstance(recipe, ForecasterRecipe):
        options = recipe.data.read_options()
        others = {d: v for d, v in options.sel.items() if not _is_period(d, v, options)}
        options = dataclasses.replace(options, unit=values.unit, variable_optional=True, sel=others)
    if values.variables:
        options = dataclasses.replace(options, unit=None, **variable_options(values, options))
    if key and options.variables:
        variables = ", ".join(v.name for v in options.variables)
        raise ValueError(f"--key: {name} reads the variables {variables} by their names; omit the option")
    if key:
        options = dataclasses.replace(options, variable=key, variable_optional=False)
    if coarsen is None and isinstance(recipe, ForecasterRecipe):
        coarsen = 1 if pixel_km else options.coarsen
    elif coarsen is None:
        coarsen = 1 if pixel_km or isinstance(model, EnsembleForecaster) else COARSEN
    return dataclasses.replace(
        options,
        channels=3 if model.in_chans == 3 else 1,
        coarsen=coarsen,
        step=minutes or values.step,
        sel={**options.sel, **(sel or {})},
    )


def _is_period(dim: str, value: Any, options: ReadOptions) -> bool:
    """Returns whether a key of ``data.sel`` selects times of the training data, which other files do not have."""
    is_time = dim.lower() in NAMES["time"] or dim == options.dims.get("time")
    first = value[0] if isinstance(value, list | tuple) else value
    is_date = isinstance(first, str) and re.match(r"\d{4}-\d", first) is not None
    return is_date or (is_time and isinstance(value, list | tuple | str))


def check_used(frames: Frames, coarsen: int | None, rain_relation: Sequence[float] | None) -> None:
    """Raises ValueError for an option that has no effect on the frames."""
    notes = "" if frames.dataset is None else describe_conversions(frames.dataset)
    if (coarsen or 1) > 1 and "radar composites" not in notes:
        raise ValueError(f"coarsen (--coarsen): {frames.path} is no radar composite; leave it out")
    if rain_relation and "reflectivity" not in notes:
        raise ValueError(f"rain_relation (--rain-relation): {frames.path} is no reflectivity; leave it out")


def describe_fix(model: Forecaster, minutes: float | None) -> str:
    """Returns what to do about frames at another step than the expected one."""
    if minutes:
        return "correct --minutes, or omit it"
    if "minutes" in inspect.signature(model.forecast).parameters:
        return "pass their step with --minutes"
    return "pass frames at the step of the training"


def check_step(frames: Frames, expected: Step | None, file: Path, fix: str = "") -> Step | None:
    """Returns the step of the frames, or else the expected one; raises ValueError if it is not constant, or another."""
    try:
        step = times.check_step(frames.times, expected)
    except ValueError as e:
        raise ValueError(f"{file}: {e}, or choose some with --start") from e
    check_same(step, expected, f"the frames of {file}", fix or "pass frames at the step of the training")
    return step or expected


def find_start(start: str, reader: Frames, file: Path) -> int:
    """Returns the number of the frame that ``--start`` specifies by number or time, or raises ValueError."""
    total, times = len(reader), reader.dates
    if re.fullmatch(r"-?\d+", start):
        number = int(start) + (total if int(start) < 0 else 0)
        if 0 <= number < total:
            return number
        raise ValueError(f"--start must be from {-total} to {total - 1}, since {file} has {total} frames; got {start}")
    if not times:
        raise ValueError(f"--start must be the number of a frame, since {file} has no times; got {start}")
    matches = [i for i, t in enumerate(times) if start in (f"{t:%H:%M}", f"{t:%H:%M:%S}")]
    if not matches:
        text = re.sub(r"^(\S+) ", r"\1T", start)
        spelled = (text, f"{text}:00", f"{text}T00:00:00")
        matches = [i for i, t in enumerate(times) if t.isoformat() in spelled]  # 30 February is in some calendars only
    if not matches:
        with contextlib.suppress(ValueError):
            time = datetime.fromisoformat(start)
            time = time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time
            matches = [i for i, t in enumerate(times) if t.isoformat() == time.isoformat()]
    if len(matches) != 1:
        count = "no frame" if not matches else plural(len(matches), "frame")
        raise ValueError(
            f"--start {start}: {file} has {count} at that time; pass the time of a frame from "
            f"{times[0]:%Y-%m-%dT%H:%M} to {times[-1]:%Y-%m-%dT%H:%M}, or its number"
        )
    return matches[0]


def count_observed(reader: Frames) -> int:
    """Returns the number of frames up to the last one that has a value; all if none has one."""
    total = len(reader)
    values = (reader.read(t, t + 1)[:, : reader.observed] for t in range(total - 1, -1, -1))
    return next((total - i for i, frame in enumerate(values) if frame.isfinite().any()), total)


def choose_window(
    reader: Frames, file: Path, inputs: int | None, horizon: int, start: str | None, compare: bool, has_future: bool,
    observed: int | None = None,
) -> tuple[int, int, int]:  # fmt: skip
    """Returns first, end and last: ``[first, end)`` are input frames, and ``[end, last)`` are frames to forecast.

    With `compare` (observations) or `has_future` (known inputs), the file must also contain frames to forecast;
    otherwise ``last == end``. Without `start`, the model reads the latest of the first `observed` frames. If the file
    must contain frames to forecast, the input ends `horizon` frames before the end of the file where possible.
    """
    total, ahead = len(reader), compare or has_future
    observed = total if observed is None else observed
    total = total if has_future and not compare else observed
    first = 0 if start is None else find_start(start, reader, file)
    end = max(total - horizon, min(first + (inputs or 1), total)) if ahead else total
    end = min(end, observed)
    if inputs and start is None:
        first = max(end - inputs, 0)
    elif inputs:
        end = min(first + inputs, total)
    last = min(end + horizon, total) if ahead else end
    if has_future and last - end < horizon:
        raise ValueError(
            f"{file}: the model reads known inputs of the {plural(horizon, 'frame')} to forecast, and the file has "
            f"{last - end} after those that it reads; pass more frames, an earlier --start or a lower --horizon"
        )
    if compare and last == end:
        raise ValueError(
            f"--compare: {file} has {plural(total, 'frame')}, and none follows the {plural(end - first, 'frame')} that "
            f"the model reads; omit --compare, or pass {'an earlier --start' if start else 'more frames'}"
        )
    return first, end, last


def warn_of_missing(frames: Tensor, reader: Frames, file: Path, hint: str = "") -> None:
    """Warns of input frames without a value of a variable, by their times or numbers."""
    known = frames.isfinite().flatten(-2).any(-1).view(len(frames), -1)
    missing = (~known.all(1)).nonzero().flatten().tolist()
    if missing and known.any():
        labels = [f"{d:%Y-%m-%d %H:%M}" for d in reader.dates] or [str(t + reader.start) for t in range(len(frames))]
        listed = ", ".join(labels[t] for t in missing)
        warn(f"{file}: frames without a value are among those that are read: {listed}{hint}")


def choose_scales(
    model: Forecaster, reader: Frames, file: Path, minutes: float | None, pixel_km: float | None
) -> dict[str, float]:
    """Returns the arguments `minutes` and `pixel_km` of a forecast; the pixel size is by default that of the frames.

    A model that does not take the pixel size gets none, and a warning if the frames have other pixels than in training.
    """
    pixel, trained = pixel_km or reader.pixel_km, model.preprocessing and model.preprocessing.pixel_km
    if pixel_km and reader.pixel_km and not 0.9 < reader.pixel_km / pixel_km < 1.1:
        warn(f"{file} has pixels of {reader.pixel_km:.3g} km; --pixel-km {pixel_km:g} is used")
    if "pixel_km" not in inspect.signature(model.forecast).parameters:
        if pixel and trained and not 0.9 < pixel / trained < 1.1:
            warn(f"{file} has pixels of {pixel:.3g} km, and the model was trained on {trained:.3g} km; resample it")
        pixel = None
    elif reader.dataset is not None and pixel_km is None:
        warn_of_oblong_pixels(reader.dataset)
    return {key: value for key, value in (("minutes", minutes), ("pixel_km", pixel)) if value}


def forecast_with_probabilities(
    model: Any, frames: Tensor, horizon: int, thresholds: Sequence[float] = (), **options: Any
) -> tuple[Any, Any]:
    """Returns the forecast and the probabilities of reaching `thresholds`; the first or the second is None.

    With `members`, both are returned, and the probabilities are the shares of the members. There is no warning of
    frames without a value, which the callers report.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "frames without a value")
        if thresholds and not options.get("members"):
            return None, model.probabilities(frames, thresholds, horizon, **options)
        forecast = model.forecast(frames, horizon, **options)
    if not thresholds:
        return forecast, None
    reached = [(forecast >= t).float().masked_fill(forecast.isnan(), torch.nan) for t in thresholds]
    return forecast, torch.stack([x.mean(0) for x in reached], dim=-3)


def forecast_files(
    model: Forecaster, name: str, files: Sequence[Path], *, recipe: str | None = None, inputs: int | None = None,
    horizon: int | None = None, start: str | None = None, compare: bool = False, key: str | None = None,
    minutes: float | None = None, pixel_km: float | None = None, coarsen: int | None = None,
    rain_relation: Sequence[float] | None = None, sel: Mapping[str, Any] | None = None,
    thresholds: Sequence[float] = (), output: Path | None = None, **options: Any,
) -> Forecast:  # fmt: skip
    """Reads frames from files and forecasts the next frames, with the options of ``convrnn-zoo predict``.

    Args:
        model, name: the forecaster, and its name in messages.
        files: one file or folder of frames, or several files that are joined in time.
        recipe, inputs, horizon, start, compare, key, minutes, pixel_km, coarsen, rain_relation, sel: options of
            that name of the command.
        thresholds: values; the probabilities of reaching them are forecast. Without thresholds, frames are forecast.
        output: file that the forecast will be written to. A warning lists attributes that NetCDF cannot hold.
        **options: passed to the model's ``forecast``, such as `members`.

    Raises:
        ValueError: the files do not fit the model, or an option does not fit the files or the model.
    """
    file, settings = files[0], find_recipe(model, recipe)
    values = resolve_preprocessing(model, name, recipe, settings)
    horizon, trained = horizon or model.horizon, model.input_frames or values.inputs
    if key and (len(files) > 1 or file.suffix.lower() not in NAMED):
        raise ValueError(f"--key names an array of one file of {', '.join(NAMED)}; omit it for {file}")
    read_options = choose_read_options(model, name, settings, key, pixel_km, minutes, coarsen, sel)
    if rain_relation:
        read_options = dataclasses.replace(read_options, rain_relation=tuple(rain_relation))
    reader = open_files(files, read_options)
    check_used(reader, coarsen, rain_relation)
    takes_minutes = "minutes" in inspect.signature(model.forecast).parameters
    if minutes is None and takes_minutes and isinstance(reader.step, float) and not is_same(reader.step, values.step):
        minutes = reader.step  # the coordinates of the files state it
    total = len(reader)
    observed = total if start else count_observed(reader)
    observed = total if compare and observed <= (inputs or trained or 1) else observed
    first, end, last = choose_window(
        reader, file, inputs or trained, horizon, start, compare, bool(model.future_chans), observed
    )
    count = end - first
    if inputs and count < inputs:
        raise ValueError(f"--inputs {inputs}: {file} has {plural(count, 'frame')} to read; pass a smaller number")
    scales = choose_scales(model, reader, file, minutes, pixel_km)
    notes = [describe_conversions(reader.dataset)] if reader.dataset is not None else []
    notes += [f"pixels of {scales['pixel_km']:.3g} km"] if "pixel_km" in scales else []
    notes += [f"left out {plural(total - observed, 'later frame')} without a value"] if observed < total else []
    reader = reader.between(first, last)
    step = check_step(reader, minutes or values.step, file, describe_fix(model, minutes))
    if output is not None and output.suffix == ".nc" and reader.dataset is not None:
        dataset, dropped = drop_unstorable_attrs(reader.dataset)
        reader = dataclasses.replace(reader, dataset=dataset)
        if dropped:
            warn(f"{output}: NetCDF cannot hold the attributes {', '.join(dropped)}; they are left out")
    if trained and count != trained:
        hint = "" if count == inputs else f"; pass {plural(trained, 'frame')}, or --inputs {count} if this is intended"
        warn(f"{file}: the model reads {plural(count, 'frame')}, but was trained to read {trained}{hint}")
    frames, known = split_known(reader.read(), values)
    frames = frames[:, 0] if frames.shape[1] == 1 else frames
    if frames[:count].isfinite().any() and not frames[count - 1].isfinite().any():
        latest = f"{reader.dates[count - 1]:%Y-%m-%d %H:%M}" if reader.dates else str(first + count - 1)
        raise ValueError(f"{file}: the latest frame that is read, {latest}, has no value; pass another --start")
    warn_of_missing(frames[:count], reader, file, "; those between others are interpolated" * bool(model.default_step))
    options = {"inputs": "all", **known, **scales, **options}
    forecast, probabilities = forecast_with_probabilities(model, frames[:count], horizon, thresholds, **options)
    if forecast is None:
        forecast, probabilities = probabilities, None
    frames = frames if values.target_channels is None or frames.dim() == 3 else frames[:, values.target_channels]
    return Forecast(
        model.metadata.name if model.metadata else name, file.name, values, reader.between(0, count), first, total,
        frames[:count], forecast, frames[count:] if compare else None, step,
        options.get("members", 0), tuple(thresholds), not isinstance(model, EnsembleForecaster),
        probabilities, tuple(filter(None, notes)),
    )  # fmt: skip
