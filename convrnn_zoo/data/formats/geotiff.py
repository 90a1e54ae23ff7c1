"""Opens GeoTIFF files, of which each holds one map or several bands, with rioxarray."""

from __future__ import annotations

import math
import re
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy

from ..._extras import need, quiet
from ...values.labels.axes import CHANNEL
from ..untrusted import check_chunk
from . import Format

if TYPE_CHECKING:
    import xarray as xr

TIFF = (".tif", ".tiff")
GEO_TAGS = (33550, 34264, 34735)
"""Tags of TIFF that state the pixel size, the transformation and the projection."""
DATE = re.compile(
    r"(?<!\d)((?:19|20)\d\d)[-_.]?(0[1-9]|1[0-2])"
    r"(?:[-_.]?(0[1-9]|[12]\d|3[01])(?:[-_.]?[TS]?([01]\d|2[0-3])[-_.:]?([0-5]\d)(?:[-_.:]?([0-5]\d))?)?)?(?!\d)"
)
"""Date in a file name: year, month, and perhaps day, hour, minute and second, with or without separators."""


def is_geotiff(path: Path) -> bool:
    """Returns whether a file is a TIFF file that states where its pixels lie; other TIFF files are images."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(16)
        if head[:2] not in (b"II", b"MM"):
            return False

        def number(data: bytes) -> int:
            return int.from_bytes(data, "little" if head[:2] == b"II" else "big")

        is_big = number(head[2:4]) == 43  # BigTIFF
        file.seek(number(head[8:16] if is_big else head[4:8]))
        count, size = number(file.read(8 if is_big else 2)), 20 if is_big else 12
        tags = file.read(min(count, 2**12) * size)
    return any(number(tags[at : at + 2]) in GEO_TAGS for at in range(0, len(tags), size))


def find_date(path: Path, tags: Any) -> datetime | None:
    """Returns the date in the name of a file, or else that of its tag; None if there is none.

    Example:
        >>> find_date(Path("rain_20200131T1205.tif"), {}), find_date(Path("chirps-v2.0.2020.02.tif"), {})
        (datetime.datetime(2020, 1, 31, 12, 5), datetime.datetime(2020, 2, 1, 0, 0))
    """
    for text in (path.stem, str(tags.get("TIFFTAG_DATETIME", "")).replace(" ", "T").replace(":", "-")):
        for match in DATE.finditer(text):
            year, month, day, hour, minute, second = (int(part or 0) for part in match.groups())
            try:
                return datetime(year, month, day or 1, hour, minute, second)
            except ValueError:  # the 30th of February
                continue
    return None


def open_geotiff(path: Path, variable: str = "") -> xr.Dataset:
    """Opens a GeoTIFF as a Dataset of one variable ``(y, x)``, or ``(channel, y, x)`` if it has several bands.

    The variable has the name that describes its first band, if there is one, and its unit. Its date is the one in the
    name of the file, or else in the tag ``DateTime``.
    """
    rioxarray = need("rioxarray", "geotiff")
    need("dask.array", "geotiff")
    with quiet():
        with need("rasterio", "geotiff").open(path, driver="GTiff") as file:
            for shape, dtype in zip(file.block_shapes, file.dtypes, strict=True):
                check_chunk(path, "the file", math.prod(shape) * numpy.dtype(dtype).itemsize)
        array = rioxarray.open_rasterio(path, driver="GTiff", mask_and_scale=True, chunks={"y": -1, "x": -1})
        array = array.rio.write_coordinate_system()
    date = find_date(path, array.attrs)
    array = array.drop_vars("band").rename(band=CHANNEL)
    attrs = {k: v if isinstance(v, tuple) else (v,) for k, v in array.attrs.items() if k in ("units", "long_name")}
    array.attrs = {k: v[0] for k, v in attrs.items() if len(set(v)) == 1}  # one value for each band
    name = str(attrs.get("long_name", ("",))[0])
    array = array[0] if array.sizes[CHANNEL] == 1 else array
    data = array.to_dataset(name=name if name.isidentifier() else "band")
    if date is None:
        return data
    return data.assign_coords(time=((), numpy.datetime64(date, "ns"), {"standard_name": "time"}))


LABELLED = (Format("GeoTIFF", TIFF, open_geotiff, is_geotiff),)
