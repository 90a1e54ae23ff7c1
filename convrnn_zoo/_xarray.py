"""The normal form of labelled frames, and its inverse, which labels a forecast.

A Dataset in normal form has one variable per channel with the dimensions ``([realization,] time, [channel,] y, x)``:
decoded numbers, NaN where missing. Static maps ``(y, x)`` and series ``(time,)`` may be variables, too. The first row
is the northernmost and the first column the westernmost, if the coordinates state positions. Coordinates are those of
the source; `time` has dates of NumPy or cftime (UTC), or times since an unknown date.
"""

import math
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any

from ._extras import need
from ._hints import suggest
from ._steps import SHORTEST_MONTH, Step, find_calendar_step, is_next, next_dates
from ._units import MARSHALL_PALMER, MAX_UNIT, conversion

LEAD_TIME, MEMBER, THRESHOLD, CHANNEL = "lead_time", "realization", "threshold", "channel"
"""Names of the dimensions of lead times, ensemble members, thresholds of probabilities, and channels."""
NAMES: dict[str, tuple[str, ...]] = {
    "time": ("valid_time", "time", "times", "t", "xtime", "date", "datetime", "step"),
    "y": ("y", "lat", "latitude", "nav_lat", "rlat", "yc", "south_north", "northing", "nlat", "nj", "j", "row", "rows"),
    "x": ("x", "lon", "longitude", "nav_lon", "rlon", "xc", "west_east", "easting", "nlon", "ni", "i", "column",
          "columns", "col", "cols"),
    MEMBER: ("realization", "member", "members", "ensemble", "ensemble_member", "number"),
    CHANNEL: ("channel", "channels", "band", "bands", "variable", "level", "levels", "z", "height", "pressure"),
}  # fmt: skip
"""Names of dimensions and coordinates, in lower case, that are recognised where no attribute describes them."""
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "time": ("T", "time"), "y": ("Y", "latitude", "projection_y_coordinate", "grid_latitude"),
    "x": ("X", "longitude", "projection_x_coordinate", "grid_longitude"), MEMBER: ("E", "realization"),
    CHANNEL: ("Z", "vertical"),
}  # fmt: skip
"""Keys of cf_xarray for ``axis``, ``standard_name`` and units of coordinates, by the dimension that they describe."""
PLACES = {"y": ("latitude", "projection_y_coordinate", "grid_latitude"),
          "x": ("longitude", "projection_x_coordinate", "grid_longitude")}  # fmt: skip
"""Standard names of coordinates that state positions on the earth: these rise to the north and to the east."""
PLACE_NAMES = ("lat", "latitude", "rlat", "northing", "lon", "longitude", "rlon", "easting")
"""Names of such coordinates, in lower case."""
AXIS_ANGLES = (("y", "latitude"), ("x", "longitude"))
"""Axes with the angle that rises along them."""
KM_PER_DEGREE = 111.195
"""Length of a degree of latitude."""
_REFERENCE = ("forecast_reference_time", "forecast_period")
_SINCE = re.compile(r"(\w+)\s+since\s+(.*)", re.IGNORECASE)
_TIME_UNITS = {"us": "microseconds", "usec": "microseconds", "µs": "microseconds", "μs": "microseconds",
               "ns": "nanoseconds", "nsec": "nanoseconds"}  # fmt: skip


def is_data_array(x: object) -> bool:
    """Returns whether an object is an ``xarray.DataArray``, without importing xarray."""
    return _is_xarray(x, "DataArray")


def is_labelled(x: object) -> bool:
    """Returns whether an object is a DataArray or a Dataset of xarray, without importing xarray."""
    return _is_xarray(x, "DataArray", "Dataset")


def _is_xarray(x: object, *names: str) -> bool:
    return any(c.__module__.partition(".")[0] == "xarray" and c.__name__ in names for c in type(x).__mro__)


# ---- times -------------------------------------------------------------------------------------------------------
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


# ---- axes --------------------------------------------------------------------------------------------------------
def find_axes(data: Any, named: Mapping[str, str] | None = None) -> dict[str, str]:
    """Returns what the dimensions of a Dataset are: `time`, `y`, `x`, `realization` or `channel`, by their names.

    Attributes of coordinates decide by the CF conventions (``axis``, ``standard_name``, units), then dates, then
    :data:`NAMES`. `named` maps `time`, `y` and `x` to dimensions that the user names.
    """
    need("cf_xarray", "netcdf")
    named = named or {}
    if unknown := [d for d in named.values() if d not in data.dims]:
        hint = suggest(unknown[0], map(str, data.dims))
        raise ValueError(f"no dimension {unknown[0]}, which data.dims names; {hint}")
    axes = {dim: axis for axis, dim in named.items()}
    lines = {str(n): c for n, c in data.coords.items() if c.ndim == 1}
    keys = {**data.cf.standard_names, **data.cf.coordinates, **data.cf.axes}
    found = [(n, axis) for axis, described in ATTRIBUTES.items() for key in described for n in keys.get(key, ())]
    found += [(n, "time") for n, c in lines.items() if c.dtype.kind == "M" or _is_cftime(c)]
    labels = {**{str(d): d for d in data.dims}, **{n: c.dims[0] for n, c in lines.items()}}
    found += [(n, axis) for axis, names in NAMES.items() for name in names for n in labels if n.lower() == name]
    for label, axis in found:
        if label in labels and axis not in named:
            axes.setdefault(labels[label], axis)
    return axes


