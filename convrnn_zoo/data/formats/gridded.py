"""Opens NetCDF, Zarr, HDF5 and GRIB files with xarray."""

from __future__ import annotations

import base64
import contextlib
import logging
import math
import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy

from ..._extras import need, need_pyproj
from ..._stores import Place, open_zarr_store
from ...values.labels.form import divide, part_shape
from ..files import TIMES, FileError, reading
from . import Format

if TYPE_CHECKING:
    import xarray as xr

logger = logging.getLogger(__name__)
HDF5, STORE = (".h5", ".hdf5"), ".zarr"
GRIB = (".grib", ".grib2", ".grb", ".grb2")
PACKING = ("scale_factor", "add_offset", "_Unsigned", "_FillValue", "missing_value")
ATTRIBUTES = (*PACKING, "valid_range", "valid_min", "valid_max", "units", "calendar", "standard_name", "long_name")
"""Attributes of arrays without named dimensions that are read. Others may have types that h5py cannot read."""
AXES = {2: ("y", "x"), 3: ("time", "y", "x"), 4: ("time", "channel", "y", "x")}
"""Names that the dimensions of an array of frames receive if the file does not name them."""


@dataclass(frozen=True)
class Array:
    """Array of stored numbers that ``read(index)`` returns for rising slices; its dimensions have no names."""

    read: Callable[[Any], numpy.ndarray]
    shape: tuple[int, ...]
    dtype: numpy.dtype
    attrs: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, index: Any) -> numpy.ndarray:
        return self.read(index)

    def name_axes(self, dims: Sequence[Hashable], attrs: Mapping[str, Any], chunks: Any = None) -> xr.Variable:
        """Returns an ``xarray.Variable`` that dask reads in parts of the shape `chunks` when they are used."""
        meta = numpy.empty((0,) * len(self.shape), self.dtype)
        chunks = chunks or part_shape(self.shape, self.dtype.itemsize)
        values = need("dask.array", "netcdf").from_array(self, chunks=chunks, name=False, meta=meta, fancy=False)
        return need("xarray", "netcdf").Variable(dims, values, attrs)


def is_recognised(path: Path) -> bool:
    """Returns whether an installed engine of xarray recognises a file."""
    with contextlib.suppress(ImportError):
        need_pyproj()  # before engines load ecCodes
    return any(engine.guess_can_open(path) for engine in need("xarray", "netcdf").backends.list_engines().values())


def _open_netcdf(path: Path, variable: str) -> xr.Dataset:
    """Opens a NetCDF file, or another one that an installed engine of xarray recognises."""
    if need("h5py", "netcdf").is_hdf5(path):
        return _open_hdf5(path, variable)
    if not is_recognised(path):
        need("scipy", "netcdf")  # the engine of NetCDF-3
        raise FileError(f"{path}: no installed engine of xarray reads it; install its engine, or leave it out")
    return _open(path)


def _open_grib(path: Path, variable: str) -> xr.Dataset:
    need("cfgrib", "grib")
    return _open(path, engine="cfgrib", backend_kwargs={"indexpath": ""})  # without index files, which are pickles


def _open(path: Any, group: str = "", **kwargs: Any) -> xr.Dataset:
    """Opens a file, or a Zarr store, with xarray. Variables in a group have the coordinates of the file, too."""
    xarray = need("xarray", "netcdf")
    options = {"decode_times": False, "decode_coords": "all", "cache": False, **kwargs}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xarray.SerializationWarning)  # of several fill values, all of which count
        data = xarray.open_dataset(path, group=group, **options) if group else xarray.open_dataset(path, **options)
        data = data.assign({n: divide(v.variable) for n, v in data.data_vars.items()})
        if not group:
            return data
        root = xarray.open_dataset(path, **options)
    for name, c in root.variables.items():  # h5netcdf does not name dimensions of the groups above
        sizes = {size: d for d, size in data.sizes.items() if str(d).startswith("phony_dim")}
        if c.ndim == 1 and c.dims == (name,) and c.size in sizes and name not in data.variables:
            data = data.rename({sizes[c.size]: name}).assign_coords({name: c})
        elif c.ndim < 2 and set(c.dims) <= set(data.dims) and name not in data.variables:
            data = data.assign_coords({name: c})
    return data


