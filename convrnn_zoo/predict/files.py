"""Forecasts of frames in files."""

import contextlib
import dataclasses
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from .._hints import warn
from .._stores import Place, find_place
from ..data import Frames, split_channels
from ..data.readers import ARRAY_READERS
from ..models import Forecaster
from ..models.base.forecasting import choose_step, warn_of_missing
from ..values.labels.times import to_utc, valid_times
from ..values.steps import TOLERANCE, Step
from ..values.units import plural
from .forecast import Forecast
from .options import ForecastOptions
from .run import ForecastRun

NAMED = tuple(suffix for suffix in ARRAY_READERS if suffix != ".npy")
"""Suffixes of files that may hold several arrays, by name."""


def find_start(start: str, frames: Frames, file: Place) -> int:
    """Returns the number of the frame that ``--start`` specifies by number or time, or raises ValueError."""
    total, times = len(frames), frames.dates
    if re.fullmatch(r"-?\d+", start):
        if -total <= int(start) < total:
            return int(start) % total
        raise ValueError(f"--start must be from {-total} to {total - 1}, since {file} has {total} frames; got {start}")
    if not times:
        raise ValueError(f"--start must be the number of a frame, since {file} has no times; got {start}")
    spelled = {start, re.sub(r"^(\S+) ", r"\1T", start)}
    with contextlib.suppress(ValueError):
        spelled.add(to_utc(start).isoformat())

    def is_start(time: Any) -> bool:
        text = time.isoformat()  # 30 February is in some calendars only
        short = f"{time:%H:%M}", f"{time:%H:%M:%S}", text.removesuffix(":00"), text.removesuffix("T00:00:00")
        return not spelled.isdisjoint({text, *short})

    matches = [i for i, time in enumerate(times) if is_start(time)]
    if len(matches) != 1:
        raise ValueError(
            f"--start {start}: {file} has {plural(len(matches), 'frame')} at that time; pass the time of a frame from "
            f"{times[0]:%Y-%m-%dT%H:%M} to {times[-1]:%Y-%m-%dT%H:%M}, or its number"
        )
    return matches[0]


def choose_window(
    frames: Frames, file: Place, inputs: int | None, horizon: int, start: str | None, compare: bool, has_future: bool
) -> tuple[int, int, int, int]:
    """Returns first, end, last and observed: ``[first, end)`` are input frames, ``[end, last)`` frames to forecast.

    With `compare` (observations) or `has_future` (known inputs), the file must also contain frames to forecast;
    otherwise ``last == end``. Without `start`, the model reads the latest of the `observed` frames, which are those up
    to the last one that has a value. If the file must contain frames to forecast, the input ends `horizon` frames
    before the end of the file where possible.
    """
    observed = total = len(frames)
    while start is None and observed and not frames.read(observed - 1, observed)[:, : frames.observed].isfinite().any():
        observed -= 1
    if observed == 0 or (compare and observed <= (inputs or 1)):
        observed = total
    ahead = compare or has_future
    stop = total if has_future and not compare else observed
    first = 0 if start is None else find_start(start, frames, file)
    end = max(stop - horizon, min(first + (inputs or 1), stop)) if ahead else stop
    end = min(end, observed)
    if inputs and start is None:
        first = max(end - inputs, 0)
    elif inputs:
        end = min(first + inputs, stop)
    last = min(end + horizon, stop) if ahead else end
    if has_future and last - end < horizon:
        raise ValueError(
            f"{file}: the model reads known inputs of the {plural(horizon, 'frame')} to forecast, and the file has "
            f"{last - end} after those that it reads; pass more frames, an earlier --start or a lower --horizon"
        )
    if compare and last == end:
        raise ValueError(
            f"--compare: {file} has {plural(stop, 'frame')}, and none follows the {plural(end - first, 'frame')} that "
            f"the model reads; omit --compare, or pass {'an earlier --start' if start else 'more frames'}"
        )
    return first, end, last, observed


