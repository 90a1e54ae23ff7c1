"""Forecasts of frames in files."""

import contextlib
import dataclasses
import math
import re
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._hints import warn
from ..data.datasets.checks import ValidRange, check_values
from ..data.readers import ARRAY_READERS, Frames, open_files
from ..models import EnsembleForecaster, Forecaster
from ..models.base.forecasting import (
    choose_horizon,
    choose_scales,
    choose_step,
    describe_pixels,
    trained_pixel_km,
    warn_of_missing,
)
from ..values.labels.forecast import describe_conversions
from ..values.labels.times import extend_times
from ..values.preprocessing import Preprocessing
from ..values.steps import TOLERANCE, Step
from ..values.units import plural
from ..verify import split_known
from .forecast import Forecast
from .labelled import drop_unstorable_attrs
from .options import ForecastOptions, accepts

NAMED = tuple(suffix for suffix in ARRAY_READERS if suffix != ".npy")
"""Suffixes of files that may hold several arrays, by name."""


def check_step(model: Forecaster, frames: Frames, file: Path, options: ForecastOptions) -> Step | None:
    """Returns the step of the frames, or else the expected one; raises ValueError if it is not constant, or another."""
    try:
        return choose_step(model, frames.times, options.minutes, options.describe_fix(model))
    except ValueError as e:
        raise ValueError(f"{file}: {e}, or choose some with --start") from e


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
    reader: Frames,
    file: Path,
    inputs: int | None,
    horizon: int,
    start: str | None,
    compare: bool,
    has_future: bool,
    observed: int | None = None,
) -> tuple[int, int, int]:
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


def insert_missing(reader: Frames, count: int, step: Step | None) -> tuple[Frames, int]:
    """Inserts NaN for frames that are missing among the latest `count` steps of dated frames.

    Returns the frames of these steps and the number of inserted ones; or all frames and 0 if none is missing, or if
    their times are not multiples of the step before the latest one.
    """
    if not reader.is_dated or step is None or isinstance(step, str):
        return reader, 0
    back = (reader.minutes[-1] - reader.minutes) / step
    latest = back < count - 0.5
    places = back[latest].round()
    longest = count if len(reader) > latest.sum() else int(places.max()) + 1
    is_regular = (abs(back[latest] - places) <= TOLERANCE).all() and len({*places.tolist()}) == len(places)
    if not is_regular or longest == len(places):
        return reader, 0
    [indices] = latest.nonzero()
    if reader.dataset is None:  # arrays with dates in the names of their files
        values = torch.full((longest, reader.channels, *reader.size), torch.nan)
        values[longest - 1 - places.astype(int)] = torch.cat([reader.read(i, i + 1) for i in indices.tolist()])
        minutes = step * np.arange(longest)[::-1] * 6e10
        times = reader.times[-1] - minutes.round().astype("int64").astype("timedelta64[ns]")
        blank: Any = {"labels": (), "fill_value": None, "is_bytes": False, "start": 0, "stop": None}
        return dataclasses.replace(reader, array=values.numpy(), times=times, **blank), longest - len(places)
    data = reader.dataset.isel(time=indices)
    times = {float(place): time for place, time in zip(places, data["time"].values, strict=True)}
    grid: Any = extend_times(data.isel(time=[-1]), -step, longest - 1)[::-1]
    grid = [times.get(float(longest - 1 - i), time) for i, time in enumerate(grid)]
    filled = data.reindex(time=grid)
    frames = Frames.from_dataset(lambda: (filled, reader.layout), reader.path, reader.observed)
    return dataclasses.replace(frames, name=reader.name), longest - len(places)


def check_inputs(frames: Tensor, reader: Frames, values: Preprocessing) -> None:
    """Raises FileError if input frames ``(T, C, H, W)`` have values that cannot be in the unit of the model.

    These are numbers that mark missing values, and infinite ones. Rain rates that look like dBZ are rejected if the
    file does not state their unit. The model warns of others.
    """
    units = reader.units[: frames.shape[1]] or (reader.unit,)
    ranges = []
    for variable, unit in zip(values.variables or (values,), units, strict=True):
        highest = math.inf if reader.dataset is not None and unit is not None else None
        ranges.append(ValidRange(variable.unit, -math.inf, highest, getattr(variable, "name", "")))
    check_values([frames], reader.path, ranges)


def forecast_with_probabilities(
    model: Any, frames: Tensor, horizon: int, options: ForecastOptions, **known: Any
) -> tuple[Any, Any, Any]:
    """Returns the forecast, the probabilities of reaching ``options.thresholds``, and the mask of rain from outside.

    The forecast or the probabilities are None, and so is the mask if the model has none. With `members`, both are
    returned, and the probabilities are the shares of the members. There is no warning of frames without a value, which
    the callers report. `known` are known inputs, and the time step and pixel size.
    """
    thresholds, known, has_mask = options.thresholds, {"inputs": "all", **known}, accepts(model, "outside")
    if has_mask:
        known |= {"outside": options.outside or "climatology", "return_outside": True}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "frames without a value|horizon=.* is beyond")
        if thresholds and not options.members:
            result = model.probabilities(frames, thresholds, horizon, **known)
            return None, *(result if has_mask else (result, None))
        members = {"members": options.members, "seed": options.seed or 0} if options.members else {}
        result = model.forecast(frames, horizon, **known, **members)
    forecast, outside = result if has_mask else (result, None)
    if not thresholds:
        return forecast, None, outside
    reached = [(forecast >= t).float().masked_fill(forecast.isnan(), torch.nan) for t in thresholds]
    return forecast, torch.stack([x.mean(0) for x in reached], dim=-3), outside


