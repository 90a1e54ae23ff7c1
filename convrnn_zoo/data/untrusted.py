"""Checks of Zarr stores, HDF5 and GRIB files from untrusted sources, to be called before any of their values is read.

Each raises :class:`~.files.FileError` for a file that could run code, read another file, or need memory out of
proportion to its size.
"""

import contextlib
import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .._extras import need
from .._hdf5 import CheckedFile
from .files import LARGE, MAX_RATIO, FileError, check_claimed_size, reading

CHUNK_OVERHEAD = 2**10
"""Bytes that a library needs for each chunk that it reads, besides the values."""


def _check_size(path: Path, name: str, shape: Sequence[int], chunks: Sequence[int], itemsize: int, stored: int) -> None:
    """Raises FileError if an array claims far more memory than is stored, or if a chunk needs over a gibibyte."""
    if math.prod(chunks) * itemsize > LARGE:
        raise FileError(f"{path}: chunks of {tuple(chunks)} need over a gibibyte each; store {name} in smaller ones")
    count = math.prod(-(-n // max(c, 1)) for n, c in zip(shape, chunks, strict=True))
    check_claimed_size(path, max(math.prod(shape) * itemsize, count * CHUNK_OVERHEAD), stored)


# ---- Zarr ----------------------------------------------------------------------------------------------------------
METADATA = ("zarr.json", ".zarray", ".zgroup", ".zmetadata")
"""Files of a store from which zarr learns about arrays."""
MAX_METADATA = 2**26
COMPRESSORS = {"blosc", "gzip", "lz4", "zlib", "zstd"}
"""Compressors whose decoders neither run code nor expand their input without a bound, as bz2 and lzma do."""
FILTERS = {
    "adler32", "astype", "bitround", "crc32", "crc32c", "delta", "fixedscaleoffset", "fletcher32", "jenkins_lookup3",
    "packbits", "quantize", "shuffle", "vlen-bytes", "vlen-utf8",
}  # fmt: skip
"""Other codecs of numcodecs that are read. Among those that are not, ``pickle`` runs code of the store."""
CODECS = {"bytes", "endian", "transpose", "vlen-bytes", "vlen-utf8", "crc32c", "blosc", "gzip", "zstd"}
"""Codecs of the third version of the format, without ``sharding_indexed``, which contains others."""
MORE_CODECS = COMPRESSORS - {"blosc", "zstd"} | FILTERS
"""Codecs of the third version of the format under the prefix ``numcodecs.``. The others have names without it."""
MAX_EXPANSION = 16
"""Maximum factor by which the filters of an array may expand decompressed data, such as float64 from float16."""


def check_zarr_store(path: Path, group: str = "") -> None:
    """Checks the metadata of all arrays in a store: their codecs and the memory that they claim.

    Reads the metadata of versions 2 and 3 of the format, also consolidated. `group` is the path of a group that is
    opened directly; other groups are found. Arrays should be opened within :func:`checked_codecs`, which checks the
    chunks when they are read.

    Raises:
        FileError: an array has a codec that is not supported, more than one compressor, or claims far more memory
            than the store contains.
    """
    pending, visited = [path, path / group], set()
    while pending:
        folder = pending.pop()
        if not folder.is_dir() or (real := folder.resolve()) in visited:
            continue
        visited.add(real)
        documents = {name: _read_json(folder / name) for name in METADATA if (folder / name).is_file()}
        for name, document in documents.items():
            for key, array in _find_arrays(name, document):
                with reading(path, "Zarr store"):
                    _check_array(path, folder / key, array)
        is_array = [name == ".zarray" or document.get("node_type") == "array" for name, document in documents.items()]
        if not is_array or not all(is_array):  # the folders of an array are its chunks, of which there may be millions
            pending += [Path(entry.path) for entry in os.scandir(folder) if entry.is_dir()]


def _read_json(path: Path) -> dict[str, Any]:
    with reading(path, "Zarr metadata"):
        if path.stat().st_size > MAX_METADATA:
            raise FileError(f"{path} has more than {MAX_METADATA:,} bytes; store fewer attributes")
        return _typed(json.loads(path.read_bytes()), dict)


def _typed(value: Any, expected: type) -> Any:
    if not isinstance(value, expected) or isinstance(value, bool):
        raise ValueError(f"expected {expected.__name__} in its metadata, got {str(value)[:80]}")
    return value


def _find_arrays(name: str, document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the relative path and the metadata of every array that a metadata file describes."""
    if "shape" in document or name == ".zarray":
        yield "", document
    consolidated = document if name == ".zmetadata" else document.get("consolidated_metadata") or {}
    for key, value in _typed(_typed(consolidated, dict).get("metadata") or {}, dict).items():
        if not key.endswith((".zattrs", ".zgroup")):
            relative = key.removesuffix(".zarray")
            yield from ((f"{relative}/{inner}", array) for inner, array in _find_arrays("", _typed(value, dict)))


def _check_array(path: Path, folder: Path, array: dict[str, Any]) -> None:
    """Checks the codecs, and the size in proportion to the files in `folder`."""
    compressors, expansion = 0, 1.0
    if "codecs" in array and {"compressor", "filters", "chunks", "dtype"} & array.keys():
        raise FileError(f"{path}: the metadata of {folder.name} are of two versions of the format; store it again")
    if "codecs" in array:
        grid = _typed(array["chunk_grid"], dict)
        if grid.get("name") != "regular":
            raise FileError(f"{path}: {folder.name} has chunks of several sizes; store it with a regular grid")
        chunks, itemsize = grid["configuration"]["chunk_shape"], _itemsize(array["data_type"])
        codecs = list(_flatten(path, array["codecs"], chunks))
    else:
        chunks, dtype = array["chunks"], _typed(array["dtype"], str)
        itemsize = need("numpy", "cli").dtype(dtype).itemsize
        codecs = [(f"numcodecs.{c['id']}", c) for c in (*(array.get("filters") or ()), array.get("compressor")) if c]
        if "O" in dtype and not {"numcodecs.vlen-utf8", "numcodecs.vlen-bytes"} & {name for name, _ in codecs}:
            raise FileError(f"{path}: {folder.name} holds Python objects, which are not read; store numbers or text")
    for name, configuration in codecs:
        plain = name.removeprefix("numcodecs.")
        if plain not in (CODECS if plain == name else COMPRESSORS | FILTERS if "compressor" in array else MORE_CODECS):
            fix = "store it with gzip, zstd or blosc"
            raise FileError(f"{path}: the codec {plain!r:.80} of {folder.name} is not read; {fix}")
        compressors += plain in COMPRESSORS
        expansion *= _expansion(plain, configuration)
    if compressors > 1 or expansion > MAX_EXPANSION:
        names = ", ".join(name for name, _ in codecs)
        raise FileError(f"{path}: {folder.name} has codecs that expand its data twice, {names:.200}; store it with one")
    shape = [_count(n) for n in array["shape"]]
    chunks = [_count(n) for n in chunks]
    stored = _stored_size(folder, enough=max(math.prod(shape), math.prod(chunks)) * itemsize)
    _check_size(path, folder.name, shape, chunks, itemsize, stored)


def _count(value: Any) -> int:
    if _typed(value, int) < 0:
        raise ValueError(f"expected sizes of at least 0 in its metadata, got {value}")
    return value


def _flatten(path: Path, codecs: Any, chunks: Sequence[int]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the name and configuration of codecs, and of those inside of shards."""
    for codec in _typed(codecs, list):
        name = _typed(codec if isinstance(codec, str) else codec["name"], str)
        configuration = {} if isinstance(codec, str) else _typed(codec.get("configuration") or {}, dict)
        if name != "sharding_indexed":
            yield name, configuration
            continue
        inner = [_count(n) for n in configuration["chunk_shape"]]
        count = math.prod(-(-_count(n) // max(c, 1)) for n, c in zip(chunks, inner, strict=True))
        if count * CHUNK_OVERHEAD > LARGE:
            raise FileError(f"{path}: shards of {count:,} chunks need over a gibibyte each; store larger chunks")
        for index_codec in configuration.get("index_codecs") or ():
            if (index_codec if isinstance(index_codec, str) else index_codec["name"]) not in ("bytes", "crc32c"):
                raise FileError(f"{path}: an index of shards with the codec {index_codec!r:.80} is not read")
        yield from _flatten(path, configuration.get("codecs") or [], inner)


def _itemsize(data_type: Any) -> int:
    """Returns the bytes of a value of a Zarr 3 data type, such as ``float32`` or a fixed-length string."""
    if isinstance(data_type, dict):
        configuration = data_type.get("configuration") or {}
        if data_type["name"] in ("struct", "structured"):
            raise ValueError("records of several fields are not read; store an array for each")
        return _count(configuration["length_bytes"]) if "length_bytes" in configuration else 8
    bits = re.search(r"[0-9]{1,9}$", _typed(data_type, str))
    return -(-int(bits[0]) // 8) if bits else 8


def _expansion(name: str, configuration: Mapping[str, Any]) -> float:
    """Returns the factor by which a filter of numcodecs expands its input."""
    if name == "packbits":
        return 8
    stored, decoded = ("encode_dtype", "decode_dtype") if name == "astype" else ("astype", "dtype")
    if decoded not in configuration:
        return 1
    dtype = need("numpy", "cli").dtype
    sizes = [dtype(_typed(configuration.get(k) or configuration[decoded], str)).itemsize for k in (decoded, stored)]
    return max(sizes[0] / max(sizes[1], 1), 1)


def _stored_size(folder: Path, enough: int) -> int:
    """Returns the size of the files in a folder. Stops when it suffices for an array of `enough` bytes."""
    stored = 0
    if enough > LARGE:
        for root, _, files in os.walk(folder):
            for file in files:
                stored += os.path.getsize(os.path.join(root, file))
                if stored * MAX_RATIO >= enough:
                    return stored
    return stored


def checked_codecs() -> contextlib.AbstractContextManager[None]:
    """Context manager: arrays of Zarr that are opened in it reject chunks that claim far more than they store."""
    need("zarr", "zarr")
    from .zarr_codecs import checked_codecs

    return checked_codecs()


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
MAX_VARIABLE = 1000
"""Number of values of variable length that are read at once. They may all be the same, large part of the file."""


def check_hdf5(path: Path, kind: str = "HDF5 file") -> None:
    """Checks all links, datasets and attributes of an HDF5 or NetCDF-4 file. Error messages name its `kind`.

    Raises:
        FileError: values are stored in another file, a filter is not supported, a dataset has more than one compressor,
            or the values claim far more memory than the file contains.
    """
    h5py, total = need("h5py", "netcdf"), 0
    with reading(path, kind), path.open("rb") as raw, h5py.File(CheckedFile(raw), "r") as file:
        for item in _walk(path, file):
            for name in item.attrs:
                total += _attribute_size(path, item, name)
                check_claimed_size(path, total, path.stat().st_size)
            if isinstance(item, h5py.Dataset):
                _check_dataset(path, item)


def _walk(path: Path, file: Any) -> Iterator[Any]:
    """Yields the file and the objects in it. Soft links lead to other objects of the file, if no link leaves it."""
    h5py, pending, visited = need("h5py", "netcdf"), [file], {file}
    while pending:
        item = pending.pop()
        yield item
        for name in item if isinstance(item, h5py.Group) else ():
            link = item.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink | h5py.SoftLink):
                raise FileError(f"{path}: {name} is stored in another file; save it in this one")
            if isinstance(link, h5py.HardLink) and (child := item[name]) not in visited:
                visited.add(child)
                pending.append(child)


def _attribute_size(path: Path, item: Any, name: str) -> int:
    """Returns the bytes of an attribute in memory."""
    attribute = item.attrs.get_id(name)
    _check_type(path, f"the attribute {name} of {item.name}", attribute.get_type())
    if not _is_variable(attribute):
        return math.prod(attribute.shape or (0,)) * attribute.get_type().get_size()
    if math.prod(attribute.shape or ()) > MAX_VARIABLE:
        raise FileError(f"{path}: the attribute {name} of {item.name} has over {MAX_VARIABLE} texts; store fewer")
    return _value_size(item.attrs[name])


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


def _is_variable(data: Any) -> bool:
    """Returns whether values have a variable length, such as text. h5py does not read values of unknown types."""
    try:
        return bool(data.dtype.hasobject)
    except TypeError:
        return False


def _value_size(value: Any) -> int:
    """Returns the bytes of text, an array, or an array of these."""
    if isinstance(value, str | bytes):
        return len(value)
    if getattr(value, "dtype", None) is None or not value.dtype.hasobject:
        return getattr(value, "nbytes", 8)
    if value.dtype.names:
        return sum(_value_size(value[name]) for name in value.dtype.names)
    return sum(map(_value_size, value.reshape(-1).tolist()))


def _check_dataset(path: Path, dataset: Any) -> None:
    h5py, layout = need("h5py", "netcdf"), dataset.id.get_create_plist()
    if layout.get_layout() == h5py.h5d.VIRTUAL or layout.get_external_count():  # before its shape, which opens them
        raise FileError(f"{path}: {dataset.name} is stored in another file; save it in this one")
    filters = [layout.get_filter(i)[0] for i in range(layout.get_nfilters())]
    compressors = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_LZF}
    # The sizes that other filters claim are not bounded, and libhdf5 loads unknown filters as plugins.
    for number in filters:
        if number not in compressors | {h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}:
            raise FileError(f"{path}: the filter {number} of {dataset.name} is not read; use h5repack -f GZIP=4")
    if sum(number in compressors for number in filters) > 1:
        raise FileError(f"{path}: {dataset.name} is compressed more than once; h5repack -f GZIP=4 does so once")
    _check_type(path, dataset.name, dataset.id.get_type())
    shape, itemsize = dataset.shape or (), dataset.id.get_type().get_size()
    chunks = layout.get_chunk() if layout.get_layout() == h5py.h5d.CHUNKED else shape
    stored = path.stat().st_size if layout.get_layout() == h5py.h5d.COMPACT else dataset.id.get_storage_size()
    _check_size(path, dataset.name, shape, chunks, itemsize, stored)
    if dataset.shape is not None and _is_variable(dataset.id):
        if dataset.ndim > 1 and dataset.size > MAX_VARIABLE:
            raise FileError(f"{path}: {dataset.name} has {dataset.ndim} axes of text; store one")
        total, blocks = 0, range(0, dataset.shape[0], MAX_VARIABLE) if dataset.ndim == 1 else (None,)
        for start in blocks:
            block = dataset[()] if start is None else dataset[start : start + MAX_VARIABLE]
            total += _value_size(block)
            check_claimed_size(path, total, path.stat().st_size)
