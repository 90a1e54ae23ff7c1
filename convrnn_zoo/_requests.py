"""Requests to Zarr stores. Importing this module imports zarr."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any

from ._extras import need

storage: Any = need("zarr.storage", "zarr")
new_buffers = need("zarr.buffer", "zarr").default_buffer_prototype
sync = need("zarr.core.sync", "zarr").sync
"""Runs a coroutine on the loop of zarr's stores; zarr has no public function for it."""

DELAYS = (0.2, 1.0, 5.0, 15.0)
"""Seconds before a request is repeated. The clients of S3, GCS and Azure have repeated it several times before."""
FINAL = (FileNotFoundError, PermissionError, ValueError, TypeError, LookupError, NotImplementedError)
"""Errors that a repetition does not mend."""


def open_address(address: str, options: Mapping[str, Any], read_only: bool) -> Any:
    """Opens the store at an address with fsspec, whose file systems end their connections; zarr leaves them open."""
    files, path = need("fsspec.core", "cloud").url_to_fs(address, **options)
    wrapper = need("fsspec.implementations.asyn_wrapper", "cloud").AsyncFileSystemWrapper
    return storage.FsspecStore(wrapper(files, asynchronous=True), path=path, read_only=read_only)


def publish(content: Any, store: Any) -> None:
    """Copies a small Zarr store from memory into another one, and the metadata of its root last.

    Until then, readers see what was there before, as the root has the metadata of all arrays.
    """

    async def copy(key: str) -> None:
        await store.set(key, await content.get(key, new_buffers()))

    async def copy_all() -> None:
        root = "zarr.json"
        await asyncio.gather(*[copy(key) async for key in content.list() if key != root])
        await copy(root)

    sync(copy_all())


def read_text(store: Any, key: str) -> str:
    """Returns the text of a key that is no part of the hierarchy of arrays; empty if there is none."""
    value = sync(store.get(key, new_buffers()))
    return "" if value is None else value.to_bytes().decode()


def write_text(store: Any, key: str, text: str) -> None:
    """Writes the text of a key; deletes the key if it is empty."""
    value = new_buffers().buffer.from_bytes(text.encode())
    sync(store.set(key, value) if text else store.delete(key))


class RetryingStore(storage.WrapperStore):
    """A store that repeats failed requests, and whose errors name its `place`, whose ``hide`` removes passwords."""

    def __init__(self, store: Any, place: Any) -> None:
        super().__init__(store)
        self.place = place

    def __str__(self) -> str:
        return str(self.place)

    def __repr__(self) -> str:
        return f"RetryingStore({self.place})"

    def _with_store(self, store: Any) -> "RetryingStore":
        return type(self)(store, self.place)

    async def _repeat(self, request: Callable[..., Any], *args: Any) -> Any:
        """Returns the result of a request, which is repeated after :data:`DELAYS`."""
        for delay in (*DELAYS, None):
            try:
                return await request(*args)
            except Exception as e:  # every client raises its own
                error = e
            if delay is None or isinstance(error, FINAL):
                break
            await asyncio.sleep(delay)
        kind = type(error) if type(error).__module__ == "builtins" else OSError
        reason = self.place.hide(" ".join(str(error).split())[:200] or type(error).__name__)
        raise kind(f"{self.place}: {reason}") from None

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        """Reads a value, or a part of it."""
        return await self._repeat(super().get, key, prototype, byte_range)

    async def get_partial_values(self, prototype: Any, key_ranges: Iterable[Any]) -> list[Any]:
        """Reads parts of values."""
        return await self._repeat(super().get_partial_values, prototype, list(key_ranges))

    async def set(self, key: str, value: Any) -> None:
        """Writes a value."""
        await self._repeat(super().set, key, value)

    async def delete(self, key: str) -> None:
        """Deletes a value."""
        await self._repeat(super().delete, key)

    async def exists(self, key: str) -> bool:
        """Returns whether there is a value."""
        return await self._repeat(super().exists, key)

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Yields the names below a prefix."""

        async def collect() -> list[str]:
            return [name async for name in storage.WrapperStore.list_dir(self, prefix)]

        for name in await self._repeat(collect):
            yield name