# ---- arrays without named dimensions -----------------------------------------------------------------------------
def _read_hdf5(path: Path, name: str, index: Any) -> Any:
    with need("h5py", "netcdf").File(path) as file:
        return file[name][index]


def _read_zarr(path: Place, name: str, index: Any) -> Any:
    opened = need("zarr", "zarr").open(open_zarr_store(path), mode="r")
    return (opened[name] if name else opened)[index]


def check_links(path: Path, name: str = "HDF5 file") -> None:
    """Raises FileError if an HDF5 or NetCDF-4 file takes values from another file. Messages call it by `name`."""
    h5py = need("h5py", "netcdf")
    with reading(path, name), h5py.File(path) as file:
        links: list[tuple[str, Any]] = []
        file.visititems_links(lambda *link: links.append(link))
        for key, link in links:
            layout = None
            if isinstance(link, h5py.HardLink) and isinstance(file[key], h5py.Dataset):
                layout = file[key].id.get_create_plist()
            is_outside = layout and (layout.get_layout() == h5py.h5d.VIRTUAL or layout.get_external_count())
            if is_outside or isinstance(link, h5py.ExternalLink):
                raise FileError(f"{path}: {key} is stored in another file; save it in this one")


def _open_hdf5(path: Path, variable: str) -> xr.Dataset:
    h5py, arrays = need("h5py", "netcdf"), dict[str, Array]()
    check_links(path)
    with h5py.File(path) as file:
        items: dict[str, Any] = {}
        file.visititems(lambda name, item: items.update({name: item}))
        for name, item in items.items():
            if not isinstance(item, h5py.Dataset):
                continue
            layout = item.id.get_create_plist()
            if not all(h5py.h5z.filter_avail(layout.get_filter(i)[0]) for i in range(layout.get_nfilters())):
                need("hdf5plugin", "hdf5")  # registers filters such as zstd
            attrs = {a: item.attrs[a] for a in ATTRIBUTES if a in item.attrs}
            arrays[name] = Array(partial(_read_hdf5, path, name), item.shape or (), item.dtype, attrs)
        if not any("DIMENSION_LIST" in item.attrs for item in items.values()) and any(
            len(a.shape) > 1 for a in arrays.values()
        ):
            return _name_axes(path, arrays, variable)
    need("h5netcdf", "netcdf")
    group = _find_group(path, [name for name, a in arrays.items() if len(a.shape) > 2], variable)
    return _open(path, group, engine="h5netcdf", phony_dims="sort")


def _find_group(path: Place, frames: Sequence[str], variable: str) -> str:
    """Returns the group of `variable` with its slash, or else the only one of the arrays `frames`."""
    if variable:
        return variable[: variable.rfind("/") + 1]
    groups = {name[: name.rfind("/") + 1] for name in frames}
    if len(groups) > 1 and "" not in groups:
        names = ", ".join(frames)
        raise FileError(f"{path} has frames in several groups, {names}; name a variable: data.variable, or --key")
    return groups.pop() if len(groups) == 1 else ""


def _open_zarr(path: Place, variable: str) -> xr.Dataset:
    place = open_zarr_store(path)
    store = need("zarr", "zarr").open(place, mode="r")
    arrays = {"": store} if not hasattr(store, "arrays") else dict(store.arrays())
    frames = [name for name, a in arrays.items() if len(a.shape) > 2]
    if not frames and hasattr(store, "members"):
        frames = [name for name, a in store.members(max_depth=None) if len(getattr(a, "shape", ())) > 2]
    group = _find_group(path, frames, variable)
    if group:
        arrays |= {f"{group}{name}": array for name, array in store[group].arrays()}
    inside = [array for name, array in arrays.items() if name.startswith(group)]
    names = [
        a.attrs.get("_ARRAY_DIMENSIONS") if a.metadata.zarr_format == 2 else a.metadata.dimension_names for a in inside
    ]
    if "" not in arrays and not any(a.ndim and None in (d or (None,)) for a, d in zip(inside, names, strict=True)):
        is_consolidated = store.metadata.consolidated_metadata is not None
        options = {"backend_kwargs": {"use_zarr_fill_value_as_mask": False}}
        return _open(place, group, engine="zarr", consolidated=is_consolidated and not group, **options)
    unnamed = {
        name: Array(partial(_read_zarr, path, name), a.shape, a.dtype, _zarr_attributes(a, path))
        for name, a in arrays.items()
    }
    return _name_axes(path, unnamed, variable)


