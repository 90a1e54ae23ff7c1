"""Paths and splits of a user's files."""

import fnmatch
from collections.abc import Sequence
from pathlib import Path


def resolve_path(path: Path | None, name: str) -> Path:
    """Returns the path of the dataset `name`.

    Raises:
        FileNotFoundError: no path was passed, or it does not exist.
    """
    if path is None:
        raise FileNotFoundError(f"no data for {name}; pass --data FILE or DIR")
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; --data takes the file or the directory of {name}")
    return path


def split_names(names: Sequence[str], split: str | tuple[str, ...], part: str, alternative: str = "time") -> list[int]:
    """Returns the positions of the names in one part of a split.

    Args:
        names: names of files or recordings, in order.
        split: patterns of the names of the test part; a string means the last third.
        part: ``"train"`` or ``"test"``.
        alternative: value of data.split that errors recommend.

    Raises:
        ValueError: a part would be empty, or a pattern matches no name.

    Example:
        >>> split_names(["a.npy", "b.npy", "c.npy"], "file", "test"), split_names(["a.npy", "b.npy"], ("b*",), "train")
        ([2], [0])
    """
    if isinstance(split, tuple):
        test = {i for i, n in enumerate(names) if any(fnmatch.fnmatch(n, p) for p in split)}
        if unused := [p for p in split if not fnmatch.filter(names, p)]:
            raise ValueError(
                f"the recipe's data.split names {', '.join(unused)}, which is not among {', '.join(names)}"
            )
    else:
        test = set(range(len(names) - max(1, round(len(names) / 3)), len(names)))
    if not test or len(test) >= len(names):
        raise ValueError(
            f"the recipe's data.split leaves no {'test' if not test else 'train'}ing part of {', '.join(names)}; use "
            f'two files or more, or split = "{alternative}"'
        )
    return [i for i in range(len(names)) if (i in test) == (part == "test")]