def insert_missing(frames: Frames, count: int, step: Step | None) -> tuple[Frames, int]:
    """Inserts NaN for frames that are missing among the latest `count` steps of dated frames.

    Returns the frames of these steps and the number of inserted ones; or all frames and 0 if none is missing, or if
    their times are not multiples of the step before the latest one.
    """
    if not frames.is_dated or step is None or isinstance(step, str):
        return frames, 0
    back = (frames.minutes[-1] - frames.minutes) / step
    [latest] = (back < count - 0.5).nonzero()
    places = back[latest].round().astype(int)
    longest = count if len(frames) > len(latest) else int(places.max()) + 1
    is_regular = (abs(back[latest] - places) <= TOLERANCE).all() and len(set(places.tolist())) == len(places)
    if not is_regular or longest == len(places):
        return frames, 0
    places, last = longest - 1 - places, frames.times[-1:]
    times = np.concatenate([last, valid_times(last, -step, longest - 1)[0]])[::-1].copy()
    times[places] = frames.times[latest]
    values = torch.full((longest, frames.channels, *frames.size), torch.nan)
    values[places] = torch.cat([frames.read(i, i + 1) for i in latest.tolist()])
    labels = None if frames.dataset is None else frames.dataset.isel(time=latest).reindex(time=times)
    read: Any = {"array": values.numpy(), "labels": (), "fill_value": None, "is_bytes": False, "start": 0, "stop": None}
    return dataclasses.replace(frames, times=times, dataset=labels, **read), longest - len(places)


def forecast_files(
    model: Forecaster,
    name: str,
    files: Sequence[Any],
    *,
    start: str | None = None,
    compare: bool = False,
    **options: Any,
) -> Forecast:
    """Reads frames from files and forecasts the next frames, as ``convrnn-zoo predict``.

    Args:
        model, name: the forecaster, and its name in messages.
        files: one file or folder of frames, or the address of a Zarr store, or several files that are joined in time.
        start: first frame to read, by its time or number; by default the latest frames are read.
        compare: whether the forecast is compared with the last frames of the files.
        **options: fields of :class:`ForecastOptions`.

    Raises:
        ValueError: the files do not fit the model, or an option does not fit the files or the model.
    """
    files = list(map(find_place, files))
    chosen, file = ForecastOptions(**options), files[0]
    if chosen.key and not all(f.is_dir() or f.suffix.lower() in NAMED for f in files):
        raise ValueError(f"--key names an array in files of {', '.join(NAMED)}; omit it for {file}")
    run = ForecastRun(model, name, files, chosen)
    frames, inserted = run.frames, 0
    if start is None and not compare and not model.future_chans:
        frames, inserted = insert_missing(frames, run.expected_inputs or 1, run.expected_step)
    total, has_future = len(frames), bool(model.future_chans)
    first, end, last, observed = choose_window(
        frames, file, run.expected_inputs, run.horizon, start, compare, has_future
    )
    count = end - first
    if chosen.inputs and count < chosen.inputs:
        raise ValueError(
            f"--inputs {chosen.inputs}: {file} has {plural(count, 'frame')} to read; pass a smaller number"
        )
    notes = [run.conversions, run.pixels]
    notes += [f"inserted {plural(inserted, 'missing frame')} as unknown"] if inserted else []
    notes += [f"left out {plural(total - observed, 'later frame')} without a value"] if observed < total else []
    frames = frames.between(first, last)
    try:
        step = choose_step(model, frames.times, run.options.minutes, run.options.describe_fix(model))
    except ValueError as e:
        raise ValueError(f"{file}: {e}, or choose some with --start") from e
    if run.trained_inputs and count != run.trained_inputs:
        fix = f"; pass {plural(run.trained_inputs, 'frame')}, or --inputs {count} if this is intended"
        trained = f"was trained to read {run.trained_inputs}{'' if count == chosen.inputs else fix}"
        warn(f"{file}: the model reads {plural(count, 'frame')}, but {trained}")
    every = frames.read()
    x = split_channels(every, run.values)[0]
    if x[:count].isfinite().any() and not x[count - 1].isfinite().any():
        latest = f"{frames.dates[count - 1]:%Y-%m-%d %H:%M}" if frames.dates else str(first + count - 1)
        raise ValueError(f"{file}: the latest frame that is read, {latest}, has no value; pass another --start")
    names = [f"{d:%Y-%m-%d %H:%M}" for d in frames.dates] or [str(t + first) for t in range(count)]
    warn_of_missing(model, x[None, :count], names[:count], f"{file}: ")
    targets = run.values.select_targets(x) if x.shape[1] > 1 else x[:, 0]
    return Forecast(
        run=run,
        file=file.name,
        frames=frames.between(0, count),
        first=first,
        total=total,
        inputs=targets[:count],
        observed=targets[count:] if compare else None,
        step=step,
        notes=tuple(filter(None, notes)),
        result=run.forecast_frames(every[None], count).at(0),
    )
