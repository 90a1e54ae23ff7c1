"""Reads frames of NetCDF, Zarr, HDF5 and GRIB files with xarray."""

import contextlib
import dataclasses
import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..._extras import need
from ..._hdf5 import CheckedFile
from ..._hints import suggest
from .base import Frames, LazyArray, ReadOptions, as_floats, check_numbers, check_times, choose_array, find_times, stack
from .files import FileError, reading
from .times import decode_times, numbers, scalar, to_number
from .untrusted import check_grib, check_hdf5, check_zarr_store, checked_codecs

logger = logging.getLogger(__name__)
HDF5, STORE = (".h5", ".hdf5"), ".zarr"
GRIB = (".grib", ".grib2", ".grb", ".grb2")
GRIDDED = (*HDF5, ".nc", ".nc4", ".cdf", STORE, *GRIB)
"""Suffixes of supported files. Other files are read if an installed engine of xarray recognises them."""
TIME_DIMS = ("time", "valid_time", "times", "t", "step")
"""Names by which the time dimension is recognised."""
MAP_DIMS = (("y", "x"), ("lat", "lon"), ("latitude", "longitude"))
"""Names by which the dimensions of height and width are recognised, in any order in the file."""
ATTRIBUTES = (
    "scale_factor", "add_offset", "_FillValue", "missing_value", "valid_range", "valid_min", "valid_max", "_Unsigned",
    "units", "calendar", "coordinates", "bounds",
)  # fmt: skip
"""Attributes that are read. Other attributes may have types that h5py cannot read."""


@dataclass(frozen=True)
class GriddedVariable:
    """Attributes and stored numbers of a variable in a file. The numbers are read when `array` is sliced.

    `array` is an ``xarray.Variable`` if the file names dimensions. Otherwise `dims` is empty, and `array` is a Zarr
    array or a :class:`LazyArray` of an HDF5 dataset.
    """

    array: Any
    attrs: Mapping[str, Any]
    dims: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return self.array.shape

    @property
    def is_dated(self) -> bool:
        """True if the unit of the values is a time since a date."""
        return " since " in str(scalar(self.attrs.get("units")))

    def __getitem__(self, index: Any) -> Any:
        return self.array[index].values if self.dims else self.array[index]

    def reorder(self, dims: Sequence[str]) -> "GriddedVariable":
        """Transposes the variable to the order `dims`. Other dimensions must have length 1 and are dropped."""
        array = self.array if dims[0] in self.dims else self.array.set_dims({dims[0]: 1, **self.array.sizes})
        array = array.squeeze([d for d in array.dims if d not in dims]).transpose(*dims)
        return GriddedVariable(array, self.attrs, tuple(dims))


def _read_hdf5(path: Path, name: str, index: Any) -> Any:
    with need("h5py", "netcdf").File(path) as file:
        return file[name][index]


# ---- files ---------------------------------------------------------------------------------------------------------
def open_variables(path: Path, options: ReadOptions) -> tuple[dict[str, GriddedVariable], Any]:
    """Returns the variables of a file by name, and a context manager that closes the file."""
    xarray, h5py = need("xarray", "netcdf"), need("h5py", "netcdf")
    variables: dict[str, GriddedVariable] = {}
    kwargs: dict[str, Any] | None = {}
    if path.suffix.lower() == STORE:
        check_zarr_store(path, _group(options.variable))
        with checked_codecs():
            variables, kwargs = _list_zarr(path, _group(options.variable))
    elif path.suffix.lower() in HDF5 or h5py.is_hdf5(path):
        check_hdf5(path)
        variables, kwargs = _list_hdf5(path, options.variable)
    elif path.suffix.lower() in GRIB:
        need("cfgrib", "grib")
        check_grib(path)
        kwargs = {"engine": "cfgrib", "backend_kwargs": {"indexpath": ""}}  # index files are pickles
    elif not is_recognised(path):
        need("scipy", "netcdf")  # the engine of NetCDF-3
        raise FileError(f"{path}: no installed engine of xarray reads it; replace it, or install its engine")
    if kwargs is None:
        if options.sel:
            raise FileError(f"{path} does not name its dimensions, by which data.sel selects; leave data.sel out")
        return variables, contextlib.nullcontext()
    with checked_codecs() if path.suffix.lower() == STORE else contextlib.nullcontext():
        dataset = xarray.open_dataset(path, decode_cf=False, cache=False, **kwargs)
    for leaf, v in select(dataset, options.sel, path).variables.items():
        name = f"{kwargs.get('group') or ''}{leaf}"
        attrs = variables[name].attrs if name in variables else v.attrs
        variables[name] = GriddedVariable(v, attrs, tuple(map(str, v.dims)))
    return variables, dataset


