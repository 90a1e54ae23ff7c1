"""``convrnn-zoo predict``."""

import json
from pathlib import Path

import click

from ..models import create_model
from ._classify import classify, read_sequences
from ._text import columns


@click.command()
@click.argument("name")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the probability of every class.")
def predict(name: str, files: tuple[Path, ...], as_json: bool) -> None:
    """Classify the sequences in FILEs with the pretrained weights NAME.

    A .npy file holds one sequence (T, C, ...); a .npz file holds one in each entry, or all of them as `x` (N, T, C,
    ...) with `lengths` (N). Sequences may be of unequal length. Values are standardised as the weights need it.

    \b
    convrnn-zoo predict convlstm1d_bi_1layer.japanese_vowels recording.npy
    """
    named = [pair for file in files for pair in read_sequences(file)]
    predictions = classify(create_model(name, pretrained=True), named)
    if as_json:
        click.echo(json.dumps([p._asdict() for p in predictions], indent=2, ensure_ascii=False))
    else:
        rows = [(p.name, p.label, f"{p.probability:.3f}") for p in predictions]
        click.echo(columns(rows, header=("sequence", "prediction", "probability")))
