"""Axes of labelled frames: which dimension is time, y, x, member or channel, and where its pixels are."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._extras import need, need_pyproj
from ..._hints import check_names, warn
from ..units import conversion
from .times import PERIOD, counts_frames, decode_time

if TYPE_CHECKING:
    import xarray as xr

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
    "time": ("T", "time"),
    "y": ("Y", "latitude", "projection_y_coordinate", "grid_latitude"),
    "x": ("X", "longitude", "projection_x_coordinate", "grid_longitude"),
    MEMBER: ("E", "realization"),
    CHANNEL: ("Z", "vertical"),
}
"""Keys of cf_xarray for ``axis``, ``standard_name`` and units of coordinates, by the dimension that they describe."""
PLACE_NAMES = ("lat", "latitude", "rlat", "northing", "lon", "longitude", "rlon", "easting")
"""Names of coordinates that state positions on the earth, in lower case: these rise to the north and to the east."""
AXIS_ANGLES = (("y", "latitude"), ("x", "longitude"))
"""Axes with the angle that rises along them."""
KM_PER_DEGREE = 111.195
"""Length of a degree of latitude."""
_UNNAMED = re.compile(r"(phony_)?dim_\d+")  # names that xarray and h5netcdf give to dimensions without one
_REFERENCE = ("forecast_reference_time", "forecast_period")


@dataclass(frozen=True)
class Layout:
    """Layout of a source, which its Dataset in normal form no longer has. Forecasts are returned in it.

    Functions that read a source return the Dataset and its Layout; both are passed to
    :func:`~convrnn_zoo.values.labels.forecast.label_forecast`. Operations on the Dataset leave the Layout valid.

    Args:
        dims: names of the dimensions in the source, by their names in the normal form.
        turned: those of the axes `y` and `x` that run in the other direction in the source.
        rejected: reasons why variables of the source are not in the Dataset.
    """

    dims: Mapping[str, str] = field(default_factory=dict)
    turned: tuple[str, ...] = ()
    rejected: tuple[str, ...] = ()


def find_axes(data: xr.Dataset, named: Mapping[str, str] | None = None) -> dict[str, str]:
    """Returns what the dimensions of a Dataset are: `time`, `y`, `x`, `realization` or `channel`, by their names.

    Attributes of coordinates decide by the CF conventions (``axis``, ``standard_name``, units), then dates, then
    :data:`NAMES`. `named` maps `time`, `y` and `x` to dimensions that the user names.
    """
    need("cf_xarray", "netcdf")
    named = named or {}
    check_names(named.values(), data.dims, "no dimension {}, which data.dims names")
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


def _is_cftime(coordinate: xr.DataArray) -> bool:
    return coordinate.dtype.kind == "O" and coordinate.size > 0 and hasattr(coordinate.values.flat[0], "calendar")


def _find_roles(array: xr.DataArray, axes: Mapping[str, str], has_time: bool) -> dict[Hashable, str]:
    """Returns what each dimension of a DataArray is; with `has_time`, none that nothing describes is time.

    If nothing describes one dimension, it is the one that is missing of time, y and x, or else that of channels. If
    there are several, they must have no names, as in an array ``([N,] T, [C,] H, W)``, whose order then decides. Raises
    ValueError if nothing tells which of the named dimensions is which.
    """
    roles = {d: axes.get(str(d), "") for d in array.dims}
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


def canonical(
    array: xr.DataArray, axes: Mapping[str, str], has_time: bool = False, variables: Mapping[Any, Any] | None = None
) -> tuple[xr.DataArray, Layout]:
    """Returns a DataArray with the names, order and direction of the dimensions of the normal form, and its Layout.

    `variables` are those of its Dataset, among which are the bounds of the times. Raises ValueError if a dimension is
    not recognised, two are times, or the longitudes do not follow each other.
    """
    array, names = _squeeze(array, _find_roles(array, axes, has_time))
    attrs = array.attrs
    dim = next((d for d, axis in names.items() if axis == "time"), None)
    times = _find_time(array, dim, array.coords if variables is None else variables)
    for name, c in array.coords.items():  # those of WRF are (time, y, x), and do not change
        if c.ndim == 3 and {names.get(d) for d in c.dims} == {"time", "y", "x"}:
            first = c.variable[{dim: 0}]
            array = array.assign_coords({name: first}) if (c.variable == first).all() else array
    moments = [n for n, c in array.coords.items() if n == "time" or "time" in [names.get(d) for d in c.dims]]
    clashes = [n for n in names.values() if n in array.coords and [names[d] for d in array[n].dims] != [n]]
    array = array.drop_vars({*moments, *clashes})
    indexed = [d for d in names if d in array.indexes and array.indexes[d].nlevels == 1 and d != names[d]]
    array = array.swap_dims({d: axis for d, axis in names.items() if d != axis})
    for name in indexed:  # the coordinate of the dimension in the source, for axis_coordinate
        array = array.set_xindex([name])
    if times:
        array = array.assign_coords(times)
        if array["time"].ndim and (array["time"].values[1:] < array["time"].values[:-1]).any():
            array = array.isel(time=array["time"].values.argsort(kind="stable"))
    _check_torn(array)
    turned = tuple(axis for axis in ("y", "x") if _is_reversed(array, axis))
    array = array.isel(dict.fromkeys(turned, slice(None, None, -1)))
    array = array.transpose(*(axis for axis in (MEMBER, "time", CHANNEL, "y", "x") if axis in array.dims))
    array.attrs = attrs
    return array, Layout({axis: str(d) for d, axis in names.items()}, turned)


def _squeeze(array: xr.DataArray, roles: Mapping[Hashable, str]) -> tuple[xr.DataArray, dict[Hashable, str]]:
    """Returns an array with one dimension for each axis, and what its dimensions are; drops others of size 1."""
    for axis in ("", "time", "y", "x", MEMBER, CHANNEL):
        dims = [d for d, role in roles.items() if role == axis]
        needed = axis not in ("", CHANNEL)
        single = [d for d in dims if array.sizes[d] == 1][: len(dims) - needed]
        array = array.isel(dict.fromkeys(single, 0))
        if len(dims) - len(single) > bool(axis):
            listed = " and ".join(map(str, dims))
            found = f"two dimensions of {axis}, {listed}" if axis else f"the dimensions {', '.join(map(str, roles))}"
            raise ValueError(f"{array.name} has {found}; select a part with data.sel, or name axes with data.dims")
    return array, {d: roles[d] for d in array.dims}


def _find_time(array: xr.DataArray, dim: Hashable | None, variables: Mapping[Any, Any]) -> dict[str, xr.Variable]:
    """Returns the decoded times along a dimension as coordinate `time`, and their periods if the source states them.

    If `dim` is None, the time is that of a single map. Empty without times, or if they are unknown, as if numbers
    without a unit only count the frames. Dates come before other times, then the standard name decides, then the order
    in :data:`NAMES`.
    """

    def rank(name: Any) -> tuple[bool, bool, int]:
        c, names = array[name], NAMES["time"]
        is_dated = c.dtype.kind == "M" or _is_cftime(c) or " since " in str(c.attrs.get("units"))
        place = names.index(str(name).lower()) if str(name).lower() in names else len(names)
        return not is_dated, c.attrs.get("standard_name") != "time", place

    labels = [
        n
        for n, c in array.coords.items()
        if c.dims == (() if dim is None else (dim,))
        and (n == dim or c.attrs.get("standard_name") not in _REFERENCE)
        and (not rank(n)[0] or (dim is not None and (n == dim or rank(n)[2] < len(NAMES["time"]))))
        and not counts_frames(c.values, c.attrs)
    ]
    if not labels:
        return {}
    name, variable = min(labels, key=rank), need("xarray", "netcdf").Variable
    time = decode_time(array[name].variable, str(name))
    attrs = {k: v for k, v in time.attrs.items() if k not in ("units", "calendar", "bounds")}
    dims = () if dim is None else ("time",)
    result = {"time": variable(dims, time.values, attrs)}
    if (periods := _find_periods(array[name], time, variables)) is not None:
        result[PERIOD] = variable(dims, periods, {"long_name": "period over which values are means or sums"})
    return result


def _find_periods(coordinate: xr.DataArray, time: xr.Variable, variables: Mapping[Any, Any]) -> np.ndarray | None:
    """Returns the periods of values at times: between the bounds of the times, or since the start time of a map."""
    bounds = variables.get(coordinate.attrs.get("bounds", coordinate.encoding.get("bounds")))
    start = variables.get("start_time")
    if bounds is not None and bounds.ndim == time.ndim + 1 and bounds.shape[-1] == 2:
        stated = need("xarray", "netcdf").Variable(bounds.dims, bounds.values, {**coordinate.attrs, **bounds.attrs})
        ends = decode_time(stated, str(coordinate.name)).values  # CF: bounds have the unit of their times
        periods = ends[..., 1] - ends[..., 0]
    elif time.ndim == 0 and start is not None and start.ndim == 0:
        periods = time.values - decode_time(getattr(start, "variable", start), "start_time").values
    else:
        return None
    periods = np.asarray(periods)
    if periods.dtype.kind == "O":  # differences of cftime
        seconds = [d / timedelta(seconds=1) for d in periods.ravel()]
        periods = (np.reshape(seconds, periods.shape) * 1e6).round().astype("timedelta64[us]")
    return periods.astype("timedelta64[ns]")


def axis_coordinate(data: xr.Dataset | xr.DataArray, axis: str) -> xr.DataArray | None:
    """Returns the coordinate along the dimension `axis` of data in normal form; None if there is none.

    If there are several, it is that of the dimension in the source, which has an index.
    """
    lines = [n for n, c in data.coords.items() if c.dims == (axis,)]
    known = [n for n in (*data.xindexes, axis, *lines) if n in lines]
    return data[known[0]] if known else None


def _check_torn(array: xr.DataArray) -> None:
    """Raises ValueError if the last longitude is next to the first one, and others in the middle are far apart."""
    place = axis_coordinate(array, "x")
    if place is None or place.size < 4 or place.dtype.kind not in "iuf" or not is_angle(place, "longitude"):
        return
    degrees = place.values.astype("float64")
    steps = np.append(_find_steps(place, "longitude"), wrap_degrees(degrees[0] - degrees[-1]))
    step = np.median(steps)
    is_near = abs(steps - step) <= 0.5 * abs(step)
    if is_near[-1] and not is_near.all():
        k = int((~is_near).argmax())
        raise ValueError(
            f"{place.name} jumps from {degrees[k]:g} to {degrees[k + 1]:g}, and its ends {degrees[0]:g} and "
            f"{degrees[-1]:g} are neighbours; put the maps together, as by "
            f"roll({place.name}={len(degrees) - k - 1}, roll_coords=True)"
        )


def find_pixel_km(data: xr.Dataset) -> float | None:
    """Returns the edge of a pixel in km of data in normal form, from its coordinates; None if they do not state it.

    Coordinates are lengths, or degrees, which are converted at the mean latitude: of each row and column, or maps
    ``(y, x)``. Those without units have the unit of the map projection (`crs_wkt`, `spatial_ref`), whose `GeoTransform`
    counts if there are no coordinates. The edge of pixels that are not square is the geometric mean of height and
    width. Warns if the steps of a coordinate differ from their mean by more than a half.
    """
    height, width = _find_edges_km(data)
    return math.sqrt(height * width) if height and width else None


def _find_edges_km(data: xr.Dataset) -> list[float | None]:
    return [_edge_km(data, axis, name) or _map_edge_km(data, axis) for axis, name in AXIS_ANGLES]


def warn_of_oblong_pixels(data: xr.Dataset) -> None:
    """Warns if the pixels of data in normal form are longer in one direction than in the other by a quarter."""
    height, width = _find_edges_km(data)
    if height and width and max(height, width) > 1.25 * min(height, width):
        warn(f"pixels of {height:.3g} × {width:.3g} km are taken for squares; resample the maps to squares")


def _edge_km(data: xr.Dataset, axis: str, name: str) -> float | None:
    """Returns the edge of a pixel along an axis from the coordinate of this axis, or from the map projection."""
    place = axis_coordinate(data, axis)
    if place is None:
        numbers = [float(n) for n in str(_projection(data).get("GeoTransform", "")).split()]
        if len(numbers) != 6 or axis not in data.dims:
            return None
        middle = numbers[3] + numbers[5] * data.sizes["y"] / 2
        return _length_km(abs(numbers[1 if axis == "x" else 5]), axis, _projection_unit(data), middle)
    if place.size < 2 or place.dtype.kind not in "iuf":
        return None
    steps = _find_steps(place, name)
    mean, unit = float(steps.mean()), str(place.attrs.get("units", ""))
    if (abs(steps - mean) > 0.5 * abs(mean)).any():
        spread = f"steps from {steps.min():.4g} to {steps.max():.4g}"
        warn(f"{place.name} has {spread}; pixels of their mean are assumed, so pass pixel_km if they have another edge")
    unit = "degrees" if is_angle(place, name) else unit or _projection_unit(data)
    latitude = axis_coordinate(data, "y")
    is_geographic = latitude is not None and not str(latitude.name).startswith("r")
    return _length_km(abs(mean), axis, unit, float(latitude.mean()) if is_geographic else 0.0)  # type: ignore[union-attr]


def _length_km(length: float, axis: str, unit: str, latitude: float) -> float | None:
    if unit.startswith("degree"):
        return length * KM_PER_DEGREE * (math.cos(math.radians(latitude)) if axis == "x" else 1.0)
    to_km = conversion(unit, "km") if unit else None
    return None if to_km is None else float(to_km(length))


def _projection(data: xr.Dataset | xr.DataArray) -> Mapping[str, Any]:
    """Returns the attributes of the map projection; empty if there is none."""
    keys = {"crs_wkt", "spatial_ref", "grid_mapping_name"}
    return next((c.attrs for c in data.coords.values() if c.ndim == 0 and keys & c.attrs.keys()), {})


def _projection_unit(data: xr.Dataset | xr.DataArray) -> str:
    """Returns the unit of the coordinates of the map projection, such as ``1.0 m``; empty if there is none."""
    if not (attrs := _projection(data)):
        return ""
    try:
        crs = need_pyproj().CRS.from_cf(dict(attrs))
    except ImportError:
        raise
    except Exception as e:  # pyproj raises its own exceptions, and KeyError for parameters that are missing
        raise ValueError(f"the map projection is invalid ({e}); correct its attributes") from e
    return "degrees" if crs.is_geographic else f"{crs.axis_info[0].unit_conversion_factor:f} m"


def is_angle(place: xr.DataArray, name: str) -> bool:
    """Returns whether a coordinate is in degrees, by its unit or as it is called latitude or longitude, as `name`."""
    is_called = str(place.name).lower() in (name, name[:3]) or place.attrs.get("standard_name") == name
    return str(place.attrs.get("units", "")).startswith("degree") or is_called


def wrap_degrees(degrees: Any) -> Any:
    """Returns differences of angles from -180 to 180: longitudes jump by 360 at the date line, or at Greenwich."""
    return (degrees + 180) % 360 - 180


def _find_steps(place: xr.DataArray, name: str) -> np.ndarray:
    """Returns the steps along a coordinate as an array of float64, those of longitudes without their jump."""
    steps = np.diff(place.values.astype("float64"))
    return wrap_degrees(steps) if is_angle(place, name) else steps


def find_maps(data: xr.Dataset | xr.DataArray) -> list[xr.DataArray]:
    """Returns the coordinates ``(y, x)`` of latitude and longitude; empty if there are none."""
    places = data.coords.to_dataset().cf.coordinates  # all, whichever the variable lists in its encoding
    found = [[n for n in places.get(key, ()) if set(data[n].dims) == {"y", "x"}] for _, key in AXIS_ANGLES]
    return [data[names[0]].astype("float64") for names in found] if all(found) else []


def _map_edge_km(data: xr.Dataset, axis: str) -> float | None:
    """Returns the edge of a pixel along an axis from maps of latitude and longitude."""
    maps = find_maps(data)
    if not maps or data.sizes[axis] < 2:
        return None
    north, east = (wrap_degrees(m.diff(axis)) for m in maps)
    east = east * np.cos(math.radians(1) * maps[0].isel({axis: slice(1, None)}))
    edge = float(((north**2 + east**2) ** 0.5).mean()) * KM_PER_DEGREE
    return edge if math.isfinite(edge) else None


def _is_reversed(array: xr.DataArray, axis: str) -> bool:
    """Returns whether a dimension runs from south to north, or from east to west, if coordinates state positions."""
    place, sign = axis_coordinate(array, axis), 1 if axis == "y" else -1
    if place is not None and place.size > 1 and place.dtype.kind in "iuf" and _is_place(place, axis, array):
        return bool((sign * _find_steps(place, dict(AXIS_ANGLES)[axis]) > 0).all())
    if array.sizes.get(axis, 0) < 2 or not (maps := find_maps(array)):
        return False
    steps = wrap_degrees(maps[0 if axis == "y" else 1].diff(axis))
    if axis == "x":
        return float(sign * steps.mean()) > 0.1 * float(abs(steps).mean())  # not on maps around a pole
    means = steps.mean("x").cumsum("y")  # latitudes of rows: on maps around a pole, the middle ones are the highest
    return float(means[-1]) > 0.5 * max(float(abs(means).max()), float(means.max() - means.min()))


def _is_place(place: xr.DataArray, axis: str, data: xr.DataArray) -> bool:
    name, units = place.attrs.get("standard_name", ""), str(place.attrs.get("units", ""))
    is_length = conversion(units, "km") is not None if units else bool(_projection(data))
    return name in ATTRIBUTES[axis] or units.startswith("degree") or is_length or str(place.name).lower() in PLACE_NAMES
