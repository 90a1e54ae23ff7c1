"""``convrnn-zoo demo``."""

from pathlib import Path
from typing import Any

import click

from .._extras import need
from ..data import read_sound
from ..data.readers.sequences import read_recordings
from ..models import create_model
from ..predict import draw_probabilities, draw_spots, forecast_files
from ..pretrained.metadata import WEIGHTS
from ._options import output_directory, set_threads, threads_option
from ._text import columns
from .predict import summarize

CLASSIFIER = "convlstm1d_bi_1layer.japanese_vowels"
HEADER = ("recording", "steps", "truth", "prediction", "probability", "")
SPEECH_CLASSIFIER = "audio_convrnn.fsdd"
SAMPLE = Path(__file__).parent.parent / "demo" / "japanese_vowels.npz"
SPOKEN = SAMPLE.with_name("seven.wav")
FORECASTERS = (
    "convgru_advection.nowcast",
    "convgru_pyramid.moving_fashion_mnist",
    "convgru_pyramid.moving_mnist",
    "convgru_forecaster.rain",
)
"""Weights that forecast; the file of their sample has the name of their tag."""
SPOTTER = "audio_convrnn.arabic_commands"
COMMANDS = SAMPLE.with_name("commands.ogg")


def recordings() -> tuple[list[tuple[object, ...]], int]:
    """Classifies the recordings of the demo; returns a row per recording, and the number of correct predictions."""
    model: Any = create_model(CLASSIFIER, pretrained=True)
    sequences = read_recordings(SAMPLE, model)
    predictions = model.classify([recording.values for recording in sequences])
    truths = [WEIGHTS[CLASSIFIER].label_names[int(recording.label)] for recording in sequences]
    rows: list[tuple[object, ...]] = [
        (i, len(recording.values), truth, p.label, f"{p.probability:.3f}", "" if p.label == truth else "wrong")
        for i, (recording, truth, p) in enumerate(zip(sequences, truths, predictions, strict=True))
    ]
    return rows, sum(row[-1] == "" for row in rows)


@click.command()
@output_directory("Directory of the figures.", default=Path("demo"), show_default=True)
@threads_option
def demo(output: Path, threads: int | None) -> None:
    """Run pretrained models on the radar images, digits and recordings of the package.

    Each forecast is plotted next to the observed frames and their difference, as an image (.png) and an animation
    (.gif). The first forecast is the nowcast of rain. Spoken commands are found in noise. A spoken digit is classified
    over time.
    """
    set_threads(threads)
    need("matplotlib", "draw")  # reported before the first forecast is computed
    for name in FORECASTERS:
        sample = SAMPLE.with_name(f"{name.partition('.')[2]}.npz")
        click.echo(f"{name}: {WEIGHTS[name].description}")
        model: Any = create_model(name, pretrained=True)
        result = forecast_files(model, name, [sample], compare=True)
        for suffix in (".png", ".gif"):
            result.write(path := output / f"{sample.stem}{suffix}")
            click.echo(summarize(result, path))
        click.echo()
    click.echo(f"{SPOTTER}: {WEIGHTS[SPOTTER].description}")
    model = create_model(SPOTTER, pretrained=True)
    spots = draw_spots(model, *read_sound(COMMANDS), path := output / f"{COMMANDS.stem}.png", COMMANDS.name)
    click.echo(f"{path}: {', '.join(f'{spot.label} ({spot.seconds:.1f} s)' for spot in spots)}\n")
    wave, rate = read_sound(SPOKEN)
    classifier: Any = create_model(SPEECH_CLASSIFIER, pretrained=True)
    [prediction] = classifier.classify_sound([wave], rate)
    draw_probabilities(classifier, wave, rate, path := output / f"{SPOKEN.stem}.png", SPOKEN.name)
    click.echo(f"{SPEECH_CLASSIFIER}: {WEIGHTS[SPEECH_CLASSIFIER].description}")
    click.echo(f"{path}: {SPOKEN.name} is classified as {prediction.label}, probability {prediction.probability:.3f}\n")
    metadata = WEIGHTS[CLASSIFIER]
    rows, right = recordings()
    click.echo(f"{CLASSIFIER}: {metadata.description}\n")
    click.echo(columns(rows, header=HEADER))
    click.echo(f"\naccuracy {right}/{len(rows)} = {100 * right / len(rows):.1f} % of these recordings")
    click.echo(f"{metadata.metrics[0].value:g} % on the {metadata.metrics[0].split} of {metadata.trained_on}")
