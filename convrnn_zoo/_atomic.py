"""Atomic writes of files and directories."""

import errno
import os
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ._hints import warn

IN_USE = (5, 32)
"""Error numbers of Windows for a file that another program has open: access denied, sharing violation."""


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yields a temporary path that replaces `path` once the block ends without an error.

    The block creates a file or a directory at the temporary path, which replaces a file or a directory, respectively.
    The permissions of an existing file or directory are kept. If `path` is a link, its target is replaced. After an
    error the temporary path is removed and `path` is unchanged. Systems rename no directory over another one, so that
    the previous one is moved aside first: if the process is killed in between, it is next to `path`, in
    ``.….part.old``. Raises OSError if `path` cannot be written. The class (such as PermissionError) and the reason are
    the system's. Errors of other files, such as a missing input that the block reads, are passed on unchanged.
    """
    target = Path(os.path.realpath(path))
    # The end of the name tells open writes apart; the whole name could exceed the limit of 255 bytes.
    temporary = target.with_name(f".{target.name[-40:]}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if target.is_dir() and temporary.is_dir():
            _replace_directory(temporary, target)
        else:
            if target.is_file() and temporary.is_file():
                shutil.copymode(target, temporary)
            _replace(temporary, target)
    except OSError as e:
        names_temporary = e.filename is None or os.fspath(e.filename).startswith(os.fspath(temporary))
        if e.errno is None or not names_temporary:
            raise
        kind = "file" if path.is_file() else "directory" if path.is_dir() else ""
        unchanged = f"; the previous {kind} is unchanged" if kind else ""
        fix = "; free disk space and try again" if e.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else ""
        if getattr(e, "winerror", None) in IN_USE:
            fix = "; another program has the file open: close it and try again"
        raise OSError(e.errno, f"{e.strerror}{unchanged}{fix}", str(path)) from e
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        elif os.path.lexists(temporary):
            temporary.unlink()


def _replace_directory(temporary: Path, target: Path) -> None:
    shutil.copymode(target, temporary)
    previous = temporary.with_name(f"{temporary.name}.old")
    _replace(target, previous)
    try:
        _replace(temporary, target)
    except BaseException:
        _replace(previous, target)
        raise
    try:
        shutil.rmtree(previous)
    except OSError as e:  # the new directory is in place
        warn(f"{target} is written, but its previous content could not be removed ({e}); remove {previous}")


def _replace(source: Path, target: Path) -> None:
    """Moves a file or directory; repeats this for a second while Windows says that another program uses the target."""
    for delay in (0.05, 0.1, 0.2, 0.3, 0.4, None):
        try:
            os.replace(source, target)
            break
        except PermissionError as e:
            if delay is None or getattr(e, "winerror", None) not in IN_USE:
                raise
            time.sleep(delay)  # virus scanners and indexers open new files for a moment


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Writes bytes, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Writes text as UTF-8, atomically."""
    write_bytes(path, text.encode("utf-8"))


def check_suffix(path: Any, suffixes: Sequence[str]) -> None:
    """Raises ValueError if the suffix of a file to write is not one of `suffixes`."""
    if path.suffix not in suffixes:
        others = f"{', '.join(suffixes[:-1])} or " if suffixes[1:] else ""
        raise ValueError(f"{path}: expected a name that ends in {others}{suffixes[-1]}")