def forecast_files(
    model: Forecaster,
    name: str,
    files: Sequence[Path],
    options: ForecastOptions | None = None,
    *,
    start: str | None = None,
    compare: bool = False,
    output: Path | None = None,
    **known: Any,
) -> Forecast:
    """Reads frames from files and forecasts the next frames, as ``convrnn-zoo predict``.

    Args:
        model, name: the forecaster, and its name in messages.
        files: one file or folder of frames, or several files that are joined in time.
        options: options of the forecast.
        start: first frame to read, by its time or number; by default the latest frames are read.
        compare: whether the forecast is compared with the last frames of the files.
        output: file that the forecast will be written to. A warning lists attributes that NetCDF cannot hold.
        **known: fields of the options, if these are not passed.

    Raises:
        ValueError: the files do not fit the model, or an option does not fit the files or the model.
    """
    options = options or ForecastOptions(**known)
    options.check_model(model, name)
    file, inputs = files[0], options.inputs
    if options.key and not all(f.is_dir() or f.suffix.lower() in NAMED for f in files):
        raise ValueError(f"--key names an array in files of {', '.join(NAMED)}; omit it for {file}")
    values, read_options = options.read_options(model, name)
    trained = model.input_frames or values.inputs
    reader = open_files(files, read_options)
    options.check_used(reader)
    options = options.with_step_of(reader, model)
    horizon, inserted = choose_horizon(model, options.horizon, options.minutes or values.step), 0
    if start is None and not compare and not model.future_chans:
        reader, inserted = insert_missing(reader, inputs or trained or 1, options.minutes or values.step)
    total = len(reader)
    observed = total if start else count_observed(reader)
    observed = total if compare and observed <= (inputs or trained or 1) else observed
    first, end, last = choose_window(
        reader, file, inputs or trained, horizon, start, compare, bool(model.future_chans), observed
    )
    count = end - first
    if inputs and count < inputs:
        raise ValueError(f"--inputs {inputs}: {file} has {plural(count, 'frame')} to read; pass a smaller number")
    scales = choose_scales(model, reader.dataset, options.minutes or values.step, options.pixel_km, str(file))
    notes = [describe_conversions(reader.dataset)] if reader.dataset is not None else []
    if scales:
        notes.append(describe_pixels(model, scales["pixel_km"]))
        scales["pixel_km"] = scales["pixel_km"] or trained_pixel_km(model)
    notes += [f"inserted {plural(inserted, 'missing frame')} as unknown"] if inserted else []
    notes += [f"left out {plural(total - observed, 'later frame')} without a value"] if observed < total else []
    reader = reader.between(first, last)
    step = check_step(model, reader, file, options)
    if output is not None and output.suffix == ".nc" and reader.dataset is not None:
        dataset, dropped = drop_unstorable_attrs(reader.dataset)
        reader = dataclasses.replace(reader, dataset=dataset)
        if dropped:
            warn(f"{output}: NetCDF cannot hold the attributes {', '.join(dropped)}; they are left out")
    if trained and count != trained:
        hint = "" if count == inputs else f"; pass {plural(trained, 'frame')}, or --inputs {count} if this is intended"
        warn(f"{file}: the model reads {plural(count, 'frame')}, but was trained to read {trained}{hint}")
    frames, known = split_known(reader.read(), values)
    check_inputs(frames[:count], reader, values)
    frames = frames[:, 0] if frames.shape[1] == 1 else frames
    if frames[:count].isfinite().any() and not frames[count - 1].isfinite().any():
        latest = f"{reader.dates[count - 1]:%Y-%m-%d %H:%M}" if reader.dates else str(first + count - 1)
        raise ValueError(f"{file}: the latest frame that is read, {latest}, has no value; pass another --start")
    names = [f"{d:%Y-%m-%d %H:%M}" for d in reader.dates] or [str(t + first) for t in range(count)]
    warn_of_missing(model, frames[:count].view(1, count, -1, *reader.size), names[:count], f"{file}: ")
    forecast, probabilities, outside = forecast_with_probabilities(
        model, frames[:count], horizon, options, **known, **scales
    )
    if forecast is None:
        forecast, probabilities = probabilities, None
    frames = frames if values.target_channels is None or frames.dim() == 3 else frames[:, values.target_channels]
    return Forecast(
        model.metadata.name if model.metadata else name,
        file.name,
        values,
        reader.between(0, count),
        first,
        total,
        frames[:count],
        forecast,
        frames[count:] if compare else None,
        step,
        options.members or 0,
        tuple(options.thresholds),
        not isinstance(model, EnsembleForecaster),
        probabilities,
        tuple(filter(None, notes)),
        outside,
    )