def _is_cftime(coordinate: Any) -> bool:
    return coordinate.dtype.kind == "O" and coordinate.size > 0 and hasattr(coordinate.values.flat[0], "calendar")


def _find_roles(array: Any, axes: Mapping[str, str], has_time: bool) -> dict[str, str]:
    """Returns what each dimension of a DataArray is.

    Dimensions that nothing describes are taken as in an array ``([N,] T, [C,] H, W)``; with `has_time`, none is time.
    """
    roles = {d: axes.get(d, "") for d in array.dims}
    unknown = [d for d in array.dims if not roles[d]]

    def assign(axis: str, index: int = -1) -> None:
        if unknown and axis not in roles.values():
            roles[unknown.pop(index)] = axis

    if array.ndim > 1:
        assign("x")
        assign("y")
    if not has_time:
        assign("time", max(0, len(unknown) - 1 - (CHANNEL not in roles.values())))
    assign(CHANNEL)
    assign(MEMBER)
    return roles


def canonical(array: Any, axes: Mapping[str, str], has_time: bool = False) -> Any:
    """Returns a DataArray with the names, order and direction of the dimensions of the normal form.

    Its ``encoding`` has the names of the dimensions in the source as ``dims``, and the reversed ones as ``turned``.
    """
    roles = _find_roles(array, axes, has_time)
    for axis in ("", "time", "y", "x", MEMBER, CHANNEL):
        dims = [d for d, role in roles.items() if role == axis]
        needed = axis not in ("", CHANNEL)
        single = [d for d in dims if array.sizes[d] == 1][: len(dims) - needed]
        array = array.isel(dict.fromkeys(single, 0))
        if len(dims) - len(single) > bool(axis):
            listed = " and ".join(map(str, dims))
            found = f"two dimensions of {axis}, {listed}" if axis else f"the dimensions {', '.join(map(str, roles))}"
            raise ValueError(f"{array.name} has {found}; select a part with data.sel, or name axes with data.dims")
    names = {d: roles[d] for d in array.dims}
    attrs, encoding = array.attrs, {**array.encoding, "dims": {axis: d for d, axis in names.items()}}
    time, minutes = _find_time(array, next((d for d, axis in names.items() if axis == "time"), None))
    array = _drop_time(array, names)
    moments = [n for n, c in array.coords.items() if n == "time" or "time" in [names.get(d) for d in c.dims]]
    clashes = [n for n in names.values() if n in array.coords and [names[d] for d in array[n].dims] != [n]]
    array = array.drop_vars({*moments, *clashes}).swap_dims({d: axis for d, axis in names.items() if d != axis})
    if time is not None:
        array = array.assign_coords(time=time)
        if time.ndim and (time.values[1:] < time.values[:-1]).any():
            array = array.isel(time=time.values.argsort(kind="stable"))
    turned = [axis for axis in ("y", "x") if _is_reversed(array, axis, encoding["dims"])]
    array = array.isel(dict.fromkeys(turned, slice(None, None, -1)))
    array = array.transpose(*(axis for axis in (MEMBER, "time", CHANNEL, "y", "x") if axis in array.dims))
    array.attrs, array.encoding = attrs, {**encoding, "turned": turned, "minutes": minutes}
    return array


def _find_time(array: Any, dim: Any) -> Any:
    """Returns the decoded times along a dimension, and the minutes over which values at a time are summed.

    If `dim` is None, the time is that of a single map. Both are None without times, or if they are unknown. Dates come
    before other times, then the standard name decides, then the order in :data:`NAMES`.
    """

    def rank(name: Any) -> tuple[bool, bool, int]:
        c, names = array[name], NAMES["time"]
        is_dated = c.dtype.kind == "M" or _is_cftime(c) or " since " in str(c.attrs.get("units"))
        place = names.index(str(name).lower()) if str(name).lower() in names else len(names)
        return not is_dated, c.attrs.get("standard_name") != "time", place

    labels = [
        n for n, c in array.coords.items()
        if c.dims == (() if dim is None else (dim,)) and (n == dim or c.attrs.get("standard_name") not in _REFERENCE)
        and (not rank(n)[0] or (dim is not None and (n == dim or rank(n)[2] < len(NAMES["time"]))))
    ]  # fmt: skip
    if not labels:
        return None, None
    name, variable = min(labels, key=rank), need("xarray", "netcdf").Variable
    time = decode_time(array[name].variable, str(name))
    attrs = {k: v for k, v in time.attrs.items() if k not in ("units", "calendar", "bounds")}
    periods = _find_periods(array, array[name], time)
    return variable(() if dim is None else ("time",), time.values, attrs), periods


