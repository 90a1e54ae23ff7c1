"""Zarr stores from untrusted sources. This module imports zarr."""

import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy

from .._extras import need
from .files import LARGE, FileError
from .untrusted import CLAIMED_SIZES, check_chunk

storage: Any = need("zarr.storage", "zarr")
METADATA = ("zarr.json", ".zarray", ".zgroup", ".zmetadata")
"""Files of a store that describe arrays."""
MAX_METADATA, MAX_SHARD = 2**26, 2**20
"""Largest size of a metadata file in bytes, and largest number of chunks in a shard."""
COMPRESSORS = ("blosc", "gzip", "lz4", "zlib", "zstd")
FILTERS = (
    "adler32", "astype", "bitround", "bytes", "crc32", "crc32c", "delta", "endian", "fixedscaleoffset", "fletcher32",
    "jenkins_lookup3", "packbits", "quantize", "shuffle", "transpose", "vlen-bytes", "vlen-utf8",
)  # fmt: skip
"""Other codecs that are read. Of those that are not, ``pickle`` runs code, and bz2 and lzma do not state a size."""


class Chunks(NamedTuple):
    """Chunks of an array."""

    compressor: str
    limit: int
    """Largest number of bytes of a decompressed chunk, before filters."""
    shard: int
    """Number of chunks in a shard; 0 if there are no shards."""
    index_bytes: slice
    """Bytes of a shard that are its index: offset and size of each chunk."""


class CheckedStore(storage.WrapperStore):
    """Read-only store in a folder that checks metadata and chunks before zarr decodes them.

    Raises:
        FileError: a codec is not supported, an array has more than one compressor, or a chunk needs more than 1 GiB.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(storage.LocalStore(path, read_only=True))
        self.path, self.arrays, self.checked_shards = path, dict[PurePosixPath, Chunks](), set[str]()

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        """Reads a file of the store."""
        value, place = await super().get(key, prototype, byte_range), PurePosixPath(key)
        if value is None or place.name == ".zattrs":
            return value
        if place.name in METADATA:
            for name, array in _find_arrays(self.path, value.to_bytes()):
                self.arrays[place.parent / name] = _read_chunks(self.path, name or place.parent.name, array)
            return value
        folder = next(p for p in place.parents if p in self.arrays)
        chunks = self.arrays[folder]
        if not chunks.shard:
            self._check(folder, chunks, value.to_bytes())
        elif key not in self.checked_shards:
            shard = (await super().get(key, prototype)).to_bytes()
            index = memoryview(shard[chunks.index_bytes][: 16 * chunks.shard]).cast("Q")
            for start, size in zip(index[::2], index[1::2], strict=True):
                self._check(folder, chunks, shard[start : start + size])  # empty if the chunk is not stored
            self.checked_shards.add(key)
        return value

    async def get_partial_values(self, prototype: Any, key_ranges: Any) -> list[Any]:
        """Reads parts of files."""
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    def _check(self, folder: PurePosixPath, chunks: Chunks, data: bytes) -> None:
        if data and chunks.compressor in CLAIMED_SIZES:
            check_chunk(self.path, folder.as_posix(), CLAIMED_SIZES[chunks.compressor](data), chunks.limit)


def _find_arrays(path: Path, content: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the relative path and the metadata of every array that a metadata file describes."""
    if len(content) > MAX_METADATA:
        raise FileError(f"{path} has a metadata file of over {MAX_METADATA:,} bytes; store fewer attributes")
    pending = [("", json.loads(content))]
    for name, document in pending:  # grows in the loop
        if "shape" in document:
            yield name, document
        consolidated = document.get("consolidated_metadata") or document
        inner = {} if "shape" in document else consolidated.get("metadata") or {}
        pending += [(f"{name}/{k}".strip("/").removesuffix(".zarray"), v) for k, v in inner.items()]


