"""Sequences from files."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ._arrays import check_numbers, read_arrays


class Recording(NamedTuple):
    """A sequence of a file, and its entry there where the file has several."""

    file: str
    entry: str
    x: Tensor

    @property
    def name(self) -> str:
        """The file's name, and the entry's."""
        return f"{self.file}:{self.entry}" if self.entry else self.file


def read_sequences(path: Path) -> list[Recording]:
    """The sequences of a file.

    ``.npy`` holds one. ``.npz`` holds one an entry, or all of them as ``x`` ``(N, T, …)`` with ``lengths`` ``(N,)``.

    Raises:
        ValueError: the file is of another kind, is broken, or holds no sequence.
    """
    if path.suffix not in (".npy", ".npz"):
        raise ValueError(f"{path}: expected a .npy or .npz file; save sequences (T, C, …) with numpy.save")
    arrays = read_arrays(path)
    if {"x", "lengths"} <= arrays.keys():
        x, lengths = arrays["x"], arrays["lengths"]
        if len(x) != len(lengths) or (len(x) and not (lengths.min() >= 1 and lengths.max() <= x.shape[1])):
            raise ValueError(
                f"{path}: x {x.shape} needs {len(x)} lengths from 1 to {x.shape[1]}, got {lengths.tolist()}"
            )
        arrays = {str(i): x[i, :n] for i, n in enumerate(lengths)}
    if not arrays:
        raise ValueError(f"{path}: holds no array; save sequences (T, C, …) with numpy.savez")
    found = []
    for key, array in arrays.items():
        check_numbers(path, key, array)
        found.append(Recording(path.name, key, torch.as_tensor(array, dtype=torch.float32)))
    return found