def _find_periods(array: Any, coordinate: Any, time: Any) -> float | None:
    """Returns the minutes over which values are summed: the bounds of the times, or since the start time of a map."""
    bounds = coordinate.attrs.get("bounds", coordinate.encoding.get("bounds"))
    begin, end = None, time
    if bounds in array.coords and array[bounds].ndim == time.ndim + 1 and array[bounds].shape[-1] == 2:
        variable = array[bounds].variable.copy(deep=False)
        variable.attrs = {**coordinate.attrs, **variable.attrs}  # CF: bounds have the unit of their times
        ends = decode_time(variable, str(bounds)).values
        begin, end = ends[..., 0], ends[..., 1]
    elif time.ndim == 0 and "start_time" in array.coords:
        begin, end = decode_time(array["start_time"].variable, "start_time").values, time.values
    if begin is None:
        return None
    numpy = need("numpy", "cli")
    minutes = {round(d / (numpy.timedelta64(1, "us") if hasattr(d, "dtype") else timedelta(microseconds=1)) / 6e7, 6)
               for d in numpy.ravel(end - begin)}  # fmt: skip
    return minutes.pop() if len(minutes) == 1 and min(minutes) > 0 else None


def axis_coordinate(data: Any, axis: str, names: Mapping[str, str] | None = None) -> Any:
    """Returns the coordinate along the dimension `axis` of data in normal form, or None if there is none."""
    source = (data.encoding.get("dims", {}) if names is None else names).get(axis, axis)
    lines = [n for n, c in data.coords.items() if c.dims == (axis,)]
    known = [n for n in (source, axis, *lines) if n in lines]
    return data[known[0]] if known else None


def find_pixel_km(data: Any) -> float | None:
    """Returns the edge of a pixel in km of data in normal form, from its coordinates; None if they do not state it.

    Coordinates are lengths, or degrees, which are converted at the mean latitude: of each row and column, or maps
    ``(y, x)``. The edge of pixels that are not square is the geometric mean of height and width.
    """
    height, width = (_edge_km(data, axis, name) or _map_edge_km(data, axis) for axis, name in AXIS_ANGLES)
    return math.sqrt(height * width) if height and width else None


def _edge_km(data: Any, axis: str, name: str) -> float | None:
    """Returns the edge of a pixel along an axis from the coordinate of this axis."""
    place = axis_coordinate(data, axis)
    if place is None or place.size < 2 or place.dtype.kind not in "iuf":
        return None
    edge = float(abs(place.values[-1] - place.values[0])) / (place.size - 1)
    unit, is_angle = str(place.attrs.get("units", "")), name in (place.attrs.get("standard_name"), place.name)
    if unit.startswith("degree") or str(place.name).lower() in (name, name[:3]) or is_angle:
        latitude = axis_coordinate(data, "y")
        is_geographic = axis == "x" and latitude is not None and not str(latitude.name).startswith("r")
        return edge * KM_PER_DEGREE * (math.cos(math.radians(float(latitude.mean()))) if is_geographic else 1.0)
    to_km = conversion(unit, "km") if unit else None
    return None if to_km is None else float(to_km(edge))


def find_maps(data: Any) -> list[Any]:
    """Returns the coordinates ``(y, x)`` of latitude and longitude; empty if there are none."""
    found = [[n for n in data.cf.coordinates.get(key, ()) if set(data[n].dims) == {"y", "x"}] for _, key in AXIS_ANGLES]
    return [data[names[0]].astype("float64") for names in found] if all(found) else []


def _map_edge_km(data: Any, axis: str) -> float | None:
    """Returns the edge of a pixel along an axis from maps of latitude and longitude."""
    maps = find_maps(data)
    if not maps or data.sizes[axis] < 2:
        return None
    north, east = (((m.diff(axis) + 180) % 360 - 180) for m in maps)  # longitudes jump at the date line
    east = east * need("numpy", "cli").cos(math.radians(1) * maps[0].isel({axis: slice(1, None)}))
    edge = float(((north**2 + east**2) ** 0.5).mean()) * KM_PER_DEGREE
    return edge if math.isfinite(edge) else None


