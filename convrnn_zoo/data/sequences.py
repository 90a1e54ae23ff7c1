"""Labelled sequences: the data set of the shipped weights, and the kinds of one's own, asked for in one way."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .._extras import need
from ..models import LogMel
from . import _entries
from .datasets.labelled_sequences import Labelled, LabelledSequences
from .datasets.video_folder import VideoFolder
from .readers.audio import read_sound


@dataclass(frozen=True, kw_only=True)
class LabelledSet:
    """A data set of labelled sequences of shipped weights, and how it is read."""

    title: str
    task: str
    url: str
    license: str
    where: str
    """One line on how a user gets the data."""
    label_names: tuple[str, ...]
    load: Callable[..., Labelled]
    """``(directory, "train" | "test")`` to the sequences; of sound also by a front end that is not the set's own."""
    split_words: str = "official test split"


def load_japanese_vowels(directory: Path | None, split: str) -> Labelled:
    """JapaneseVowels: 12 cepstrum coefficients a step, a map of one pixel: ``(T, 12, 1)``, T from 7 to 29.

    Args:
        directory: holds ``JapaneseVowels_TRAIN.ts`` and ``JapaneseVowels_TEST.ts``; None for the copy in aeon.
        split: ``"train"`` (270) or ``"test"`` (370).

    Raises:
        FileNotFoundError: the directory does not hold the file.
    """
    datasets = need("aeon.datasets", "data")
    if directory is None:
        xs, ys = datasets.load_classification("JapaneseVowels", split=split)
    else:
        file = directory / f"JapaneseVowels_{split.upper()}.ts"
        if not file.is_file():
            raise FileNotFoundError(f"{file} is not there; {DATA_SETS['japanese_vowels'].where}")
        xs, ys = datasets.load_from_ts_file(str(file))
    sequences = [torch.as_tensor(x, dtype=torch.float32).T.unsqueeze(-1).contiguous() for x in xs]
    return Labelled(sequences, torch.tensor([int(y) - 1 for y in ys]), DATA_SETS["japanese_vowels"].label_names)


SPOKEN = LogMel(rate=8000)
"""How the spoken digits are heard."""


def load_fsdd(directory: Path | None, split: str, front_end: LogMel | None = None) -> Labelled:
    """The Free Spoken Digit Dataset: English digits by six speakers, 0.14 to 2.28 s, ``(T, 40, 1)``.

    Args:
        directory: the repository of the data, or the folder in it with ``7_george_12.wav`` and 2,999 others.
        split: ``"test"`` (300), the first five recordings of each digit by each speaker, or ``"train"`` (2,700).
        front_end: how the sound is read.

    Raises:
        FileNotFoundError: there is none of them.
        ValueError: a file is broken.
    """
    where = DATA_SETS["fsdd"].where
    if directory is None:
        raise FileNotFoundError(f"no data given for FSDD; {where}, and pass --data DIR")
    folder = directory / "recordings" if (directory / "recordings").is_dir() else directory
    named = [(m, file) for file in sorted(folder.glob("*.wav")) if (m := re.fullmatch(r"(\d)_(\w+)_(\d+)", file.stem))]
    chosen = [(m, file) for m, file in named if (int(m[3]) < 5) == (split == "test")]
    if not chosen:
        raise FileNotFoundError(f"{folder} holds no file such as 7_george_12.wav; {where}")
    ear = front_end or SPOKEN
    return Labelled(
        [ear.encode(*read_sound(file, rate=ear.rate)) for _, file in chosen],
        torch.tensor([int(m[1]) for m, _ in chosen]),
        DATA_SETS["fsdd"].label_names,
        tuple(m[2] for m, _ in chosen),
        ear,
    )


DATA_SETS: dict[str, LabelledSet] = {
    "fsdd": LabelledSet(
        title="FSDD",
        task="audio classification",
        url="https://github.com/Jakobovski/free-spoken-digit-dataset",
        license="CC BY-SA 4.0",
        label_names=("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
        where="git clone https://github.com/Jakobovski/free-spoken-digit-dataset",
        load=load_fsdd,
    ),
    "japanese_vowels": LabelledSet(
        title="JapaneseVowels",
        task="audio classification",
        url="https://archive.ics.uci.edu/dataset/128/japanese+vowels",
        license="CC BY 4.0",
        label_names=tuple(f"speaker {i}" for i in range(1, 10)),
        where="pip install 'convrnn-zoo[data]' brings it, or get the .ts files from https://timeseriesclassification.com",
        load=load_japanese_vowels,
    ),
}
"""By what stands as ``kind`` in the recipe."""
OWN_SEQUENCES: dict[str, type[LabelledSequences]] = {"sequences": LabelledSequences, "clips": VideoFolder}
"""Likewise, of one's own."""


def sequences_of(table: Mapping[str, Any]) -> LabelledSet | LabelledSequences:
    """The data that a recipe's table ``[data]`` tells of.

    Raises:
        ValueError: the kind is not known, or an entry will not do.

    Example:
        >>> sequences_of({"kind": "japanese_vowels"}).title
        'JapaneseVowels'
    """
    return _entries.source_of(table, OWN_SEQUENCES, DATA_SETS)
