"""Sequences and clips from files, as the classifier that shall read them was trained."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..data import OwnClips, sequences_of
from ..data.arrays import check_numbers, read_arrays, unpadded
from ..data.clip_folders import SUFFIXES
from ..data.readers.images import clips_below
from ..data.recordings import SOUNDS
from ..data.sound import read_sound
from ..models import VideoModel, ZooModel
from ..train import ClassifierRecipe, Recipe


class Recording(NamedTuple):
    """A sequence of a file, and its entry there where the file has several."""

    file: str
    entry: str
    x: Tensor

    @property
    def name(self) -> str:
        """The file as it was given, and the entry."""
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
        return [
            Recording(str(path), "", model.encode_sound(str(path), *read_sound(path, rate=ear.rate if ear else None)))
        ]
    if path.suffix not in (".npy", ".npz"):
        raise ValueError(
            f"{path}: expected a .npy or .npz file, or a sound ({', '.join(SOUNDS)}); save sequences (T, C, …) with "
            "numpy.save"
        )
    arrays = unpadded(read_arrays(path), path)
    if len(arrays) > 1 and arrays.get("labels", np.empty(0)).shape == (len(arrays) - 1,):
        del arrays["labels"]  # the classes, in a file that was made to train on
    if not arrays:
        raise ValueError(f"{path}: holds no array; save sequences (T, C, …) with numpy.savez")
    found = []
    for key, array in arrays.items():
        check_numbers(array, f"{path}:{key}" if key else str(path))
        found.append(Recording(str(path), key, torch.as_tensor(array, dtype=torch.float32)))
    return found


def kind_of(model: ZooModel, files: Sequence[Path]) -> OwnClips | None:
    """How a model reads files as clips: as its recipe says, or where none does and it takes clips, as they are.

    None where it reads sequences instead.
    """
    recipe = None if model.record is None else Recipe.parse(model.record.recipe)
    if isinstance(recipe, ClassifierRecipe):
        source = sequences_of(recipe.data)
        return source if isinstance(source, OwnClips) else None
    archives = all(file.suffix.lower() == ".npz" for file in files)
    return OwnClips(name="clips") if isinstance(model, VideoModel) and not archives else None


def clips_of(kind: OwnClips, files: Sequence[Path]) -> Iterator[list[Recording]]:
    """The clips of files and folders, each alone.

    Raises:
        ValueError: one is broken, or none at all.
        FileNotFoundError: it is not there.
    """
    for file in files:
        below = [file] if file.suffix.lower() in SUFFIXES or not file.is_dir() else list(clips_below(file))
        if not below:
            raise ValueError(f"{file} holds no clip; pass a folder of pictures, or files of {', '.join(SUFFIXES)}")
        for clip in below:
            yield [Recording(str(clip), "", kind.read(clip))]
