"""Optional dependencies."""

import contextlib
import importlib
import io
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any


def need(module: str, extra: str) -> Any:
    """Imports a module of an optional dependency; an ImportError states the command that installs it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as e:
        if e.name is None or not module.startswith(e.name.partition(".")[0]):
            raise
        raise ImportError(f"{module} is not installed; run: pip install 'convrnn-zoo[{extra}]'") from e


def need_pyproj() -> Any:
    """Imports pyproj with its own libproj: ecCodes, which reads GRIB, loads another one for all, which crashes it."""
    if "pyproj" in sys.modules or not hasattr(os, "RTLD_DEEPBIND"):
        return need("pyproj", "radar")
    flags = sys.getdlopenflags()
    sys.setdlopenflags(flags | os.RTLD_DEEPBIND)
    try:
        return need("pyproj", "radar")
    finally:
        sys.setdlopenflags(flags)


def progress_bar(title: str, show: bool = True, **options: Any) -> Any:
    """Returns ``click.progressbar`` on standard error with `options`; it is hidden if standard error is no terminal."""
    hidden = not (show and sys.stderr.isatty())
    return need("click", "train").progressbar(label=title, hidden=hidden, file=sys.stderr, **options)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Context manager that suppresses output and warnings; pysteps prints its settings when it is imported."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
