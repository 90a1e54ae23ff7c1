"""Times of labelled frames: decoded dates, minutes, steps, and times of a forecast."""

import re
import warnings
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from ..._extras import need
from ..steps import SHORTEST_MONTH, Step, find_calendar_step, is_next, next_dates
from ..units import MAX_UNIT

_SINCE = re.compile(r"(\w+)\s+since\s+(.*)", re.IGNORECASE)
_TIME_UNITS = {"us": "microseconds", "usec": "microseconds", "µs": "microseconds", "μs": "microseconds",
               "ns": "nanoseconds", "nsec": "nanoseconds"}  # fmt: skip


def decode_time(variable: Any, name: str = "time") -> Any:
    """Decodes an ``xarray.Variable`` of times: dates of NumPy or cftime in UTC, or times since an unknown date.

    Numbers without a unit are minutes. xarray decodes numbers; units that it does not know, and time zones such as
    ``UTC+2``, which it reads with the wrong sign, are rewritten first. Times are rounded to a tenth of a millisecond.

    Raises:
        ValueError: the unit is unknown, or a time is missing.
    """
    numpy, xarray = need("numpy", "cli"), need("xarray", "netcdf")
    values, kind = variable.values, variable.dtype.kind
    first = next(iter(values.ravel().tolist()), None) if kind not in "iufmM" else None
    if kind in "iuf":
        if not numpy.isfinite(values).all():
            raise ValueError(f"{name}: expected a time for every frame, got NaN")
        unit = str(variable.attrs.get("units") or "minutes")
        attrs = {"units": " ".join(unit.split()) if len(unit) <= MAX_UNIT else ""}
        if match := _SINCE.fullmatch(attrs["units"]):
            word = _TIME_UNITS.get(match[1].lower(), match[1].lower())
            attrs["units"] = f"{word} since {re.sub(r'(UTC|GMT) *(?=[+-])', '', match[2])}"
        if calendar := variable.attrs.get("calendar"):
            attrs["calendar"] = str(calendar).lower()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # xarray warns of dates that only cftime can represent
            try:
                need("cftime", "netcdf")  # which decodes other calendars, and years that NumPy cannot represent
                stored = xarray.Dataset({"time_": (variable.dims, values, attrs)})
                values = xarray.decode_cf(stored, decode_timedelta=True)["time_"].values
            except ValueError:
                values = numpy.empty(0)
        if values.dtype.kind in "iuf":
            raise ValueError(f"{name}: expected times in a unit such as 'minutes since 2020-01-01', got {unit!r:.80}")
    elif isinstance(first, str | bytes) or getattr(first, "tzinfo", None) is not None:
        values = numpy.array([to_utc(t) for t in values.ravel()], "datetime64[us]").reshape(values.shape)
    if values.dtype.kind in "mM":
        if numpy.isnat(values).any():
            raise ValueError(f"{name} has missing values; pass frames that all have a time")
        rounded = (values.astype(f"{values.dtype.kind}8[us]").astype("int64") + 50) // 100 * 100
        values = rounded.astype(f"{values.dtype.kind}8[us]")
        if not values.size or abs(rounded).max() < 2**63 / 1000:
            values = values.astype(f"{values.dtype.kind}8[ns]")
    return xarray.Variable(variable.dims, values, variable.attrs)


def to_utc(time: Any) -> datetime:
    """Converts a date, or text in ISO 8601, to a datetime in UTC without a time zone.

    Example:
        >>> to_utc("2020-01-01T02:00+02:00")
        datetime.datetime(2020, 1, 1, 0, 0)
    """
    if isinstance(time, str | bytes):
        text = time.decode(errors="replace") if isinstance(time, bytes) else str(time)
        try:
            time = datetime.fromisoformat(text.strip() if len(text) <= MAX_UNIT else "")
        except ValueError as e:
            raise ValueError(f"expected a time such as '2020-01-01 00:00:00', got {text!r:.80}") from e
    return time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time


