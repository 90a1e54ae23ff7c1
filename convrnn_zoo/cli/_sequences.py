"""Reads the sequences and clips of files as the classifier was trained to read them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from ..data import LabelledSequences, VideoFolder, sequences_of
from ..data.datasets.video_folder import CLIPS
from ..data.readers.audio import AUDIO, read_sound
from ..data.readers.files import FileError
from ..data.readers.images import find_clips
from ..data.readers.sequences import READERS, SUFFIXES, Recording
from ..models import VideoModel, ZooModel
from ..train import ClassifierRecipe, Recipe


def read_sequences(path: Path, model: ZooModel, layout: str = "") -> list[Recording]:
    """Returns the sequences of a file for a model; see :mod:`convrnn_zoo.data.readers.sequences` for the formats.

    An array ``x`` without lengths and labels holds several sequences if its axes are ``(N, T, C)`` for the model's
    number of channels.

    Args:
        path: the file.
        model: classifies the sequences; its front end reads audio files.
        layout: axes of an array of several sequences, as in training.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the format is unknown, the file is damaged, or it contains no sequence.
    """
    suffix = path.suffix.lower()
    if suffix in AUDIO:
        rate = model.front_end.rate if model.front_end else None
        return [Recording(str(path), "", model.encode_sound(str(path), *read_sound(path, rate=rate)))]
    if suffix not in READERS:
        raise FileError(f"{path}: expected a file of {', '.join(SUFFIXES)}; save sequences (T, C, …) with numpy.save")

    def is_batch(shape: tuple[int, ...]) -> bool:
        windows = len(shape) == 3 and (layout == "NCT" or shape[1] != model.in_chans == shape[2])
        return windows or len(shape) == model.ndim + 3

    found = READERS[suffix](path, layout=layout or "NTC", is_batch=is_batch)
    if not found:
        raise FileError(f"{path}: contains no array; save sequences (T, C, …) with numpy.savez")
    return found


def dataset_of(model: ZooModel) -> LabelledSequences | None:
    """Returns the dataset that a classifier was trained on, as its recipe describes it; None without a recipe."""
    recipe = None if model.record is None else Recipe.parse(model.record.recipe)
    source = sequences_of(recipe.data) if isinstance(recipe, ClassifierRecipe) else None
    return source if isinstance(source, LabelledSequences) else None


def read_inputs(files: Sequence[Path], model: ZooModel) -> Iterator[list[Recording]]:
    """Yields the sequences of files, and clips one by one because they are large.

    Raises:
        FileNotFoundError: a file does not exist.
        ValueError: a file is damaged, of an unknown format, or contains no sequence.
    """
    dataset = dataset_of(model)
    archives = all(file.suffix.lower() == ".npz" for file in files)
    if dataset is None and model.record is None and isinstance(model, VideoModel) and not archives:
        dataset = VideoFolder(name="clips")
    if not isinstance(dataset, VideoFolder):
        layout = "" if dataset is None else dataset.layout
        yield [recording for file in files for recording in read_sequences(file, model, layout)]
        return
    for file in files:
        clips = [file] if file.suffix.lower() in CLIPS or not file.is_dir() else list(find_clips(file))
        if not clips:
            raise FileError(f"{file} contains no clip; pass a folder of images, or files of {', '.join(CLIPS)}")
        for clip in clips:
            yield [Recording(str(clip), "", dataset.read(clip))]