def _read_chunks(path: Path, name: str, array: dict[str, Any]) -> Chunks:
    """Checks the codecs and the size of the chunks of an array."""
    if "codecs" in array and {"compressor", "filters", "chunks", "dtype"} & array.keys():
        raise FileError(f"{path}: the metadata of {name} are of two versions of the format; store it again")
    shard, index = 0, slice(0)
    if "codecs" in array:
        if array["chunk_grid"]["name"] != "regular":
            raise FileError(f"{path}: {name} has chunks of several sizes; store it with a regular grid")
        shape, codecs = array["chunk_grid"]["configuration"]["chunk_shape"], _named(array["codecs"])
        itemsize = _itemsize(array["data_type"])
        if any(codec == "sharding_indexed" for codec, _ in codecs):
            ((_, sharding),) = codecs
            shard = math.prod(n // c for n, c in zip(shape, sharding["chunk_shape"], strict=True))
            shape, codecs = sharding["chunk_shape"], _named(sharding["codecs"])
            index_codecs = [codec for codec, _ in _named(sharding["index_codecs"])]
            size = 16 * shard + 4 * (len(index_codecs) - 1)
            index = slice(size) if sharding.get("index_location") == "start" else slice(-size, None)
            if shard > MAX_SHARD or index_codecs not in (["bytes"], ["bytes", "crc32c"]):
                raise FileError(f"{path}: {name} has shards of {shard:,} chunks with an index of {index_codecs}")
    else:
        shape, itemsize = array["chunks"], numpy.dtype(array["dtype"]).itemsize
        codecs = _named([*(array.get("filters") or ()), *filter(None, [array.get("compressor")])])
    names = [codec for codec, _ in codecs]
    if unknown := [codec for codec in names if codec not in (*COMPRESSORS, *FILTERS)]:
        raise FileError(
            f"{path}: the codec {unknown[0]!r:.80} of {name} is not read; store it with gzip, zstd or blosc"
        )
    compressors = [codec for codec in names if codec in COMPRESSORS]
    if len(compressors) > 1 or (compressors and set(names[names.index(compressors[0]) + 1 :]) - {"crc32c"}):
        raise FileError(f"{path}: {name} is not compressed once, as the last step, but by {', '.join(names)}")
    check_chunk(path, name, math.prod(shape) * itemsize)
    if len(array["shape"]) == 1:  # coordinates are read as a whole
        check_chunk(path, name, array["shape"][0] * itemsize)
    limit = LARGE / math.prod(_expansion(*codec) for codec in codecs)
    return Chunks(next(iter(compressors), ""), int(limit), shard, index)


def _named(codecs: Sequence[Any]) -> list[tuple[str, dict[str, Any]]]:
    """Returns the name and the configuration of each codec of either version of the format."""
    pairs = [(c, {}) if isinstance(c, str) else (c.get("id") or c["name"], c.get("configuration", c)) for c in codecs]
    return [(name.removeprefix("numcodecs."), configuration) for name, configuration in pairs]


def _itemsize(data_type: Any) -> int:
    """Returns the bytes of a value of a Zarr 3 data type, such as ``float32`` or a fixed-length string."""
    if isinstance(data_type, dict):
        if data_type["name"] in ("struct", "structured"):
            raise ValueError("records of several fields are not read; store an array for each")
        return int(data_type.get("configuration", {}).get("length_bytes", 8))
    bits = re.search(r"[0-9]{1,9}$", data_type)
    return -(-int(bits[0]) // 8) if bits else 8


def _expansion(name: str, configuration: dict[str, Any]) -> float:
    """Returns the factor by which a filter expands its input."""
    if name == "packbits":
        return 8
    decoded, stored = ("decode_dtype", "encode_dtype") if name == "astype" else ("dtype", "astype")
    if decoded not in configuration:
        return 1
    sizes = [numpy.dtype(configuration.get(k, configuration[decoded])).itemsize for k in (decoded, stored)]
    return max(sizes[0] / max(sizes[1], 1), 1)
