"""Clips from files, as the classifier that shall read them was trained."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from ..data import OwnClips, sequences_of
from ..data.clip_folders import SUFFIXES
from ..data.pictures import clips_below
from ..models import VideoModel, ZooModel
from ..train import ClassifierRecipe, Recipe
from ._sequences import Recording


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
            name = file.name if clip == file else str(clip.relative_to(file))
            yield [Recording(name, "", kind.read(clip))]