def _group(variable: str) -> str:
    return variable[: variable.rfind("/") + 1]


def is_recognised(path: Path) -> bool:
    """Returns whether an installed engine of xarray recognises a file."""
    return any(engine.guess_can_open(path) for engine in need("xarray", "netcdf").backends.list_engines().values())


def _list_zarr(path: Path, group: str) -> tuple[dict[str, GriddedVariable], dict[str, Any] | None]:
    """Returns the arrays of a store, and xarray's arguments to open it (None if an array has no dimension names)."""
    store = need("zarr", "zarr").open(str(path), mode="r")
    arrays = {"": store} if not hasattr(store, "arrays") else dict(store.arrays())
    if group:
        arrays |= {f"{group}{name}": array for name, array in store[group].arrays()}
    variables = {name: GriddedVariable(array, _zarr_attributes(array, path)) for name, array in arrays.items()}
    inside = [array for name, array in arrays.items() if name.startswith(group)]
    names = [a.attrs.get("_ARRAY_DIMENSIONS") if a.metadata.zarr_format == 2 else a.metadata.dimension_names
             for a in inside]  # fmt: skip
    if "" in arrays or any(a.ndim and None in (dims or (None,)) for a, dims in zip(inside, names, strict=True)):
        return variables, None
    kwargs = {"engine": "zarr", "group": group or None, "consolidated": False, "use_zarr_fill_value_as_mask": False}
    return variables, kwargs


def _zarr_attributes(array: Any, path: Path) -> dict[str, Any]:
    """Returns the attributes of an array. In Zarr 2, a fill value marks missing values unless it is 0, the default."""
    attrs = dict(array.attrs)
    if array.metadata.zarr_format == 2 and array.fill_value is not None and "_FillValue" not in attrs:
        if array.fill_value != 0:
            attrs["_FillValue"] = array.fill_value
        elif array.ndim > 2 and ("scale_factor" in attrs or "_ARRAY_DIMENSIONS" in attrs):
            logger.warning("%s: its fill value 0 is read as a number; data.fill_value = 0 makes it missing", path)
    return attrs


def _list_hdf5(path: Path, variable: str) -> tuple[dict[str, GriddedVariable], dict[str, Any] | None]:
    """Returns the arrays of a file, and xarray's arguments to open it (None for frames without dimension names)."""
    h5py, variables = need("h5py", "netcdf"), {}
    with path.open("rb") as raw, h5py.File(CheckedFile(raw), "r") as file:
        items: dict[str, Any] = {}
        file.visititems(lambda name, item: items.update({name: item}))
        arrays = {name: item for name, item in items.items() if isinstance(item, h5py.Dataset)}
        for name, item in arrays.items():
            lazy = LazyArray(partial(_read_hdf5, path, name), item.shape or (), item.dtype)
            variables[name] = GriddedVariable(lazy, {a: item.attrs[a] for a in ATTRIBUTES if a in item.attrs})
        has_frames = any(len(v.shape) > 2 for v in variables.values())
        if has_frames and not any("DIMENSION_LIST" in item.attrs for item in arrays.values()):
            return variables, None
    need("h5netcdf", "netcdf")
    groups = {_group(name) for name, v in variables.items() if len(v.shape) > 2}
    group = groups.pop() if not variable and len(groups) == 1 else _group(variable)
    return variables, {"engine": "h5netcdf", "group": group or None, "phony_dims": "sort"}


