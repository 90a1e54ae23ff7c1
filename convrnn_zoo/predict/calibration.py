"""Sequences of real data in the form that exported files read, to calibrate int8 files with."""

from collections.abc import Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from ..data.readers import list_files, open_files
from ..data.readers.sequences import RECORDING_SUFFIXES
from ..models import Forecaster, ZooModel
from ..recipes import find_recipe
from .files import choose_read_options, resolve_preprocessing
from .recordings import read_recordings

MAX_SEQUENCES = 32
"""Number of sequences that are read, evenly distributed over the files."""


def calibration_sequences(model: ZooModel, files: Sequence[Path]) -> list[Any]:
    """Reads sequences ``(T, 1, C, *S)`` for :func:`convrnn_zoo.exporting.quantize`, as NumPy arrays in float32.

    Frames of a forecaster are in the unit of the data, and cropped to a size that the model reads without padding.
    Recordings of a classifier are preprocessed and normalized.

    Args:
        model: a forecaster, or a classifier of recordings.
        files: files or folders that ``convrnn-zoo predict`` reads for this model.

    Raises:
        FileNotFoundError: a file does not exist.
        ValueError: a file is damaged or of an unknown format, or has fewer frames than the model reads.
    """
    return _frames(model, files) if isinstance(model, Forecaster) else _recordings(model, files)


def _frames(model: Forecaster, files: Sequence[Path]) -> list[Any]:
    name = model.metadata.name if model.metadata else type(model).__name__
    settings = find_recipe(model, None)
    values = resolve_preprocessing(model, name, None, settings)
    reader = open_files(list(files), choose_read_options(model, name, settings, None))
    count = model.input_frames or values.inputs or 4
    if len(reader) < count:
        raise ValueError(f"{files[0]} has {len(reader)} frames, and {count} are expected for calibration; pass more")
    sequences = []
    for first in _spread(len(reader) - count + 1, MAX_SEQUENCES):
        frames = reader.between(first, first + count).read()
        height, width = (edge // model.reduction * model.reduction for edge in frames.shape[-2:])
        sequences.append(frames[:, None, ..., :height, :width].float().numpy())
    return sequences


def _recordings(model: Any, files: Sequence[Path]) -> list[Any]:
    inside = [f for file in files for f in (list_files(file, RECORDING_SUFFIXES) if file.is_dir() else [file])]
    chosen = [inside[i] for i in _spread(len(inside), MAX_SEQUENCES)] or list(files)  # or folders of clips
    recordings = list(islice(chain.from_iterable(read_recordings(model, chosen)), 10 * MAX_SEQUENCES))
    sequences = []
    for recording in (recordings[i] for i in _spread(len(recordings), MAX_SEQUENCES)):
        x = model.normalize(model._sequence(recording.name, recording.values)[None]).float()
        sequences.append(x.transpose(0, 1).contiguous().numpy())
    return sequences


def _spread(total: int, count: int) -> list[int]:
    """Returns at most `count` different numbers below `total`, evenly distributed."""
    count = min(total, count)
    return [i * (total - 1) // max(count - 1, 1) for i in range(count)]
