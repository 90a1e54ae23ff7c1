"""Formats of labelled frames: every function returns a Dataset of xarray, which `labelled_frames` brings to one form.

To add a format that no engine of xarray reads, write a module here with a tuple ``LABELLED`` of :class:`Format`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..._stores import Place
from ..files import FileError, reading

if TYPE_CHECKING:
    import xarray as xr


class Format(NamedTuple):
    """A format of labelled frames."""

    name: str
    """Name in error messages, such as ``"Zarr store"``."""
    suffixes: tuple[str, ...]
    open: Callable[[Any, str], xr.Dataset]
    """Opens a file; the second argument is the name of a variable, ``group/name`` if it is in a group, or empty."""
    matches: Callable[[Any], bool] = lambda path: True
    """Whether a file with one of the suffixes has this format."""


def find_labelled(path: Place) -> Format | None:
    """Returns the format of labelled frames in a file or store, by its suffix; None if it has another one."""
    suffix = path.suffix.lower()
    return next((f for f in FORMATS if suffix in f.suffixes and f.matches(path)), None)


def open_labelled(path: Place, variable: str = "") -> xr.Dataset:
    """Opens a file or store as a Dataset with packed and missing values decoded; they are read when they are used.

    `variable` is the name of a variable, ``group/name`` if it is in a group. Dates are not decoded. Files of no known
    format are opened if an installed engine of xarray recognises them.

    Raises FileError if the file is damaged, claims more than it stores, or has another format, and ImportError if the
    package that reads the format is not installed.
    """
    if isinstance(path, Path) and path.is_file() and not path.stat().st_size:
        raise FileError(f"{path} is empty, 0 bytes; get it again, or leave it out")
    form = find_labelled(path) or gridded.NETCDF
    with reading(path, form.name):
        return form.open(path, variable)


_MODULES = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
FORMATS: list[Format] = [form for module in _MODULES for form in getattr(module, "LABELLED", ())]
SUFFIXES = tuple(suffix for form in FORMATS for suffix in form.suffixes)
"""Suffixes of labelled frames. A file with one of ``.tif`` may also be an image; :func:`find_labelled` decides."""
from . import gridded  # noqa: E402
