"""``convrnn-zoo demo``."""

import shlex
from pathlib import Path

import click

from .._extras import need
from ._options import output_directory

DATA = Path(__file__).parent.parent / "demo"
CLASSIFIER, SAMPLE = "convlstm1d_bi_1layer.japanese_vowels", DATA / "japanese_vowels.npz"
FORECASTERS = (
    "convgru_advection.nowcast",
    "convgru_pyramid.moving_fashion_mnist",
    "convgru_pyramid.moving_mnist",
    "convgru_forecaster.rain",
)
"""Weights that forecast; the file of their sample has the name of their tag."""


@click.command()
@output_directory("Directory of the figures.", default=Path("demo"), show_default=True)
@click.pass_context
def demo(ctx: click.Context, output: Path) -> None:
    """Run pretrained models on the radar images, digits and recordings of the package.

    The commands are printed before they run. Each forecast is plotted next to the observed frames and their difference,
    as an image (.png) and an animation (.gif). The first forecast is the nowcast of rain. Spoken commands are found in
    noise. A spoken digit is classified over time, and Japanese vowels by speaker.
    """
    need("matplotlib", "draw")  # reported before the first forecast is computed
    runs: list[tuple[object, ...]] = []
    for name in FORECASTERS:
        tag = name.partition(".")[2]
        runs += [
            ("predict", name, DATA / f"{tag}.npz", "--compare", "-o", output / f"{tag}{suffix}")
            for suffix in (".png", ".gif")
        ]
    spot = ("spot", "audio_convrnn.arabic_commands", DATA / "commands.ogg")
    runs += [spot, (*spot, "-o", output / "commands.png")]
    runs += [("predict", "audio_convrnn.fsdd", DATA / "seven.wav", "-o", output / "seven.png")]
    runs += [("predict", CLASSIFIER, SAMPLE)]
    for words in (list(map(str, run)) for run in runs):
        click.echo(f"$ convrnn-zoo {shlex.join(words)}")
        ctx.find_root().command.main(words, standalone_mode=False)
        click.echo()
