"""Sequences from files."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..data.recordings import SOUNDS
from ..data.sound import read_sound
from ..models import ZooModel
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


def read_sequences(path: Path, model: ZooModel) -> list[Recording]:
    """The sequences of a file, for a model.

    ``.npy`` holds one, and so does a sound, which the model's front end reads. ``.npz`` holds one an entry, or all of
    them as ``x`` ``(N, T, …)`` with ``lengths`` ``(N,)``.

    Raises:
        ValueError: the file is of another kind, is broken, or holds no sequence.
    """
    if path.suffix.lower() in SOUNDS:
        ear = model.front_end
        return [Recording(path.name, "", model.hear(str(path), *read_sound(path, rate=ear.rate if ear else None)))]
    if path.suffix not in (".npy", ".npz"):
        raise ValueError(
            f"{path}: expected a .npy or .npz file, or a sound ({', '.join(SOUNDS)}); save sequences (T, C, …) with "
            "numpy.save"
        )
    arrays = read_arrays(path)
    if {"x", "lengths"} <= arrays.keys():
        x, lengths = arrays["x"], arrays["lengths"]
        if len(x) != len(lengths) or (len(x) and not (lengths.min() >= 1 and lengths.max() <= x.shape[1])):
            raise ValueError(
                f"{path}: x {x.shape} needs {len(x)} lengths from 1 to {x.shape[1]}, got {lengths.tolist()}"
            )
        arrays = {str(i): x[i, :n] for i, n in enumerate(lengths)}
    if len(arrays) > 1 and arrays.get("labels", np.empty(0)).shape == (len(arrays) - 1,):
        del arrays["labels"]  # the classes, in a file that was made to train on
    if not arrays:
        raise ValueError(f"{path}: holds no array; save sequences (T, C, …) with numpy.savez")
    found = []
    for key, array in arrays.items():
        check_numbers(path, key, array)
        found.append(Recording(path.name, key, torch.as_tensor(array, dtype=torch.float32)))
    return found
