"""The normal form of labelled frames: decoded values, selection, alignment and units."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from ..._extras import need
from ..._hints import check_names
from ..steps import Step
from ..units import MARSHALL_PALMER, Conversion, conversion, is_rain_name, rain_depth, rain_rate
from .axes import CHANNEL, MEMBER, Layout, axis_coordinate, canonical, find_axes, find_maps, is_angle, wrap_degrees
from .times import PERIOD, decode_time, get_periods

if TYPE_CHECKING:
    import xarray as xr

CHUNK, LARGE = 2**20, 2**24
"""Bytes of the parts in which dask reads arrays, and of arrays in memory that are not divided into parts.

A sequence of training is a small part of an archive: dask needs milliseconds for each part, and reads complete ones.
"""
DEFAULT_FILLS = {
    "int16": -(2**15) + 1,
    "uint16": 2**16 - 1,
    "int32": -(2**31) + 1,
    "uint32": 2**32 - 1,
    "int64": -(2**63) + 2,
    "uint64": 2**64 - 2,
    "float32": 2.0**123 * 15 / 16,
    "float64": 2.0**123 * 15 / 16,
}
"""Numbers of values that were never written in NetCDF files, by the stored dtype; bytes have none."""
_NO_NETCDF = {"compressor", "compressors", "fill_value", "rasterio_dtype"}  # keys of ``encoding`` of other formats


def is_labelled(x: Any, names: Sequence[str] = ("DataArray", "Dataset")) -> TypeGuard[xr.Dataset | xr.DataArray]:
    """Returns whether an object is a DataArray or a Dataset of xarray, without importing xarray."""
    return any(c.__module__.partition(".")[0] == "xarray" and c.__name__ in names for c in type(x).__mro__)


def is_data_array(x: Any) -> TypeGuard[xr.DataArray]:
    """Returns whether an object is an ``xarray.DataArray``, without importing xarray."""
    return is_labelled(x, ("DataArray",))


def decode_values(variable: xr.Variable, fill_value: float | None = None) -> xr.Variable:
    """Returns a Variable of float32 with NaN for missing values; large ones are read when they are used.

    xarray has applied the packing and the fill values. It ignores ``valid_range``, ``valid_min`` and ``valid_max``, the
    numbers of values that were never written in NetCDF files, and ``missing_value`` of bytes that are stored with
    another sign. These are applied here. `fill_value` is a further stored number that marks missing values. Bytes
    (uint8) without unit and packing become brightness from 0 to 1, in the unit ``""``.
    """
    attrs, encoding = variable.attrs, variable.encoding
    if variable.dtype.kind not in "fiub":
        raise ValueError(f"expected real numbers, got {variable.dtype}")
    sign = {"true": "u", "false": "i"}.get(str(encoding.get("_Unsigned")).lower())  # as the integers were read
    dtype = np.dtype(encoding.get("dtype") or variable.dtype)
    scale, offset = (float(encoding.get(k, default)) for k, default in (("scale_factor", 1), ("add_offset", 0)))
    if scale == 0:
        raise ValueError("scale_factor is 0")
    size = 2 ** (8 * dtype.itemsize)
    start = 0 if sign == "u" else -size // 2

    def unpack(stored: Any) -> float:
        return (float(stored) if sign is None else (float(stored) - start) % size + start) * scale + offset

    low, high = _find_limits(attrs, dtype, unpack, scale)
    fills = [*np.ravel(encoding["missing_value"])] if sign and "missing_value" in encoding else []
    fills += [] if fill_value is None else [fill_value]
    is_netcdf = (
        "_FillValue" not in encoding and not _NO_NETCDF & encoding.keys() and ("dtype" in encoding or dtype.kind == "f")
    )
    fills += [DEFAULT_FILLS[dtype.name]] if is_netcdf and dtype.name in DEFAULT_FILLS else []
    is_bytes = variable.dtype == "uint8" and not attrs.get("units") and (scale, offset) == (1, 0)
    function = partial(
        _mask,
        low=low,
        high=high,
        fills=[unpack(f) for f in fills],
        slack=1e-3 * abs(scale) if dtype.kind in "iu" else 0.0,
        factor=1 / 255 if is_bytes else 1.0,
    )
    result = apply(function, variable)
    keep = ("units", "standard_name", "long_name", "grid_mapping", "cell_methods")
    result.attrs = {k: v for k, v in attrs.items() if k in keep and (k != "units" or str(v).strip())}
    if mapping := encoding.get("grid_mapping"):
        result.attrs["grid_mapping"] = mapping
    if is_bytes:
        result.attrs["units"] = ""
    return result


def _find_limits(
    attrs: Mapping[Any, Any], dtype: np.dtype, unpack: Callable[[Any], float], scale: float
) -> tuple[float | None, float | None]:
    """Returns the lowest and the highest valid value; limits of integers are stored numbers."""
    limits = {k: np.ravel(attrs[k]).tolist() for k in ("valid_range", "valid_min", "valid_max") if k in attrs}
    low, high = limits["valid_range"] if len(limits.get("valid_range", ())) == 2 else (None, None)
    low, high = next(iter(limits.get("valid_min", [low])), None), next(iter(limits.get("valid_max", [high])), None)
    if dtype.kind in "iu" and not any(np.asarray(attrs[k]).dtype.kind == "f" for k in limits):
        low, high = (None if v is None else unpack(v) for v in ((low, high) if scale > 0 else (high, low)))
    return None if low is None else float(low), None if high is None else float(high)


def _mask(
    values: np.ndarray, low: float | None, high: float | None, fills: Sequence[float], slack: float, factor: float
) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        result = np.array(values, "float32")
        for limit, is_outside in ((low, np.less), (high, np.greater)):
            if limit is not None:
                result[is_outside(values, limit + (-slack if is_outside is np.less else slack))] = np.nan
        for fill in fills:
            equal = abs(values - fill) <= slack if slack else np.isclose(result, np.float32(fill), 2e-7, 0)
            result[equal] = np.nan
        return result if factor == 1 else result * np.float32(factor)


def apply(function: Callable[..., Any], *arrays: Any) -> Any:
    """Returns a Variable or DataArray of float32, `function` of the values of others; large ones when they are read."""
    xarray = need("xarray", "netcdf")
    lazy = [divide(a) if a.chunks is None and a.nbytes > LARGE else a for a in arrays]
    return xarray.apply_ufunc(function, *lazy, dask="parallelized", output_dtypes=["float32"], keep_attrs=True)


def divide(array: Any) -> Any:
    """Returns a Variable or DataArray that dask reads in parts when they are used; see :func:`part_shape`."""
    stored = array.encoding.get("preferred_chunks", {})
    parts = part_shape(array.shape, array.dtype.itemsize, [stored.get(d) for d in array.dims])
    return array.chunk(dict(zip(array.dims, parts, strict=True)))


def part_shape(shape: Sequence[int], itemsize: int, stored: Sequence[int | None] = ()) -> tuple[int, ...]:
    """Returns the shape of parts of about :data:`CHUNK` bytes: several chunks that are `stored`, or else maps.

    Example:
        >>> part_shape((900, 128, 128), 4), part_shape((900, 128, 128), 4, (5, 64, 64))
        ((16, 128, 128), (15, 128, 128))
    """
    stored = stored or [None] * len(shape)
    parts = [chunk or (1 if i < len(shape) - 2 else n) for i, (n, chunk) in enumerate(zip(shape, stored, strict=True))]
    for i in reversed(range(len(shape))):
        parts[i] = min(shape[i], parts[i] * max(1, CHUNK // max(1, math.prod(parts) * itemsize)))
    return tuple(parts)


def in_unit(
    array: xr.DataArray, unit: str | None, name: str = "", periods: float | xr.DataArray | None = None, **options: Any
) -> xr.DataArray:
    """Converts a variable in normal form from the unit in its attributes; `options` are those of `conversion`.

    A variable without a unit is assumed to have this one. `periods` are the minutes over which values are summed, one
    number or one for each time. An assumption of the conversion becomes the attribute ``comment``; it gives rain rates.
    Raises ValueError if no conversion is known.
    """
    stated = array.attrs.get("units")
    if unit is None or stated is None:
        return array
    label = str(array.attrs.get("standard_name") or array.attrs.get("long_name") or "")
    found = conversion(str(stated), unit, name=label, **options)
    if found is None and periods is not None:
        minutes = float(periods) if isinstance(periods, int | float) else 60.0
        found = conversion(str(stated), unit, name=label, minutes=minutes, **options)
        if found is not None and not isinstance(periods, int | float):
            array = apply(np.divide, array, (periods / 60).astype("float32")).transpose(*array.dims)
            found = Conversion(found.apply, "rain rates from sums between the bounds of their times")
    if found is None:
        raise ValueError(_describe_mismatch(name or str(array.name), str(stated), unit, label))
    if found.apply is not None:
        array = apply(found.apply, array)
    notes = "; ".join(filter(None, [array.attrs.get("comment"), found.note]))
    attrs = {"comment": notes} if notes else {}
    return array.assign_attrs(units=unit, **attrs, **({"standard_name": "rainfall_rate"} if found.note else {}))


def _describe_mismatch(name: str, stated: str, unit: str, label: str) -> str:
    """Returns the message about a variable that cannot be converted."""
    hint = "which it cannot be converted to; convert the values, or correct the attribute or data.unit"
    if rain_rate(unit) is not None:
        if (rain_rate(stated) is not None or rain_depth(stated) is not None) and label and not is_rain_name(label):
            hint = f"of {label}, which is no rain; select the variable of rain: data.variable, --key or a DataArray"
        elif rain_depth(stated) is not None:
            hint = (
                "and nothing states over which time the rain is summed; pass frames with times or with the bounds of "
                "their times, or state the minutes: data.step of a recipe, --minutes of predict"
            )
    return f"{name} has units={stated or 'brightness'!r}, and {unit or 'brightness'} is expected, {hint}"


def select(data: xr.Dataset, selection: Mapping[str, Any]) -> xr.Dataset:
    """Returns the selected part of a Dataset.

    `selection` maps dimensions to a value of their coordinate, or to a range ``[first, last]`` that includes both ends,
    in either order. Times are written in ISO 8601. For a dimension without a coordinate, values are indices.
    """
    for dim, value in selection.items():
        check_names([dim], data.dims, "no dimension {}, which data.sel names")
        if isinstance(value, list | tuple) and len(value) != 2:
            raise ValueError(f"data.sel.{dim} must be one value or [first, last], got {len(value)} values, {value}")
        labels: Any = data.indexes.get(dim, np.arange(data.sizes[dim]))
        if labels.dtype.kind in "iuf" and len(set(labels)) < len(labels) and not isinstance(value, list | tuple):
            raise ValueError(f"{dim} repeats values, so that data.sel, {value}, names no single one; drop the others")
        positions = need("xarray", "netcdf").DataArray(np.arange(len(labels)), {dim: labels}, [dim])
        try:
            found = _find_positions(positions.sortby(dim), dim, value)
            if found.ndim and found[-1] - found[0] == len(found) - 1:  # neighbours are read faster as a slice
                data = data.isel({dim: slice(int(found[0]), int(found[-1]) + 1)})
            else:
                data = data.isel({dim: found if found.ndim else int(found)})
        except (KeyError, TypeError, ValueError) as e:
            ends = f"{labels[0]} to {labels[-1]}" if len(labels) else "none"
            raise ValueError(f"no {dim} at {value}, which data.sel names; it has {ends}") from e
    return data


def _find_positions(positions: xr.DataArray, dim: str, value: Any) -> np.ndarray:
    """Returns the selected values of `positions`, which are sorted by their coordinate: rising ones, or a single one.

    Raises KeyError if it takes none.
    """
    labels, is_range = positions.indexes[dim], isinstance(value, list | tuple)
    values = list(value) if is_range else [value]
    if labels.dtype.kind in "iuf":
        numbers = [float(v) for v in values]
        step = abs(np.diff(labels.astype(float))).min(initial=np.inf)
        size = max(map(abs, numbers))
        slack = max(1e-3 * step, 2e-7 * size) if math.isfinite(step) else max(1e-5 * size, 1e-30)
        if is_range:
            selected = positions.sel({dim: slice(min(numbers) - slack, max(numbers) + slack)})
        else:
            selected = positions.sel({dim: numbers[0]}, method="nearest", tolerance=slack)
    else:
        names = [str(v) if isinstance(v, int | float) else v for v in values]
        ends = (slice(*names), slice(*names[::-1])) if is_range else names
        selected = next((part for part in map(positions.loc.__getitem__, ends) if part.size), positions[:0])
    if selected.size == 0:
        raise KeyError(value)
    return np.sort(selected.values) if selected.ndim else selected.values


def decode_coordinates(data: xr.Dataset) -> xr.Dataset:
    """Returns a Dataset whose dates are decoded; bounds, dates and map projections are coordinates, in memory."""
    variables = data.variables.values()
    named = {v.attrs.get(k, v.encoding.get(k)) for k in ("bounds", "grid_mapping") for v in variables}
    data = data.set_coords([n for n in data.data_vars if n in named])
    for name, index in data.indexes.items():
        if getattr(index, "tz", None) is not None:
            data = data.assign_coords({name: (data[name].dims, index.tz_convert(None), data[name].attrs)})
    for name, variable in data.variables.items():
        is_number = variable.dtype.kind in "iuf" and " since " in str(variable.attrs.get("units"))
        if variable.ndim < 2 and variable.size and (is_number or variable.dtype.kind == "M"):
            data = data.assign({name: decode_time(variable, str(name))}) if is_number else data
            data = data.set_coords(name)
    return data.assign_coords({n: c.compute() for n, c in data.coords.items() if c.chunks is not None})


def normal_form(
    data: xr.Dataset | xr.DataArray,
    variables: Sequence[str] | None = None,
    *,
    sel: Mapping[str, Any] | None = None,
    dims: Mapping[str, str] | None = None,
    fill_values: Mapping[str, float | None] | None = None,
    is_static: bool = False,
) -> tuple[xr.Dataset, Layout]:
    """Returns a DataArray or a decoded Dataset in normal form, and its :class:`Layout`.

    Values are read when they are used, those of arrays above 16 MiB in parts, by dask.

    Args:
        data: frames ``(time, y, x)`` with dimensions of any names, order and direction.
        variables: names of the variables, in the order of the result, which share one grid. By default all frames on
            the grid of the first ones, and the maps and series on this grid.
        sel: part of each dimension to select, by its name in `data`; see :func:`select`.
        dims: names of the dimensions `time`, `y` and `x` that nothing in `data` describes.
        fill_values: stored number that marks missing values, for each variable; that of ``""`` is for all others.
        is_static: whether `data` has maps without time; their first dimension is then one of channels.

    Raises:
        ValueError: a variable is missing, is on another grid, or has other dimensions; or a selection is invalid.
    """
    if is_data_array(data):
        name = data.name if data.name is not None and data.name not in data.coords else "frames"
        if data.dtype.kind not in "fiub":
            raise ValueError(f"{name}: expected real numbers, got {data.dtype}; convert them, as by astype('float32')")
    dataset: xr.Dataset = data.to_dataset(name=name) if is_data_array(data) else data  # type: ignore[assignment]
    data = select(decode_coordinates(_unpack(_state_units(dataset))), sel or {})
    axes = find_axes(data, dims)
    names = list(variables) if variables is not None else list_variables(data, axes)
    check_names(names, data.data_vars, "no variable {}")
    fills = fill_values or {}
    parts, layouts, rejected = dict[str, Any](), dict[str, Layout](), list[str]()
    for name in names:
        values = data[name].to_dataset(name="values_")
        values["values_"] = decode_values(data[name].variable, fills.get(name, fills.get("")))
        array = values["values_"].rename(name)
        try:
            has_time = is_static or "time" in axes.values()
            parts[name], layouts[name] = canonical(array, axes, has_time, data.variables)
        except ValueError as e:
            rejected.append(str(e))
            if variables is not None or len(names) == 1:
                raise
    frames = [n for n, p in parts.items() if {"time", "y"} <= set(p.dims)]
    if not frames and not is_static:  # a file of one map for each time
        frames = [n for n, p in parts.items() if "y" in p.dims]
        for n in frames:
            period = {PERIOD: ("time", [parts[n][PERIOD].values])} if PERIOD in parts[n].coords else {}
            parts[n] = parts[n].expand_dims("time").assign_coords(period)
    if not parts:
        return need("xarray", "netcdf").Dataset(), Layout(rejected=tuple(rejected))
    first = next(n for n in (*frames, *parts))
    result = need("xarray", "netcdf").Dataset(coords=parts[first].coords)
    for name, part in parts.items():
        try:
            result = result.assign({name: align(part, parts[first], name, label_names=layouts[first].dims)})
        except ValueError as e:
            rejected.append(str(e))
            if variables is not None:
                raise
    return result, Layout(layouts[first].dims, layouts[first].turned, tuple(rejected))


def _state_units(data: xr.Dataset) -> xr.Dataset:
    """Returns a Dataset whose quantities of pint are arrays that state their units as an attribute."""
    for name, v in data.data_vars.items():
        first = v.isel(dict.fromkeys(v.dims, slice(1))).data if v.size else v.data  # without reading all values
        if hasattr(first, "magnitude") and hasattr(first, "units"):
            data = data.assign({name: v.copy(data=v.data.magnitude).assign_attrs(units=str(first.units))})
    return data


def _unpack(data: xr.Dataset) -> xr.Dataset:
    """Returns a Dataset whose packed values are decoded, if it was opened with ``mask_and_scale=False``."""
    packed = ("scale_factor", "add_offset", "_FillValue", "missing_value")
    names = [n for n, v in data.data_vars.items() if v.dtype.kind in "fiu" and any(k in v.attrs for k in packed)]
    if not names:
        return data
    decoded = need("xarray", "netcdf").decode_cf(data[names], decode_times=False, decode_coords=False)
    return data.assign({n: decoded[n].variable for n in names})


def list_variables(data: xr.Dataset, axes: Mapping[str, str]) -> list[str]:
    """Returns the names of the variables of a Dataset that can be frames, maps or series of them."""
    listed = " ".join(str(v.attrs.get("coordinates", "")) for v in data.variables.values()).split()
    numbers = {str(n): v for n, v in data.data_vars.items() if v.dtype.kind in "fiub" and v.ndim and n not in listed}
    return [n for n, v in numbers.items() if v.ndim > 1 or axes.get(str(v.dims[0])) == "time"]


def align(
    part: Any,
    first: xr.Dataset | xr.DataArray,
    name: str,
    axes: Sequence[str] = (MEMBER, "time", "y", "x"),
    label_names: Mapping[str, str] | None = None,
) -> Any:
    """Returns data without coordinates, after a check that they are on the grid of `first`; both in normal form.

    `label_names` are the names of the dimensions in messages. Raises ValueError if they are on another grid, or have
    other times; the message names the first difference.
    """
    for axis in [a for a in axes if a in part.dims and a in first.dims]:
        ours, theirs = axis_coordinate(part, axis), axis_coordinate(first, axis)
        label = (label_names or {}).get(axis, axis if theirs is None else theirs.name)
        if part.sizes[axis] != first.sizes[axis]:
            raise ValueError(f"{name} has {part.sizes[axis]} values of {label}, the frames have {first.sizes[axis]}")
        if ours is not None and theirs is not None and (i := first_difference(ours, theirs)) is not None:
            got, expected = (str(c.values[i]) for c in (ours, theirs))
            raise ValueError(
                f"{name} is on another grid: {label}[{i}] is {got}, and {expected} in the frames; interpolate it, or "
                "select the same part"
            )
    periods = [data[PERIOD].variable for data in (part, first) if "time" in axes and PERIOD in data.coords]
    if len(periods) == 2 and not periods[0].equals(periods[1]):
        raise ValueError(f"{name} has other bounds of its times than the frames; select variables of the same bounds")
    maps = [find_maps(data) for data in (part, first)] if {"y", "x"} <= {*axes} & {*part.dims} else []
    for ours, theirs in zip(*maps, strict=False):
        if not _is_close(ours, theirs):
            raise ValueError(f"{name} is on another grid: its {ours.name} differs from that of the frames")
    return part.drop_vars(list(part.coords))


def _is_close(ours: xr.DataArray, theirs: xr.DataArray) -> bool:
    """Returns whether two maps ``(y, x)`` of degrees differ by less than a hundredth of a pixel."""
    step = abs(theirs.diff("y")).mean() + abs(theirs.diff("x")).mean()
    different = abs(wrap_degrees(ours.values - theirs.values)) > 0.01 * float(step)
    return not different.any() and bool((ours.isnull().values == theirs.isnull().values).all())


def first_difference(a: xr.DataArray, b: xr.DataArray) -> int | None:
    """Returns the first index at which two coordinates differ, in the unit of the second; None if they are equal.

    Longitudes that differ by 360 degrees are equal.
    """
    x, y = a.values, b.values
    if x.dtype.kind in "iuf" and y.dtype.kind in "iuf":
        units = [str(c.attrs.get("units", "")) for c in (a, b)]
        if all(units) and units[0] != units[1] and (found := conversion(*units)) is not None:
            x = found(x)
        steps = abs(np.diff(y.astype("float64")))
        tolerance = 1e-3 * steps.min() if len(steps) and steps.min() > 0 else 1e-6 * np.maximum(abs(y), 1e-6)
        difference = x.astype("float64") - y
        different = abs(wrap_degrees(difference) if is_angle(b, "longitude") else difference) > tolerance
    else:
        different = x != y
    return int(np.argmax(different)) if np.any(different) else None


def choose_variable(data: xr.Dataset, unit: str | None = None, rejected: Sequence[str] = ()) -> str:
    """Returns the name of the variable that a model of `unit` reads from a Dataset in normal form.

    It is the only variable of frames, or the only one whose stated unit can be converted to `unit`. `rejected` are the
    reasons why others are not in the Dataset. Raises ValueError if there is none, or there are several.
    """
    names = [str(n) for n, v in data.data_vars.items() if {"time", "y", "x"} <= set(v.dims)]
    if unit and (len(names) > 1 or rejected):
        labels = {n: data[n].attrs.get("standard_name") or data[n].attrs.get("long_name") or "" for n in names}
        stated = {n: str(data[n].attrs["units"]) for n in names if "units" in data[n].attrs}
        alike = [n for n, u in stated.items() if conversion(u, unit, name=str(labels[n]), minutes=60.0) is not None]
        names = alike if len(alike) == 1 else names
        if not alike and len(stated) == len(names) and rejected:
            raise ValueError(rejected[0])
    if len(names) != 1:
        units = {n: f" in {v.attrs['units']}" if "units" in v.attrs else "" for n, v in data.data_vars.items()}
        listed = ", ".join(f"{n} {tuple(v.shape)}{units[n]}" for n, v in data.data_vars.items()) or "none"
        expected = f"one variable of frames (time, y, x){f' in {unit}' if unit and len(names) > 1 else ''}"
        hint = "; name it: data.variable in the recipe, --key of predict, or a DataArray" if len(names) > 1 else ""
        raise ValueError(f"expected {expected}, got {listed}{hint}")
    return names[0]


def to_units(
    data: xr.Dataset,
    units: Mapping[str, str | None],
    step: Step | None = None,
    relation: tuple[float, float] = MARSHALL_PALMER,
) -> xr.Dataset:
    """Returns a Dataset of the variables in `units`, converted to their units.

    Sums of rain become rates by the bounds of the times in the source; without these, they are sums over `step`
    minutes, and sums over calendar steps cannot be converted. `relation` has a and b of ``Z = a R^b`` for reflectivity.
    """
    periods = get_periods(data)
    if periods is None and step is not None and not isinstance(step, str):
        periods = step
    converted = {n: in_unit(data[n], unit, periods=periods, relation=relation) for n, unit in units.items()}
    return data[list(units)].assign(converted)


def stack(data: xr.Dataset, names: Iterable[Any], index: Sequence[Any] = ()) -> np.ndarray:
    """Reads variables in normal form as channels: a float32 array ``([N,] T, C, H, W)``.

    Maps are repeated in all frames and series in all pixels. `index` selects times, rows and columns.
    """
    parts = dict(zip(("time", "y", "x"), index, strict=False))
    maps: list[np.ndarray] = []
    for name in names:
        part = data[name].variable.isel(parts, missing_dims="ignore")
        part = part.compute(scheduler="synchronous")  # threads of dask do not survive a fork
        dims = [CHANNEL, *[MEMBER] * (MEMBER in part.dims), "time", "y", "x"]
        maps += list(part.set_dims(dims).values)
    return np.stack(np.broadcast_arrays(*maps), axis=-3).astype("float32")
