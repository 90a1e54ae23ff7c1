"""Classes of recordings in files, and of sounds over time."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from .._atomic import check_suffix
from ..data import VideoFolder, read_sound
from ..data.readers import FileError, list_files, sequences
from ..data.readers.sequences import AUDIO, RECORDING_SUFFIXES, Recording
from ..models import Spot, Spotter, Stream, VideoModel, ZooModel
from ..models.base.classification import classify_sampled, encode_sound
from ..models.base.model import evaluating
from ..recipes import ClassifierRecipe, find_recipe
from ..verify import FIGURES
from ..verify.figures import new_figure, save_figure

MIN_NAMED = 0.15
"""Classes whose probability is always lower are plotted in grey, without a name."""


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
    if recipe is None and isinstance(model, VideoModel) and not all(file.suffix.lower() == ".npz" for file in files):
        dataset = VideoFolder(name="clips")
    if isinstance(dataset, VideoFolder):
        for file in files:
            for clip in dataset.list_clips(file):
                yield [Recording(str(clip), "", dataset.read(clip))]
        return
    inside = [f for file in files for f in (list_files(file, RECORDING_SUFFIXES) if file.is_dir() else [file])]
    if not inside:
        raise FileError(f"{files[0]} contains no recording; expected files of {', '.join(RECORDING_SUFFIXES)}")
    layout = getattr(dataset, "layout", "")
    yield [recording for file in inside for recording in sequences.read_recordings(file, model, layout)]


# ---- sounds over time ----------------------------------------------------------------------------------------
def stream_probabilities(model: Any, wave: Tensor, rate: int) -> tuple[Tensor, Tensor]:
    """Returns the end times ``(T,)`` of the front end's windows, in seconds, and the class probabilities ``(T, K)``.

    Raises:
        ValueError: the model is bidirectional or has no front end, or the front end rejects the sound.

    Example:
        >>> import convrnn_zoo
        >>> model = convrnn_zoo.create_model("audio_convrnn.fsdd", pretrained=True)
        >>> seconds, probabilities = stream_probabilities(model, torch.zeros(4000), 8000)
        >>> tuple(probabilities.shape), round(seconds[0].item(), 3)
        ((24, 10), 0.032)
    """
    steps, front_end = encode_sound(model, "the sound", wave, rate), model.front_end
    with evaluating(model):
        stream, parameter = Stream(model), next(model.parameters())
        logits = [stream(model.normalize(step).to(parameter)) for step in steps[:, None, None]]
        probabilities = [y.float().softmax(1).cpu() for y in logits]
    return (torch.arange(len(steps)) * front_end.hop_length + front_end.size) / rate, torch.cat(probabilities)


def draw_probabilities(model: Any, wave: Tensor, rate: int, path: Path, heading: str = "") -> None:
    """Plots a sound and the probability of each class over time, as ``.png`` or ``.svg``.

    Raises:
        ValueError: the suffix is not supported, or :func:`stream_probabilities` raises ValueError.
    """
    figure, axis = plot_sound(wave, rate, path, heading, 7.2, 1.0, "probability")
    seconds, probabilities = stream_probabilities(model, wave, rate)
    labels = model.pretrained_cfg.get("label_names") or [str(i) for i in range(probabilities.shape[1])]
    named = (probabilities.max(0).values >= MIN_NAMED).nonzero().flatten().tolist()
    for i, values in enumerate(probabilities.T):
        style: dict[str, Any] = {"label": labels[i], "linewidth": 2} if i in named else {"color": "#c8c8c8"}
        axis.plot(seconds, values, zorder=2 if i in named else 1, **style)
    if named:
        axis.legend(loc="upper left", fontsize=9, frameon=False)
    save_figure(figure, path)


def plot_sound(
    wave: Tensor, rate: int, path: Path, heading: str, width: float, highest: float, label: str
) -> tuple[Any, Any]:
    """Plots a sound in the upper third of a figure for `path`; returns the figure, and the axis below for the values.

    It raises ImportError or ValueError before the model runs.
    """
    check_suffix(path, FIGURES)
    figure = new_figure(width, 4.0, heading)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2))
    top.plot(torch.arange(len(wave)) / rate, wave, color="#4292c6", linewidth=0.5)
    top.set(ylabel="sound", yticks=[], xlim=(0, len(wave) / rate))
    bottom.set(ylim=(0, highest), ylabel=label, xlabel="seconds of sound")
    for axis in (top, bottom):
        axis.spines[["top", "right"]].set_visible(False)
    return figure, bottom


def _find_spots(
    model: Any, wave: Tensor, rate: int, threshold: float | None, ignore: Sequence[str]
) -> tuple[Spotter, list[Any], list[Spot]]:
    """Returns a spotter, the seconds and probabilities of its windows of a sound, and the words in them."""
    with evaluating(model):
        spotter = Spotter(model, threshold, ignore=ignore)
        windows = list(spotter.read(wave, rate))
        spots = [spot for window in windows for spot in spotter.decide(*window)]
        return spotter, windows, [*spots, *spotter.finish()]


def spot_words(
    model: Any, wave: Tensor, rate: int, threshold: float | None = None, ignore: Sequence[str] = ()
) -> list[Spot]:
    """Returns the words that a :class:`~convrnn_zoo.Spotter` finds in a sound of any length.

    Raises:
        ValueError: the spotter rejects the model, the threshold or the sound.
    """
    return _find_spots(model, wave, rate, threshold, ignore)[2]


def draw_spots(
    model: Any,
    wave: Tensor,
    rate: int,
    path: Path,
    heading: str = "",
    threshold: float | None = None,
    ignore: Sequence[str] = (),
) -> list[Spot]:
    """Plots a sound, the words in it and their probabilities over time, and returns the words; see :func:`spot_words`.

    Raises:
        ValueError: the suffix is not ``.png`` or ``.svg``, or :func:`spot_words` raises ValueError.
    """
    width = min(18.0, max(7.2, 0.8 * len(wave) / rate))
    figure, axis = plot_sound(wave, rate, path, heading, width, 1.12, "probability of the last second")
    spotter, windows, spots = _find_spots(model, wave, rate, threshold, ignore)
    labels = spotter.labels
    for label in sorted({spot.label for spot in spots}, key=labels.index):
        axis.plot([t for t, _ in windows], [p[labels.index(label)] for _, p in windows], linewidth=1.5)
    for spot in spots:
        axis.plot(spot.seconds, spot.probability, "o", color="black", markersize=4)
        axis.annotate(
            spot.label, (spot.seconds, spot.probability), (0, 5), textcoords="offset points", ha="center", fontsize=9
        )
    axis.axhline(spotter.threshold, color="#a0a0a0", linewidth=1, linestyle="--")
    save_figure(figure, path)
    return spots


def spot_files(
    model: Any,
    files: Sequence[Path],
    output: Path | None = None,
    threshold: float | None = None,
    ignore: Sequence[str] = (),
) -> Iterator[tuple[Path, Spot]]:
    """Yields the words in sound files with the files; a figure `output` shows one file.

    Raises:
        ValueError: there are several files and an `output`, the model has no front end, or a file is no sound.
    """
    if output is not None and len(files) != 1:
        raise ValueError(f"{output} shows the words of one sound, got {len(files)} files; pass one, or -o FILE.json")
    if model.front_end is None:
        raise ValueError("words are found in sounds, but the model has no front end for sound")
    for file in files:
        wave, rate = read_sound(file, rate=model.front_end.rate)
        options: Any = {"threshold": threshold, "ignore": ignore}
        draw: Any = spot_words if output is None else partial(draw_spots, path=output, heading=file.name)
        yield from ((file, spot) for spot in draw(model, wave, rate, **options))


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
