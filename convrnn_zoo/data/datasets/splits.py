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


def train_count(count: int, validation: float) -> int:
    """Returns how many of the training examples are trained on, after the last ones are set aside for validation.

    Args:
        count: number of training examples.
        validation: fraction of them to set aside; at least one if it is above 0.

    Raises:
        ValueError: none would be left.

    Example:
        >>> train_count(10, 0.0), train_count(10, 0.25), train_count(10, 0.01)
        (10, 8, 9)
    """
    held_out = max(1, round(count * validation)) if validation else 0
    if held_out and held_out >= count:
        raise ValueError(f"the recipe's data.validation = {validation:g} leaves none of {count} examples to train on")
    return count - held_out


def split_names(
    names: Sequence[str], split: str | tuple[str, ...], part: str, alternative: str = "time", validation: float = 0.0
) -> list[int]:
    """Returns the positions of the names in one part of a split.

    Args:
        names: names of files or recordings, in order.
        split: patterns of the names of the test part; a string means the last third.
        part: ``"train"``, ``"validation"`` or ``"test"``.
        alternative: value of data.split that errors recommend.
        validation: fraction of the names that are not of the test part, the last ones, for validation.

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
    if part == "test":
        return sorted(test)
    others = [i for i in range(len(names)) if i not in test]
    cut = train_count(len(others), validation)
    return others[cut:] if part == "validation" else others[:cut]
