"""Requests to Zarr stores. Importing this module imports zarr."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ._extras import need

storage: Any = need("zarr.storage", "zarr")
DELAYS = (0.2, 1.0, 5.0, 15.0)
"""Seconds before a request is repeated. The clients of S3, GCS and Azure have repeated it several times before."""
FINAL = (FileNotFoundError, PermissionError, ValueError, TypeError, LookupError, NotImplementedError)
"""Errors that a repetition does not mend."""


def open_address(address: str, options: Mapping[str, Any], read_only: bool) -> Any:
    """Opens the store at an address with fsspec, whose file systems end their connections; zarr leaves them open."""
    if address.startswith("s3://"):
        options = {"max_concurrency": 1, **options}  # else s3fs asks for the size of each object that it reads
    files, path = need("fsspec.core", "cloud").url_to_fs(address, **options)
    wrapper = need("fsspec.implementations.asyn_wrapper", "cloud").AsyncFileSystemWrapper
    return storage.FsspecStore(wrapper(files, asynchronous=True), path=path, read_only=read_only)


def publish(content: Any, store: Any) -> None:
    """Copies a small Zarr store from memory into another one, and the metadata of its root last.

    Until then, readers see what was there before, as the root has the metadata of all arrays.
    """
    prototype, root = need("zarr.buffer", "zarr").default_buffer_prototype(), "zarr.json"

    async def copy(key: str) -> None:
        await store.set(key, await content.get(key, prototype))

    async def copy_all() -> None:
        await asyncio.gather(*[copy(key) async for key in content.list() if key != root])
        await copy(root)

    run_requests(copy_all())


def run_requests(coroutine: Coroutine[Any, Any, None]) -> None:
    """Runs a coroutine on the loop of zarr, for which zarr has no public function, or else on one of its own.

    On the latter, the store of another program may fail whose connections belong to the loop of zarr.
    """
    try:
        sync = need("zarr.core.sync", "zarr").sync
    except (ImportError, AttributeError):
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, coroutine).result()
    else:
        sync(coroutine)


class RetryingStore(storage.WrapperStore):
    """A store that repeats failed requests, and whose errors name its `place`, whose ``hide`` removes passwords."""

    def __init__(self, store: Any, place: Any) -> None:
        super().__init__(store)
        self.place = place

    def __str__(self) -> str:
        return str(self.place)

    __repr__ = __str__

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

    async def set(self, key: str, value: Any) -> None:
        """Writes a value."""
        await self._repeat(super().set, key, value)

    async def delete(self, key: str) -> None:
        """Deletes a value."""
        await self._repeat(super().delete, key)

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Yields the names below a prefix."""

        async def collect() -> list[str]:
            return [name async for name in storage.WrapperStore.list_dir(self, prefix)]

        for name in await self._repeat(collect):
            yield name
