"""Arrays of ``.npy`` and ``.npz`` files."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

from .._extras import need

BROKEN = (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error)
"""What readers of files raise where one is broken."""


def read_arrays(path: Path) -> dict[str, Any]:
    """The arrays of a ``.npz`` by name, or that of a ``.npy`` under the empty name; never a pickle.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is broken.
    """
    numpy = need("numpy", "cli")
    try:
        with path.open("rb") as file:
            content: Any = numpy.load(file, allow_pickle=False)
            return {"": content} if isinstance(content, numpy.ndarray) else dict(content)
    except FileNotFoundError:
        raise
    except BROKEN as e:
        why = "it is none of NumPy's, or holds Python objects" if "pickle" in str(e) else e
        raise ValueError(
            f"{path}: not a valid {path.suffix} file of numbers ({why}); save it anew with numpy, or move it away"
        ) from e


def check_numbers(array: Any, name: str) -> None:
    """Raises ValueError where an array holds anything but real numbers."""
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name}: expected real numbers, got {array.dtype}")


def unpadded(arrays: dict[str, Any], path: Path) -> dict[str, Any]:
    """The sequences of a ``.npz``: one an array, or of ``x`` ``(N, T, …)`` those that ``lengths`` ``(N,)`` tell.

    Raises:
        ValueError: the lengths are not those of sequences in `x`.
    """
    if not {"x", "lengths"} <= arrays.keys():
        return arrays
    x, lengths = arrays["x"], arrays["lengths"]
    if len(x) != len(lengths) or (len(x) and not (lengths.min() >= 1 and lengths.max() <= x.shape[1])):
        raise ValueError(f"{path}: x {x.shape} needs {len(x)} lengths from 1 to {x.shape[1]}, got {lengths.tolist()}")
    return {str(i): x[i, :n] for i, n in enumerate(lengths)}
