"""Decompressors of Zarr that check the size that a chunk claims, before they allocate memory for it.

The other compressors of :data:`~.untrusted.COMPRESSORS` expand their input at most a thousandfold. This module imports
zarr.
"""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from .._extras import need
from .files import LARGE, MAX_RATIO

numcodecs: Any = need("numcodecs", "zarr")
zarr: Any = need("zarr", "zarr")
codecs: Any = need("zarr.codecs", "zarr")
registry: Any = need("zarr.registry", "zarr")
MAX_BLOCK = 2**17
"""Largest decompressed size of a block of zstd."""
_registering = threading.RLock()
"""Held while stores are opened: the registries of codecs belong to the whole process."""


def zstd_size(data: bytes) -> int:
    """Returns the decompressed size that zstd data claim; where they do not state it, the largest possible size.

    The format is specified in RFC 8878.
    """

    def number(at: int, length: int) -> int:
        if at + length > len(data):
            raise ValueError("a chunk of zstd is truncated")
        return int.from_bytes(data[at : at + length], "little")

    total = at = 0
    while at < len(data):
        magic = number(at, 4)
        if magic & 0xFFFFFFF0 == 0x184D2A50:  # a frame that is skipped
            at += 8 + number(at + 4, 4)
            continue
        if magic != 0xFD2FB528:
            raise ValueError("a chunk is not of zstd")
        flags = number(at + 4, 1)
        is_single = bool(flags & 0x20)
        at += 5 + (not is_single) + (0, 1, 2, 4)[flags & 3]
        length = (int(is_single), 2, 4, 8)[flags >> 6]
        stated = number(at, length) + 256 * (length == 2)
        at += length
        largest, is_last = 0, False
        while not is_last:
            head = number(at, 3)
            is_last, kind, size = bool(head & 1), head >> 1 & 3, head >> 3
            largest += size if kind < 2 else MAX_BLOCK
            at += 3 + (1 if kind == 1 else size)  # the first kind is stored, the second one repeated byte
        at += 4 * (flags >> 2 & 1)
        total += stated if length else largest
    return total


def blosc_size(data: bytes) -> int:
    """Returns the decompressed size in the header of Blosc data."""
    return int.from_bytes(data[4:8], "little")


def check_chunk(size: int, stored: int) -> None:
    """Raises ValueError if a chunk of `stored` bytes claims far more memory."""
    if size > LARGE and size > MAX_RATIO * stored:
        raise ValueError(f"a chunk of {stored:,} bytes claims {size:,}")


class CheckedZstd(numcodecs.Zstd):
    """Zstd of version 2 of the format."""

    def decode(self, buf: Any, out: Any = None) -> Any:
        """Decompresses a chunk."""
        data = bytes(buf)
        check_chunk(zstd_size(data), len(data))
        return super().decode(buf, out)


class CheckedBlosc(numcodecs.Blosc):
    """Blosc of version 2 of the format."""

    def decode(self, buf: Any, out: Any = None) -> Any:
        """Decompresses a chunk."""
        data = memoryview(buf).cast("B")
        check_chunk(blosc_size(bytes(data[:16])), len(data))
        return super().decode(buf, out)


class CheckedZstdCodec(codecs.ZstdCodec):
    """Zstd of version 3 of the format."""

    async def _decode_single(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        data = chunk_bytes.to_bytes()
        check_chunk(zstd_size(data), len(data))
        return await super()._decode_single(chunk_bytes, chunk_spec)

    def _decode_sync(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        data = chunk_bytes.to_bytes()
        check_chunk(zstd_size(data), len(data))
        return super()._decode_sync(chunk_bytes, chunk_spec)


class CheckedBloscCodec(codecs.BloscCodec):
    """Blosc of version 3 of the format."""

    async def _decode_single(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        check_chunk(blosc_size(chunk_bytes.to_bytes()[:16]), len(chunk_bytes))
        return await super()._decode_single(chunk_bytes, chunk_spec)

    def _decode_sync(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        check_chunk(blosc_size(chunk_bytes.to_bytes()[:16]), len(chunk_bytes))
        return super()._decode_sync(chunk_bytes, chunk_spec)


VERSION_2: dict[str, Any] = {"zstd": CheckedZstd, "blosc": CheckedBlosc}
VERSION_3: dict[str, Any] = {"zstd": CheckedZstdCodec, "blosc": CheckedBloscCodec}


@contextlib.contextmanager
def checked_codecs() -> Iterator[None]:
    """Context manager: arrays that are opened in it check the size of each chunk that they read, also after it."""
    with _registering:
        originals = {name: type(numcodecs.get_codec({"id": name})) for name in VERSION_2}
        for name, cls in VERSION_3.items():
            registry.register_codec(name, cls)
        paths = {f"codecs.{name}": f"{cls.__module__}.{cls.__qualname__}" for name, cls in VERSION_3.items()}
        try:
            for name, cls in VERSION_2.items():
                numcodecs.register_codec(cls, name)
            with zarr.config.set(paths):
                yield
        finally:
            for name, cls in originals.items():
                numcodecs.register_codec(cls, name)