def _is_reversed(array: Any, axis: str, names: Mapping[str, str]) -> bool:
    """Returns whether a dimension runs from south to north, or from east to west, if coordinates state positions."""
    place, sign = axis_coordinate(array, axis, names), 1 if axis == "y" else -1
    if place is not None and place.size > 1 and place.dtype.kind in "iuf" and _is_place(place, axis):
        steps = place.values[1:] - place.values[:-1]
        return bool((sign * steps > 0).all())
    if array.sizes.get(axis, 0) < 2 or not (maps := find_maps(array)):
        return False
    steps = (maps[0 if axis == "y" else 1].diff(axis) + 180) % 360 - 180
    return float(sign * steps.mean()) > 0.1 * float(abs(steps).mean())  # not on maps of a pole


def _is_place(place: Any, axis: str) -> bool:
    name, units = place.attrs.get("standard_name", ""), str(place.attrs.get("units", ""))
    is_length = units.lower() in ("m", "km", "metre", "meter")
    return name in PLACES[axis] or units.startswith("degree") or is_length or str(place.name).lower() in PLACE_NAMES


def _drop_time(array: Any, names: Mapping[str, str]) -> Any:
    """Returns an array whose coordinates ``(time, y, x)``, as those of WRF, are ``(y, x)`` if they do not change."""
    time = next((d for d, axis in names.items() if axis == "time"), None)
    for name, c in array.coords.items():
        if c.ndim == 3 and {names.get(d) for d in c.dims} == {"time", "y", "x"}:
            first = c.variable[{time: 0}]
            if (c.variable == first).all():
                array = array.assign_coords({name: first})
    return array


# ---- values ------------------------------------------------------------------------------------------------------
def decode_values(variable: Any, fill_value: float | None = None) -> Any:
    """Returns an ``xarray.Variable`` of float32 with NaN for missing values; the values are read when it is sliced.

    xarray has applied the packing and the fill values. It ignores ``valid_range``, ``valid_min`` and ``valid_max``,
    which are applied here. `fill_value` is a further stored number that marks missing values. Bytes (uint8) without
    unit and packing become brightness from 0 to 1, in the unit ``""``.
    """
    from ._lazy import map_lazily

    numpy, attrs, encoding = need("numpy", "cli"), variable.attrs, variable.encoding
    if variable.dtype.kind not in "fiub":
        raise ValueError(f"expected real numbers, got {variable.dtype}")
    stored = numpy.dtype(encoding.get("dtype") or variable.dtype)
    scale, offset = (float(encoding.get(k, default)) for k, default in (("scale_factor", 1), ("add_offset", 0)))
    if scale == 0:
        raise ValueError("scale_factor is 0")
    limits = {k: numpy.ravel(attrs[k]).tolist() for k in ("valid_range", "valid_min", "valid_max") if k in attrs}
    low, high = limits["valid_range"] if len(limits.get("valid_range", ())) == 2 else (None, None)
    low, high = next(iter(limits.get("valid_min", [low])), None), next(iter(limits.get("valid_max", [high])), None)
    is_stored = stored.kind in "iu" and not any(numpy.asarray(attrs[k]).dtype.kind == "f" for k in limits)

    def unpack(value: Any, packed: bool) -> float | None:
        return None if value is None else float(value) * scale + offset if packed else float(value)

    is_bytes = variable.dtype == "uint8" and not attrs.get("units") and (scale, offset) == (1, 0)
    function = partial(
        _mask, low=unpack(low, is_stored), high=unpack(high, is_stored), fill=unpack(fill_value, stored.kind in "iu"),
        slack=1e-3 * abs(scale) if stored.kind in "iu" else 0.0, factor=1 / 255 if is_bytes else 1.0,
    )  # fmt: skip
    result = map_lazily(variable, function)
    keep = ("units", "standard_name", "long_name", "grid_mapping", "cell_methods")
    result.attrs = {k: v for k, v in attrs.items() if k in keep and (k != "units" or str(v).strip())}
    if mapping := encoding.get("grid_mapping"):
        result.attrs["grid_mapping"] = mapping
    if is_bytes:
        result.attrs["units"] = ""
    return result


def _mask(values: Any, low: Any, high: Any, fill: Any, slack: float, factor: float) -> Any:
    numpy = need("numpy", "cli")
    with numpy.errstate(over="ignore", invalid="ignore"):
        result = numpy.array(values, "float32")
        for limit, is_outside in ((low, numpy.less), (high, numpy.greater)):
            if limit is not None:
                result[is_outside(values, limit + (-slack if is_outside is numpy.less else slack))] = numpy.nan
        if fill is not None:
            result[abs(values - fill) <= slack if slack else result == numpy.float32(fill)] = numpy.nan
        return result if factor == 1 else result * numpy.float32(factor)


