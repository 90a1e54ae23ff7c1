"""Files that are written whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` to write to; it takes that name at the end, and goes where writing fails.

    Raises:
        OSError: it could not be written, such as on a full disk; what was there before is still whole.

    Example:
        >>> path = getfixture("tmp_path") / "a.txt"
        >>> with whole(path) as temporary:
        ...     _ = temporary.write_text("all of it")
        >>> path.read_text()
        'all of it'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f"{path.suffix}.part{os.getpid()}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as e:
        kept = "the last whole one is kept; " if path.exists() else ""
        raise OSError(f"{path} cannot be written ({e.strerror or e}); {kept}make room and start again") from e
    finally:
        temporary.unlink(missing_ok=True)
