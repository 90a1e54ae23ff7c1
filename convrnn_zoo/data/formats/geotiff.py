"""Opens GeoTIFF files, of which each holds one map or several bands, with rioxarray."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy

from ..._extras import need, quiet
from ...values.labels.axes import CHANNEL
from ..files import find_dates
from . import Format

if TYPE_CHECKING:
    import xarray as xr

TIFF = (".tif", ".tiff")
GEO_TAGS = (33550, 34264, 34735)
"""Tags of TIFF that state the pixel size, the transformation and the projection."""


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


def open_geotiff(path: Path, variable: str = "") -> xr.Dataset:
    """Opens a GeoTIFF as a Dataset of one variable ``(y, x)``, or ``(channel, y, x)`` if it has several bands.

    The variable has the name that describes its first band, if there is one, and its unit. Its date is the first one in
    the name of the file, or else in the tag ``DateTime``.
    """
    rioxarray = need("rioxarray", "geotiff")
    need("dask.array", "geotiff")
    with quiet():
        array = rioxarray.open_rasterio(path, driver="GTiff", mask_and_scale=True, chunks={"y": -1, "x": -1})
        array = array.rio.write_coordinate_system()
    tag = str(array.attrs.get("TIFFTAG_DATETIME", "")).replace(" ", "T").replace(":", "-")
    dates = find_dates(path.stem) + find_dates(tag)
    array = array.drop_vars("band").rename(band=CHANNEL)
    attrs = {k: v if isinstance(v, tuple) else (v,) for k, v in array.attrs.items() if k in ("units", "long_name")}
    array.attrs = {k: v[0] for k, v in attrs.items() if len(set(v)) == 1}  # one value for each band
    name = str(attrs.get("long_name", ("",))[0])
    array = array[0] if array.sizes[CHANNEL] == 1 else array
    data = array.to_dataset(name=name if name.isidentifier() else "band")
    if not dates:
        return data
    return data.assign_coords(time=((), numpy.datetime64(dates[0], "ns"), {"standard_name": "time"}))


LABELLED = (Format("GeoTIFF", TIFF, open_geotiff, is_geotiff),)
