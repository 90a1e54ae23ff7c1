"""Recordings of one's own with their classes, of unequal length: ``.npz`` files, or a folder a class."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ..models import LogMel
from . import _entries
from ._entries import entry
from .arrays import check_numbers, read_arrays, unpadded
from .own import given, in_parts
from .sound import rate_of, read_sound

log = logging.getLogger(__name__)
SOUNDS = (".wav", ".flac", ".ogg", ".mp3")
SUFFIXES = (".npy", *SOUNDS)


class Labelled(NamedTuple):
    """Sequences and their classes.

    `sequences` are ``(T_i, C, *S)`` each, in a list, or in another Sequence that reads them when they are asked for;
    `labels` are class numbers from 0, ``(N,)`` of int64, and `label_names` their names, in that order.
    """

    sequences: Sequence[Tensor]
    labels: Tensor
    label_names: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    """Who or what each is of, such as its speaker, where the data tell."""
    front_end: LogMel | None = None
    """How they were made of sound, if they are of any."""

    def batch(
        self, indices: Sequence[int], change: Callable[[Tensor], Tensor] = lambda x: x
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The chosen ones, each changed, as ``(N, T, C, *S)`` padded with zeros, their lengths and their classes."""
        chosen = [change(self.sequences[i]) for i in indices]
        return (
            pad_sequence(chosen, batch_first=True),
            torch.tensor([len(x) for x in chosen]),
            self.labels[list(indices)],
        )


class Recording(NamedTuple):
    """A sequence ``(T, C, *S)``, its class, and the file and the name that it comes from."""

    values: Any
    """Its numbers, or where they lie, if they are read later."""
    label: str
    file: str
    name: str


def as_sequence(array: Any, name: str) -> Tensor:
    """An array of real, finite numbers as ``(T, C, …)``; a plain row of numbers is one channel.

    Raises:
        ValueError: it is none.
    """
    check_numbers(array, name)
    x = torch.as_tensor(array, dtype=torch.float32)
    if x.dim() == 0 or 0 in x.shape:
        raise ValueError(f"{name}: expected a sequence (T, C, …), got {tuple(x.shape)}")
    if not bool(torch.isfinite(x).all()):
        raise ValueError(f"{name}: holds NaN or Inf; fill or cut them")
    return x[:, None] if x.dim() == 1 else x


def read_archive(path: Path) -> list[Recording]:
    """The recordings of a ``.npz``: one an array, or ``x`` with ``lengths``; the array ``labels`` tells their classes.

    Raises:
        ValueError: the file is broken, or has no label for each recording.
    """
    arrays = read_arrays(path)
    labels = arrays.pop("labels", None)
    arrays = unpadded(arrays, path)
    if labels is None or labels.shape != (len(arrays),):
        found = "none" if labels is None else f"{labels.shape}"
        raise ValueError(
            f"{path}: expected an array labels of {len(arrays)}, one a recording in their order, got {found}"
        )
    if idle := [k for k, label in zip(arrays, labels.tolist(), strict=True) if str(label) in ("", "nan", "None")]:
        raise ValueError(f"{path}: {', '.join(idle[:8])} has no label; give it one, or leave it out")
    return [
        Recording(as_sequence(x, f"{path.name}:{k}"), str(label), path.name, f"{path.name}:{k}")
        for (k, x), label in zip(arrays.items(), labels.tolist(), strict=True)
    ]


def read_folders(path: Path, front_end: LogMel | None = None) -> list[Recording]:
    """The recordings of a directory with a folder a class: arrays, or sound as a front end gives it.

    Raises:
        ValueError: a file is broken.
    """
    found = []
    for file in sorted(p for p in path.glob("*/*") if p.suffix.lower() in SUFFIXES):
        name = str(file.relative_to(path))
        if front_end is not None and file.suffix.lower() in SOUNDS:
            x = front_end.encode(*read_sound(file, rate=front_end.rate))
        else:
            x = as_sequence(read_arrays(file)[""], str(file))
        found.append(Recording(x, file.parent.name, name, name))
    return found


def natural(label: str) -> tuple[int, float | str]:
    """The order of labels: numbers by their value, before words."""
    try:
        return 0, float(label)
    except ValueError:
        return 1, label


