"""Files of data sets, packed or not."""

import gzip
import zlib
from pathlib import Path


def read_unpacked(path: Path) -> bytes:
    """The content of a file, unpacked where its name ends in ``.gz``.

    Raises:
        ValueError: it is no sound gzip file.
    """
    content = path.read_bytes()
    try:
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except (EOFError, zlib.error, gzip.BadGzipFile) as e:
        raise ValueError(f"{path} is not a valid gzip file ({e}); download it anew") from e
