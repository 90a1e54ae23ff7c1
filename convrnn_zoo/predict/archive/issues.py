"""Issue times of forecasts: which frames of an archive are the last that a forecast reads."""

from collections.abc import Sequence
from typing import Any

import numpy

from ..._extras import need
from ..._hints import warn
from ...data import Frames
from ...values.labels.times import find_gaps, list_steps
from ...values.steps import TOLERANCE, TOLERATED, Step, describe_step


def find_issues(
    frames: Frames,
    count: int,
    step: Step | None,
    *,
    ahead: int = 0,
    every: Any = None,
    period: Sequence[Any] = (None, None),
    fix: str = "pass frames at the step of the training",
) -> Any:
    """Returns the numbers of the frames at the issue times, as an array.

    An issue time is the time of a frame that ends `count` frames at one step. Issue times are multiples of `every`
    since midnight of 1970-01-01; if no frame has such a time, they are counted from the first possible one, with a
    warning. Times and steps may differ by the tolerance of steps. Warnings count what irregular steps, and frames at
    other times than the multiples, leave out.

    Args:
        frames, step: the frames of the archive, and the step between them; None if the archive states no times.
        count, ahead: numbers of frames that a forecast reads up to its issue time and, as known inputs, after it.
        every, period: as in :func:`~convrnn_zoo.forecast_archive`.
        fix: what the error advises if all frames are at another step.

    Raises:
        ValueError: no frame is an issue time, or `every` is no multiple of the step.
    """
    gaps, irregular = _find_gaps(frames, step, fix)
    within, complete = _is_within(frames, period), _is_complete(gaps, count, ahead)
    possible = within & _is_complete(gaps & ~irregular, count, ahead)
    if lost := int((possible & ~complete).sum()):
        apart = numpy.diff(frames.minutes)[irregular]
        span = " to ".join(dict.fromkeys(f"{minutes:.4g}" for minutes in (apart.min(), apart.max())))
        got = f"frames are {span} minutes apart"
        expected = f"expected {describe_step(step or 0.0)}, up to {TOLERATED}"
        warn(f"{frames.path}: {lost} of {possible.sum()} issue times are left out, since {got}; {expected}")
    issues = numpy.flatnonzero(within & complete)
    if not len(issues):
        between = f" from {period[0] or 'the first'} to {period[1] or 'the last'}" if any(period) else ""
        ends = f"ends {count} frames{f' {describe_step(step)} apart' if step else ''}"
        ends += f", and {ahead} after it" if ahead else ""
        raise ValueError(f"{frames.path}: no frame{between} {ends}; pass other files or a lower --inputs")
    number = 1 if every is None else int(every) if str(every).isdecimal() else 0
    if number:
        return issues[(issues - issues[0]) % number == 0]
    if isinstance(every, int) or str(every).isdecimal() or frames.times is None or isinstance(step, str | None):
        raise ValueError(f"every must be a number of frames above 0 for {frames.path}, got {every!r}")
    return _find_multiples(frames, issues, step, every)


def _find_gaps(frames: Frames, step: Step | None, fix: str) -> Any:
    """Returns for all but the last frame whether none follows after one step, and whether one follows irregularly."""
    none = numpy.zeros(max(len(frames) - 1, 0), bool)
    if frames.times is None or step is None or len(frames) < 2:
        return none, none
    gaps = find_gaps(frames.times, step)
    if gaps.all():
        got = f"frames are {list_steps(frames.times)} minutes apart"
        raise ValueError(f"{frames.path}: {got}, expected {describe_step(step)}; {fix}")
    irregular = none if isinstance(step, str) else gaps & (abs(numpy.diff(frames.minutes) - step) < step / 2)
    return gaps, irregular


def _is_complete(gaps: Any, count: int, ahead: int) -> Any:
    """Returns for each frame whether it ends `count` frames and `ahead` follow; `gaps` are those after each frame."""
    runs, later = numpy.concatenate([[0], gaps.cumsum()]), count + ahead - 1
    complete = numpy.zeros(len(runs), bool)
    complete[count - 1 : max(len(runs) - ahead, 0)] = runs[later:] == runs[: max(len(runs) - later, 0)]
    return complete


def _is_within(frames: Frames, period: Sequence[Any]) -> Any:
    """Returns for each frame whether its time is within a period."""
    if isinstance(period, str) or len(period) != 2:
        raise ValueError(f"period (--period) takes two dates, the first and the last, or None; got {period!r}")
    inside = numpy.full(len(frames), tuple(period) == (None, None))
    if inside.all():
        return inside
    if not (dates := frames.dates):
        raise ValueError(f"period selects dates, which {frames.path} does not state; omit the option")
    numbers = need("xarray", "netcdf").DataArray(numpy.arange(len(frames)), {"time": dates}, ["time"])
    try:
        inside[numbers.sel(time=slice(*map(_drop_zone, period)))] = True
    except (ValueError, TypeError, KeyError) as e:
        got = ", ".join(map(str, period))
        raise ValueError(f"period takes dates such as 2020-06 or 2020-06-01T12:00, got {got}") from e
    return inside


def _drop_zone(bound: Any) -> Any:
    """Converts a date with a time zone to UTC. Others, which may be beginnings of dates, are returned as they are."""
    try:
        time = need("pandas", "archive").Timestamp(bound)
    except (ValueError, TypeError):  # a date of another calendar
        return bound
    return time.tz_convert(None) if getattr(time, "tz", None) else bound  # NaT has none


def _find_multiples(frames: Frames, issues: Any, step: float, every: Any) -> Any:
    """Returns the issue times at multiples of a duration; warns of multiples that no frame has."""
    minutes, slack = parse_duration(every), TOLERANCE * step
    if abs(minutes - max(round(minutes / step), 1) * step) > slack:
        raise ValueError(f"every must be a multiple of {describe_step(step)}, the step of the frames; got {every!r}")
    times = frames.minutes[issues]
    if not (is_multiple := _is_multiple(times, minutes, slack)).any():
        first = frames.dates[issues[0]] if frames.dates else f"{times[0]:g} minutes"
        warn(f"{frames.path}: no issue time is a multiple of {every} since midnight; they are counted from {first}")
        times = times - times[0]
        is_multiple = _is_multiple(times, minutes, slack)
    ends = numpy.flatnonzero(numpy.diff(times) > 1.5 * step)  # of the runs of times that are a step apart
    starts, stops = times[numpy.concatenate([[0], ends + 1])], times[numpy.concatenate([ends, [-1]])]
    counts = numpy.floor((stops + slack) / minutes) - numpy.ceil((starts - slack) / minutes) + 1
    if (expected := int(counts.clip(0).sum())) > is_multiple.sum():
        warn(
            f"{frames.path}: {expected - is_multiple.sum()} of {expected} multiples of {every} are between the times "
            "of two frames, and have no forecast; round the times, or pass a number of frames"
        )
    return issues[is_multiple]


def _is_multiple(times: Any, minutes: float, slack: float) -> Any:
    return abs(times - (times / minutes).round() * minutes) <= slack


def parse_duration(value: Any) -> float:
    """Returns the minutes of a duration, as text or as a timedelta.

    Example:
        >>> [parse_duration(t) for t in ("30min", "6h", "1D")]
        [30.0, 360.0, 1440.0]
    """
    try:
        minutes = need("pandas", "archive").Timedelta(value).total_seconds() / 60
    except (ValueError, TypeError):
        minutes = 0.0
    if not minutes > 0:
        raise ValueError(f"expected a duration such as 30min, 6h or 1D, or a number of frames, got {value!r}")
    return float(minutes)
