"""``convrnn-zoo export``."""

import tempfile
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import torch

from ..exporting import export as export_model
from ..exporting import export_triton, quantize
from ..exporting.forms import streaming_form
from ..predict import calibration_sequences
from ._options import WEIGHTS_EPILOG, Choice, FilePath, output_file, quiet_option
from ._weights import load_weights

_FORMATS = {".onnx": "onnx", ".pt2": "torch", ".pte": "executorch"}
_DTYPES = ("float16", "bfloat16", "float32", "float64")


@click.command(epilog=WEIGHTS_EPILOG)
@click.argument("weights")
@output_file("File: .onnx, .pt2 or, for ExecuTorch, .pte. With --server, the model repository.", required=True)
@click.option(
    "--form", type=Choice(["sequence", "step"]),
    help="Export the loop over time, or one step with the state as input and output [default: sequence; "
    "with --server or --int8, step if there is one].",
)  # fmt: skip
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
    "--horizon",
    type=click.IntRange(min=1),
    help="Fixed horizon of a forecaster [default: an input; with --server, --int8 or .pte: that of the weights].",
)
@click.option("--encoded", is_flag=True, help="Leave the values of a forecaster encoded [default: unit of the data].")
@click.option(
    "--axis", "sizes", type=(str, click.IntRange(min=1)), multiple=True, metavar="NAME N",
    help="Largest size of an axis in a .pte file, or its size on a server: height, width, time, … May be repeated.",
)  # fmt: skip
@click.option(
    "--int8", "calibration", type=FilePath(exists=True), metavar="PATH",
    help="Quantize an .onnx file to int8, calibrated on the files or the folder PATH, which predict reads.",
)  # fmt: skip
@click.option("--server", type=Choice(["triton"]), help="Write a model repository for a server.")
@quiet_option
def export(
    weights: str, output: Path, form: Any, dtype: str | None, sizes: Any, server: str | None,
    calibration: Path | None, quiet: bool,
    **options: Any,
) -> None:  # fmt: skip
    """Export a model to ONNX, to a program of torch.export or of ExecuTorch, or for a server.

    The file is only written if its outputs agree with those of the model, also for inputs of other sizes.

    \b
    convrnn-zoo export convgru_forecaster.rain -o rain.onnx
    convrnn-zoo export convlstm1d_bi_1layer.japanese_vowels -o vowels.pt2
    convrnn-zoo export audio_convrnn.fsdd -o digits.int8.onnx --int8 recordings
    convrnn-zoo export convgru_forecaster.rain -o repository --server triton --axis height 128 --axis width 128
    """
    if calibration is not None and (server or sizes or output.suffix != ".onnx"):
        raise click.BadParameter(
            "quantizes an .onnx file; leave out --server and --axis, or --int8", param_hint="--int8"
        )
    if server is None and output.suffix not in _FORMATS:
        raise click.BadParameter(f"expected the suffix .onnx, .pt2 or .pte, got {output.name!r}", param_hint="--output")
    # torch's exporter warns of its own use of a name, which no user can change.
    warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)`", category=FutureWarning)
    options |= {"dtype": getattr(torch, dtype) if dtype else None, "progress": not quiet}
    model = load_weights(weights, quiet)
    if calibration is not None:
        files: Iterable[Path] = [_export_int8(model, output, form, calibration, **options)]
    elif server:
        files = [export_triton(model, output, form=form, sizes=dict(sizes), **options)]
    else:
        format: Any = _FORMATS[output.suffix]
        files = export_model(model, output, form or "sequence", format, max_sizes=dict(sizes) or None, **options)
    for file in files:
        click.echo(f"{file}: {file.stat().st_size / 1e6:.1f} MB")


def _export_int8(model: Any, output: Path, form: str | None, calibration: Path, **options: Any) -> Path:
    """Exports the step form, or the sequence form of a model without one, and quantizes it."""
    sequences = calibration_sequences(model, [calibration])
    form, options["horizon"] = streaming_form(model, form, options["horizon"])
    with tempfile.TemporaryDirectory() as directory:
        (exact,) = export_model(model, Path(directory, "exact.onnx"), form, **options)  # type: ignore[arg-type]
        if options["progress"]:
            click.echo(
                f"quantizing {exact.stat().st_size / 1e6:.1f} MB, calibrated on {len(sequences)} sequences", err=True
            )
        return quantize(exact, output, sequences)
