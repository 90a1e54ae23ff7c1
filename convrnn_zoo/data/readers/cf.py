"""Decodes the CF conventions: scale, missing values, valid range, unit and time of stored numbers."""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..._extras import need

MINUTES = {
    "ns": 1 / 6e10, "nsec": 1 / 6e10, "nanosecond": 1 / 6e10, "us": 1 / 6e7, "µs": 1 / 6e7, "usec": 1 / 6e7,
    "microsecond": 1 / 6e7, "ms": 1 / 6e4, "msec": 1 / 6e4, "millisecond": 1 / 6e4, "s": 1 / 60, "sec": 1 / 60,
    "second": 1 / 60, "m": 1.0, "min": 1.0, "minute": 1.0, "h": 60.0, "hr": 60.0, "hour": 60.0, "d": 1440.0,
    "day": 1440.0,
}  # fmt: skip
"""Minutes of each unit of time, by its names in the singular."""
ATTRIBUTES = (
    "scale_factor", "add_offset", "_FillValue", "missing_value", "valid_range", "valid_min", "valid_max", "_Unsigned",
    "units",
)  # fmt: skip
"""Attributes that are read; others may be of types that h5py cannot read."""
_STAMP = re.compile(
    r"(\d{1,4}-\d{1,2}-\d{1,2})(?:[ T]+(\d{1,2})(?::(\d{1,2})(?::(\d{1,2}(?:\.\d*)?))?)?)?\s*"
    r"(Z|UTC|GMT|(?:UTC|GMT)?\s*[+-]\d{1,2}(?::?\d{2})?)?",
    re.IGNORECASE,
)


def scalar(value: Any) -> Any:
    """Returns the only value of an attribute; None if it is empty.

    Example:
        >>> scalar(b"K"), scalar([3]), scalar([])
        ('K', 3, None)
    """
    if hasattr(value, "shape") and value.shape is None:  # h5py.Empty
        return None
    if hasattr(value, "reshape"):
        value = value.reshape(-1).tolist()
    if isinstance(value, list | tuple):
        value = value[0] if len(value) else None
    value = value.decode(errors="replace") if isinstance(value, bytes) else value
    return None if value == "" else value


def number(value: Any) -> float | None:
    """Returns an attribute as a number; None if it is empty. Zarr stores numbers with a fraction in base64."""
    value = scalar(value)
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            numpy = need("numpy", "cli")
            return float(numpy.frombuffer(base64.standard_b64decode(value), "<f8")[0])
    return None if value is None else float(value)


def numbers(value: Any) -> list[float]:
    """Returns an attribute of several numbers, such as ``missing_value`` or ``valid_range``."""
    if hasattr(value, "shape") and value.shape is None:
        return []
    items = value.reshape(-1).tolist() if hasattr(value, "reshape") else value
    items = [number(item) for item in (items if isinstance(items, list | tuple) else [items])]
    return [item for item in items if item is not None]