def in_unit(array: Any, unit: str | None, name: str = "", **options: Any) -> Any:
    """Converts a variable in normal form from the unit in its attributes; `options` are those of `conversion`.

    A variable without a unit is assumed to have this one. An assumption of the conversion becomes the attribute
    ``comment``; it gives rain rates. Raises ValueError if no conversion is known.
    """
    from ._lazy import map_lazily

    stated = array.attrs.get("units")
    if unit is None or stated is None:
        return array
    label = array.attrs.get("standard_name") or array.attrs.get("long_name") or ""
    found = conversion(str(stated), unit, name=str(label), **options)
    if found is None:
        raise ValueError(
            f"{name or array.name} has units={str(stated) or 'brightness'!r}, and {unit or 'brightness'} is expected, "
            "which it cannot be converted to; convert the values, or correct the attribute or data.unit"
        )
    if found.apply is not None:
        array = _replace(array, map_lazily(array.variable, found.apply))
    notes = "; ".join(filter(None, [array.attrs.get("comment"), found.note]))
    attrs = {"comment": notes} if notes else {}
    return array.assign_attrs(units=unit, **attrs, **({"standard_name": "rainfall_rate"} if found.note else {}))


def _replace(array: Any, variable: Any) -> Any:
    """Returns a DataArray with other values on the same dimensions. They are not read, as ``copy(data=…)`` would."""
    return array.to_dataset(name="values_").assign(values_=variable)["values_"].rename(array.name)


# ---- the normal form ---------------------------------------------------------------------------------------------
def select(data: Any, selection: Mapping[str, Any]) -> Any:
    """Returns the selected part of a Dataset.

    `selection` maps dimensions to a value of their coordinate, or to a range ``[first, last]`` that includes both ends.
    Times are written in ISO 8601. For a dimension without a coordinate, values are indices.
    """
    numpy, xarray = need("numpy", "cli"), need("xarray", "netcdf")
    for dim, value in selection.items():
        if dim not in data.dims:
            raise ValueError(f"no dimension {dim}, which data.sel names; {suggest(dim, map(str, data.dims))}")
        labels = data.indexes.get(dim, numpy.arange(data.sizes[dim]))
        positions = xarray.DataArray(numpy.arange(len(labels)), {dim: labels}, [dim])
        try:
            if isinstance(value, list | tuple):
                is_falling = len(labels) > 1 and labels[0] > labels[-1]
                selected = positions.sel({dim: slice(*(reversed(value) if is_falling else value))})
            elif labels.dtype.kind in "iuf" and not isinstance(value, str):
                tolerance = 1e-5 * max(abs(value), 1e-30)
                selected = positions.sel({dim: value}, method="nearest", tolerance=tolerance)
            else:
                selected = positions.sel({dim: value})
            if selected.size == 0:
                raise KeyError(value)
            found = selected.values  # neighbours, which are read faster as a slice
            data = data.isel({dim: slice(int(found[0]), int(found[-1]) + 1) if found.ndim else int(found)})
        except (KeyError, TypeError, ValueError) as e:
            ends = f"{labels[0]} to {labels[-1]}" if len(labels) else "none"
            raise ValueError(f"no {dim} at {value}, which data.sel names; it has {ends}") from e
    return data


def decode_coordinates(data: Any) -> Any:
    """Returns a Dataset whose dates are decoded, and are coordinates even if no attribute lists them."""
    bounds = {v.attrs.get("bounds", v.encoding.get("bounds")) for v in data.variables.values()} - {None}
    data = data.set_coords([n for n in data.data_vars if n in bounds])
    for name, index in data.indexes.items():
        if getattr(index, "tz", None) is not None:
            data = data.assign_coords({name: (data[name].dims, index.tz_convert(None), data[name].attrs)})
    for name, variable in data.variables.items():
        is_number = variable.dtype.kind in "iuf" and " since " in str(variable.attrs.get("units"))
        if variable.ndim < 2 and variable.size and (is_number or variable.dtype.kind == "M"):
            data = data.assign({name: decode_time(variable, str(name))}) if is_number else data
            data = data.set_coords(name)
    return data