@dataclass(frozen=True, kw_only=True)
class OwnSequences:
    """``kind = "sequences"``: the entries of the table ``[data]``.

    `name`, `license` and `url` are what record and card say of the data. The recordings are those of ``.npz`` files,
    each with an array ``labels``, or of a folder a class. `split` says what the test part is: a third of every class,
    drawn with a fixed seed (``"random"``), the last third of the files in order of their names, or of every class in a
    file alone (``"file"``), or the files or recordings that a list of patterns names. `label_names` are words for the
    labels in their order. `sound` holds entries of :class:`~convrnn_zoo.LogMel`, by which sound is read; its `rate` is
    by default the lowest among the files, to which the others are resampled.

    Example:
        >>> OwnSequences(name="gestures", license="CC0 1.0").split_words
        'a third of every class'
    """

    name: str = entry(filled=True)
    license: str = entry("")
    url: str = entry("")
    task: str = entry("sequence classification", filled=True)
    split: str | tuple[str, ...] = entry("random", one_of=("random", "file"))
    label_names: tuple[str, ...] = entry(())
    sound: Mapping[str, Any] = entry(factory=dict)

    def __post_init__(self) -> None:
        _entries.check(self, "data.")
        if self.sound:
            LogMel.from_json(self.sound, "the recipe's data.sound")

    @property
    def title(self) -> str:
        """The name of the data."""
        return self.name

    @property
    def split_words(self) -> str:
        """The test split in words."""
        words = {
            "random": "a third of every class",
            "file": "the last third of the files, or of every class of one file",
        }
        return words[self.split] if isinstance(self.split, str) else f"the recordings {', '.join(self.split)}"

    def front_end(self, path: Path) -> LogMel | None:
        """How the sound below a path is read; None where there is none.

        Raises:
            ValueError: a file is broken.
        """
        sounds = sorted(p for p in path.glob("*/*") if p.suffix.lower() in SOUNDS)
        if not sounds or any(path.glob("*.npz")):
            if self.sound:
                raise ValueError(f"{path} holds arrays and no sound that is read: leave data.sound out of the recipe")
            return None
        rate = self.sound.get("rate") or min(rate_of(file) for file in sounds)
        return LogMel(**{**self.sound, "rate": rate})

    def recordings(self, path: Path, front_end: LogMel | None = None) -> list[Recording]:
        """Every recording at a path.

        Raises:
            FileNotFoundError: there is none.
            ValueError: one is broken, or of another size than the others.
        """
        if path.is_file():
            found = read_archive(path)
        else:
            found = [r for file in sorted(path.glob("*.npz")) for r in read_archive(file)]
            found = found or read_folders(path, front_end)
        if not found:
            raise FileNotFoundError(
                f"{path} holds no .npz file, and no folder for each class with {' or '.join(SUFFIXES)} files"
            )
        like = found[0].values.shape[1:]
        if other := [r for r in found if r.values.shape[1:] != like]:
            raise ValueError(
                f"{path}: expected recordings of one shape beyond time, got {found[0].name} "
                f"{tuple(found[0].values.shape)} and {other[0].name} {tuple(other[0].values.shape)}"
            )
        return found

    def load(self, path: Path | None, split: str, front_end: LogMel | None = None) -> Labelled:
        """The recordings of ``"train"`` or ``"test"``; sound by the front end of a model, or by that of the recipe.

        Raises:
            FileNotFoundError: no path is given, or there is nothing of the kind.
            ValueError: a file is broken, or a part is empty.
        """
        path = given(path, self.name)
        front_end = front_end or self.front_end(path)
        found = self.recordings(path, front_end)
        classes = sorted({r.label for r in found}, key=natural)
        if len(classes) < 2 or len(self.label_names) not in (0, len(classes)):
            raise ValueError(
                f"{path}: expected {len(self.label_names) or 'two or more'} classes, got {len(classes)}: "
                f"{', '.join(classes[:20])}"
            )
        try:
            chosen = [found[i] for i in self.part(found, split)]
        except ValueError as e:
            raise ValueError(f"{path}: {e}") from e
        labels = torch.tensor([classes.index(r.label) for r in chosen])
        if without := [label for i, label in enumerate(classes) if i not in labels]:
            log.warning("%s: the %s part has no recording of %s", path, split, ", ".join(without[:20]))
        return Labelled(self.values(chosen), labels, self.label_names or tuple(classes), front_end=front_end)

    def values(self, chosen: Sequence[Recording]) -> Sequence[Tensor]:
        """The sequences of recordings."""
        return [r.values for r in chosen]

    def part(self, found: Sequence[Recording], split: str) -> list[int]:
        """Which recordings are of a part of the split."""
        files = list(dict.fromkeys(r.file for r in found))
        if self.split == "random" or (self.split == "file" and len(files) == 1):
            generator, test = torch.Generator().manual_seed(0), set()
            for label in sorted({r.label for r in found}):
                those = torch.tensor([i for i, r in enumerate(found) if r.label == label])
                drawn = torch.randperm(len(those), generator=generator)
                order = drawn if self.split == "random" else torch.arange(len(those)).flip(0)
                test |= set(those[order][: len(those) // 3].tolist())
            if not test:
                raise ValueError("no class has three recordings, of which one could be tested; give more")
            return [i for i in range(len(found)) if (i in test) == (split == "test")]
        if isinstance(self.split, tuple) and len(files) == 1:
            names = [r.name.partition(":")[2] or r.name for r in found]
            return in_parts(names, self.split, split, instead="random")
        those_files = {files[i] for i in in_parts(files, self.split, split, instead="random")}
        return [i for i, r in enumerate(found) if r.file in those_files]
