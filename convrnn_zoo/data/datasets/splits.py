"""Base classes of datasets: their metadata, paths of their data, and training, validation and test splits."""

import csv
import fnmatch
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..._typed import check_fields, field
from ..files import FEW, check_exists, natural_key, reading


def resolve_path(path: Any, name: str, hint: str = "") -> Any:
    """Returns the path of the dataset `name`; raises FileNotFoundError if it is None or does not exist."""
    if path is None:
        raise FileNotFoundError(f"no data for {name}; pass --data {f'DIR: {hint}' if hint else 'FILE or DIR'}")
    check_exists(path, f"--data takes the file or the directory of {name}")
    return path


def relative_name(file: Any, path: Any) -> str:
    """Returns the path of a file relative to the data at `path`. Recipes name files by this relative path."""
    return file.name if file == path else file.relative_to(path).as_posix()


def train_count(count: int, validation: float) -> int:
    """Returns the number of training examples that remain after a fraction `validation` is set aside.

    At least one example is set aside, unless `validation` is 0.
    """
    held_out = max(1, round(count * validation)) if validation else 0
    if held_out and held_out >= count:
        raise ValueError(f"the recipe's data.validation = {validation:g} leaves none of {count} examples to train on")
    return count - held_out


def match_names(names: Sequence[str], patterns: tuple[str, ...], key: str) -> set[str]:
    """Returns the names that are equal to a pattern or match it; raises ValueError if a pattern matches no name."""
    selected = set(names) & set(patterns)
    unused = []
    for pattern in patterns:
        if pattern not in selected:  # a list of files has thousands of names
            selected.update(matches := fnmatch.filter(names, pattern))
            unused += [] if matches else [pattern]
    if unused:
        raise ValueError(f"the recipe's data.{key}: {', '.join(unused[:FEW])} matches none of {listing(names)}")
    return selected


def listing(names: Sequence[str]) -> str:
    """Returns the first few names, for messages."""
    return ", ".join(names[:FEW]) + (f" and {len(names) - FEW:,} more" if len(names) > FEW else "")


def assign_parts(
    every: Sequence[str],
    split: str | tuple[str, ...],
    validation: float | tuple[str, ...] = 0.0,
    alternative: str = "time",
) -> list[str]:
    """Returns the part of a split that each name is in: ``"train"``, ``"validation"`` or ``"test"``.

    If `split` is a tuple of patterns, the test part is the names that match a pattern. Otherwise it is the last third
    of the names, which are sorted first if `split` is ``"group"``. Of the remaining names, those that match a pattern
    of `validation`, or the last ones (a fraction `validation`), are the validation part. Error messages recommend
    `alternative` as another value of ``data.split``.

    Example:
        >>> assign_parts(["a.npy", "a.npy", "b.npy", "c.npy"], "file"), assign_parts(["a.npy", "b.npy"], ("a*",))
        (['train', 'train', 'train', 'test'], ['test', 'train'])
    """
    names = list(dict.fromkeys(every))
    if split == "group":
        names.sort(key=lambda name: natural_key(Path(name)))
    if isinstance(split, tuple):
        matching = match_names(names, split, "split")
        test = [n for n in names if n in matching]
    else:
        test = names[len(names) - max(1, round(len(names) / 3)) :]
    if not test or len(test) >= len(names):
        what = f"{'train' if test else 'test'}ing part of {listing(names)}"
        raise ValueError(f'the recipe\'s data.split leaves no {what}; use more files, or split = "{alternative}"')
    tested = set(test)
    others = [n for n in names if n not in tested]
    if isinstance(validation, tuple):
        held_out = match_names(names, validation, "validation")
        if both := sorted(held_out & tested):
            raise ValueError(f"the recipe's data.split and data.validation both name {listing(both)}")
        if len(held_out) == len(others):
            raise ValueError("the recipe's data.validation leaves nothing to train on; name fewer recordings")
    else:
        held_out = set(others[train_count(len(others), validation) :])
    return ["test" if n in tested else "validation" if n in held_out else "train" for n in every]


@dataclass(frozen=True, kw_only=True)
class RecipeDataset:
    """Base class of datasets. A dataset's fields are keys of ``[data]``. Metadata and model cards show attributes."""

    title = task = url = license = split_words = ""
    """Texts of the metadata; `split_words` describes the test split."""
    validation: float = field(
        0.0, ge=0, lt=1, description="fraction of the training split that is set aside for validation."
    )

    def __post_init__(self) -> None:
        check_fields(self, "data.")


