"""``convrnn-zoo spot``."""

from pathlib import Path
from typing import Any

import click

from ..models import Forecaster
from ..predict import spot_files
from ..values.units import plural
from ..verify import FIGURES
from ._options import WEIGHTS_EPILOG, only_one, output_path, with_model
from ._text import print_rows


@click.command(epilog=WEIGHTS_EPILOG)
@output_path("File to write: .json. Figure of one sound: .png, .svg.", multiple=True, callback=only_one)
@click.option("--threshold", type=float, help="Lowest probability of a word [default: that of the weights].")
@click.option(
    "--ignore",
    multiple=True,
    metavar="LABEL",
    help="A class that is no word, such as that of all other words. Repeatable.",
)
@with_model
def spot(
    model: Any, weights: str, files: tuple[Path, ...], output: Path | None, as_json: bool, quiet: bool, **options: Any
) -> None:
    """List the words in sounds of any length.

    Each word has the time at which it ends. The classifier must have one direction, and have been trained on recordings
    of one second. A figure shows one sound.

    \b
    convrnn-zoo spot audio_convrnn.arabic_commands meeting.wav
    convrnn-zoo spot audio_convrnn.arabic_commands meeting.wav -o words.png
    """
    if output is not None and output.suffix not in (*FIGURES, ".json"):
        raise ValueError(f"{output}: words are written to .json; .png and .svg show the words of one sound")
    if isinstance(model, Forecaster):
        raise ValueError(f"{weights} forecasts frames; pass weights of a classifier of sound")
    figure = output if output is not None and output.suffix in FIGURES else None
    spots = spot_files(model, files, figure, options["threshold"], options["ignore"])
    rows = [{"file": str(file), **found._asdict()} for file, found in spots]
    table = [(r["file"], f"{r['seconds']:.1f}", r["label"], f"{r['probability']:.3f}") for r in rows]
    header = ("file", "seconds", "word", "probability")
    print_rows(rows, table, header, as_json, output, "" if quiet else plural(len(rows), "word"))