def normal_form(
    data: Any, variables: Sequence[str] | None = None, *, sel: Mapping[str, Any] | None = None,
    dims: Mapping[str, str] | None = None, fill_values: Mapping[str, float | None] | None = None,
    is_static: bool = False,
) -> Any:  # fmt: skip
    """Returns a DataArray or a decoded Dataset of xarray in normal form; the values are read when they are used.

    Args:
        data: frames ``(time, y, x)`` with dimensions of any names, order and direction.
        variables: names of the variables, in the order of the result, which share one grid. By default all frames on
            the grid of the first ones, and the maps and series on this grid.
        sel: part of each dimension to select, by its name in `data`; see :func:`select`.
        dims: names of the dimensions `time`, `y` and `x` that nothing in `data` describes.
        fill_values: stored number that marks missing values, for each variable.
        is_static: whether `data` has maps without time; their first dimension is then one of channels.

    Raises:
        ValueError: a variable is missing, is on another grid, or has other dimensions; or a selection is invalid.
    """
    xarray = need("xarray", "netcdf")
    if is_data_array(data):
        name = data.name if data.name is not None and data.name not in data.coords else "frames"
        data = data.to_dataset(name=name)
    data = select(decode_coordinates(_unpack(data)), sel or {})
    axes = find_axes(data, dims)
    names = list(variables) if variables is not None else list_variables(data, axes)
    if missing := [n for n in names if n not in data.data_vars]:
        raise ValueError(f"no variable {missing[0]}; {suggest(missing[0], map(str, data.data_vars))}")
    has_time = is_static or "time" in axes.values()
    parts, rejected = dict[str, Any](), list[str]()
    for name in names:
        values = decode_values(data[name].variable, (fill_values or {}).get(name))
        try:
            parts[name] = canonical(_replace(data[name], values), axes, has_time)
        except ValueError as e:
            rejected.append(str(e))
            if variables is not None or len(names) == 1:
                raise
    frames = [n for n, p in parts.items() if {"time", "y"} <= set(p.dims)]
    if not frames and not is_static:  # a file of one map for each time
        frames = [n for n, p in parts.items() if "y" in p.dims]
        for name in frames:
            single = parts[name].expand_dims("time")
            single.encoding = parts[name].encoding
            parts[name] = single
    first = next((parts[n] for n in (*frames, *parts)), None)
    result = xarray.Dataset(coords={} if first is None else first.coords)
    for name, part in parts.items():
        try:
            result = result.assign({name: align(part, first, name)})
        except ValueError as e:
            rejected.append(str(e))
            if variables is not None:
                raise
    if first is not None:
        result.encoding = {k: first.encoding[k] for k in ("dims", "turned")}
        result.encoding["rejected"] = rejected
        result.encoding["minutes"] = {n: part.encoding["minutes"] for n, part in parts.items()}
        for array in result.data_vars.values():
            array.encoding = {}
        mapping = first.attrs.get("grid_mapping")
        if mapping in data.variables and mapping not in result.coords:
            result = result.assign_coords({mapping: data[mapping].variable})
    return result


def _unpack(data: Any) -> Any:
    """Returns a Dataset whose packed values are decoded, if it was opened with ``mask_and_scale=False``."""
    packed = ("scale_factor", "add_offset", "_FillValue", "missing_value")
    names = [n for n, v in data.data_vars.items() if v.dtype.kind in "fiu" and any(k in v.attrs for k in packed)]
    if not names:
        return data
    decoded = need("xarray", "netcdf").decode_cf(data[names], decode_times=False, decode_coords=False)
    return data.assign({n: decoded[n].variable for n in names})


def list_variables(data: Any, axes: Mapping[str, str]) -> list[str]:
    """Returns the names of the variables of a Dataset that can be frames, maps or series of them."""
    listed = " ".join(str(v.attrs.get(k, "")) for v in data.variables.values() for k in ("coordinates", "grid_mapping"))
    return [
        str(n) for n, v in data.data_vars.items()
        if v.dtype.kind in "fiub" and v.ndim and n not in listed.split()
        and (v.ndim > 1 or axes.get(v.dims[0]) == "time")
    ]  # fmt: skip


def align(part: Any, first: Any, name: str, axes: Sequence[str] = (MEMBER, "time", "y", "x")) -> Any:
    """Returns data without coordinates, after a check that they are on the grid of `first`; both in normal form.

    Raises:
        ValueError: they are on another grid, or have other times; the message names the first difference.
    """
    for axis in [a for a in axes if a in part.dims and a in first.dims]:
        label = first.encoding.get("dims", {}).get(axis, axis)
        if part.sizes[axis] != first.sizes[axis]:
            raise ValueError(
                f"{name} has {part.sizes[axis]} values of {label}, and the frames have {first.sizes[axis]}"
            )
        ours, theirs = axis_coordinate(part, axis), axis_coordinate(first, axis)
        if ours is None or theirs is None:
            continue
        if (i := first_difference(ours, theirs)) is not None:
            got, expected = (str(c.values[i]) for c in (ours, theirs))
            raise ValueError(
                f"{name} is on another grid: {label}[{i}] is {got}, and {expected} in the frames; interpolate it, or "
                "select the same part"
            )
    maps = [find_maps(data) for data in (part, first)] if {"y", "x"} <= {*axes} & {*part.dims} else []
    for ours, theirs in zip(*maps, strict=False):
        if not _is_close(ours, theirs):
            raise ValueError(f"{name} is on another grid: its {ours.name} differs from that of the frames")
    return part.drop_vars(list(part.coords))


def _is_close(ours: Any, theirs: Any) -> bool:
    """Returns whether two maps ``(y, x)`` of degrees differ by less than a hundredth of a pixel."""
    step = abs(theirs.diff("y")).mean() + abs(theirs.diff("x")).mean()
    different = abs((ours.values - theirs.values + 180) % 360 - 180) > 0.01 * float(step)
    return not different.any() and bool((ours.isnull().values == theirs.isnull().values).all())


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


