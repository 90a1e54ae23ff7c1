"""Where data lie: at a local path, or in a Zarr store at an address of fsspec or in an object of zarr."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from ._extras import need

SCHEMES = {"s3": "convrnn-zoo[cloud]", "https": "convrnn-zoo[cloud]", "gs": "gcsfs", "az": "adlfs", "memory": "fsspec"}
"""Schemes of addresses, and what is installed for each. fsspec knows more, such as ``simplecache::s3``."""
ADDRESS = re.compile(r"(?:[a-z][\w+.-]+::)*(?P<scheme>[a-z][\w+.-]+):/(?P<second>/?)", re.IGNORECASE)
SECRETS = re.compile(r"(?<=//)[^/@\s]*:[^/@\s]*(?=@)|(?<=https://)[^/@\s]*(?=@)|(?<=http://)[^/@\s]*(?=@)|(?<=\?)\S+")
"""User and password, and the query, of an address."""
HIDDEN = "***"


@dataclass(frozen=True, repr=False)
class Store:
    """A Zarr store that is no local folder. It has the attributes of a path by which readers choose what to do.

    Only its place is pickled, so that each process opens it itself. Neither its text nor its errors state passwords,
    keys or queries.
    """

    target: Any
    """Address, or a store of zarr."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of fsspec, such as ``{"anon": True}``."""
    suffix: ClassVar[str] = ".zarr"

    def __str__(self) -> str:
        return self.hide(self.target) if isinstance(self.target, str) else type(self.target).__name__

    def __repr__(self) -> str:
        return f"Store({self})"

    def __hash__(self) -> int:
        return hash(str(self))

    @property
    def name(self) -> str:
        """Last part of the address."""
        return str(self).rstrip("/").rpartition("/")[2]

    @property
    def parts(self) -> tuple[str, ...]:
        """The address, by which several are sorted."""
        return (str(self),)

    def is_dir(self, *_: str) -> bool:
        """Returns False, since a store is neither a file nor a folder, and patterns are of files."""
        return False

    is_file = match = is_dir

    def exists(self) -> bool:
        """Returns whether there is a Zarr array or group."""
        try:
            need("zarr", "zarr").open(self.open(), mode="r")
        except FileNotFoundError:
            return False
        return True

    def hide(self, text: str) -> str:
        """Returns a text without passwords and queries of addresses, and without the values of the options."""
        stack, values = [self.options], list[str]()
        while stack:
            item = stack.pop()
            stack += item.values() if isinstance(item, Mapping) else item if isinstance(item, list | tuple) else ()
            values += [item] if isinstance(item, str) and len(item) > 3 and "://" not in item else []
        if isinstance(self.target, str):
            values += [m[0] for m in SECRETS.finditer(self.target) if m[0]]
        for value in sorted(values, key=len, reverse=True):
            text = text.replace(value, HIDDEN)
        return SECRETS.sub(HIDDEN, text)

    def open(self, read_only: bool = True) -> Any:
        """Returns the store as an object of zarr, which repeats failed requests."""
        need("zarr.storage", "zarr")
        from ._requests import RetryingStore, open_address  # imports zarr

        if not isinstance(self.target, str):
            return self.target
        try:
            return RetryingStore(open_address(self.target, self.options, read_only), self)
        except ImportError as e:
            match = ADDRESS.match(self.target)
            package = SCHEMES.get(match["scheme"].lower() if match else "", "fsspec")
            raise ImportError(f"{self}: {e}; run: pip install '{package}'") from None


Place = Path | Store
"""Where a file or a store lies."""


def find_place(source: Any, options: Mapping[str, Any] | None = None) -> Place:
    """Returns the place of a path, an address or a store of zarr. `options` are those of fsspec for an address.

    Raises ValueError for an address with an unknown scheme, of a file that is no Zarr store, or that was made a path.

    Example:
        >>> print(find_place("s3://user:password@bucket/rain.zarr"), find_place("rain.zarr").name)
        s3://***@bucket/rain.zarr rain.zarr
    """
    if isinstance(source, Store):
        return source
    if not isinstance(source, str | os.PathLike):
        return Store(source)
    text = os.fspath(source)
    match = ADDRESS.match(text)
    if match is None:
        if options:
            raise ValueError(
                f"storage_options are for an address, such as s3://bucket/rain.zarr; {text} is a local path"
            )
        return Path(text)
    store, scheme = Store(text, dict(options or {})), match["scheme"].lower()
    if not match["second"] or isinstance(source, os.PathLike):
        raise ValueError(f"{store} is no local path; pass an address as text with two slashes, {scheme}://…")
    if scheme in ("file", "local") and "::" not in text:
        return Path(text[match.end() :])
    known = {*SCHEMES, *need("fsspec", "cloud").available_protocols()}
    if scheme not in known:
        raise ValueError(f"{store}: unknown scheme {scheme}; expected {', '.join(f'{s}://' for s in SCHEMES)}")
    suffix = Path(store.name).suffix.lower()
    if suffix in (".nc", ".nc4", ".h5", ".hdf5", ".grib", ".grib2", ".grb", ".tif", ".tiff", ".npy", ".npz", ".zip"):
        raise ValueError(f"{store}: only Zarr stores are read at an address; copy the {suffix} file to a local disk")
    return store


def open_zarr_store(place: Place, read_only: bool = True) -> Any:
    """Returns the store of zarr at a place."""
    if isinstance(place, Store):
        return place.open(read_only)
    return need("zarr.storage", "zarr").LocalStore(place, read_only=read_only)
