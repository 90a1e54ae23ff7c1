"""Checks of Zarr, HDF5 and GRIB files from untrusted sources, before any of their values is read.

No file leads to another file, only listed codecs decode values, and no chunk decompresses to more than 1 GiB.
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


def zstd_size(data: bytes) -> int:
    """Returns the decompressed size that zstd data claim; if they state none, 128 KiB for each block (RFC 8878)."""
    flags = data[4]
    is_single, length = bool(flags & 0x20), (flags >> 5 & 1, 2, 4, 8)[flags >> 6]
    at = 5 + (not is_single) + (0, 1, 2, 4)[flags & 3]
    if length:
        return int.from_bytes(data[at : at + length], "little") + 256 * (length == 2)
    size, is_last = 0, False
    while not is_last:
        if at + 3 > len(data):
            raise ValueError("a chunk of zstd is truncated")
        head = int.from_bytes(data[at : at + 3], "little")
        is_last, is_repeated = bool(head & 1), head >> 1 & 3 == 1
        at, size = at + 3 + (1 if is_repeated else head >> 3), size + 2**17
    return size


CLAIMED_SIZES: dict[str, Callable[[bytes], int]] = {
    "blosc": lambda data: int.from_bytes(data[4:8], "little"),
    "lz4": lambda data: int.from_bytes(data[:4], "little"),
    "szip": lambda data: int.from_bytes(data[:4], "little"),
    "zstd": zstd_size,
}
"""Functions that return the decompressed size that a chunk claims. Other compressors expand a thousandfold at most."""


def check_chunk(path: Path, name: str, size: int, limit: int = LARGE) -> None:
    """Raises FileError if a chunk of the array `name` needs more than `limit` bytes."""
    if size > limit:
        raise FileError(f"{path}: a chunk of {name} claims {size:,} bytes; store it in chunks of at most {limit:,}")


def _find_compressor(path: Path, name: str, codecs: list[Any], compressors: Any, others: Any, checksums: Any) -> Any:
    """Returns the compressor among codecs, or None; raises FileError for unknown ones, or if it is not the last one."""
    if unknown := [c for c in codecs if c not in (*compressors, *others)]:
        raise FileError(f"{path}: the codec {unknown[0]!r:.80} of {name} is not read; store it with gzip or zstd")
    found = [c for c in codecs if c not in checksums]
    if any(c in compressors for c in found[:-1]):
        listed = ", ".join(map(str, codecs))
        raise FileError(f"{path}: {name} is not compressed once, as the last step, but by {listed}; store it with gzip")
    return found[-1] if found and found[-1] in compressors else None


def check_grib(path: Path) -> None:
    """Checks the size that each message of a GRIB file claims, which may be constant and then stores no values.

    Raises FileError if the values of a message claim far more memory than the message contains.
    """
    eccodes = need("eccodes", "grib")
    with reading(path, "GRIB file"), path.open("rb") as file:
        while (handle := eccodes.codes_grib_new_from_file(file, headers_only=True)) is not None:
            points, stored = (eccodes.codes_get_long(handle, key) for key in ("numberOfDataPoints", "totalLength"))
            eccodes.codes_release(handle)
            check_claimed_size(path, 8 * points, stored)


# ---- HDF5 ----------------------------------------------------------------------------------------------------------
HDF5_COMPRESSORS = {1: "deflate", 4: "szip", 307: "bzip2", 32000: "lzf", 32001: "blosc", 32015: "zstd"}
"""Numbers of the compressors that the NetCDF library and h5py write."""
SHUFFLE, CHECKSUM = 2, 3


def check_hdf5(path: Path, kind: str = "HDF5 file") -> None:
    """Checks all links and datasets of an HDF5 or NetCDF-4 file. Error messages name its `kind`.

    Raises FileError if values are stored in another file, a filter is not supported, a dataset has more than one
    compressor or lists of variable length, or a chunk needs more than 1 GiB; ImportError if a filter is not installed.
    """
    h5py = need("h5py", "netcdf")
    with reading(path, kind), CheckedFile(path.open("rb")) as raw, h5py.File(raw, "r") as file:
        links: list[tuple[str, Any]] = []
        file.visititems_links(lambda *link: links.append(link))
        if outside := [name for name, link in links if not isinstance(link, h5py.HardLink | h5py.SoftLink)]:
            raise FileError(f"{path}: {outside[0]} is stored in another file; save it in this one")
        for item in (file, *(file[name] for name, link in links if isinstance(link, h5py.HardLink))):
            types = [item.attrs.get_id(name).get_type() for name in item.attrs]
            if isinstance(item, h5py.Dataset):
                _check_dataset(path, item, raw)
                types.append(item.id.get_type())
            if any(map(_has_lists, types)):
                raise FileError(f"{path}: {item.name} has lists of variable length, which are not read; store arrays")


def _has_lists(data_type: Any) -> bool:
    """Returns whether a type has lists of variable length other than of references; libhdf5 2.0 crashes on bad ones."""
    h5t = need("h5py", "netcdf").h5t
    if isinstance(data_type, h5t.TypeCompoundID):
        return any(_has_lists(data_type.get_member_type(i)) for i in range(data_type.get_nmembers()))
    if isinstance(data_type, h5t.TypeArrayID):
        return _has_lists(data_type.get_super())
    return isinstance(data_type, h5t.TypeVlenID) and not isinstance(data_type.get_super(), h5t.TypeReferenceID)


def _check_dataset(path: Path, dataset: Any, raw: Any) -> None:
    h5py, layout, name = need("h5py", "netcdf"), dataset.id.get_create_plist(), dataset.name
    if layout.get_layout() == h5py.h5d.VIRTUAL or layout.get_external_count():  # before its shape, which opens them
        raise FileError(f"{path}: {name} is stored in another file; save it in this one")
    itemsize = dataset.id.get_type().get_size()
    if dataset.ndim == 1:  # coordinates are read as a whole
        check_claimed_size(path, dataset.size * itemsize, dataset.id.get_storage_size())
    filters = [layout.get_filter(i)[0] for i in range(layout.get_nfilters())]
    compressor = _find_compressor(path, name, filters, HDF5_COMPRESSORS, (SHUFFLE, CHECKSUM), (CHECKSUM,))
    if compressor is None:
        return
    check_chunk(path, name, math.prod(layout.get_chunk()) * itemsize)
    if not h5py.h5z.filter_avail(compressor):
        need("hdf5plugin", "hdf5")  # registers the filters
    if claimed_size := CLAIMED_SIZES.get(HDF5_COMPRESSORS[compressor]):
        if dataset.file.userblock_size:
            raise FileError(f"{path} begins with {dataset.file.userblock_size} bytes of a user; use h5repack -u")
        chunks: list[Any] = []
        dataset.id.chunk_iter(chunks.append)
        for chunk in chunks:
            if not chunk.filter_mask >> filters.index(compressor) & 1:
                raw.seek(chunk.byte_offset)
                check_chunk(path, name, claimed_size(raw.read(32)))


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

    Open it without consolidated metadata, which may describe an array in another way. Raises FileError if a codec is
    not supported, an array has more than one compressor, or a chunk needs more than 1 GiB.
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
        checksums = [codec for codec, _ in _named(sharding["index_codecs"])]
        if count > MAX_SHARD or checksums not in (["bytes"], ["bytes", "crc32c"]):
            raise FileError(f"{path}: {name} has shards of {count:,} chunks with an index of {checksums}")
        size = 16 * count + 4 * (len(checksums) - 1)
        index = slice(size) if sharding["index_location"] == "start" else slice(-size, None)
    names = [codec for codec, _ in codecs]
    compressor = _find_compressor(path, name, names, ZARR_COMPRESSORS, ZARR_FILTERS, ("crc32c",))
    largest = max(math.prod(array.chunks), array.size if array.ndim == 1 else 0)  # coordinates are read as a whole
    check_chunk(path, name, largest * array.dtype.itemsize)
    limit, claimed_size = LARGE // math.prod(map(_expansion, codecs)), CLAIMED_SIZES.get(compressor, len)

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
    return [((c.get("id") or c["name"]).removeprefix("numcodecs."), c.get("configuration", c)) for c in codecs]


def _expansion(codec: tuple[str, dict[str, Any]]) -> int:
    """Returns the largest factor by which a filter expands its input."""
    keys = {"dtype", "astype", "decode_dtype", "encode_dtype"}
    sizes = [max(numpy.dtype(v).itemsize, 1) for k, v in codec[1].items() if k in keys]
    return 8 if codec[0] == "packbits" else -(-max(sizes, default=1) // min(sizes, default=1))