def first_difference(a: Any, b: Any) -> int | None:
    """Returns the first index at which two coordinates differ, in the unit of the second; None if they are equal."""
    numpy = need("numpy", "cli")
    x, y = a.values, b.values
    if x.dtype.kind in "iuf" and y.dtype.kind in "iuf":
        units = [str(c.attrs.get("units", "")) for c in (a, b)]
        if all(units) and units[0] != units[1] and (found := conversion(*units)) is not None:
            x = found(x)
        steps = abs(numpy.diff(y.astype("float64")))
        tolerance = 1e-3 * steps.min() if len(steps) and steps.min() > 0 else 1e-6 * numpy.maximum(abs(y), 1e-6)
        different = abs(x.astype("float64") - y) > tolerance
    else:
        different = x != y
    return int(numpy.argmax(different)) if numpy.any(different) else None


def choose_variable(data: Any, unit: str | None = None) -> str:
    """Returns the name of the variable that a model of `unit` reads from a Dataset in normal form.

    It is the only variable of frames, or the only one whose stated unit can be converted to `unit`.

    Raises:
        ValueError: there is none, or there are several.
    """
    names = [str(n) for n, v in data.data_vars.items() if {"time", "y", "x"} <= set(v.dims)]
    if unit and (len(names) > 1 or data.encoding.get("rejected")):
        labels = {n: data[n].attrs.get("standard_name") or data[n].attrs.get("long_name") or "" for n in names}
        stated = {n: str(data[n].attrs["units"]) for n in names if "units" in data[n].attrs}
        alike = [n for n, u in stated.items() if conversion(u, unit, name=str(labels[n]), minutes=60.0) is not None]
        names = alike if len(alike) == 1 else names
        if not alike and len(stated) == len(names) and data.encoding.get("rejected"):
            raise ValueError(data.encoding["rejected"][0])
    if len(names) != 1:
        units = {n: f" in {v.attrs['units']}" if "units" in v.attrs else "" for n, v in data.data_vars.items()}
        listed = ", ".join(f"{n} {tuple(v.shape)}{units[n]}" for n, v in data.data_vars.items()) or "none"
        expected = f"one variable of frames (time, y, x){f' in {unit}' if unit and len(names) > 1 else ''}"
        hint = "; name it: data.variable in the recipe, --key of predict, or a DataArray" if len(names) > 1 else ""
        raise ValueError(f"expected {expected}, got {listed}{hint}")
    return names[0]


def to_units(
    data: Any, units: Mapping[str, str | None], step: float | None = None,
    relation: tuple[float, float] = MARSHALL_PALMER,
) -> Any:  # fmt: skip
    """Returns a Dataset of the variables in `units`, converted to their units.

    Sums of rain per step become rates: they last as long as the bounds of the times state, else `step` minutes.
    `relation` are the constants of ``Z = a R^b`` for reflectivity.
    """
    result = data[list(units)]
    for name, unit in units.items():
        minutes = data.encoding.get("minutes", {}).get(name) or step
        result = result.assign({name: in_unit(data[name], unit, minutes=minutes, relation=relation)})
    return result


def stack(data: Any, names: Iterable[str], index: Sequence[Any] = ()) -> Any:
    """Reads variables in normal form as channels: a float32 array ``([N,] T, C, H, W)``.

    Maps are repeated in all frames and series in all pixels. `index` selects times, rows and columns.
    """
    numpy = need("numpy", "cli")
    parts = dict(zip(("time", "y", "x"), index, strict=False))
    channels = []
    for name in names:
        array = data[name]
        values = array.isel({d: i for d, i in parts.items() if d in array.dims}).values
        dims = [d for d in (MEMBER, "time", CHANNEL, "y", "x") if d in (*array.dims, "time", CHANNEL, "y", "x")]
        channels.append(values.reshape([values.shape[array.dims.index(d)] if d in array.dims else 1 for d in dims]))
    rank = max(c.ndim for c in channels)
    channels = [c.reshape((1,) * (rank - c.ndim) + c.shape) for c in channels]
    shape = [max(c.shape[i] for c in channels) for i in range(rank)]
    wide = [numpy.broadcast_to(c, (*shape[:-3], c.shape[-3], *shape[-2:])) for c in channels]
    return numpy.concatenate(wide, axis=-3).astype("float32")


def describe_conversions(data: Any) -> str:
    """Returns the assumptions of the conversions of units in data in normal form; empty if there are none."""
    return "; ".join(dict.fromkeys(v.attrs["comment"] for v in data.data_vars.values() if "comment" in v.attrs))


