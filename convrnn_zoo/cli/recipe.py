"""``convrnn-zoo recipe``."""

import shlex
from pathlib import Path

import click

from .._atomic import write_text
from ..models import list_models
from ..recipes import RECIPES, starting_recipe
from ._options import FilePath, data_option, output_file


@click.command()
@click.argument("name", required=False, default="")
@click.argument("folder", required=False, metavar="[DATA]", type=FilePath())
@data_option
@click.option("--from", "init_from", default="", help="Weights to fine-tune, with a small learning rate.")
@output_file("File to write [default: print].")
def recipe(name: str, folder: Path | None, data: Path | None, init_from: str, output: Path | None) -> None:
    """Print a recipe to start from, with a comment on every key.

    NAME is an architecture or a recipe of the package. With --from, the architecture is that of the weights. With
    DATA or --data, the recipe describes these files: their kind, unit, time step, size and classes.

    \b
    convrnn-zoo recipe convgru_forecaster radar -o radar.toml
    convrnn-zoo recipe --from convgru_advection.nowcast radar -o radar.toml
    """
    if name and folder is None and Path(name).exists() and name not in (*RECIPES, *list_models()):
        name, folder = "", Path(name)
    if folder is not None and data is not None:
        raise click.UsageError(f"got DATA {folder} and --data {data}; pass one of the two")
    data = data or folder
    if not name and not init_from:
        arguments = f" --data {shlex.quote(str(data))}" if data else ""
        raise click.UsageError(
            "pass the NAME of an architecture, or weights with --from, such as\n"
            f"convrnn-zoo recipe convgru_forecaster{arguments}    to forecast frames\n"
            f"convrnn-zoo recipe convgru1d_1layer{arguments}    to classify sequences or sound\n"
            f"convrnn-zoo recipe mobilenetv3_small_100_convgru2d{arguments}    to classify videos"
        )
    text = starting_recipe(name, data, init_from, str(output or "FILE.toml"))
    if output is None:
        click.echo(text, nl=False)
    elif output.exists():
        raise ValueError(f"{output} exists; remove it, or pass another -o")
    else:
        write_text(output, text)
