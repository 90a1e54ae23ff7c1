"""``convrnn-zoo export``."""

import warnings
from pathlib import Path
from typing import Any

import click
import torch

from ..exporting import export as export_model
from ._options import WEIGHTS_EPILOG, Choice, load_model, output_file, quiet_option

_FORMATS = {".onnx": "onnx", ".pt2": "torch"}
_DTYPES = ("float16", "bfloat16", "float32", "float64")


@click.command(epilog=WEIGHTS_EPILOG)
@click.argument("weights")
@output_file("File: .onnx, or .pt2 for torch.export.", required=True)
@click.option(
    "--form",
    type=Choice(["sequence", "step"]),
    default="sequence",
    show_default=True,
    help="Export the loop over time, or one step with the state as input and output.",
)
@click.option("--dtype", type=Choice(_DTYPES), help="Dtype of weights, input and output [default: unchanged].")
@click.option("--state", is_flag=True, help="Make the state an input and output of the sequence form.")
@click.option("--lengths/--no-lengths", default=None, help="Make lengths an input [default: if the model supports it].")
@click.option("--mask", is_flag=True, help="Make a mask of dates an input, for models of image series.")
@click.option(
    "--size",
    type=(click.IntRange(min=1),) * 2,
    metavar="H W",
    help="Fixed frame size of a nowcast or an image encoder.",
)
@click.option(
    "--horizon", type=click.IntRange(min=1), help="Fixed horizon of a forecaster [default: an input of the file]."
)
@click.option("--encoded", is_flag=True, help="Leave the values of a forecaster encoded [default: unit of the data].")
@quiet_option
def export(weights: str, output: Path, form: Any, dtype: str | None, quiet: bool, **options: Any) -> None:
    """Export a model to ONNX or to a program of torch.export.

    The file is only written if its outputs agree with those of the model, also for inputs of other sizes.

    \b
    convrnn-zoo export convgru_forecaster.rain -o rain.onnx
    convrnn-zoo export convlstm1d_bi_1layer.japanese_vowels -o vowels.pt2
    convrnn-zoo export convgru_forecaster.rain -o step.onnx --form step --horizon 12
    """
    if output.suffix not in _FORMATS:
        raise click.BadParameter(f"expected the suffix .onnx or .pt2, got {output.name!r}", param_hint="--output")
    # torch's exporter warns of its own use of a name, which no user can change.
    warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)`", category=FutureWarning)
    options |= {"dtype": getattr(torch, dtype) if dtype else None, "progress": not quiet}
    format: Any = _FORMATS[output.suffix]
    for file in export_model(load_model(weights, quiet), output, form, format, **options):
        click.echo(f"{file}: {file.stat().st_size / 1e6:.1f} MB")