def restore_direction(values: Any, data: Any) -> Any:
    """Returns an array ``(…, H, W)`` in the directions that y and x have in the source of data in normal form."""
    turned = () if data is None else data.encoding.get("turned", ())
    axes = [axis for name, axis in (("y", -2), ("x", -1)) if name in turned]
    return need("numpy", "cli").flip(values, axes) if axes else values


# ---- forecasts ---------------------------------------------------------------------------------------------------
def label_forecast(
    values: Any, frames: Any, targets: Mapping[str, str | None], *, step: Step | None = None,
    thresholds: Sequence[float] = (), has_members: bool = False, has_channels: bool = True, note: str = "",
) -> Any:  # fmt: skip
    """Returns a forecast as a Dataset by the CF conventions, with the dimensions and coordinates of its frames.

    Args:
        values: array ``([members,] [N,] horizon, [C,] [thresholds,] H, W)`` in the directions of the normal form.
        frames: the input frames in normal form. The time of the last one is that of the forecast.
        targets: units by names of the forecast variables: one for each channel, or one for all channels of frames
            with a dimension of channels. The unit None is not written.
        step: minutes between frames, or a calendar step; if it is None, lead times count frames.
        thresholds: values of which `values` are the probabilities that they are reached.
        has_members, has_channels: whether `values` have these axes.
        note: assumptions that were made of the input, as attribute ``comment``.
    """
    numpy, xarray = need("numpy", "cli"), need("xarray", "netcdf")
    names, turned = dict(frames.encoding.get("dims", {})), frames.encoding.get("turned", ())
    dims = [LEAD_TIME, *[CHANNEL] * has_channels, *[THRESHOLD] * bool(thresholds), "y", "x"]
    batch = "batch" if has_members else MEMBER
    dims = [*[MEMBER] * has_members, *[batch] * (values.ndim - len(dims) - has_members), *dims]
    count = values.shape[dims.index(LEAD_TIME)]
    lead = numpy.arange(1, count + 1)
    coords: dict[str, Any] = {LEAD_TIME: (LEAD_TIME, lead, {"standard_name": "forecast_period"})}
    dated = step is not None and is_dated(frames)
    if step is not None and (dated or not isinstance(step, str)):
        times = extend_times(frames, step, count)[-count:] if dated else None
        if isinstance(step, str):
            steps = (times - frames["time"].values[-1]).astype("timedelta64[us]").astype("timedelta64[ns]")
        else:
            steps = (lead * step * 6e10).round().astype("int64").astype("timedelta64[ns]")
        coords[LEAD_TIME] = (LEAD_TIME, steps, {"standard_name": "forecast_period"})
        if dated:
            coords["time"] = (LEAD_TIME, times, {"standard_name": "time"})
            last, reference = frames["time"].values[-1], "forecast_reference_time"
            coords[reference] = ((), last, {"standard_name": reference})
    if has_members:
        coords[MEMBER] = (MEMBER, numpy.arange(values.shape[0]), {"standard_name": "realization"})
    if thresholds:
        coords[THRESHOLD] = (THRESHOLD, list(thresholds), {"units": next(iter(targets.values())) or "1"})
    known, reserved = set(dims), {*coords, "time", "forecast_reference_time", LEAD_TIME, MEMBER, THRESHOLD}
    places = {
        n: c.variable for n, c in frames.coords.items()
        if n not in reserved and set(c.dims) <= known
        and c.dtype.kind not in "mMO" and " since " not in str(c.attrs.get("units"))
    }  # fmt: skip
    if CHANNEL in dims and len(targets) == values.shape[dims.index(CHANNEL)] and CHANNEL not in frames.dims:
        parts = dict(zip(targets, numpy.moveaxis(values, dims.index(CHANNEL), 0), strict=True))
        dims.remove(CHANNEL)
    else:
        sizes = dict(zip(dims, values.shape, strict=True))
        places = {n: v for n, v in places.items() if v.shape == tuple(sizes[d] for d in v.dims)}
        parts = {next(iter(targets)): values}
    variables = {}
    for name, part in parts.items():
        source = frames[name].attrs if name in frames else {}
        keep = ("standard_name", "long_name", "grid_mapping") if not thresholds else ("grid_mapping",)
        attrs: dict[str, Any] = {k: v for k, v in source.items() if k in keep}
        unit = "1" if thresholds else targets[name]
        attrs |= {} if unit is None else {"units": unit or "1"}
        variables[name] = (dims, part, attrs | ({"comment": note} if note else {}))
    result = xarray.Dataset(variables, coords).assign_coords(places)
    result = result.isel({axis: slice(None, None, -1) for axis in turned})
    names = {**names, batch: names.get(MEMBER, batch)}
    if has_members:
        names.pop(MEMBER, None)
    new = {axis: d for axis, d in names.items() if axis in result.dims and axis != "time" and d not in result.dims}
    return result.swap_dims(new)
