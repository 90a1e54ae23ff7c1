"""Lists the files of a dataset, and raises one type of error for all damaged files."""

import contextlib
import gzip
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from .._stores import Place, Store
from ..values.units import UnitError

TIMES = ("time", "times")
"""Names of the times of arrays without named dimensions."""
FEW = 20
"""Largest number of names in a message."""


class FileError(ValueError):
    """A file is damaged or of another format. The message names the file and how to fix it."""


def check_exists(path: Place, fix: str = "") -> None:
    """Raises FileNotFoundError if a path does not exist."""
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist{fix and f'; {fix}'}")


@contextlib.contextmanager
def reading(path: Place, kind: str) -> Iterator[None]:
    """Context manager that turns the errors of a parser into a :class:`FileError` with the file and its format."""
    try:
        yield
    except (FileError, ImportError):
        raise
    except UnitError as e:
        raise FileError(f"{path}: {e}") from e
    except Exception as e:  # h5py, zarr, Pillow and PyAV raise exceptions of any type for damaged files
        if isinstance(e, FileNotFoundError | PermissionError) and type(e).__module__ == "builtins":
            raise  # PyAV has subclasses of these for damaged content
        if isinstance(e, OSError) and isinstance(path, Store):
            raise  # a request failed, and the data may be complete
        reason = " ".join(str(e).split())[:200] or type(e).__name__
        raise FileError(f"{path} is not a valid {kind} ({reason}); check that it is complete, or leave it out") from e


@contextlib.contextmanager
def naming(path: Place | str) -> Iterator[None]:
    """Context manager that turns a ValueError about the content of a file into a :class:`FileError` that names it."""
    try:
        yield
    except FileError:
        raise
    except ValueError as e:
        raise FileError(f"{path}: {e}") from e


def natural_key(path: Place) -> tuple[tuple[str | int, ...], ...]:
    """Sort key for natural order, in which ``frame2.png`` comes before ``frame10.png``."""
    # re.split alternates text and digits, so that text is only compared with text
    return tuple(
        tuple(int(part) if i % 2 else part for i, part in enumerate(re.split(r"(\d+)", name))) for name in path.parts
    )


_DATE = re.compile(
    r"(?<!\d)((?:19|20)\d\d)[-_.]?(0[1-9]|1[0-2])"
    r"(?:[-_.]?(0[1-9]|[12]\d|3[01])(?:[-_.]?[TS]?([01]\d|2[0-3])[-_.:]?([0-5]\d)(?:[-_.:]?([0-5]\d))?)?)?(?!\d)",
    re.ASCII,
)


def find_dates(name: str) -> list[datetime]:
    """Returns the dates in the name of a file: year, month, and perhaps day, hour, minute and second.

    Example:
        >>> [str(date) for date in find_dates("rain_20200601_1210") + find_dates("2020-06-01T12:10:30Z")]
        ['2020-06-01 12:10:00', '2020-06-01 12:10:30']
        >>> find_dates("rain_10"), find_dates("chirps-v2.0.2020.02"), len(find_dates("a_20200601_20200602"))
        ([], [datetime.datetime(2020, 2, 1, 0, 0)], 2)
    """
    dates = []
    for match in _DATE.finditer(name):
        year, month, day, hour, minute, second = (int(part or 0) for part in match.groups())
        with contextlib.suppress(ValueError):  # the 30th of February
            dates.append(datetime(year, month, day or 1, hour, minute, second))
    return dates


def list_dir(folder: Path) -> list[Path]:
    """Returns the visible entries of a folder in natural order, without the output directories of training runs.

    Hidden are ``.ipynb_checkpoints``, ``._a.png`` and ``__MACOSX``, for example.
    """
    visible = (p for p in folder.iterdir() if not p.name.startswith(".") and p.name != "__MACOSX")
    return sorted((p for p in visible if not is_run(p)), key=natural_key)


def is_run(path: Path) -> bool:
    """Returns whether a path is the output directory of a training run."""
    return path.is_dir() and (any(path.glob("*.ckpt")) or (path / "model.safetensors").exists())


def walk(root: Path) -> Iterator[Path]:
    """Yields the files and the ``.zarr`` stores at or below a path, those of :func:`list_dir`, in natural order."""
    if root.is_dir() and root.suffix.lower() != ".zarr":
        for path in list_dir(root):
            yield from walk(path)
    else:
        yield root


def list_files(root: Path, suffixes: Sequence[str]) -> list[Path]:
    """Returns the files and stores with the given suffixes at or below a path; see :func:`walk`."""
    return [path for path in walk(root) if path.suffix.lower() in suffixes]


def read_unpacked(path: Path) -> bytes:
    """Returns the content of a file; decompresses it if its name ends in ``.gz``."""
    if path.suffix != ".gz":
        return path.read_bytes()
    with reading(path, "gzip file"), gzip.open(path) as file:
        return file.read()
