"""Data sets of labelled sequences of unequal length, with their official splits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from .._extras import need


class Labelled(NamedTuple):
    """Sequences ``(T_i, C, *S)`` and their classes ``(N,)``."""

    sequences: list[Tensor]
    labels: Tensor

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        """The chosen ones as ``(N, T, C, *S)`` padded with zeros, their lengths and their classes."""
        chosen = [self.sequences[i] for i in indices]
        return (
            pad_sequence(chosen, batch_first=True),
            torch.tensor([len(x) for x in chosen]),
            self.labels[list(indices)],
        )


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """Where a data set comes from."""

    title: str
    task: str
    url: str
    license: str
    where: str
    """One line on how a user gets the data."""


@dataclass(frozen=True, kw_only=True)
class LabelledSet(DataSet):
    """A data set of labelled sequences, and how it is read."""

    label_names: tuple[str, ...]
    load: Callable[[Path | None, str], Labelled]
    """``(directory, "train" | "test")`` to the sequences."""


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
    return Labelled(sequences, torch.tensor([int(y) - 1 for y in ys]))


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