# ---- dimensions ----------------------------------------------------------------------------------------------------
def select(dataset: Any, selection: Mapping[str, Any], path: Path) -> Any:
    """Returns the selected part of a dataset.

    `selection` maps dimensions to a value of their coordinate, or to a range ``[first, last]`` that includes both ends.
    Times are written in ISO 8601. For a dimension without a coordinate, values are indices.
    """
    numpy, xarray = need("numpy", "cli"), need("xarray", "netcdf")
    for dim, value in selection.items():
        if dim not in dataset.dims:
            raise FileError(f"{path} has no dimension {dim}, which data.sel names; {suggest(dim, dataset.dims)}")
        labels = numpy.arange(dataset.sizes[dim])
        if dim in dataset.variables:
            coordinate = GriddedVariable(dataset.variables[dim], dataset.variables[dim].attrs)
            labels = coordinate.array.values
            if coordinate.is_dated:
                minutes, is_dated = decode_times(labels, coordinate.attrs)
                labels = (minutes * 6e7).round().astype("int64").astype("datetime64[us]") if is_dated else labels
            elif labels.dtype.kind in "iuf":
                labels = Decoder.from_attrs(coordinate.attrs, labels.dtype).decode(labels)
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
            dataset = dataset.isel({dim: slice(int(found[0]), int(found[-1]) + 1) if found.ndim else int(found)})
        except (KeyError, TypeError, ValueError) as e:
            ends = f"{labels[0]} to {labels[-1]}" if len(labels) else "none"
            raise FileError(f"{path} has no {dim} at {value}, which data.sel names; it has {ends}") from e
    return dataset


def find_order(dims: Sequence[str], named: Mapping[str, str], time_dims: Sequence[str]) -> tuple[str, ...]:
    """Returns the dimensions of frames in this order: time, other dimensions such as channels, height, width.

    `named` may contain the names of ``time``, ``y`` and ``x``. By default, the time dimension is one of `time_dims` or
    :data:`TIME_DIMS`. Otherwise, of three or more dimensions, it is the first that is not height or width. Height and
    width are a pair of :data:`MAP_DIMS`, otherwise the last two dimensions. A map without time is one frame.

    Example:
        >>> find_order(("lat", "lon", "level", "time"), {"y": "lat", "x": "lon"}, ("time",))
        ('time', 'level', 'lat', 'lon')
    """
    pair = next(((y, x) for y, x in MAP_DIMS if {y, x} <= set(dims)), None)
    if pair and not {"y", "x"} & set(named):
        named = {**named, "y": pair[0], "x": pair[1]}
    first = next((d for d in dims if d not in (named.get("y"), named.get("x"))), "time") if len(dims) > 2 else "time"
    time = named.get("time", next((d for d in dims if d in time_dims or d.lower() in TIME_DIMS), first))
    others = [d for d in dims if d not in (time, named.get("x"), named.get("y"))]
    x = named["x"] if "x" in named else others.pop()
    y = named["y"] if "y" in named else others.pop()
    return (time, *others, y, x)


def find_frames(
    path: Path, variables: Mapping[str, GriddedVariable], options: ReadOptions
) -> dict[str, GriddedVariable]:
    """Returns the variables whose dimensions can be those of frames, transposed to the order of frames."""
    every = sorted({d for v in variables.values() for d in v.dims})
    if unknown := [d for d in options.dims.values() if d not in every]:
        raise FileError(f"{path} has no dimension {unknown[0]}, which data.dims names; {suggest(unknown[0], every)}")
    keys = ("coordinates", "bounds")
    auxiliary = " ".join(str(scalar(v.attrs.get(key)) or "") for v in variables.values() for key in keys)
    dated = [name for name, v in variables.items() if v.is_dated]
    maps = {
        name: v for name, v in variables.items()
        if len(v.dims) > 1 and name.rpartition("/")[2] not in auxiliary.split()
        and set(options.dims.values()) <= set(v.dims)
    }  # fmt: skip
    frames = {name: v for name, v in variables.items() if not v.dims}
    for name, v in ({n: v for n, v in maps.items() if len(v.dims) > 2} or maps).items():
        order = find_order(v.dims, options.dims, dated)
        frames[name] = v.reorder((order[0], *(d for d in order[1:-2] if v.array.sizes[d] != 1), *order[-2:]))
    return frames


