"""Checks of Zarr, HDF5 and GRIB files from untrusted sources, before any of their values is read.

A file may not lead to another file, its codecs must be known, and no chunk may decompress to more than 1 GiB. Arrays
are read in parts, so that they may be larger than the file.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy

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
            points, stored = (eccodes.codes_get_long(handle, key) for key in ("numberOfDataPoints", "totalLength"))
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
    with reading(path, kind), CheckedFile(path.open("rb")) as raw, h5py.File(raw, "r") as file:
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
    number, compressor = compressors[0], COMPRESSORS[compressors[0]]
    if len(compressors) > 1 or set(filters[filters.index(number) :]) - {number, CHECKSUM}:
        raise FileError(f"{path}: {name} is not compressed once, as its last filter; h5repack -f GZIP=4 does so")
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


# ---- Zarr ----------------------------------------------------------------------------------------------------------
ZARR_COMPRESSORS = ("blosc", "gzip", "lz4", "zlib", "zstd")
ZARR_FILTERS = (
    "adler32", "astype", "bitround", "bytes", "crc32", "crc32c", "delta", "endian", "fixedscaleoffset", "fletcher32",
    "jenkins_lookup3", "packbits", "quantize", "shuffle", "transpose", "vlen-bytes", "vlen-utf8",
)  # fmt: skip
"""Other codecs that are read. Of those that are not, ``pickle`` runs code, and bz2 and lzma do not state a size."""
MAX_SHARD = 2**20
"""Largest number of chunks in a shard."""


def checked_store(path: Path) -> Any:
    """Returns a read-only Zarr store in a folder that checks arrays and chunks before zarr decodes them.

    Open it without consolidated metadata, which may describe an array in another way.

    Raises:
        FileError: a codec is not supported, an array has more than one compressor, or a chunk needs more than 1 GiB.
    """
    storage: Any = need("zarr.storage", "zarr")
    api = need("zarr.api.asynchronous", "zarr")
    arrays = dict[PurePosixPath, Callable[[bytes], None]]()
    checked = set[str]()

    class CheckedStore(storage.WrapperStore):
        async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
            """Reads a file of the store."""
            value, folder = await super().get(key, prototype, byte_range), PurePosixPath(key).parent
            name = PurePosixPath(key).name
            if value is None or name in (".zattrs", ".zgroup", ".zmetadata"):
                return value
            if name == ".zarray" or (name == "zarr.json" and json.loads(value.to_bytes())["node_type"] == "array"):
                if (path / folder / ".zarray").exists() and (path / folder / "zarr.json").exists():
                    raise FileError(f"{path}: the metadata of {folder} are of two versions of the format; delete one")
                array = await api.open_array(store=self._store, path=folder.as_posix() if folder.name else "", mode="r")
                arrays[folder] = _check_array(path, folder.name, array)
            elif name != "zarr.json" and key not in checked:
                check = next(arrays[p] for p in (folder, *folder.parents) if p in arrays)
                check((value if byte_range is None else await super().get(key, prototype)).to_bytes())
                checked.add(key)
            return value

        async def get_partial_values(self, prototype: Any, key_ranges: Any) -> list[Any]:
            """Reads parts of files."""
            return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    return CheckedStore(storage.LocalStore(path, read_only=True))


def _check_array(path: Path, name: str, array: Any) -> Callable[[bytes], None]:
    """Checks the codecs and the chunks of an array; returns a function that checks the content of a file of chunks."""
    metadata, index, count = array.metadata.to_dict(), slice(0), 0
    codecs = [*(metadata.get("filters") or ()), *filter(None, [metadata.get("compressor")])]
    codecs = _named(metadata.get("codecs", codecs))
    if any(codec == "sharding_indexed" for codec, _ in codecs):
        ((_, sharding),) = codecs
        codecs, count = _named(sharding["codecs"]), math.prod(array.shards) // math.prod(array.chunks)
        index_codecs = [codec for codec, _ in _named(sharding["index_codecs"])]
        size = 16 * count + 4 * (len(index_codecs) - 1)
        index = slice(size) if sharding["index_location"] == "start" else slice(-size, None)
        if count > MAX_SHARD or index_codecs not in (["bytes"], ["bytes", "crc32c"]):
            raise FileError(f"{path}: {name} has shards of {count:,} chunks with an index of {index_codecs}")
    names = [codec for codec, _ in codecs]
    if unknown := [codec for codec in names if codec not in (*ZARR_COMPRESSORS, *ZARR_FILTERS)]:
        raise FileError(f"{path}: the codec {unknown[0]!r:.80} of {name} is not read; store it with gzip or zstd")
    compressors = [codec for codec in names if codec in ZARR_COMPRESSORS]
    if len(compressors) > 1 or (compressors and set(names[names.index(compressors[0]) + 1 :]) - {"crc32c"}):
        raise FileError(f"{path}: {name} is not compressed once, as the last step, but by {', '.join(names)}")
    check_chunk(path, name, math.prod(array.chunks) * array.dtype.itemsize)
    if array.ndim == 1:  # coordinates are read as a whole
        check_chunk(path, name, array.size * array.dtype.itemsize)
    limit = int(LARGE / math.prod(_expansion(*codec) for codec in codecs))
    claimed_size = CLAIMED_SIZES.get("".join(compressors), lambda data: 0)

    def check(content: bytes) -> None:
        places = [0, len(content)]
        if count:  # offset and size of each chunk in a shard; the chunk is empty if it is not stored
            places = list(memoryview(content[index][: 16 * count]).cast("Q"))
        for start, size in zip(places[::2], places[1::2], strict=True):
            if chunk := content[start : start + size]:
                check_chunk(path, name, claimed_size(chunk), limit)

    return check


def _named(codecs: Any) -> list[tuple[str, dict[str, Any]]]:
    """Returns the name and the configuration of each codec of either version of the format."""
    pairs = [(c.get("id") or c["name"], c.get("configuration", c)) for c in codecs]
    return [(name.removeprefix("numcodecs."), configuration) for name, configuration in pairs]


def _expansion(name: str, configuration: dict[str, Any]) -> float:
    """Returns the factor by which a filter expands its input."""
    if name == "packbits":
        return 8
    decoded, stored = ("decode_dtype", "encode_dtype") if name == "astype" else ("dtype", "astype")
    if decoded not in configuration:
        return 1
    sizes = [numpy.dtype(configuration.get(k, configuration[decoded])).itemsize for k in (decoded, stored)]
    return max(sizes[0] / max(sizes[1], 1), 1)