def is_dated(data: Any) -> bool:
    """Returns whether the frames of a Dataset have dates, rather than times since an unknown date or no times."""
    return "time" in data.coords and data["time"].dtype.kind in "MO"


def to_minutes(data: Any) -> Any:
    """Returns the times of frames as a float64 array of minutes, or None without times.

    Dates count from 1970 (UTC) in their calendar.
    """
    if "time" not in data.coords:
        return None
    times = data["time"].values
    if times.dtype.kind == "O":
        epoch = type(times[0])(1970, 1, 1)
        return need("numpy", "cli").array([(t - epoch) / timedelta(minutes=1) for t in times])
    return times.astype(f"{times.dtype.kind}8[us]").astype("int64") / 6e7


def list_dates(data: Any) -> list[Any]:
    """Returns the dates of frames, of datetime or cftime; empty without dates."""
    times = data["time"].values if is_dated(data) else need("numpy", "cli").empty(0)
    return list(times) if times.dtype.kind == "O" else times.astype("datetime64[us]").tolist() if len(times) else []


def time_step(data: Any, expected: Step | None = None) -> Step | None:
    """Returns the step between frames; None for one frame or no times. Raises ValueError if the steps differ.

    It is a calendar step if this is `expected`, or if the minutes between frames differ otherwise.
    """
    minutes, dates = to_minutes(data), list_dates(data)
    if minutes is None or len(minutes) < 2:
        return None
    steps = sorted(set((minutes[1:] - minutes[:-1]).round(3).tolist()))
    step = expected
    if dates and not isinstance(expected, str):
        step = find_calendar_step(dates) if len(steps) > 1 and steps[0] > SHORTEST_MONTH else None
    if dates and isinstance(step, str):
        if wrong := [b for a, b in pairwise(dates) if not is_next(a, b, step)]:
            raise ValueError(
                f"the frame of {wrong[0]:%Y-%m-%d} is not a {step} after that before; pass successive ones"
            )
        return step
    if len(steps) > 1 or steps[0] <= 0:
        raise ValueError(f"time has frames {', '.join(f'{s:g}' for s in steps[:4])} minutes apart; pass equal steps")
    return float(steps[0])


def most_frequent_step(data: Any) -> float | None:
    """Returns the most frequent number of minutes between frames; None for one frame, no times or a calendar step."""
    minutes = to_minutes(data)
    if minutes is None or len(minutes) < 2:
        return None
    steps, counts = need("numpy", "cli").unique((minutes[1:] - minutes[:-1]).round(4), return_counts=True)
    step = float(steps[counts.argmax()])
    return None if step > SHORTEST_MONTH and find_calendar_step(list_dates(data)) else step


def extend_times(frames: Any, step: Step, count: int) -> Any:
    """Returns the times of frames in normal form, and of the next `count` frames after a `step` each."""
    numpy, times = need("numpy", "cli"), frames["time"].values
    if isinstance(step, str):
        return numpy.concatenate([times, numpy.array(next_dates(list_dates(frames), count, step), times.dtype)])
    steps = (numpy.arange(1, count + 1) * step * 6e7).round().astype("int64").astype("timedelta64[us]")
    steps = steps.astype(object) if times.dtype.kind == "O" else steps.astype("timedelta64[ns]")
    return numpy.concatenate([times, times[-1] + steps])


def at_times(data: Any, times: Any, name: str) -> Any:
    """Returns the part of data in normal form at `times`; raises ValueError for the first one that is missing."""
    places = {t: i for i, t in enumerate(data["time"].values.tolist())}
    wanted = times.tolist()
    if missing := [i for i, t in enumerate(wanted) if t not in places]:
        ends = f"{data['time'].values[0]} to {data['time'].values[-1]}"
        raise ValueError(f"{name} has no value at {times[missing[0]]}; it has times from {ends}")
    return data.isel(time=[places[t] for t in wanted])
