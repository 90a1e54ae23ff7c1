"""Frames of HDF5 and NetCDF-4 files."""

from pathlib import Path
from typing import Any

from ..._extras import need
from .base import Frames, ReadOptions, choose_array, find_times, frames_from
from .cf import ATTRIBUTES
from .files import FileError, check_size, reading


class Hdf5Array:
    """Array of an HDF5 file that opens the file whenever it is sliced."""

    def __init__(self, path: Path, name: str, shape: tuple[int, ...], dtype: Any) -> None:
        self.path, self.name, self.shape, self.dtype = path, name, shape, dtype

    def __getitem__(self, index: Any) -> Any:
        with need("h5py", "radar").File(self.path) as file:
            return file[self.name][index]


def _attributes(array: Any) -> dict[str, Any]:
    return {name: array.attrs[name] for name in ATTRIBUTES if name in array.attrs}


def open_hdf5(path: Path, options: ReadOptions) -> Frames:
    """Opens an array of an HDF5 or NetCDF-4 file, by the CF conventions."""
    h5py = need("h5py", "radar")
    with reading(path, "HDF5 or NetCDF-4 file"):
        with path.open("rb") as raw:
            if raw.read(3) == b"CDF":
                raise FileError(
                    f"{path} is a NetCDF-3 file, and NetCDF-4 is read; convert it with "
                    f"`nccopy -k nc4 {path.name} new.nc`"
                )
        with h5py.File(path) as file:
            arrays: dict[str, Any] = {}
            file.visititems(lambda name, item: arrays.update({name: item}) if isinstance(item, h5py.Dataset) else None)
            shapes = {name: item.shape or () for name, item in arrays.items()}
            name = choose_array(path, shapes, options)
            array, times_name = arrays[name], find_times(name, shapes)
            check_size(path, array.size * array.dtype.itemsize, max(array.id.get_storage_size(), 1))
            if array.external:
                raise FileError(f"{path}: {name} is stored in another file; save it in this one")
            times = None if times_name is None else arrays[times_name][:]
            lazy = Hdf5Array(path, name, array.shape, array.dtype)
            attrs, time_attrs = _attributes(array), {} if times_name is None else _attributes(arrays[times_name])
        return frames_from(path, lazy, attrs, times, time_attrs, options)
