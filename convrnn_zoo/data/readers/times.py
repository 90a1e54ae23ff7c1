"""Decodes attributes and times by the CF conventions.

xarray is not used for times: even with cftime, it rejects micro- and nanoseconds, and reads ``UTC+2`` as ``UTC-2``.
"""

import base64
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from ..._extras import need

_MINUTES = {
    "ns nsec nanosecond": 1 / 6e10, "us µs usec microsecond": 1 / 6e7, "ms msec millisecond": 1 / 6e4,
    "s sec second": 1 / 60, "m min minute": 1.0, "h hr hour": 60.0, "d day": 1440.0,
}  # fmt: skip
MINUTES = {name: minutes for names, minutes in _MINUTES.items() for name in names.split()}
"""Number of minutes in each unit of time, by the names of the unit in the singular."""
_STAMP = re.compile(
    r"(\d{1,4})-(\d{1,2})-(\d{1,2})(?:[ T]+(\d{1,2})(?::(\d{1,2})(?::(\d{1,2}(?:\.\d*)?))?)?)?\s*"
    r"(?:Z|(?:UTC|GMT)?\s*(?:([+-])(\d{1,2})(?::?(\d{2}))?)?)",
    re.IGNORECASE,
)


def _list(value: Any) -> list[Any]:
    if hasattr(value, "shape"):  # h5py.Empty has the shape None
        value = [] if value.shape is None else value.reshape(-1).tolist()
    return list(value) if isinstance(value, list | tuple) else [value]


def scalar(value: Any) -> Any:
    """Returns the first value of an attribute; None if it is empty.

    Example:
        >>> scalar(b"K"), scalar([3]), scalar([])
        ('K', 3, None)
    """
    value = next(iter(_list(value)), None)
    value = value.decode(errors="replace") if isinstance(value, bytes) else value
    return None if value == "" else value


def to_number(value: Any, default: Any = None) -> Any:
    """Returns an attribute as a float, or `default` if it is empty. Decodes base64, in which Zarr stores floats."""
    value = scalar(value)
    try:
        return default if value is None else float(value)
    except ValueError:
        return float(need("numpy", "cli").frombuffer(base64.standard_b64decode(value), "<f8")[0])


def numbers(value: Any) -> list[float]:
    """Returns the numbers of an attribute such as ``missing_value`` or ``valid_range`` as floats."""
    return [item for item in map(to_number, _list(value)) if item is not None]


def to_minutes(time: datetime) -> float:
    """Converts a datetime in UTC to minutes since 1970."""
    return (time - datetime(1970, 1, 1)).total_seconds() / 60


def decode_times(values: Any, attrs: Mapping[str, Any]) -> tuple[Any, bool]:
    """Returns times in minutes as a float64 array, and whether they count from 1970 (UTC).

    `values` are NumPy's ``datetime64`` or ``timedelta64``, text in ISO 8601, or numbers. The unit of numbers is the
    attribute ``units``, such as ``hours since 2010-01-01 00:00 +02:00``, by default minutes. Raises ValueError for an
    unknown unit, a missing time, and times that do not increase.

    Example:
        >>> import numpy as np
        >>> minutes, is_dated = decode_times(np.array([0, 5]), {"units": "ms since 1970-01-02"})
        >>> (minutes * 60_000 - 1440 * 60_000).round().tolist(), is_dated
        ([0.0, 5.0], True)
    """
    numpy, is_dated = need("numpy", "cli"), True
    values = numpy.asarray(values)
    if values.dtype.kind in "OSU":
        minutes = numpy.array([_parse(t.decode() if isinstance(t, bytes) else str(t)) for t in values.tolist()])
    elif values.dtype.kind in "Mm":
        is_dated = values.dtype.kind == "M"
        if numpy.isnat(values).any():
            raise ValueError("expected a time for every frame, got NaT")
        minutes = values.astype(f"{'datetime64' if is_dated else 'timedelta64'}[us]").astype("float64") / 6e7
    else:
        unit = str(scalar(attrs.get("units")) or "minutes")
        word, _, since = unit.strip().partition(" since ")
        name = word.strip().lower()
        factor = MINUTES.get(name) or MINUTES.get(name.removesuffix("s"))
        if factor is None:
            raise ValueError(f"expected times in a unit such as 'minutes since 2020-01-01', got {unit!r:.80}")
        calendar = str(scalar(attrs.get("calendar")) or "standard").lower()  # such as one of 360 days in a year
        is_dated = bool(since) and calendar in ("standard", "gregorian", "proleptic_gregorian")
        values = values.astype("float64") * to_number(attrs.get("scale_factor"), 1.0)
        minutes = (values + to_number(attrs.get("add_offset"), 0.0)) * factor
        if is_dated:
            minutes += _parse(since, is_julian=calendar != "proleptic_gregorian")
    if not numpy.isfinite(minutes).all():
        raise ValueError("expected a time for every frame, got NaN")
    if (numpy.diff(minutes) <= 0).any():
        raise ValueError("expected increasing times; sort the frames by time and drop repeated ones")
    return minutes, is_dated


def _parse(text: str, is_julian: bool = False) -> float:
    """Converts text in ISO 8601 to minutes since 1970 (UTC); with `is_julian`, dates before 1582-10-15 are Julian."""
    match = _STAMP.fullmatch(" ".join(text.split())) if len(text) < 100 else None
    if match is None:
        raise ValueError(f"expected a time such as '2020-01-01 00:00:00', got {text!r:.80}")
    *date, hour, minute, second, sign, zone_hours, zone_minutes = match.groups(default="0")
    year, month, day = map(int, date)
    offset = timedelta(hours=int(zone_hours), minutes=int(zone_minutes)) * (-1 if sign == "-" else 1)
    time = 60 * int(hour) + int(minute) + float(second) / 60
    if is_julian and (year, month, day) < (1582, 10, 15):
        century = (year - (month <= 2)) // 100
        offset += timedelta(days=2 + century // 4 - century)  # from the Gregorian date of the same name
    return to_minutes(datetime(year, month, day)) + time - offset / timedelta(minutes=1)