# ---- values --------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Decoder:
    """Converts stored numbers to values by the CF conventions; xarray applies scale and offset.

    xarray supports only one fill value and no valid range, so `fills` and `valid` are applied here, to decoded values.
    """

    packing: Mapping[str, Any]
    fills: tuple[float, ...] = ()
    valid: tuple[float, float] | None = None

    @classmethod
    def from_attrs(cls, attrs: Mapping[str, Any], dtype: Any, fill_value: float | None = None) -> "Decoder":
        """Creates the decoder of an array from its attributes and dtype. `fill_value` also marks missing values."""
        numpy = need("numpy", "cli")
        names = ("scale_factor", "add_offset")
        packing: dict[str, Any] = {k: v for k in names if (v := to_number(attrs.get(k))) is not None}
        if dtype.kind in "iu" and (unsigned := scalar(attrs.get("_Unsigned"))) is not None:
            packing["_Unsigned"] = str(unsigned).lower()
        if packing.get("scale_factor") == 0:
            raise ValueError("scale_factor is 0")
        fills = numbers(attrs.get("_FillValue")) + numbers(attrs.get("missing_value")) + numbers(fill_value)
        bounds = [to_number(attrs.get("valid_min"), -math.inf), to_number(attrs.get("valid_max"), math.inf)]
        stated = numbers(attrs.get("valid_range"))[:2]
        bounds[: len(stated)] = stated
        kinds = {getattr(attrs.get(n), "dtype", dtype).kind for n in ("valid_range", "valid_min", "valid_max")}
        is_packed = dtype.kind == "f" or not ("f" in kinds or any(b % 1 for b in bounds if math.isfinite(b)))

        def decode(value: float) -> Any:
            return cls(packing).decode(numpy.array([value]).astype(dtype))[0]

        with numpy.errstate(over="ignore", invalid="ignore"):
            fills = [decode(f) for f in fills if _fits(f, dtype)]
            bounds = [decode(b) if is_packed and _fits(b, dtype) else b for b in bounds]
        is_bounded = any(map(math.isfinite, bounds))
        return cls(packing, tuple(fills), (min(bounds), max(bounds)) if is_bounded else None)

    def decode(self, raw: Any) -> Any:
        """Returns the values of stored numbers, NaN where they are missing."""
        if self.packing:
            xarray, dims = need("xarray", "netcdf"), [str(i) for i in range(raw.ndim)]
            dataset = xarray.Dataset({"x": (dims, raw, dict(self.packing))})
            raw = xarray.decode_cf(dataset, decode_times=False)["x"].values
        return as_floats(raw, self.fills, self.valid) if self.fills or self.valid else raw


def _fits(value: float, dtype: Any) -> bool:
    """Returns whether a dtype can store a number. Integers may be signed or unsigned, because of ``_Unsigned``."""
    if dtype.kind == "f":
        return True
    return math.isfinite(value) and value % 1 == 0 and abs(value) < 2.0 ** (8 * dtype.itemsize)


class GriddedArray:
    """Decoded frames ``(T, H, W)`` or ``(T, C, H, W)`` of a variable.

    Each process opens the file again when it first slices the array, since handles of HDF5 do not survive a fork.
    """

    def __init__(
        self, path: Path, options: ReadOptions, name: str, variable: GriddedVariable, fill: float | None
    ) -> None:
        self.path, self.options, self.name = path, options, name
        self.shape, self.dtype, self.dims = variable.shape, variable.array.dtype, variable.dims
        self.decoder = Decoder.from_attrs(variable.attrs, self.dtype, fill)
        self._opened: tuple[Any, ...] = (None, None, None)

    def __getitem__(self, index: Any) -> Any:
        process, variable, _ = self._opened
        if process != os.getpid():
            variables, dataset = open_variables(self.path, self.options)
            variable = variables[self.name].reorder(self.dims) if self.dims else variables[self.name]
            self._opened = os.getpid(), variable, dataset
        return self.decoder.decode(variable[index])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": (None, None, None)}


def open_gridded(path: Path, options: ReadOptions) -> Frames:
    """Opens the frames of a NetCDF, Zarr, HDF5 or GRIB file, by the CF conventions."""
    kinds = {STORE: "Zarr store", **dict.fromkeys(HDF5, "HDF5 file"), **dict.fromkeys(GRIB, "GRIB file")}
    with reading(path, kinds.get(path.suffix.lower(), "NetCDF file")):
        variables, dataset = open_variables(path, options)
        with dataset:
            frames = find_frames(path, variables, options)
            if options.variables:
                return _stack_variables(path, variables, frames, options)
            shapes = {n: v.shape for n, v in frames.items()}
            name = choose_array(path, shapes, dataclasses.replace(options, maps=False))
            variable = frames[name]
            check_numbers(variable.array, path)
            part = _open_variable(path, name, variable, options, options.fill_value)
            if variable.array.dtype == "uint8" and part.unit is None:  # brightness, unless it is packed
                is_bytes = Decoder.from_attrs(variable.attrs, variable.array.dtype) == Decoder({})
                part = dataclasses.replace(part, unit="" if is_bytes else None, is_bytes=is_bytes)
            return dataclasses.replace(part, **_axes(path, name, variable, variables)).to_unit(options.unit)


