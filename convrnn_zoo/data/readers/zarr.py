"""Frames of Zarr stores."""

import logging
import math
from pathlib import Path
from typing import Any

from ..._extras import need
from .base import Frames, ReadOptions, choose_array, find_times, frames_from
from .files import LARGE, FileError, reading

log = logging.getLogger(__name__)


def attributes(array: Any, name: str) -> dict[str, Any]:
    """Returns the attributes of a Zarr array as xarray reads them.

    In version 2 of the format the array's fill value marks missing values, unless it is 0, Zarr's default.
    """
    attrs = dict(array.attrs)
    if array.metadata.zarr_format == 2 and array.fill_value is not None and "_FillValue" not in attrs:
        if array.fill_value != 0:
            attrs["_FillValue"] = array.fill_value
        elif "scale_factor" in attrs or "_ARRAY_DIMENSIONS" in attrs:
            log.warning(
                "%s: its fill value 0 is read as the number 0, not as missing; data.fill_value = 0 changes that", name
            )
    return attrs


def open_zarr(path: Path, options: ReadOptions) -> Frames:
    """Opens an array of a Zarr store, which is read when it is sliced."""
    zarr = need("zarr", "zarr")
    with reading(path, "Zarr store"):
        group = zarr.open(str(path), mode="r")
        arrays: dict[str, Any] = dict(group.arrays()) if hasattr(group, "arrays") else {"": group}
        shapes = {name: tuple(item.shape) for name, item in arrays.items()}
        name = choose_array(path, shapes, options)
        array, times_name = arrays[name], find_times(name, shapes)
        if math.prod(array.chunks) * array.dtype.itemsize > LARGE:
            raise FileError(f"{path}: chunks of {array.chunks} need over a gibibyte each; store it in smaller chunks")
        times = None if times_name is None else arrays[times_name][:]
        attrs, time_attrs = attributes(array, str(path)), {} if times_name is None else dict(arrays[times_name].attrs)
        return frames_from(path, array, attrs, times, time_attrs, options)
