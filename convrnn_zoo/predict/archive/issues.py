"""Issue times of forecasts: which frames of an archive are the last that a forecast reads."""

import re
from collections.abc import Sequence
from typing import Any

from ..._extras import need
from ...data.readers import Frames
from ...values.labels.times import find_gaps
from ...values.steps import Step, describe_step

MINUTES = {"min": 1, "h": 60, "d": 1440}
"""Minutes of the units of durations."""
SLACK = 0.02
"""Share of a step by which the time between issue times may differ from a multiple of it."""


def find_issues(
    frames: Frames, count: int, step: Step | None, *, ahead: int = 0, every: str | int | None = None,
    period: Sequence[str | None] = (None, None),
) -> Any:  # fmt: skip
    """Returns the numbers of the frames at the issue times, as an array.

    An issue time is the time of a frame that ends `count` frames at one step. Issue times are multiples of `every`
    since midnight of 1970-01-01; if no frame has such a time, they are counted from the first possible one.

    Args:
        frames: the frames of the archive.
        count: number of frames that a forecast reads.
        step: step between frames; None if the archive states no times.
        ahead: number of frames that follow the issue time and are needed as well, as known inputs.
        every: time between issue times, such as ``"30min"``, ``"6h"`` or ``"1D"``, or a number of frames. By default,
            every frame is an issue time.
        period: the first and the last issue time, or the beginnings of their dates, such as ``"2020-06"``.

    Raises:
        ValueError: no frame is an issue time, or `every` is no multiple of the step.
    """
    numpy = need("numpy", "cli")
    gaps = _find_gaps(frames, step)  # numbers of the frames before a gap
    numbers = numpy.arange(len(frames))
    first = numpy.concatenate([[0], gaps + 1])[numpy.searchsorted(gaps, numbers)]
    last = numpy.concatenate([gaps, [len(frames) - 1]])[numpy.searchsorted(gaps, numbers)]
    complete = (numbers - first + 1 >= count) & (last - numbers >= ahead)
    issues = numbers[complete & _is_within(frames, period)]
    if not len(issues):
        between = f" from {period[0] or 'the first'} to {period[1] or 'the last'}" if any(period) else ""
        spaced = f" {describe_step(step)} apart" if step else ""
        after = f", and {ahead} after it" if ahead else ""
        raise ValueError(
            f"{frames.path}: no frame{between} ends {count} frames{spaced}{after}; pass other files or a lower --inputs"
        )
    if every is None:
        return issues
    number = int(every) if isinstance(every, int) or str(every).isdecimal() else None
    if number is not None or frames.times is None or isinstance(step, str) or step is None:
        if not number:
            raise ValueError(f"every must be a number of frames above 0 for {frames.path}, got {every!r}")
        return issues[(issues - issues[0]) % number == 0]
    minutes = parse_duration(str(every))
    if minutes < step * (1 - SLACK) or abs(minutes / step - round(minutes / step)) > SLACK:
        raise ValueError(f"every must be a multiple of {describe_step(step)}, the step of the frames; got {every!r}")
    times = numpy.round(frames.minutes[issues], 3)
    selected = issues[numpy.isclose((times + 1e-3) % minutes, 0, atol=2e-3)]
    return selected if len(selected) else issues[numpy.isclose((times - times[0] + 1e-3) % minutes, 0, atol=2e-3)]


def parse_duration(text: str) -> float:
    """Returns the minutes of a duration.

    Example:
        >>> [parse_duration(t) for t in ("30min", "6h", "1D")]
        [30.0, 360.0, 1440.0]
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?) *(min|h|D|d)", text.strip())
    minutes = float(match[1]) * MINUTES[match[2].lower()] if match else 0.0
    if not minutes:
        raise ValueError(f"expected a duration such as 30min, 6h or 1D, or a number of frames, got {text!r}")
    return minutes


def _find_gaps(frames: Frames, step: Step | None) -> Any:
    """Returns the numbers of the frames that no frame follows after one step, in an array without the last frame."""
    numpy = need("numpy", "cli")
    if frames.times is None or step is None or len(frames) < 2:
        return numpy.empty(0, int)
    gaps = find_gaps(frames.times, step)
    if gaps.all():
        got = ", ".join(f"{s:g}" for s in sorted(set(numpy.diff(frames.minutes).round(3).tolist()))[:3])
        raise ValueError(
            f"{frames.path}: frames are {got} minutes apart, and {describe_step(step)} are expected; pass frames at "
            "the step of the training, or --minutes if the model supports any"
        )
    return numpy.flatnonzero(gaps)


def _is_within(frames: Frames, period: Sequence[str | None]) -> Any:
    """Returns for each frame whether its time is within a period."""
    numpy = need("numpy", "cli")
    inside = numpy.zeros(len(frames), bool)
    if not any(period):
        return ~inside
    if not (dates := frames.dates):
        raise ValueError(f"period selects dates, which {frames.path} does not state; omit the option")
    numbers = need("xarray", "netcdf").DataArray(numpy.arange(len(frames)), {"time": dates}, ["time"])
    try:
        inside[numbers.sel(time=slice(*period))] = True
    except (ValueError, TypeError, KeyError) as e:
        got = ", ".join(map(str, period))
        raise ValueError(f"period takes dates such as 2020-06 or 2020-06-01T12:00, got {got}") from e
    return inside
