"""What reduced precision costs: ``python -m tools.precision`` measures the shipped weights and records it.

A classifier is scored on its test split, a forecaster on the demo's sample, and where ``--data NAME=DIR`` gives the
data of its recipe, on the first test sequences as well. ``int8`` are weights as torchao rounds them, a scale for each
output channel; the model computes in float32.
"""

import contextlib
import importlib
import io
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import torch
from safetensors.torch import save
from torch import Tensor

from convrnn_zoo.cli._frames import read_frames
from convrnn_zoo.cli.demo import SAMPLE
from convrnn_zoo.data import frames_of, sequences_of
from convrnn_zoo.models import WEIGHTS, Forecaster, from_pretrained
from convrnn_zoo.train import load_forecaster
from convrnn_zoo.train.classify import accuracy
from convrnn_zoo.train.recipe import Recipe
from convrnn_zoo.train.scores import Occurrences, mean

MEASURED = Path(__file__).with_name("precision.json")
SEQUENCES = 50

State = dict[str, Tensor]
Row = dict[str, Any]


def in_dtype(dtype: torch.dtype) -> Callable[[State], tuple[State, int]]:
    """The weights in a dtype, and the bytes of their file."""

    def reduced(state: State) -> tuple[State, int]:
        found = {k: v.to(dtype) for k, v in state.items()}
        return found, len(save(found))

    return reduced


def int8_weights(state: State) -> tuple[State, int]:
    """Every kernel and matrix as bytes with a scale an output channel, as floats again; biases as they are."""
    with contextlib.redirect_stderr(io.StringIO()):  # torchao tells what of it was built for another Python
        logging.getLogger("torchao").setLevel(logging.ERROR)
        torchao = importlib.import_module("torchao.quantization")  # no part of `dev`: pip install torchao
    found, stored = {}, {}
    for name, value in state.items():
        found[name] = stored[name] = value
        if value.dim() > 1 and value[0].numel() > 1:
            reduced = torchao.Int8Tensor.from_hp(value.flatten(1), torchao.PerRow())
            found[name] = reduced.dequantize().reshape(value.shape).contiguous()
            stored[name], stored[f"{name}.scale"] = reduced.qdata, reduced.scale
    return found, len(save(stored))


PRECISIONS: Mapping[str, tuple[torch.dtype, Callable[[State], tuple[State, int]]]] = {
    "float32": (torch.float32, in_dtype(torch.float32)),
    "bfloat16": (torch.bfloat16, in_dtype(torch.bfloat16)),
    "float16": (torch.float16, in_dtype(torch.float16)),
    "int8 weights": (torch.float32, int8_weights),
}


def reduced_model(name: str, precision: str) -> tuple[Any, int]:
    """The model of some weights in a precision, and the bytes of a file of them."""
    dtype, reduce = PRECISIONS[precision]
    state, size = reduce(from_pretrained(name).state_dict())
    model = from_pretrained(name, dtype=dtype)
    model.load_state_dict(state, strict=True)
    return model.eval(), size


def of_classifier(name: str, data: Path | None) -> list[Row]:
    """A row a precision: the accuracy on the test split in %."""
    test = sequences_of(Recipe.read(WEIGHTS[name].recipe).data).load(data, "test")
    rows = []
    for precision in PRECISIONS:
        model, size = reduced_model(name, precision)
        rows.append({"precision": precision, "bytes": size, "accuracy": round(100 * accuracy(model, test), 2)})
    return rows


def of_forecaster(name: str, data: Path | None) -> list[Row]:
    """A row a precision: how far the forecast of the sample is from float32's, and its errors."""
    _, recipe, _ = load_forecaster(name)
    sample = read_frames([SAMPLE.with_name(f"{name.partition('.')[2]}.npz")]).frames[None, :, None]
    known = None
    if data is not None:
        clips = frames_of(recipe.data).load(data, "test", recipe.inputs, recipe.horizon)
        known = clips.fixed(SEQUENCES)
    rows: list[Row] = []
    exact: Tensor | None = None
    for precision in PRECISIONS:
        model, size = reduced_model(name, precision)
        x, truth = sample[:, : recipe.inputs], sample[:, recipe.inputs : recipe.inputs + recipe.horizon]
        made = model.forecast(x, recipe.horizon)
        exact = made if exact is None else exact
        row: Row = {
            "precision": precision,
            "bytes": size,
            "unit": model.preprocessing.unit,
            "difference": _short((made - exact).square().nanmean().sqrt()),
            "largest_difference": _short((made - exact).nan_to_num(0).abs().max()),
            "mse": _short((made - truth).square().nanmean()),
        }
        if known is not None:
            row["test"] = scores(model, known, recipe.inputs, frames_of(recipe.data).thresholds)
        rows.append(row)
    return rows


def scores(model: Forecaster, known: Tensor, inputs: int, thresholds: tuple[float, ...]) -> Row:
    """The mean squared error a pixel over test sequences, and CSI, all lead times together."""
    truth = known[:, inputs:]
    made = model.forecast(known[:, :inputs], truth.shape[1])
    found: Row = {"sequences": len(known), "mse": _short((made - truth).square().nanmean())}
    for threshold in thresholds:
        counted = Occurrences(threshold, truth.shape[1])
        counted.add(made, truth)
        found[f"CSI {threshold:g}"] = round(mean(counted.scores()["CSI"]), 4)
    return found


def _short(value: Tensor) -> float:
    return float(f"{value.item():.4g}")


def measured(names: list[str], data: Mapping[str, Path]) -> dict[str, list[Row]]:
    """The rows of each set of weights; those whose data or sample is not there are left out, with a word."""
    found = {}
    for name in names:
        rows_of = of_forecaster if isinstance(from_pretrained(name), Forecaster) else of_classifier
        try:
            found[name] = rows_of(name, data.get(name.partition(".")[2]))
        except FileNotFoundError as e:
            click.echo(f"{name} is left out: {e}", err=True)
    return found


@click.command()
@click.option("--data", multiple=True, metavar="TAG=DIR", help="Directory of the data of the weights with this tag.")
@click.option("--out", default=MEASURED, type=click.Path(path_type=Path, dir_okay=False), help="File of the record.")
def main(data: tuple[str, ...], out: Path) -> None:
    """Measure the shipped weights in every precision, and record it."""
    given = {tag: Path(directory) for tag, _, directory in (entry.partition("=") for entry in data)}
    result = {"torch": torch.__version__, "weights": measured(list(WEIGHTS), given)}
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    click.echo(out)


if __name__ == "__main__":
    main()