def _zarr_attributes(array: Any, path: Place) -> dict[str, Any]:
    """Returns the attributes of an array. In Zarr 2, a fill value marks missing values unless it is 0, the default."""
    attrs = dict(array.attrs)
    if array.metadata.zarr_format == 2 and array.fill_value is not None and "_FillValue" not in attrs:
        if array.fill_value != 0:
            attrs["_FillValue"] = array.fill_value
        elif array.ndim > 2 and "scale_factor" in attrs:
            logger.warning("%s: its fill value 0 is read as a number; data.fill_value = 0 makes it missing", path)
    return attrs


def _name_axes(path: Place, arrays: Mapping[str, Array], variable: str) -> xr.Dataset:
    """Returns arrays ``(H, W)``, ``(T, H, W)`` or ``(T, C, H, W)`` as a Dataset with the dimensions of frames.

    Arrays that do not fit the sizes of `variable`, or else of the first array of frames, are left out. The name of an
    array with the name of a dimension, such as ``x``, has the suffix ``_frames``. Times are in an
    array ``time`` or ``times`` in the group of the frames or in the file.
    """
    xarray, group = need("xarray", "netcdf"), variable[: variable.rfind("/") + 1]
    time = next(
        (n for n in (*(f"{group}{t}" for t in TIMES), *TIMES) if n in arrays and len(arrays[n].shape) == 1), None
    )
    order = sorted(
        (n for n in arrays if len(arrays[n].shape) in AXES), key=lambda n: (n != variable, len(arrays[n].shape) < 3)
    )
    data, sizes = xarray.Dataset(), dict[str, int]()
    for name in order:
        array = arrays[name]
        dims = AXES[len(array.shape)]
        if any(sizes.get(d, n) != n for d, n in zip(dims, array.shape, strict=True)):
            continue
        sizes |= dict(zip(dims, array.shape, strict=True))
        attrs = {k: v for k, value in array.attrs.items() if (v := _plain(k, value, array.dtype)) is not None}
        data[f"{name}_frames" if name in sizes else name or "frames"] = array.name_axes(dims, attrs)
    if time is not None and "time" in sizes:
        count = arrays[time].shape[0]
        if count != sizes["time"]:
            shape = next(tuple(v.shape) for v in data.values() if "time" in v.dims)
            hint = "put time first: transpose the array" if count in shape else "correct the file"
            raise FileError(f"{path}: {shape[0]} frames and {count} times, in {shape}; {hint}")
        attrs = {k: _plain(k, v, arrays[time].dtype) for k, v in arrays[time].attrs.items()}
        data = data.assign_coords(time=("time", arrays[time].read(...), attrs))
    return xarray.decode_cf(data, decode_times=False)


def _plain(key: str, value: Any, dtype: Any) -> Any:
    """Returns an attribute as text, a number or an array; None if it is empty or a fill value that cannot be stored."""
    if hasattr(value, "shape"):  # the size of h5py.Empty is None
        value = None if not value.size else value if value.size > 1 else value.reshape(-1)[0]
    value = value.decode(errors="replace") if isinstance(value, bytes) else value
    if value is None or (isinstance(value, str) and not value):
        return None
    if key in ("scale_factor", "add_offset", "_FillValue", "missing_value") and isinstance(value, str):
        try:
            value = float(value)
        except ValueError:  # Zarr stores floats as base64
            value = float(numpy.frombuffer(base64.standard_b64decode(value), "<f8")[0])
    if key in ("_FillValue", "missing_value"):
        fits = [v for v in numpy.ravel(value).tolist() if dtype.kind == "f" or _fits(v, dtype)]
        value = numpy.asarray(fits).astype(dtype) if fits else None
        value = value[0] if len(fits) == 1 else value
    return value


def _fits(value: float, dtype: Any) -> bool:
    """Returns whether an integer dtype can store a number, as signed or unsigned (attribute ``_Unsigned``)."""
    return math.isfinite(value) and value % 1 == 0 and abs(value) < 2.0 ** (8 * dtype.itemsize)


NETCDF = Format("NetCDF file", (".nc", ".nc4", ".cdf"), _open_netcdf)
LABELLED = (
    Format("HDF5 file", HDF5, _open_hdf5),
    NETCDF,
    Format("Zarr store", (STORE,), _open_zarr),
    Format("GRIB file", GRIB, _open_grib),
)
