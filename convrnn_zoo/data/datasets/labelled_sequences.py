"""Labelled sequences of different lengths, from arrays, tables and audio files."""

import dataclasses
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ..._typed import field, read
from ...values.log_mel import LogMel
from ...values.tensors import to_tensor
from ..files import FEW, FileError, check_exists, list_dir, naming
from ..readers.sequences import AUDIO, RECORDING_READERS, Recording, as_sequence, encode_sound, sample_rate
from .splits import (
    GroupedFiles,
    RecipeDataset,
    assign_parts,
    find_shared,
    is_list,
    relative_name,
    resolve_path,
    select_per_class,
)

logger = logging.getLogger(__name__)
ARCHIVES = (".npz", ".ts")
"""Suffixes of files that contain several recordings and their classes."""
SINGLES = (".npy", ".csv", *AUDIO)
"""Suffixes of files that contain one recording; the folder is its class."""
PARTS = {"test": "test", "testing": "test", **dict.fromkeys(("val", "valid", "validation", "dev"), "validation")}
"""Parts of the data by the usual names of their folders, in lower case."""


class Labelled(NamedTuple):
    """Sequences with their classes.

    `sequences` is a list of tensors ``(T_i, C, *S)``, or another Sequence that reads a tensor when it is indexed.
    `labels` ``(N,)`` are the class numbers from 0 (int64). `label_names` are the names of classes 0, 1, ….
    """

    sequences: Sequence[Tensor]
    labels: Tensor
    label_names: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    """The group of each sequence, such as its speaker; empty if unknown."""
    front_end: LogMel | None = None
    """The front end that computed the sequences from audio."""
    names: tuple[str, ...] = ()
    """The file of each recording, and its name in the file; empty if unknown."""

    def batch(
        self, indices: Sequence[int], change: Callable[[Tensor], Tensor] = lambda x: x
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Applies `change` to each sequence; returns them padded ``(N, T, C, *S)``, their lengths and their labels."""
        sequences = [change(self.sequences[i]) for i in indices]
        check_shapes([(f"sequence {i}", x) for i, x in zip(indices, sequences, strict=True)])
        lengths = torch.tensor([len(x) for x in sequences])
        return pad_sequence(sequences, batch_first=True), lengths, self.labels[list(indices)]

    def subset(self, indices: Sequence[int]) -> "Labelled":
        """Returns the data of the sequences with these indices."""
        sequences = LazySequences(indices, self.sequences.__getitem__)
        return self._replace(
            sequences=list(sequences) if isinstance(self.sequences, list) else sequences,
            labels=self.labels[list(indices)],
            groups=tuple(self.groups[i] for i in indices) if self.groups else (),
            names=tuple(self.names[i] for i in indices) if self.names else (),
        )


def check_shapes(named: Sequence[tuple[str, Tensor]]) -> None:
    """Raises ValueError if the named sequences differ in shape, apart from their length."""
    name, first = named[0]
    for other, x in named:
        if x.shape[1:] != first.shape[1:]:
            raise ValueError(f"sequences differ beyond time: {name} {tuple(first.shape)} and {other} {tuple(x.shape)}")


class LazySequences(Sequence[Tensor]):
    """Sequence that calls ``read(item)`` when it is indexed, and keeps no results in memory."""

    def __init__(self, items: Sequence[Any], read: Callable[[Any], Tensor]) -> None:
        self.items, self.read = items, read

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: Any) -> Any:
        items = self.items[index]
        return LazySequences(items, self.read) if isinstance(index, slice) else self.read(items)


def _convert_sequence(sequences: Any, name: str, index: int) -> Tensor:
    """Converts a sequence of the user to float32; frames of bytes are divided by 255, as in `classify`."""
    x = to_tensor(f"{name}[{index}]", sequences[index])
    return as_sequence(x / 255 if x.dtype == torch.uint8 and x.dim() == 4 else x, f"{name}[{index}]")


def _reshape_to_maps(ndim: int, x: Tensor) -> Tensor:
    return x.reshape(*x.shape, *(1,) * ndim) if x.dim() == 2 else x


def add_axes(data: Labelled, ndim: int) -> Labelled:
    """Adds `ndim` spatial axes of size 1 to sequences ``(T, C)``; sequences with spatial axes are unchanged."""
    sequences: Any = LazySequences(data.sequences, partial(_reshape_to_maps, ndim))
    return data._replace(sequences=list(sequences) if isinstance(data.sequences, list) else sequences)


def check_labelled(data: Any, split: str) -> Labelled:
    """Checks the labelled sequences of a user and converts them to tensors."""
    name = f"data[{split!r}]"
    if not isinstance(data, Labelled):
        raise TypeError(f"{name} must be convrnn_zoo.data.Labelled(sequences, labels), got {type(data).__name__}")
    labels, count = to_tensor(f"{name}.labels", data.labels), len(data.sequences)
    if labels.shape not in ((count,), (count, 1)) or not count:
        raise ValueError(f"{name}: expected one label for each of {count} sequences, got {tuple(labels.shape)}")
    numbers = labels.reshape(-1).long()
    if labels.dtype == torch.bool or bool((numbers != labels.reshape(-1)).any()) or int(numbers.min()) < 0:
        raise ValueError(f"{name}.labels must be class numbers from 0, got {labels.dtype} from {labels.min()}")
    names = tuple(map(str, data.label_names))
    if len(set(names)) < len(names):
        raise ValueError(f"{name}.label_names must differ from each other, got {', '.join(names)}")
    groups = tuple(map(str, data.groups))
    if groups and len(groups) != count:
        raise ValueError(f"{name}: expected one group for each of {count} sequences, got {len(groups)}")
    sequences: Any = LazySequences(range(count), partial(_convert_sequence, data.sequences, f"{name}.sequences"))
    if isinstance(data.sequences, list | tuple | Tensor) or hasattr(data.sequences, "__array__"):
        sequences = list(sequences)
        check_shapes([(f"{name}.sequences[{i}]", x) for i, x in enumerate(sequences)])
    return data._replace(sequences=sequences, labels=numbers, label_names=names, groups=groups)


def label_key(label: str) -> tuple[bool, float, str]:
    """Sort key of labels: first numbers in the order of their values, with ``"01"`` before ``"1"``, then text."""
    number = re.fullmatch(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", label, re.IGNORECASE | re.ASCII)
    return not number, float(label) if number else 0.0, label


def name_classes(classes: Sequence[str], names: Sequence[str] | Mapping[str, str]) -> tuple[str, ...]:
    """Returns the name of each class: its own without `names`, else those of a list in this order or of a table.

    Raises ValueError if the numbers of names and classes differ, or the name of a class stands for another one.
    """
    listed = f"{len(classes)}: {', '.join(classes[:FEW])}"
    if isinstance(names, Mapping):
        if names.keys() ^ set(classes):
            got = ", ".join(list(names)[:FEW])
            raise ValueError(f"expected data.label_names to be a table with the classes of data, {listed}; got {got}")
        return tuple(names[c] for c in classes)
    if len(classes) < 2 or len(names) not in (0, len(classes)):
        raise ValueError(f"expected {len(names) or 'two or more'} classes, got {listed}")
    places = {c.casefold(): i for i, c in enumerate(classes)}
    if moved := [n for i, n in enumerate(names) if places.get(n.strip().casefold(), i) != i]:
        raise ValueError(
            f"data.label_names has {moved[0]!r} for another class; write the names in the order of the classes, "
            f"{', '.join(classes[:FEW])}, or a table of them: label_names = {{{classes[0]} = …}}"
        )
    return tuple(names) or tuple(classes)


class LabelledDataset(RecipeDataset):
    """Base class of datasets of labelled sequences."""

    label_names: tuple[str, ...] | Mapping[str, str]

    def validation_count(self, count: int) -> int:
        """Returns the number of validation examples among the `count` training examples of a class."""
        return min(max(1, round(count * self.validation)), count - 1) if self.validation else 0

    def select_split(self, data: Labelled, split: str) -> Labelled:
        """Splits training data per class with a fixed seed, and returns the part for `split`; keeps test data as is."""
        if split == "test" or not self.validation:
            return data
        held_out = select_per_class(data.labels.tolist(), self.validation_count)
        return data.subset([i for i in range(len(data.labels)) if (i in held_out) == (split == "validation")])

    def load(self, path: Path | None, split: str, front_end: LogMel | None = None) -> Labelled:
        """Reads the recordings of one split.

        Args:
            path: file or directory of the data.
            split: ``"train"``, ``"validation"`` or ``"test"``.
            front_end: computes features of audio files; by default the front end of the dataset.

        Raises:
            FileNotFoundError: `path` is None, does not exist, or contains no recordings.
            ValueError: a file is damaged, or the data has too few recordings for its splits.
        """
        raise NotImplementedError(f"{type(self).__name__} must define load")


def list_singles(folder: Path) -> list[Path]:
    """Lists the ``.npy``, ``.csv`` and audio files in a folder."""
    return [f for f in list_dir(folder) if f.suffix.lower() in SINGLES and f.is_file()]


def list_class_folders(path: Path, list_examples: Callable[[Path], list[Path]]) -> list[Path]:
    """Returns the folders of the classes in a folder, or in the folders of its parts, such as ``train`` and ``test``.

    `list_examples` lists the examples in a folder.
    """
    folders = list_folders(path)
    inner = [folder for part in folders for folder in list_folders(part)]
    return inner if not any(map(list_examples, folders)) and any(map(list_examples, inner)) else folders


def list_folders(path: Path) -> list[Path]:
    """Lists the folders in a folder."""
    return [p for p in list_dir(path) if p.is_dir()] if path.is_dir() else []


@dataclass(frozen=True, kw_only=True)
class LabelledSequences(GroupedFiles, LabelledDataset):
    """Fields of ``[data]`` with ``kind = "sequences"``.

    The data are ``.npz`` files with an array ``labels`` (or ``y``), ``.ts`` files, or one folder per class with
    ``.npy``, ``.csv`` and audio files. The folders of the classes may be in folders of the parts, such as ``train`` and
    ``test``, which `split` then names. A ``.npz`` file has one array ``(T, C)`` for each recording, or one array ``x``
    ``(N, T, C)`` for all. Hidden files and folders are ignored.

    Example:
        >>> LabelledSequences(name="gestures", license="CC0 1.0").split_words
        'a third of every class'
    """

    task: str = field("sequence classification", nonempty=True, description="task in the metadata.")
    split: str | tuple[str, ...] = field(
        "random",
        choices=("random", "file", "group"),
        description='rule for the test split. ``"random"``: a third of each class, sampled with a fixed seed. '
        '``"file"``: the last third of the files in the order of their names. If there is only one file, or if every '
        'file has only one class: the last third of each class. ``"group"``: the last third of the groups, which '
        "``.npz`` files may have as an array ``groups``. A list: patterns of test file names relative to the data "
        'directory, or names of CSV files in the data directory, such as ``["test.csv"]``, whose column `file` lists '
        "them. If there is only one file of data, the names are those of its recordings.",
    )
    label_names: tuple[str, ...] | Mapping[str, str] = field(
        (),
        description="names of the classes, as a list in the order of their labels (numbers by value, then text), or "
        'as a table by label, such as ``{walk = "Walking", run = "Running"}``.',
    )
    front_end: Mapping[str, Any] = field(
        factory=dict,
        description="arguments of :class:`~convrnn_zoo.LogMel`, which computes features of audio files. By default "
        "`rate` is the lowest sample rate of the files; other files are resampled to it.",
    )
    layout: str = field(
        "",
        choices=("", "NTC", "NCT"),
        description='order of the axes of an array ``x``: ``"NTC"`` or ``"NCT"``. By default, ``"NTC"`` is assumed, '
        "and an array with fewer steps than channels is rejected.",
    )
    validation: float | tuple[str, ...] = field(  # type: ignore[assignment]
        0.0,
        ge=0,
        lt=1,
        description="fraction of the training split that is set aside for validation, by the same rule as `split`. "
        "If `split` is a list, the validation files can be listed as well.",
    )
    folder: str = field(
        "", description='folder in the data directory that contains the recordings, such as ``"dataset"``.'
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.front_end:
            read(LogMel, self.front_end, where="data.front_end.")
        names = list(self.label_names.values() if isinstance(self.label_names, Mapping) else self.label_names)
        if duplicates := sorted({n for n in names if names.count(n) > 1}):
            raise ValueError(f"the recipe's data.label_names must differ, got {', '.join(duplicates)} more than once")

    @property
    def split_words(self) -> str:  # type: ignore[override]
        """Description of the test split."""
        words = {
            "random": "a third of every class",
            "file": "the last third of the files, or of every class",
            "group": "the last third of the groups",
        }
        if isinstance(self.split, str):
            return words[self.split]
        return f"the recordings {'listed in ' if all(map(is_list, self.split)) else ''}{', '.join(self.split)}"

    def create_front_end(self, path: Path) -> LogMel | None:
        """Returns the front end of the audio files at a path, or None if there are no audio files."""
        files = [f for f in find_recordings(path) if f.suffix.lower() in AUDIO]
        if not files:
            if self.front_end:
                expected = f"folders of audio files ({', '.join(AUDIO)}), one for each class"
                raise ValueError(f"{path}: expected {expected}; or remove data.front_end from the recipe")
            return None
        rate = self.front_end.get("rate") or min(sample_rate(file) for file in files)
        return LogMel(**{**self.front_end, "rate": rate})

    def recordings(self, path: Path, front_end: LogMel | None = None) -> list[Recording]:
        """Returns all recordings at a path; raises FileError if their shapes differ, apart from the length."""
        front_end = front_end or self.create_front_end(path)
        recordings: list[Recording] = []
        for file in find_recordings(path):
            suffix = file.suffix.lower()
            if suffix in AUDIO:
                inside = [Recording(str(file), "", encode_sound(file, front_end))]
            else:
                inside = RECORDING_READERS[suffix](file, layout=self.layout)
            if suffix in SINGLES:
                inside = [r._replace(label=file.parent.name) for r in inside]
            elif unlabelled := [r.key for r in inside if not r.label]:
                got = f"none for {len(unlabelled)} of {len(inside)}, such as {unlabelled[0]}"
                raise FileError(f"{file}: expected an array labels (or y) with the class of each recording, got {got}")
            recordings += inside
        if not recordings:
            error = FileError if path.is_file() else FileNotFoundError
            raise error(f"{path}: expected {' or '.join(ARCHIVES)}, or a folder of {', '.join(SINGLES)} for each class")
        with naming(path):
            check_shapes([(r.name, r.values) for r in recordings])
        return recordings

    def load(self, path: Path | None, split: str, front_end: LogMel | None = None) -> Labelled:
        """Reads the recordings of one split; see :meth:`LabelledDataset.load`."""
        path = resolve_path(path, self.name)
        folder = path / self.folder
        check_exists(folder, "correct the recipe's data.folder, or --data")
        front_end = front_end or self.create_front_end(folder)
        recordings = self.recordings(folder, front_end)
        files = [relative_name(Path(r.file), path) for r in recordings]
        if self.split in ("random", "file") and (test := self.find_parts(folder).get("test")):
            pattern = relative_name(folder / test / "*", path)
            raise ValueError(f'{path} has a folder of test data; name it: data.split = ["{pattern}"]')
        if self.group_pattern or self.group_file:
            groups = self.find_groups(files, path)
            recordings = [r._replace(group=group) for r, group in zip(recordings, groups, strict=True)]
        classes = sorted({r.label for r in recordings}, key=label_key)
        with naming(path):
            names = name_classes(classes, self.label_names)
            named = [r._replace(file=file) for r, file in zip(recordings, files, strict=True)]
            tests, held_out = self.read_lists(path)
            indices = dataclasses.replace(self, split=tests, validation=held_out).select(named, split)
        selected = [recordings[i] for i in indices]
        if split == "train" and isinstance(selected[0].values, Tensor):
            others = [recordings[i] for i in sorted({*range(len(recordings))} - {*indices})]
            if shared := find_shared((r.values for r in selected), [r.values for r in others]):
                logger.warning(
                    f"{path}: {len(shared)} of {len(others)} recordings for validation and test share steps with the "
                    f"training part, such as {others[shared[0]].name}, so scores are too good. If recordings are "
                    'windows that overlap, write data.split = "group", where the windows of one signal are a group'
                )
        labels = torch.tensor([classes.index(r.label) for r in selected])
        if missing := [label for i, label in enumerate(classes) if i not in labels]:
            message = f"{path}: the {split} part has no recording of {', '.join(missing[:FEW])}"
            if split == "train":
                raise ValueError(f"{message}; change data.split")
            logger.warning(message)
        groups = [r.group for r in selected] if any(r.group for r in recordings) else []
        listed = (("" if path.is_file() else files[i], recordings[i].key) for i in indices)
        return Labelled(self.values(selected), labels, names, tuple(groups), front_end, tuple(map(":".join, listed)))

    list_examples = staticmethod(list_singles)
    """Lists the examples in the folder of a class."""

    def find_parts(self, path: Path) -> dict[str, str]:
        """Returns the folders of the parts ``"test"`` and ``"validation"`` by part, if these have class folders."""
        if path.is_file() or any(f.suffix.lower() in ARCHIVES for f in list_dir(path)):
            return {}
        names = [f.parent.name for f in list_class_folders(path, self.list_examples) if f.parent != path]
        return {PARTS[name.lower()]: name for name in names if name.lower() in PARTS}

    def values(self, recordings: Sequence[Recording]) -> Sequence[Tensor]:
        """Returns the sequences ``(T, C, *S)`` of recordings."""
        return [r.values for r in recordings]

    def select(self, recordings: Sequence[Recording], split: str) -> list[int]:
        """Returns the indices of the recordings that belong to a split."""
        labels, files = [r.label for r in recordings], [r.file for r in recordings]
        count = len(set(files))
        has_one_class = len(set(zip(files, labels, strict=True))) == count
        if self.split == "random" or (self.split == "file" and (has_one_class or count == 1)):
            units = files if self.split == "file" else None
            test = select_per_class(labels, lambda n: n // 3, units)
            if not test:
                raise ValueError("no class has three recordings, one of which could be tested; add more")
            if split == "test":
                return sorted(test)
            others = [i for i in range(len(recordings)) if i not in test]
            inside = units and [units[i] for i in others]
            held_out = select_per_class([labels[i] for i in others], self.validation_count, inside)
            return [i for k, i in enumerate(others) if (k in held_out) == (split == "validation")]
        names = [r.key or r.file for r in recordings] if isinstance(self.split, tuple) and count == 1 else files
        if self.split == "group":
            names = [r.group for r in recordings]
            if not all(names):
                fix = "set data.group_pattern or data.group_file, or save an array groups"
                raise ValueError(f'the recipe\'s data.split = "group" needs the group of every recording: {fix}')
        parts = assign_parts(names, self.split, self.validation, alternative="random")
        return [i for i, part in enumerate(parts) if part == split]


def find_recordings(path: Path) -> list[Path]:
    """Lists the ``.npz`` and ``.ts`` files at a path; if none, the files in the folders of the classes."""
    inside = [path] if path.is_file() else list_dir(path)
    archives = [f for f in inside if f.suffix.lower() in ARCHIVES and f.is_file()]
    return archives or [f for folder in list_class_folders(path, list_singles) for f in list_singles(folder)]
