"""``convrnn-zoo predict``."""

import json
from pathlib import Path

import click
import torch

from ..models import create_model
from ._sequences import classify, read_sequences
from ._text import columns

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""What a model may work in, by its name."""


@click.command()
@click.argument("name")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the probability of every class.")
@click.option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False), help="Picture of a forecast: .gif, .png.")
@click.option("--inputs", type=click.IntRange(min=1), help="Frames a forecast reads [default: as it was trained].")
@click.option("--horizon", type=click.IntRange(min=1), help="Frames to forecast [default: as it was trained].")
@click.option("--dtype", type=click.Choice(list(DTYPES)), default="float32", show_default=True, help="Of the model.")
@click.option("--recipe", help="Recipe of a forecaster, by name or as a file [default: the record's].")
def predict(
    name: str,
    files: tuple[Path, ...],
    as_json: bool,
    out: Path | None,
    inputs: int | None,
    horizon: int | None,
    dtype: str,
    recipe: str | None,
) -> None:
    """Classify the sequences in FILEs with the pretrained weights NAME, or forecast and draw what follows.

    A .npy file holds one sequence (T, C, ...); a .npz file holds one in each entry, or all of them as `x` (N, T, C,
    ...) with `lengths` (N). Sequences may be of unequal length. Values are standardised as the weights need it.

    With -o, NAME is a forecaster, or the record of one that a training run wrote. The FILE is an array (T, H, W), a GIF
    or a video, or the FILEs are radar composites of KNMI or FMI, five minutes apart, or a directory of such. The
    first frames are read; the ones after them, if there are any, are drawn as the truth beside the forecast.

    \b
    convrnn-zoo predict convlstm1d_bi_1layer.japanese_vowels recording.npy
    convrnn-zoo predict convgru_forecaster.rain RAD_NL25_*.h5 -o rain.gif
    """
    if out is not None:
        from ._draw import draw_forecast  # matplotlib need not be there for classifying

        click.echo(draw_forecast(name, files, out, recipe=recipe, inputs=inputs, horizon=horizon))
        return
    named = [pair for file in files for pair in read_sequences(file)]
    predictions = classify(create_model(name, pretrained=True, dtype=DTYPES[dtype]), named)
    if as_json:
        click.echo(json.dumps([p._asdict() for p in predictions], indent=2, ensure_ascii=False))
    else:
        rows = [(p.name, p.label, f"{p.probability:.3f}") for p in predictions]
        click.echo(columns(rows, header=("sequence", "prediction", "probability")))
