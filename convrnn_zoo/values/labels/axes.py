"""Axes of labelled frames: which dimension is time, y, x, member or channel, and where its pixels are."""

import math
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import numpy

from ..._extras import need
from ..._hints import suggest, warn
from ..units import conversion
from .times import counts_frames, decode_time

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
_UNNAMED = re.compile(r"(phony_)?dim_\d+")  # names that xarray and h5netcdf give to dimensions without one
_REFERENCE = ("forecast_reference_time", "forecast_period")


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
    """Returns what each dimension of a DataArray is; with `has_time`, none that nothing describes is time.

    If nothing describes one dimension, it is the one that is missing of time, y and x, or else that of channels. If
    there are several, they must have no names, as in an array ``([N,] T, [C,] H, W)``, whose order then decides.

    Raises:
        ValueError: nothing tells which of the named dimensions is which.
    """
    roles = {d: axes.get(d, "") for d in array.dims}
    expected = (*(() if has_time else ("time",)), *(("y", "x") if array.ndim > 1 else ()))
    missing = [axis for axis in expected if axis not in roles.values()]
    unknown = [d for d in array.dims if not roles[d]]
    if len(unknown) > len(missing):
        unknown = [d for d in unknown if array.sizes[d] > 1] or unknown[:1]
    if array.ndim == 2 and len(unknown) == 1 and len(missing) == 2 and missing[0] == "time":
        missing = missing[1:]  # a map
    if all(_UNNAMED.fullmatch(str(d)) for d in unknown):
        order = [axis for axis in (MEMBER, "time", CHANNEL, "y", "x") if axis in (MEMBER, CHANNEL, *missing)]
        order = [axis for axis in order if axis not in roles.values()]
        for axis in [a for a in (MEMBER, CHANNEL, "time") if a in order][: max(0, len(order) - len(unknown))]:
            order.remove(axis)
        return roles | dict(zip(unknown, order, strict=False))
    if len(unknown) > 1 or len(missing) > 1:
        dims, wanted = ", ".join(map(str, array.dims)), missing or [CHANNEL]
        raise ValueError(
            f"{array.name} has the dimensions {dims}, and nothing tells which of {', '.join(map(str, unknown))} is "
            f"{' and '.join(wanted)}; rename them, such as rename({unknown[0]}={wanted[0]!r}), or name them with dims "
            "(data.dims of a recipe)"
        )
    rest = missing[0] if missing else MEMBER if CHANNEL in roles.values() else CHANNEL
    return roles | dict.fromkeys(unknown, rest)


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

    If `dim` is None, the time is that of a single map. Both are None without times, or if they are unknown, as if
    numbers without a unit only count the frames. Dates come before other times, then the standard name decides, then
    the order in :data:`NAMES`.
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
        and not counts_frames(c.values, c.attrs)
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
    ``(y, x)``. The edge of pixels that are not square is the geometric mean of height and width. Warns if the steps of
    a coordinate differ from their mean by more than a half.
    """
    height, width = _find_edges_km(data)
    return math.sqrt(height * width) if height and width else None


def _find_edges_km(data: Any) -> tuple[float | None, float | None]:
    height, width = (_edge_km(data, axis, name) or _map_edge_km(data, axis) for axis, name in AXIS_ANGLES)
    return height, width


def warn_of_oblong_pixels(data: Any) -> None:
    """Warns if the pixels of data in normal form are longer in one direction than in the other by a quarter."""
    height, width = _find_edges_km(data)
    if height and width and max(height, width) > 1.25 * min(height, width):
        warn(f"pixels of {height:.3g} × {width:.3g} km are taken for squares; resample the maps to squares")


def _edge_km(data: Any, axis: str, name: str) -> float | None:
    """Returns the edge of a pixel along an axis from the coordinate of this axis."""
    place = axis_coordinate(data, axis)
    if place is None or place.size < 2 or place.dtype.kind not in "iuf":
        return None
    steps = _find_steps(place, name)
    mean, unit = float(steps.mean()), str(place.attrs.get("units", ""))
    if (abs(steps - mean) > 0.5 * abs(mean)).any():
        spread = f"steps from {steps.min():.4g} to {steps.max():.4g}"
        warn(f"{place.name} has {spread}; pixels of their mean are assumed, so pass pixel_km if they have another edge")
    edge = abs(mean)
    if is_angle(place, name):
        latitude = axis_coordinate(data, "y")
        is_geographic = axis == "x" and latitude is not None and not str(latitude.name).startswith("r")
        return edge * KM_PER_DEGREE * (math.cos(math.radians(float(latitude.mean()))) if is_geographic else 1.0)
    to_km = conversion(unit, "km") if unit else None
    return None if to_km is None else float(to_km(edge))


def is_angle(place: Any, name: str) -> bool:
    """Returns whether a coordinate is in degrees, by its unit or as it is called latitude or longitude, as `name`."""
    is_called = str(place.name).lower() in (name, name[:3]) or place.attrs.get("standard_name") == name
    return str(place.attrs.get("units", "")).startswith("degree") or is_called


def wrap_degrees(degrees: Any) -> Any:
    """Returns differences of angles from -180 to 180: longitudes jump by 360 at the date line, or at Greenwich."""
    return (degrees + 180) % 360 - 180


def _find_steps(place: Any, name: str) -> Any:
    """Returns the steps along a coordinate as an array of float64, those of longitudes without their jump."""
    steps = numpy.diff(place.values.astype("float64"))
    return wrap_degrees(steps) if is_angle(place, name) else steps


def find_maps(data: Any) -> list[Any]:
    """Returns the coordinates ``(y, x)`` of latitude and longitude; empty if there are none."""
    places = data.coords.to_dataset().cf.coordinates  # all, whichever the variable lists in its encoding
    found = [[n for n in places.get(key, ()) if set(data[n].dims) == {"y", "x"}] for _, key in AXIS_ANGLES]
    return [data[names[0]].astype("float64") for names in found] if all(found) else []


def _map_edge_km(data: Any, axis: str) -> float | None:
    """Returns the edge of a pixel along an axis from maps of latitude and longitude."""
    maps = find_maps(data)
    if not maps or data.sizes[axis] < 2:
        return None
    north, east = (wrap_degrees(m.diff(axis)) for m in maps)
    east = east * numpy.cos(math.radians(1) * maps[0].isel({axis: slice(1, None)}))
    edge = float(((north**2 + east**2) ** 0.5).mean()) * KM_PER_DEGREE
    return edge if math.isfinite(edge) else None


def _is_reversed(array: Any, axis: str, names: Mapping[str, str]) -> bool:
    """Returns whether a dimension runs from south to north, or from east to west, if coordinates state positions."""
    place, sign = axis_coordinate(array, axis, names), 1 if axis == "y" else -1
    if place is not None and place.size > 1 and place.dtype.kind in "iuf" and _is_place(place, axis):
        return bool((sign * _find_steps(place, dict(AXIS_ANGLES)[axis]) > 0).all())
    if array.sizes.get(axis, 0) < 2 or not (maps := find_maps(array)):
        return False
    steps = wrap_degrees(maps[0 if axis == "y" else 1].diff(axis))
    if axis == "x":
        return float(sign * steps.mean()) > 0.1 * float(abs(steps).mean())  # not on maps around a pole
    means = steps.mean("x").cumsum("y")  # latitudes of rows: on maps around a pole, the middle ones are the highest
    return float(means[-1]) > 0.5 * max(float(abs(means).max()), float(means.max() - means.min()))


def _is_place(place: Any, axis: str) -> bool:
    name, units = place.attrs.get("standard_name", ""), str(place.attrs.get("units", ""))
    is_length = bool(units) and conversion(units, "km") is not None
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


def restore_direction(values: Any, data: Any) -> Any:
    """Returns an array ``(…, H, W)`` in the directions that y and x have in the source of data in normal form."""
    turned = () if data is None else data.encoding.get("turned", ())
    axes = [axis for name, axis in (("y", -2), ("x", -1)) if name in turned]
    return numpy.flip(values, axes) if axes else values
