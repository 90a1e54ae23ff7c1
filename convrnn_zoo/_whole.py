"""Files and directories that are written whole or not at all."""

import os
import shutil
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to, or to make a directory at; it takes that name at the end, or goes.

    Raises:
        OSError: it could not be written, such as on a full disk; what was there before is still whole.

    Example:
        >>> path = getfixture("tmp_path") / "a.txt"
        >>> with whole(path) as temporary:
        ...     _ = temporary.write_text("all of it")
        >>> path.read_text()
        'all of it'
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as e:
        kept = "the last whole one is kept; " if path.is_file() else ""
        error = OSError(f"{path} cannot be written ({e.strerror or e}); {kept}make room and start again")
        error.errno = e.errno
        raise error from e
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text as UTF-8, whole or not at all."""
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def check_end(path: Path, ends: Sequence[str]) -> None:
    """Raises ValueError where the name of a file to write does not end as one of those that are known."""
    if path.suffix not in ends:
        others = f"{', '.join(ends[:-1])} or " if ends[1:] else ""
        raise ValueError(f"{path}: expected a name that ends in {others}{ends[-1]}")


def check_no_input(out: Path | None, files: Iterable[Path]) -> None:
    """Raises ValueError where a file to write is one of those that are read."""
    if out is not None and out.resolve() in {file.resolve() for file in files}:
        raise ValueError(f"{out} is read and would be overwritten; write to another file")
