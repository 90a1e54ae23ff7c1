"""Classes of recordings in files."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from ..data import RadHAR, VideoFolder, read_sound
from ..data.readers import FileError, list_files, sequences
from ..data.readers.audio import AUDIO
from ..data.readers.sequences import RECORDING_SUFFIXES, Recording
from ..models import VideoModel, ZooModel
from ..models.base.classification import classify_sampled
from ..recipes import ClassifierRecipe, find_recipe
from .streaming import draw_probabilities


def classify_files(model: ZooModel, files: Sequence[Path]) -> Iterator[tuple[Recording, Any]]:
    """Yields each recording of files and folders with its prediction.

    Files are read as the recipe of the classifier specifies. Only one video clip is in memory at a time.

    Raises:
        FileNotFoundError: a file does not exist.
        ValueError: a file is damaged, of an unknown format, or contains no recording.
    """
    for recordings in read_recordings(model, files):
        names = [recording.name for recording in recordings]
        predictions = classify_sampled(cast(Any, model), [recording.values for recording in recordings], names=names)
        yield from zip(recordings, predictions, strict=True)


def read_recordings(model: ZooModel, files: Sequence[Path]) -> Iterator[list[Recording]]:
    """Yields lists of the recordings of files and folders, as the recipe of the classifier specifies."""
    recipe = find_recipe(model)
    dataset = recipe.data if isinstance(recipe, ClassifierRecipe) else None
    archives = all(file.suffix.lower() == ".npz" for file in files)
    if recipe is None and isinstance(model, VideoModel) and not archives:
        dataset = VideoFolder(name="clips")
    if isinstance(dataset, VideoFolder):
        for file in files:
            for clip in dataset.list_clips(file):
                yield [Recording(str(clip), "", dataset.read(clip))]
        return
    if isinstance(dataset, RadHAR):
        yield from (dataset.read(recording) for file in files for recording in dataset.list_recordings(file))
        return
    inside = [f for file in files for f in (list_files(file, RECORDING_SUFFIXES) if file.is_dir() else [file])]
    if not inside:
        raise FileError(f"{files[0]} contains no recording; expected files of {', '.join(RECORDING_SUFFIXES)}")
    layout = getattr(dataset, "layout", "")
    yield [recording for file in inside for recording in sequences.read_recordings(file, model, layout)]


def draw_classes(model: Any, files: Sequence[Path], output: Path) -> float:
    """Plots the classes of one audio file over time, and returns its length in seconds."""
    if len(files) != 1 or files[0].suffix.lower() not in AUDIO:
        raise ValueError(
            f"{output} shows the classes of one sound over time, got {', '.join(map(str, files))}; pass one sound, or "
            "-o FILE.json"
        )
    if model.front_end is None:
        raise ValueError(f"{files[0]} is a sound, but the model has no front end for sound; pass sequences")
    wave, rate = read_sound(files[0], rate=model.front_end.rate)
    draw_probabilities(model, wave, rate, output, files[0].name)
    return len(wave) / rate
