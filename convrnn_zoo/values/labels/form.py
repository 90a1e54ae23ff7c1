"""The normal form of labelled frames: decoded values, selection, alignment and units."""

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy

from ..._extras import need
from ..._hints import suggest
from ..steps import Step
from ..units import MARSHALL_PALMER, conversion, rain_depth, rain_rate
from .axes import CHANNEL, MEMBER, axis_coordinate, canonical, find_axes, find_maps, is_angle, wrap_degrees
from .times import decode_time


def is_data_array(x: object) -> bool:
    """Returns whether an object is an ``xarray.DataArray``, without importing xarray."""
    return _is_xarray(x, "DataArray")


def is_labelled(x: object) -> bool:
    """Returns whether an object is a DataArray or a Dataset of xarray, without importing xarray."""
    return _is_xarray(x, "DataArray", "Dataset")


def _is_xarray(x: object, *names: str) -> bool:
    return any(c.__module__.partition(".")[0] == "xarray" and c.__name__ in names for c in type(x).__mro__)


def decode_values(variable: Any, fill_value: float | None = None) -> Any:
    """Returns an ``xarray.Variable`` of float32 with NaN for missing values; the values are read when it is sliced.

    xarray has applied the packing and the fill values. It ignores ``valid_range``, ``valid_min`` and ``valid_max``,
    which are applied here. `fill_value` is a further stored number that marks missing values. Bytes (uint8) without
    unit and packing become brightness from 0 to 1, in the unit ``""``.
    """
    from ..._lazy import map_lazily

    attrs, encoding = variable.attrs, variable.encoding
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

    size = 2 ** (8 * stored.itemsize)
    start = {"true": 0, "false": -size // 2}.get(str(encoding.get("_Unsigned")).lower())  # as the integers were read

    def unpack(value: Any, packed: bool) -> float | None:
        if value is None or not packed:
            return None if value is None else float(value)
        return (float(value) if start is None else (float(value) - start) % size + start) * scale + offset

    low, high = (unpack(limit, is_stored) for limit in ((low, high) if scale > 0 or not is_stored else (high, low)))
    is_bytes = variable.dtype == "uint8" and not attrs.get("units") and (scale, offset) == (1, 0)
    function = partial(
        _mask, low=low, high=high, fill=unpack(fill_value, True),
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
    with numpy.errstate(over="ignore", invalid="ignore"):
        result = numpy.array(values, "float32")
        for limit, is_outside in ((low, numpy.less), (high, numpy.greater)):
            if limit is not None:
                result[is_outside(values, limit + (-slack if is_outside is numpy.less else slack))] = numpy.nan
        if fill is not None:
            equal = abs(values - fill) <= slack if slack else numpy.isclose(result, numpy.float32(fill), 2e-7, 0)
            result[equal] = numpy.nan
        return result if factor == 1 else result * numpy.float32(factor)


def in_unit(array: Any, unit: str | None, name: str = "", **options: Any) -> Any:
    """Converts a variable in normal form from the unit in its attributes; `options` are those of `conversion`.

    A variable without a unit is assumed to have this one. An assumption of the conversion becomes the attribute
    ``comment``; it gives rain rates. Raises ValueError if no conversion is known.
    """
    from ..._lazy import map_lazily

    stated = array.attrs.get("units")
    if unit is None or stated is None:
        return array
    label = array.attrs.get("standard_name") or array.attrs.get("long_name") or ""
    found = conversion(str(stated), unit, name=str(label), **options)
    if found is None:
        hint = "which it cannot be converted to; convert the values, or correct the attribute or data.unit"
        is_length = rain_rate(str(stated)) is not None or rain_depth(str(stated)) is not None
        if is_length and rain_rate(unit) is not None:  # the speed or depth of something else than rain
            hint = f"of {label}, which is no rain; select the variable of rain: data.variable, --key or a DataArray"
        raise ValueError(
            f"{name or array.name} has units={str(stated) or 'brightness'!r}, and {unit or 'brightness'} is expected, "
            f"{hint}"
        )
    if found.apply is not None:
        array = _replace(array, map_lazily(array.variable, found.apply))
    notes = "; ".join(filter(None, [array.attrs.get("comment"), found.note]))
    attrs = {"comment": notes} if notes else {}
    return array.assign_attrs(units=unit, **attrs, **({"standard_name": "rainfall_rate"} if found.note else {}))


def _replace(array: Any, variable: Any) -> Any:
    """Returns a DataArray with other values on the same dimensions. They are not read, as ``copy(data=…)`` would."""
    return array.to_dataset(name="values_").assign(values_=variable)["values_"].rename(array.name)


def select(data: Any, selection: Mapping[str, Any]) -> Any:
    """Returns the selected part of a Dataset.

    `selection` maps dimensions to a value of their coordinate, or to a range ``[first, last]`` that includes both ends,
    in either order. Times are written in ISO 8601. For a dimension without a coordinate, values are indices.
    """
    xarray = need("xarray", "netcdf")
    for dim, value in selection.items():
        if dim not in data.dims:
            raise ValueError(f"no dimension {dim}, which data.sel names; {suggest(dim, map(str, data.dims))}")
        labels = data.indexes.get(dim, numpy.arange(data.sizes[dim]))
        positions = xarray.DataArray(numpy.arange(len(labels)), {dim: labels}, [dim])
        if labels.dtype.kind in "iuf" and len(set(labels)) < len(labels) and not isinstance(value, list | tuple):
            raise ValueError(f"{dim} repeats values, so that data.sel, {value}, names no single one; drop the others")
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


def _find_positions(positions: Any, dim: str, value: Any) -> Any:
    """Returns the selected values of `positions`, which are sorted by their coordinate: rising ones, or a single one.

    Raises:
        KeyError: it takes none.
    """
    labels, is_range = positions.indexes[dim], isinstance(value, list | tuple)
    values = list(value) if is_range else [value]
    if labels.dtype.kind in "iuf":
        numbers = [float(v) for v in values]
        step = abs(numpy.diff(labels.astype(float))).min(initial=numpy.inf)
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
    return numpy.sort(selected.values) if selected.ndim else selected.values


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
        if data.dtype.kind not in "fiub":
            raise ValueError(f"{name}: expected real numbers, got {data.dtype}; convert them, as by astype('float32')")
        data = data.to_dataset(name=name)
    data = select(decode_coordinates(_unpack(_state_units(data))), sel or {})
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


def _state_units(data: Any) -> Any:
    """Returns a Dataset whose quantities of pint are arrays that state their units as an attribute."""
    for name, v in data.data_vars.items():
        first = v.isel(dict.fromkeys(v.dims, slice(0))).data  # without reading the values
        if hasattr(first, "magnitude") and hasattr(first, "units"):
            data = data.assign({name: v.copy(data=v.data.magnitude).assign_attrs(units=str(first.units))})
    return data


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
    different = abs(wrap_degrees(ours.values - theirs.values)) > 0.01 * float(step)
    return not different.any() and bool((ours.isnull().values == theirs.isnull().values).all())


def first_difference(a: Any, b: Any) -> int | None:
    """Returns the first index at which two coordinates differ, in the unit of the second; None if they are equal.

    Longitudes that differ by 360 degrees are equal.
    """
    x, y = a.values, b.values
    if x.dtype.kind in "iuf" and y.dtype.kind in "iuf":
        units = [str(c.attrs.get("units", "")) for c in (a, b)]
        if all(units) and units[0] != units[1] and (found := conversion(*units)) is not None:
            x = found(x)
        steps = abs(numpy.diff(y.astype("float64")))
        tolerance = 1e-3 * steps.min() if len(steps) and steps.min() > 0 else 1e-6 * numpy.maximum(abs(y), 1e-6)
        difference = x.astype("float64") - y
        different = abs(wrap_degrees(difference) if is_angle(b, "longitude") else difference) > tolerance
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
    data: Any, units: Mapping[str, str | None], step: Step | None = None,
    relation: tuple[float, float] = MARSHALL_PALMER,
) -> Any:  # fmt: skip
    """Returns a Dataset of the variables in `units`, converted to their units.

    Sums of rain per step become rates: they last as long as the bounds of the times state, else `step` minutes; sums
    over calendar steps without bounds cannot be converted.
    `relation` are the constants of ``Z = a R^b`` for reflectivity.
    """
    result = data[list(units)]
    for name, unit in units.items():
        minutes = data.encoding.get("minutes", {}).get(name) or (None if isinstance(step, str) else step)
        result = result.assign({name: in_unit(data[name], unit, minutes=minutes, relation=relation)})
    return result


def stack(data: Any, names: Iterable[str], index: Sequence[Any] = ()) -> Any:
    """Reads variables in normal form as channels: a float32 array ``([N,] T, C, H, W)``.

    Maps are repeated in all frames and series in all pixels. `index` selects times, rows and columns.
    """
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