@dataclass(frozen=True, kw_only=True)
class GroupedFiles(RecipeDataset):
    """Base class of datasets of files that may belong to groups, such as stations or speakers."""

    name: str = field(nonempty=True, description="name of the data in the metadata and the model card.")
    license: str = field("", description="licence of the data.")
    url: str = field("", description="address of the data.")
    split: str | tuple[str, ...] = field("")
    group_pattern: str = field(
        "",
        description="regular expression to search in the path of each file relative to the data directory. The file's "
        "group, such as a station or a speaker, is the match of the first capturing group, or else the complete match.",
    )
    group_file: str = field(
        "",
        description="CSV file in the data directory with the columns `file` (a path relative to that directory) and "
        "`group`, in place of `group_pattern`.",
    )

    @property
    def title(self) -> str:  # type: ignore[override]
        """The name of the dataset."""
        return self.name

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("folder", "group_file"):  # of which each kind of dataset has some
            place = Path(getattr(self, key, ""))
            if place.is_absolute() or ".." in place.parts:
                raise ValueError(f"the recipe's data.{key} must be in the data directory, got {str(place)!r}")
        if isinstance(self.validation, tuple) and not isinstance(self.split, tuple):
            raise ValueError("the recipe's data.validation can be a list only if data.split is a list of test files")
        if self.group_pattern and self.group_file:
            raise ValueError("the recipe's data.group_pattern and data.group_file are both set; remove one of them")
        try:
            re.compile(self.group_pattern)
        except re.error as e:
            raise ValueError(f"the recipe's data.group_pattern is not a regular expression: {e}") from e

    def read_lists(self, path: Any) -> tuple[Any, Any]:
        """Returns `split` and `validation`, in which the names of CSV files are replaced by those that they list."""
        values = {key: getattr(self, key) for key in ("split", "validation")}
        split, validation = (read_lists(v, path, k) if isinstance(v, tuple) else v for k, v in values.items())
        return split, validation

    def find_groups(self, names: Sequence[str], path: Any) -> list[str]:
        """Returns the group of each file in `names`, read from `group_file` or matched by `group_pattern`."""
        if not self.group_file:
            pattern = re.compile(self.group_pattern)
            matches = map(pattern.search, names)
            matched = [(match[min(pattern.groups, 1)] or "").strip() if match else "" for match in matches]
            if "" in matched:
                name = names[matched.index("")]
                raise ValueError(f"the recipe's data.group_pattern {self.group_pattern!r} is not found in {name}")
            return matched
        file = (path if path.is_dir() else path.parent) / self.group_file
        rows = read_rows(file, ("file", "group"), "data.group_file")
        groups = {row[0]: row[1] for row in rows}
        if conflicts := [name for name, group in rows if groups[name] != group]:
            raise ValueError(f"{file}: {conflicts[0]} is in two groups; leave one of its lines")
        if missing := [name for name in names if not groups.get(name)]:
            raise ValueError(f"{file}: expected columns file,group and a line {missing[0]},GROUP; add it")
        return [groups[name] for name in names]


def read_rows(file: Path, columns: Sequence[str], key: str) -> list[list[str]]:
    """Reads columns of a CSV file that the key `key` of a recipe names; a missing value is empty."""
    check_exists(file, f"put the file of the recipe's {key} next to the data")
    with reading(file, "CSV file"), file.open(newline="", encoding="utf-8-sig") as lines:
        return [[(row.get(column) or "").strip() for column in columns] for row in csv.DictReader(lines)]


def is_list(pattern: str) -> bool:
    """Returns whether a pattern is the name of a CSV file in the data directory."""
    return pattern.endswith(".csv") and not set(pattern) & set("/*?[")


def read_lists(patterns: tuple[str, ...], path: Path, key: str) -> tuple[str, ...]:
    """Replaces each pattern that is the name of a CSV file in the data directory by the names in its column `file`.

    Raises FileNotFoundError if there is no such file, and ValueError if it has no such column or a line has no name.
    """
    names: list[str] = []
    for pattern in patterns:
        if not is_list(pattern):
            names.append(pattern)
            continue
        file = (path if path.is_dir() else path.parent) / pattern
        listed = [row[0] for row in read_rows(file, ("file",), f"data.{key}")]
        if not all(listed) or not listed:
            raise ValueError(f"{file}: expected a column file with the name of a recording in every line")
        names += listed
    return tuple(names)


def find_shared(train: Iterable[Tensor], others: Sequence[Tensor]) -> list[int]:
    """Returns the indices of the sequences in `others` that share steps with `train`, as overlapping windows do.

    Two sequences share steps if a run of consecutive steps is equal in both and not constant. The length of the run is
    a quarter of the shortest sequence, and at least four steps.
    """
    train = list(train)
    count = max(4, min(map(len, [*train, *others]), default=0) // 4)

    def runs(x: Tensor) -> Iterator[bytes]:
        rows = [row.numpy().tobytes() for row in x]
        for i in range(len(rows) - count + 1):
            if len(set(run := rows[i : i + count])) > 1:
                yield b"".join(run)

    known = {hash(run) for x in train for run in runs(x)}
    return [i for i, x in enumerate(others) if any(hash(run) in known for run in runs(x))]


def select_per_class(
    labels: Sequence[Any], select_count: Callable[[int], int], files: Sequence[str] | None = None
) -> set[int]:
    """Selects ``select_count(n)`` of n examples of each class, and returns their indices.

    Without `files`, the examples are sampled with a fixed seed. With `files` (the file of each example), the examples
    of the last ``select_count(n)`` of n files are selected, so that no file is divided. A class of one or two files is
    divided by examples: the last ``select_count(n)`` of its n examples are selected.
    """
    generator, selected = torch.Generator().manual_seed(0), set()
    for label in sorted(set(labels)):
        members = [i for i, other in enumerate(labels) if other == label]
        names = [] if files is None else list(dict.fromkeys(files[i] for i in members))
        if files is None:
            order = torch.randperm(len(members), generator=generator).tolist()
            selected |= {members[i] for i in order[: select_count(len(members))]}
        elif len(names) < 3:
            selected |= set(members[len(members) - select_count(len(members)) :])
        else:
            last = names[len(names) - select_count(len(names)) :]
            selected |= {i for i in members if files[i] in last}
    return selected
