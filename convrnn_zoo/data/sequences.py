"""Labelled sequences: the data set of the shipped weights, and the kinds of one's own, asked for in one way."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .._extras import need
from . import _entries
from .clip_folders import OwnClips
from .recordings import Labelled, OwnSequences


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
    load: Callable[[Path | None, str], Labelled]
    """``(directory, "train" | "test")`` to the sequences."""
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


DATA_SETS: dict[str, LabelledSet] = {
    "japanese_vowels": LabelledSet(
        title="JapaneseVowels",
        task="audio classification",
        url="https://archive.ics.uci.edu/dataset/128/japanese+vowels",
        license="CC BY 4.0",
        label_names=tuple(f"speaker {i}" for i in range(1, 10)),
        where="pip install 'convrnn-zoo[data]' brings it, or get the .ts files from https://timeseriesclassification.com",
        load=load_japanese_vowels,
    )
}
"""By what stands as ``kind`` in the recipe."""
OWN_SEQUENCES: dict[str, type[OwnSequences]] = {"sequences": OwnSequences, "clips": OwnClips}
"""Likewise, of one's own."""


def sequences_of(table: Mapping[str, Any]) -> LabelledSet | OwnSequences:
    """The data that a recipe's table ``[data]`` tells of.

    Raises:
        ValueError: the kind is not known, or an entry will not do.

    Example:
        >>> sequences_of({"kind": "japanese_vowels"}).title
        'JapaneseVowels'
    """
    entries = dict(table)
    kind = entries.pop("kind", None)
    if kind in OWN_SEQUENCES:
        return _entries.read(OWN_SEQUENCES[kind], entries, "data.")
    if kind not in DATA_SETS:
        known = ", ".join([*OWN_SEQUENCES, *DATA_SETS])
        raise ValueError(f"the recipe's data.kind must be one of {known}, got {kind!r}")
    if entries:
        raise ValueError(f"the recipe's data: {kind} takes no entry beside its kind, got {', '.join(entries)}")
    return DATA_SETS[kind]