@dataclass(frozen=True, kw_only=True)
class Packing:
    """Attributes by which stored numbers become values: ``value = scale * number + offset``, NaN if missing.

    `fills` and `valid` are compared with the stored numbers, unless `valid_unpacked`. `unsigned` is NetCDF's
    ``_Unsigned``: whether the numbers of a signed type are meant without sign, or the other way round.
    """

    scale: float = 1.0
    offset: float = 0.0
    fills: tuple[float, ...] = ()
    valid: tuple[float, float] | None = None
    valid_unpacked: bool = False
    unsigned: bool | None = None

    @classmethod
    def from_attrs(cls, attrs: Mapping[str, Any], dtype: Any) -> "Packing":
        """Reads the attributes of an array of numbers of type `dtype`."""
        scale, offset = (number(attrs.get(name)) for name in ("scale_factor", "add_offset"))
        fills = [f for name in ("_FillValue", "missing_value") for f in numbers(attrs.get(name, []))]
        low, high = [*numbers(attrs.get("valid_range", [])), None, None][:2]
        low = number(attrs.get("valid_min")) if low is None else low
        high = number(attrs.get("valid_max")) if high is None else high
        unsigned = scalar(attrs.get("_Unsigned"))
        kinds = {getattr(attrs.get(n), "dtype", dtype).kind for n in ("valid_range", "valid_min", "valid_max")}
        kinds |= {"f"} if any(b is not None and b % 1 for b in (low, high)) else set()
        return cls(
            scale=1.0 if scale is None else scale,
            offset=0.0 if offset is None else offset,
            fills=tuple(fills),
            valid=None if low is None and high is None else (_or(low, -float("inf")), _or(high, float("inf"))),
            valid_unpacked="f" in kinds and dtype.kind != "f",
            unsigned=None if unsigned is None else str(unsigned).lower() == "true",
        )

    def decode(self, raw: Any, fill_value: float | None = None) -> Any:
        """Returns stored numbers as a new float32 array, NaN where they are missing."""
        numpy = need("numpy", "cli")
        if self == Packing() and fill_value is None:
            with numpy.errstate(over="ignore"):
                return numpy.asarray(raw).astype("float32", order="C")
        raw = numpy.ascontiguousarray(raw)
        raw = raw.astype(raw.dtype.newbyteorder("=")) if not raw.dtype.isnative else raw
        fills = list(self.fills)
        if self.unsigned is not None and raw.dtype.kind == ("i" if self.unsigned else "u"):
            wrap = 2 ** (8 * raw.dtype.itemsize)
            raw = raw.view(f"{'u' if self.unsigned else 'i'}{raw.dtype.itemsize}")
            fills = [f % wrap if self.unsigned else (f + wrap // 2) % wrap - wrap // 2 for f in fills]
            valid = None if self.valid is None else [v % wrap if self.unsigned and v < 0 else v for v in self.valid]
        else:
            valid = None if self.valid is None else list(self.valid)
        missing = numpy.zeros(raw.shape, bool)
        packed = (self.scale, self.offset) != (1.0, 0.0)
        with numpy.errstate(over="ignore", invalid="ignore"):
            for fill in [*fills, *([] if fill_value is None else [fill_value])]:
                missing |= raw == (raw.dtype.type(fill) if raw.dtype.kind == "f" else fill)
            values = raw.astype("float64" if packed else "float32")
            if valid is not None and not self.valid_unpacked:
                missing |= (raw < valid[0]) | (raw > valid[1])
            if packed:
                values = values * self.scale + self.offset
            if valid is not None and self.valid_unpacked:
                missing |= (values < valid[0]) | (values > valid[1])
            values = values.astype("float32", copy=False)
        values[missing] = numpy.nan
        return values


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def to_minutes(time: datetime | float) -> float:
    """Returns the minutes since 1970 of a time in UTC, or the number itself."""
    return (time - datetime(1970, 1, 1)).total_seconds() / 60 if isinstance(time, datetime) else float(time)


def decode_times(values: Any, attrs: Mapping[str, Any]) -> tuple[Any, bool]:
    """Returns times as minutes, and whether they are counted since 1970 (UTC).

    Times are NumPy's ``datetime64`` or ``timedelta64``, text in ISO 8601, or numbers in a unit such as
    ``hours since 2010-01-01 00:00 +02:00``. Numbers without a unit are minutes.

    Raises:
        ValueError: the unit is unknown, a time is missing, or the times do not increase.

    Example:
        >>> import numpy as np
        >>> minutes, is_dated = decode_times(np.array([0, 5]), {"units": "ms since 1970-01-02"})
        >>> (minutes * 60_000 - 1440 * 60_000).round().tolist(), is_dated
        ([0.0, 5.0], True)
    """
    numpy = need("numpy", "cli")
    values = numpy.asarray(values)
    if values.dtype.kind in "OSU":  # text in ISO 8601
        text = [t.decode() if isinstance(t, bytes) else str(t) for t in values.tolist()]
        minutes = numpy.array([_minutes_of_stamp(t) for t in text])
        is_dated = True
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
            raise ValueError(f"expected times in a unit such as 'minutes since 2020-01-01', got {unit!r}")
        is_dated = bool(since)
        values = values.astype("float64") * _or(number(attrs.get("scale_factor")), 1.0)
        minutes = (values + _or(number(attrs.get("add_offset")), 0.0)) * factor
        minutes = minutes + (_minutes_of_stamp(since, unit) if since else 0.0)
    if not numpy.isfinite(minutes).all():
        raise ValueError("expected a time for every frame, got NaN")
    if (numpy.diff(minutes) <= 0).any():
        raise ValueError("expected increasing times; sort the frames by time and drop repeated ones")
    return minutes, is_dated


def _minutes_of_stamp(text: str, shown: str = "") -> float:
    match = _STAMP.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"expected a time such as '2020-01-01 00:00:00', got {shown or text!r}")
    date, hour, minute, second, zone = match.groups()
    year, month, day = map(int, date.split("-"))
    offset = 0
    if zone and (match := re.search(r"([+-])(\d{1,2}):?(\d{2})?$", zone)):
        offset = int(f"{match[1]}1") * (60 * int(match[2]) + int(match[3] or 0))
    minutes = 60 * int(hour or 0) + int(minute or 0) + float(second or 0) / 60
    return to_minutes(datetime(year, month, day)) + minutes - offset
