"""``convrnn-zoo export``."""

from pathlib import Path
from typing import Any

import click
import torch

from ..models import from_pretrained
from ..onnx import export as export_model
from ._options import Choice

_FORMATS = {".onnx": "onnx", ".pt2": "torch"}
_DTYPES = ("float16", "bfloat16", "float32", "float64")


@click.command()
@click.argument("source", metavar="NAME|DIR")
@click.option(
    "-o", "--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="File to write: .onnx or .pt2."
)
@click.option(
    "--form", type=Choice(["sequence", "step"]), default="sequence", show_default=True, help="All steps, or one."
)
@click.option("--dtype", type=Choice(_DTYPES), help="Of weights, input and output [default: as they are].")
@click.option("--state", is_flag=True, help="Make the state an input and an output of the sequence form.")
@click.option("--lengths/--no-lengths", default=None, help="Make lengths an input [default: where the model has them].")
@click.option("--mask", is_flag=True, help="For a model of image series: a mask of dates in place of lengths.")
@click.option("--size", type=(int, int), metavar="H W", help="Fixed frames of a model with an image encoder.")
@click.option("--horizon", type=click.IntRange(min=1), help="A fixed horizon of a forecaster [default: an input].")
def export(
    source: str,
    out: Path,
    form: Any,
    dtype: str | None,
    state: bool,
    lengths: bool | None,
    mask: bool,
    size: tuple[int, int] | None,
    horizon: int | None,
) -> None:
    """Export a model for onnxruntime and others, or as a program of torch.export.

    It is weights by NAME (architecture.tag), or a DIRectory that save_pretrained wrote. The sequence form holds the
    loop over time, the step form one step, with the state in and out. The file is compared with the model at other
    sizes before it is kept.

    \b
    convrnn-zoo export convgru_forecaster.rain -o rain.onnx
    convrnn-zoo export convlstm1d_bi_1layer.japanese_vowels -o vowels.pt2
    """
    if out.suffix not in _FORMATS:
        raise click.BadParameter(f"expected a file that ends in .onnx or .pt2, got {out.name!r}", param_hint="--out")
    files = export_model(
        from_pretrained(source), out, form, _FORMATS[out.suffix],  # type: ignore[arg-type]
        dtype=getattr(torch, dtype) if dtype else None, state=state, lengths=lengths, mask=mask, size=size,
        horizon=horizon,
    )  # fmt: skip
    for file in files:
        click.echo(f"{file}: {file.stat().st_size / 1e6:.1f} MB")
