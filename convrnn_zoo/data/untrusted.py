"""Checks of HDF5 and GRIB files from untrusted sources, to be called before any of their values is read.

A file may not lead to another file, its filters must be known, and no chunk may decompress to more than 1 GiB. Arrays
are read in parts, so that they may be larger than the file. :mod:`.zarr_store` does the same for Zarr stores.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .._extras import need
from .._hdf5 import CheckedFile
from .files import LARGE, FileError, check_claimed_size, reading

MAX_BLOCK = 2**17
"""Largest decompressed size of a block of zstd."""


def zstd_size(data: bytes) -> int:
    """Returns the decompressed size that zstd data claim; if they state none, the largest possible size.

    The format is specified in RFC 8878.
    """

    def number(at: int, length: int) -> int:
        if at + length > len(data):
            raise ValueError("a chunk of zstd is truncated")
        return int.from_bytes(data[at : at + length], "little")

    flags = number(4, 1)
    is_single, length = bool(flags & 0x20), (flags >> 5 & 1, 2, 4, 8)[flags >> 6]
    at = 5 + (not is_single) + (0, 1, 2, 4)[flags & 3]
    if length:
        return number(at, length) + 256 * (length == 2)
    size, is_last = 0, False
    while not is_last:
        head = number(at, 3)
        is_last, is_repeated = bool(head & 1), head >> 1 & 3 == 1
        at, size = at + 3 + (1 if is_repeated else head >> 3), size + MAX_BLOCK
    return size


CLAIMED_SIZES: dict[str, Callable[[bytes], int]] = {
    "blosc": lambda data: int.from_bytes(data[4:8], "little"),
    "lz4": lambda data: int.from_bytes(data[:4], "little"),
    "szip": lambda data: int.from_bytes(data[:4], "little"),
    "zstd": zstd_size,
}
"""Functions that return the decompressed size that a chunk claims, by compressor."""


def check_chunk(path: Path, name: str, size: int, limit: int = LARGE) -> None:
    """Raises FileError if a chunk of the array `name` needs more than `limit` bytes."""
    if size > limit:
        raise FileError(f"{path}: a chunk of {name} claims {size:,} bytes; store it in chunks of at most {limit:,}")


# ---- GRIB ----------------------------------------------------------------------------------------------------------
def check_grib(path: Path) -> None:
    """Checks the size that each message of a GRIB file claims, which may be constant and then stores no values.

    Raises:
        FileError: the values of a message claim far more memory than the message contains.
    """
    eccodes = need("eccodes", "grib")
    with reading(path, "GRIB file"), path.open("rb") as file:
        while (handle := eccodes.codes_grib_new_from_file(file, headers_only=True)) is not None:
            try:
                points = eccodes.codes_get_long(handle, "numberOfDataPoints")
                stored = eccodes.codes_get_long(handle, "totalLength")
            finally:
                eccodes.codes_release(handle)
            check_claimed_size(path, 8 * points, stored)


# ---- HDF5 ----------------------------------------------------------------------------------------------------------
COMPRESSORS = {1: "deflate", 4: "szip", 307: "bzip2", 32000: "lzf", 32001: "blosc", 32015: "zstd"}
"""Numbers of the compressors that the NetCDF library and h5py write."""
SHUFFLE, CHECKSUM = 2, 3


def check_hdf5(path: Path, kind: str = "HDF5 file") -> None:
    """Checks all links, datasets and types of an HDF5 or NetCDF-4 file. Error messages name its `kind`.

    Raises:
        FileError: values are stored in another file, a filter is not supported, a dataset has more than one compressor,
            or a chunk needs more than 1 GiB.
        ImportError: a filter is not installed.
    """
    h5py = need("h5py", "netcdf")
    with reading(path, kind), path.open("rb") as raw, h5py.File(CheckedFile(raw), "r") as file:
        links: list[tuple[str, Any]] = []
        file.visititems_links(lambda *link: links.append(link))
        if outside := [name for name, link in links if not isinstance(link, h5py.HardLink | h5py.SoftLink)]:
            raise FileError(f"{path}: {outside[0]} is stored in another file; save it in this one")
        items = [file, *(file[name] for name, link in links if isinstance(link, h5py.HardLink))]
        for item in items:
            for name in item.attrs:
                _check_type(path, f"the attribute {name} of {item.name}", item.attrs.get_id(name).get_type())
            if isinstance(item, h5py.Dataset):
                _check_dataset(path, item, raw)


def _check_type(path: Path, name: str, data_type: Any) -> None:
    """Raises FileError for lists of variable length other than of references; libhdf5 2.0 crashes on damaged ones."""
    h5t = need("h5py", "netcdf").h5t
    parts = [data_type]
    for part in parts:  # grows in the loop
        if isinstance(part, h5t.TypeCompoundID):
            parts += [part.get_member_type(i) for i in range(part.get_nmembers())]
        elif isinstance(part, h5t.TypeArrayID):
            parts.append(part.get_super())
        elif isinstance(part, h5t.TypeVlenID) and not isinstance(part.get_super(), h5t.TypeReferenceID):
            raise FileError(f"{path}: {name} has lists of variable length, which are not read; store arrays")


def _check_dataset(path: Path, dataset: Any, raw: Any) -> None:
    h5py, layout, name = need("h5py", "netcdf"), dataset.id.get_create_plist(), dataset.name
    if layout.get_layout() == h5py.h5d.VIRTUAL or layout.get_external_count():  # before its shape, which opens them
        raise FileError(f"{path}: {name} is stored in another file; save it in this one")
    _check_type(path, name, dataset.id.get_type())
    shape, itemsize = tuple(dataset.shape or ()), dataset.id.get_type().get_size()
    if len(shape) == 1:  # coordinates are read as a whole
        check_claimed_size(path, shape[0] * itemsize, dataset.id.get_storage_size())
    filters = [layout.get_filter(i)[0] for i in range(layout.get_nfilters())]
    if others := [n for n in filters if n not in (*COMPRESSORS, SHUFFLE, CHECKSUM)]:  # libhdf5 loads any plugin
        raise FileError(f"{path}: the filter {others[0]} of {name} is not read; use h5repack -f GZIP=4")
    compressors = [n for n in filters if n in COMPRESSORS]
    if not compressors:
        return
    check_chunk(path, name, math.prod(layout.get_chunk()) * itemsize)
    if len(compressors) > 1 or set(filters[filters.index(compressors[0]) :]) - {compressors[0], CHECKSUM}:
        raise FileError(f"{path}: {name} is not compressed once, as its last filter; h5repack -f GZIP=4 does so")
    number, compressor = compressors[0], COMPRESSORS[compressors[0]]
    if not h5py.h5z.filter_avail(number):
        need("hdf5plugin", "hdf5")  # registers the filters
    if compressor in CLAIMED_SIZES:
        if dataset.file.userblock_size:
            raise FileError(f"{path} begins with {dataset.file.userblock_size} bytes of a user; use h5repack -u")
        chunks: list[Any] = []
        dataset.id.chunk_iter(chunks.append)
        for chunk in chunks:
            if not chunk.filter_mask >> filters.index(number) & 1:
                raw.seek(chunk.byte_offset)
                check_chunk(path, name, CLAIMED_SIZES[compressor](raw.read(32)))
