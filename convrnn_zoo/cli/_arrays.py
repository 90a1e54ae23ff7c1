"""Arrays from NumPy's files."""

from pathlib import Path
from typing import Any

import numpy as np


def read_arrays(path: Path) -> dict[str, Any]:
    """The arrays of a ``.npz`` by name, or that of a ``.npy`` under the empty name; never a pickle.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is broken.
    """
    try:
        content: Any = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return {"": content}
        with content:
            return {name: content[name] for name in content.files}
    except FileNotFoundError:
        raise
    except (ValueError, EOFError, OSError) as e:
        raise ValueError(f"{path}: not a sound {path.suffix} file of numbers ({e}); save it anew with numpy") from e


def check_numbers(path: Path, name: str, array: Any) -> None:
    """Raises ValueError where the array holds anything but real numbers."""
    if not (np.issubdtype(array.dtype, np.number) or array.dtype == bool) or np.iscomplexobj(array):
        raise ValueError(f"{path}: {name or 'the array'} holds {array.dtype}, expected real numbers")
