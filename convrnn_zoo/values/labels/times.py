"""Times of labelled frames: decoded dates, minutes, steps, and times of a forecast."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._extras import need
from ..steps import (
    SHORTEST_MONTH,
    TOLERANCE,
    TOLERATED,
    Step,
    find_calendar_step,
    is_near,
    is_next,
    is_same,
    next_dates,
)
from ..units import MAX_UNIT

if TYPE_CHECKING:
    import xarray as xr

PERIOD = "time_period"
"""Coordinate of data in normal form with the times over which values are means or sums, if the source states them."""
LARGEST = 10**7
"""Numbers without a unit are below it: beyond, they are dates such as 20200131, or seconds since 1970."""
_SINCE = re.compile(r"(\w+)\s+since\s+(.*)", re.IGNORECASE)
_TIME_UNITS = {
    short: unit
    for unit, words in {
        "days": "d day",
        "hours": "h hr hrs hour",
        "minutes": "min mins minute",
        "seconds": "s sec secs second",
        "milliseconds": "ms msec msecs millisecond",
        "microseconds": "us usec µs μs microsecond",
        "nanoseconds": "ns nsec nanosecond",
    }.items()
    for short in words.split()
}
"""Units of time that xarray knows by their names, by the shorter words for them."""


def counts_frames(values: np.ndarray, attrs: Mapping[str, Any] = MappingProxyType({})) -> bool:
    """Returns whether an array of times only counts the frames: its numbers have no unit, and rise by exactly 1."""
    if values.dtype.kind not in "iuf" or values.ndim != 1 or values.size < 2 or attrs.get("units"):
        return False
    return bool((values[1:] - values[:-1] == 1).all())


def decode_time(variable: xr.Variable, name: str = "time") -> xr.Variable:
    """Returns an ``xarray.Variable`` of times decoded by :func:`decode_times`."""
    values = decode_times(variable.values, variable.attrs, name)
    encoding = {k: v for k, v in variable.encoding.items() if k == "bounds"}
    return need("xarray", "netcdf").Variable(variable.dims, values, variable.attrs, encoding)


def decode_times(values: np.ndarray, attrs: Mapping[str, Any] = MappingProxyType({}), name: str = "time") -> np.ndarray:
    """Decodes an array of times: dates of NumPy or cftime in UTC, or times since an unknown date.

    Numbers without a unit are minutes. xarray decodes numbers with a unit. Times are rounded to a tenth of a
    millisecond. Raises ValueError if the unit is unknown, a time is missing, or numbers of :data:`LARGEST` or above
    have no unit.
    """
    kind = values.dtype.kind
    first = next(iter(values.ravel().tolist()), None) if kind not in "mM" else None
    if kind in "iuf":
        if not np.isfinite(values).all():
            raise ValueError(f"{name}: expected a time for every frame, got NaN")
        unit = str(attrs.get("units") or "minutes")
        if not attrs.get("units") and abs(values).max(initial=0) >= LARGEST:
            raise ValueError(f"{name}: numbers such as {first} have no unit; save dates, or state units")
        if unit == "minutes" and abs(values.astype("float64")).max(initial=0) < 2**63 / 6e7:
            values = (values.astype("float64") * 6e7).round().astype("timedelta64[us]")
        else:
            values = _decode_numbers(values, unit, attrs)
        if values.dtype.kind in "iuf":
            got = repr(attrs["units"]) if attrs.get("units") else f"{first} without one"
            raise ValueError(f"{name}: expected times in a unit such as 'minutes since 2020-01-01', got {got:.80}")
    elif hasattr(first, "to_timestamp"):  # a period of pandas, which counts from its beginning
        values = np.array([t.to_timestamp() for t in values.ravel()], "datetime64[us]").reshape(values.shape)
    elif isinstance(first, str | bytes) or getattr(first, "tzinfo", None) is not None:
        values = np.array([to_utc(t) for t in values.ravel()], "datetime64[us]").reshape(values.shape)
    if values.dtype.kind in "mM":
        if np.isnat(values).any():
            raise ValueError(f"{name} has missing values; pass frames that all have a time")
        rounded = (values.astype(f"{values.dtype.kind}8[us]").astype("int64") + 50) // 100 * 100
        values = rounded.astype(f"{values.dtype.kind}8[us]")
        if not values.size or abs(rounded).max() < 2**63 / 1000:
            values = values.astype(f"{values.dtype.kind}8[ns]")
    return values


def _decode_numbers(values: np.ndarray, unit: str, attributes: Mapping[str, Any]) -> np.ndarray:
    """Decodes numbers in a unit with xarray; returns an empty array of numbers if it does not know the unit.

    Units that it lacks, and time zones such as ``UTC+2``, which it reads with the wrong sign, are rewritten first.
    """
    xarray = need("xarray", "netcdf")
    attrs = {"units": " ".join(unit.split()) if len(unit) <= MAX_UNIT else ""}
    match = _SINCE.fullmatch(attrs["units"])
    word = (match[1] if match else attrs["units"]).lower()
    attrs["units"] = _TIME_UNITS.get(word, word)
    if match and {*re.findall("[A-Z]+", match[2].upper())} - {"T", "Z", "UTC", "GMT"}:
        return np.empty(0)  # a time zone such as EST, which xarray ignores
    if match:
        attrs["units"] += f" since {re.sub(r'(UTC|GMT) *(?=[+-])', '', match[2])}"
    if calendar := attributes.get("calendar"):
        attrs["calendar"] = str(calendar).lower()
    need("cftime", "netcdf")  # which decodes other calendars, and years that NumPy cannot represent
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # xarray warns of dates that only cftime can represent
        try:
            stored = xarray.Dataset({"time_": ([f"d{i}" for i in range(values.ndim)], values, attrs)})
            return xarray.decode_cf(stored, decode_timedelta=True)["time_"].values
        except ValueError:
            return np.empty(0)


def to_utc(time: Any) -> datetime:
    """Converts a date, or text in ISO 8601, to a datetime in UTC without a time zone."""
    if isinstance(time, str | bytes):
        text = time.decode(errors="replace") if isinstance(time, bytes) else str(time)
        try:
            time = datetime.fromisoformat(text.strip() if len(text) <= MAX_UNIT else "")
        except ValueError as e:
            raise ValueError(f"expected a time such as '2020-01-01 00:00:00', got {text!r:.80}") from e
    return time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time


def is_dated(data: xr.Dataset) -> bool:
    """Returns whether the frames of a Dataset have dates, rather than times since an unknown date or no times."""
    return "time" in data.coords and data["time"].dtype.kind in "MO"


def to_minutes(times: np.ndarray) -> np.ndarray:
    """Returns decoded times as a float64 array of minutes. Dates count from 1970 (UTC) in their calendar."""
    if times.dtype.kind == "O":
        return np.array([(t - type(t)(1970, 1, 1)) / timedelta(minutes=1) for t in times])
    return times.astype(f"{times.dtype.kind}8[us]").astype("int64") / 6e7


def list_dates(times: np.ndarray) -> list[Any]:
    """Returns decoded times as dates of datetime or cftime; empty for times since an unknown date."""
    if times.dtype.kind == "m":
        return []
    return list(times) if times.dtype.kind == "O" else times.astype("datetime64[us]").tolist()


def find_step(times: np.ndarray | None) -> Step | None:
    """Returns the most frequent step of decoded times, in minutes or of the calendar; None for less than two times.

    Steps that differ by no more than the tolerance count for each other, so that times may be a little irregular.
    """
    if times is None or len(times) < 2:
        return None
    minutes = to_minutes(times)
    steps, counts = np.unique(((minutes[1:] - minutes[:-1]) * 6e5).round() / 6e5, return_counts=True)
    total, slack = np.concatenate([[0], counts.cumsum()]), TOLERANCE * abs(steps)
    ends = [np.searchsorted(steps, *side) for side in ((steps - slack, "left"), (steps + slack, "right"))]
    step = float(steps[np.lexsort((-steps, counts, total[ends[1]] - total[ends[0]]))[-1]])
    return (find_calendar_step(list_dates(times)) if step > SHORTEST_MONTH else None) or step


def find_gaps(times: np.ndarray, step: Step) -> np.ndarray:
    """Returns for all but the last of decoded times whether the next one does not follow after a step, as booleans."""
    if isinstance(step, str):
        return np.array([not is_next(a, b, step) for a, b in pairwise(list_dates(times))], bool)
    minutes = to_minutes(times)
    return ~is_near(minutes[1:] - minutes[:-1], step)


def list_steps(times: np.ndarray) -> str:
    """Returns the shortest steps of decoded times in minutes, for messages."""
    return ", ".join(f"{step:g}" for step in sorted(set(np.diff(to_minutes(times)).round(3).tolist()))[:4])


def check_step(times: np.ndarray | None, expected: Step | None = None) -> Step | None:
    """Returns the step of decoded times; None for less than two. Raises ValueError if the steps differ.

    It is `expected` if the steps equal it up to the tolerance, or if this is a calendar step, and a calendar step as
    well if the times are months or years apart.
    """
    step = find_step(times)
    if times is None or step is None:
        return None
    if expected and (is_same(step, expected) or (isinstance(expected, str) and list_dates(times))):
        step = expected
    minutes = to_minutes(times)
    if (minutes[1:] == minutes[:-1]).any():
        raise ValueError("time repeats a value; pass frames that all have their own time")
    gaps = find_gaps(times, step)
    if not gaps.any():
        return step
    first = gaps.argmax()
    if isinstance(step, str):
        date = list_dates(times)[first + 1]
        raise ValueError(f"the frame of {date:%Y-%m-%d} is not a {step} after that before; pass successive ones")
    raise ValueError(
        f"time has frames {list_steps(times)} minutes apart; pass equal steps, up to {TOLERATED}, or insert missing "
        f"frames as NaN, so that there is one every {np.diff(minutes).min():g} minutes"
    )


def get_periods(data: xr.Dataset) -> float | xr.DataArray | None:
    """Returns the minutes over which values are summed, one number or one for each time; None if they are unknown."""
    if PERIOD not in data.coords:
        return None
    minutes = data[PERIOD].variable.astype("timedelta64[us]").astype("int64") / 6e7
    if not (minutes.values > 0).all():
        return None
    values = np.unique(minutes.values.round(6))
    return float(values[0]) if len(values) == 1 else data[PERIOD].copy(data=minutes.values)


def get_times(data: xr.Dataset) -> np.ndarray | None:
    """Returns the decoded times of a Dataset in normal form, or None."""
    return data["time"].values if "time" in data.coords else None


def extend_times(frames: xr.Dataset, step: Step, count: int) -> np.ndarray:
    """Returns the times of frames in normal form, and of the next `count` frames after a `step` each."""
    times = frames["time"].values
    if isinstance(step, str):
        return np.concatenate([times, np.array(next_dates(list_dates(times), count, step), times.dtype)])
    return np.concatenate([times, valid_times(times[-1:], step, count)[0]])


def valid_times(times: np.ndarray, step: Step, count: int) -> np.ndarray:
    """Returns the times ``(N, count)`` of the next `count` frames after each of N decoded times, a `step` apart."""
    if isinstance(step, str):
        return np.array([next_dates([date], count, step) for date in list_dates(times)], times.dtype)
    steps = (np.arange(1, count + 1) * step * 6e7).round().astype("int64").astype("timedelta64[us]")
    return times[:, None] + (steps.astype(object) if times.dtype.kind == "O" else steps)


def at_times(data: xr.Dataset, times: np.ndarray, name: str) -> xr.Dataset:
    """Returns the part of data in normal form at `times`; raises ValueError for the first one that is missing."""
    places = {t: i for i, t in enumerate(data["time"].values.tolist())}
    wanted = times.tolist()
    if missing := [i for i, t in enumerate(wanted) if t not in places]:
        ends = f"{data['time'].values[0]} to {data['time'].values[-1]}"
        raise ValueError(f"{name} has no value at {times[missing[0]]}; it has times from {ends}")
    return data.isel(time=[places[t] for t in wanted])