def list_variables(path: Path) -> tuple[list[str], list[str]]:
    """Returns the names of variables ``(T, H, W)`` with shared dimensions, and of maps ``(H, W)`` on the same grid."""
    with reading(path, "file of frames"):
        variables, dataset = open_variables(path, ReadOptions())
        with dataset:
            frames = {n: v for n, v in find_frames(path, variables, ReadOptions()).items() if len(v.dims) == 3}
    first = next(iter(frames.values()), None)
    names = [n for n, v in frames.items() if v.dims == first.dims]  # type: ignore[union-attr]
    places = {label for v in variables.values() for label in str(scalar(v.attrs.get("coordinates"))).split()}
    maps = [
        n for n, v in variables.items()
        if first and sorted(v.dims) == sorted(first.dims[1:]) and n not in places
        and scalar(v.attrs.get("units")) not in ("degrees_north", "degrees_east")
    ]  # fmt: skip
    return names, maps


def _open_variable(
    path: Path, name: str, variable: GriddedVariable, options: ReadOptions, fill_value: float | None
) -> Frames:
    """Opens one variable as frames in the unit of the file, without times and coordinates."""
    unit = scalar(variable.attrs.get("units"))
    array = GriddedArray(path, options, name, variable, fill_value)
    return Frames(path=path, array=array, unit=unit and str(unit), name=path.name, variable=name.rpartition("/")[2])


def _stack_variables(
    path: Path, variables: Mapping[str, GriddedVariable], frames: Mapping[str, GriddedVariable], options: ReadOptions
) -> Frames:
    """Opens variables of a file as channels, with the dimensions in the order of the first one; see :func:`stack`."""
    existing = [v for v in options.all_variables if v.name in variables]
    first, parts = options.variables[0].name, {}
    leading = frames.get(first, variables[existing[0].name]) if existing else None
    for entry in existing:
        variable = variables[entry.name]
        if variable.dims and leading is not None:
            shared = [d for d in leading.dims if d in variable.dims]
            extra = [d for d in variable.dims if d not in shared and variable.array.sizes[d] != 1]
            variable = variable.reorder((*extra, *shared))
        parts[entry.name] = _open_variable(path, entry.name, variable, options, entry.fill_value)
    return stack(path, parts, variables, options, **({} if leading is None else _axes(path, first, leading, variables)))


def _axes(path: Path, name: str, variable: GriddedVariable, variables: Mapping[str, GriddedVariable]) -> dict[str, Any]:
    """Returns the fields of :class:`Frames` that describe the axes of a variable: times, coordinates, dimensions."""
    group, axes = _group(name), {}
    if not variable.dims:
        time = find_times(name, {n: v.shape for n, v in variables.items()})
    else:
        time_dim, dims = variable.dims[0], variable.dims[-2:]
        names = ("valid_time", time_dim, *TIME_DIMS)
        allowed = [(time_dim,), ()] if variable.shape[0] == 1 else [(time_dim,)]
        inside = [f"{group}{n}" for n in names]
        time = next((n for n in inside if n in variables and variables[n].dims in allowed), None)
        if time is None and group:  # a group has the dimensions of the groups around it, here without their names
            time = next((n for n in names if n in variables and variables[n].shape == variable.shape[:1]), None)
        coordinates: dict[str, Any] = {}
        for label in (*dims, *str(scalar(variable.attrs.get("coordinates")) or "").split()):
            coordinate = variables.get(f"{group}{label}")
            if coordinate is not None and coordinate.dims and set(coordinate.dims) <= set(dims):
                packing = Decoder.from_attrs(coordinate.attrs, coordinate.array.dtype).packing  # CF: none is missing
                attrs = {k: str(v) for k in ("units", "standard_name", "long_name", "axis")
                         if (v := scalar(coordinate.array.attrs.get(k))) is not None}  # fmt: skip
                coordinates[label] = (coordinate.dims, Decoder(packing).decode(coordinate.array.values), attrs)
        mapping = str(variable.array.attrs.get("grid_mapping", "")).partition(":")[0].strip()
        if (crs := variables.get(f"{group}{mapping}")) is not None and not crs.shape:  # CF: its value has no meaning
            coordinates[mapping] = ((), 0, dict(crs.array.attrs))
        axes = {"coordinates": coordinates, "map_dims": dims}
    times = None if time is None else need("numpy", "cli").atleast_1d(variables[time].array[...])
    return axes | check_times(path, times, {} if time is None else variables[time].attrs, variable.shape)
