"""Measures the shipped weights in reduced precision: ``python -m tools.precision`` writes ``precision.json``.

Classifiers are scored on their test split. Forecasters are scored on the sample of the demo, and on 50 test sequences
if ``--data TAG=DIR`` provides them. ``int8`` weights are rounded by torchao with one scale per output
channel; the model computes in float32.
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

from convrnn_zoo import WEIGHTS, Forecaster, from_pretrained
from convrnn_zoo.cli.demo import SAMPLE
from convrnn_zoo.data import open_frames
from convrnn_zoo.predict import load_forecaster
from convrnn_zoo.recipes import Recipe
from convrnn_zoo.train.classifier import accuracy
from convrnn_zoo.verify import Occurrences, average

MEASURED = Path(__file__).with_name("precision.json")
SEQUENCES = 50

State = dict[str, Tensor]
Row = dict[str, Any]


def in_dtype(dtype: torch.dtype) -> Callable[[State], tuple[State, int]]:
    """Returns a function that converts weights to a dtype and reports the size of their file in bytes."""

    def reduced(state: State) -> tuple[State, int]:
        converted = {k: v.to(dtype) for k, v in state.items()}
        return converted, len(save(converted))

    return reduced


def int8_weights(state: State) -> tuple[State, int]:
    """Rounds kernels and matrices to int8 with one scale per output channel. Biases are unchanged."""
    with contextlib.redirect_stderr(io.StringIO()):  # torchao warns about extensions that were built for another Python
        logging.getLogger("torchao").setLevel(logging.ERROR)
        torchao = importlib.import_module("torchao.quantization")  # not in `dev`: pip install torchao
    rounded, stored = {}, {}
    for name, value in state.items():
        rounded[name] = stored[name] = value
        if value.dim() > 1 and value[0].numel() > 1:
            reduced = torchao.Int8Tensor.from_hp(value.flatten(1), torchao.PerRow())
            rounded[name] = reduced.dequantize().reshape(value.shape).contiguous()
            stored[name], stored[f"{name}.scale"] = reduced.qdata, reduced.scale
    return rounded, len(save(stored))


PRECISIONS: Mapping[str, tuple[torch.dtype, Callable[[State], tuple[State, int]]]] = {
    "float32": (torch.float32, in_dtype(torch.float32)),
    "bfloat16": (torch.bfloat16, in_dtype(torch.bfloat16)),
    "float16": (torch.float16, in_dtype(torch.float16)),
    "int8 weights": (torch.float32, int8_weights),
}


def reduced_model(name: str, precision: str) -> tuple[Any, int]:
    """Loads weights in a precision and returns the model with the size of its file in bytes."""
    dtype, reduce = PRECISIONS[precision]
    state, size = reduce(from_pretrained(name).state_dict())
    model = from_pretrained(name, dtype=dtype)
    model.load_state_dict(state, strict=True)
    return model.eval(), size


def measure_classifier(name: str, data: Path | None) -> list[Row]:
    """Returns the accuracy on the test split in per cent for each precision."""
    recipe: Any = Recipe.read(WEIGHTS[name].recipe)
    test = recipe.data.load(data, "test")
    rows = []
    for precision in PRECISIONS:
        model, size = reduced_model(name, precision)
        rows.append({"precision": precision, "bytes": size, "accuracy": round(100 * accuracy(model, test), 2)})
    if rows[0]["accuracy"] != (stated := WEIGHTS[name].metrics[0].value):
        click.echo(f"{name}: its accuracy is {rows[0]['accuracy']} %, and its metadata state {stated} %", err=True)
    return rows


def measure_forecaster(name: str, data: Path | None) -> list[Row]:
    """Returns the errors of the forecast, and its difference from float32, for each precision."""
    _, recipe, _ = load_forecaster(name)
    sample = open_frames(SAMPLE.with_name(f"{name.partition('.')[2]}.npz")).read()[None]
    test_frames = None
    if data is not None:
        clips = recipe.data.load(data, "test", recipe.inputs, recipe.horizon)
        test_frames = clips.fixed(SEQUENCES)
    rows: list[Row] = []
    exact: Tensor | None = None
    for precision in PRECISIONS:
        model, size = reduced_model(name, precision)
        x, truth = sample[:, : recipe.inputs], sample[:, recipe.inputs : recipe.inputs + recipe.horizon]
        forecast = model.forecast(x, recipe.horizon)
        exact = forecast if exact is None else exact
        row: Row = {
            "precision": precision,
            "bytes": size,
            "unit": model.preprocessing.unit,
            "difference": _short((forecast - exact).square().nanmean().sqrt()),
            "largest_difference": _short((forecast - exact).nan_to_num(0).abs().max()),
            "mse": _short((forecast - truth).square().nanmean()),
        }
        if test_frames is not None:
            row["test"] = scores(model, test_frames, recipe.inputs, recipe.data.thresholds)
        rows.append(row)
    return rows


def scores(model: Forecaster, frames: Tensor, inputs: int, thresholds: tuple[float, ...]) -> Row:
    """Returns the mean squared error per pixel and the CSI over test sequences and all lead times."""
    truth = frames[:, inputs:]
    forecast = model.forecast(frames[:, :inputs], truth.shape[1])
    row: Row = {"sequences": len(frames), "mse": _short((forecast - truth).square().nanmean())}
    for threshold in thresholds:
        counted = Occurrences(threshold, truth.shape[1])
        counted.add(forecast, truth)
        row[f"CSI {threshold:g}"] = round(average(counted.scores()["CSI"]).value, 4)
    return row


def _short(value: Tensor) -> float:
    return float(f"{value.item():.4g}")


def measured(names: list[str], data: Mapping[str, Path]) -> dict[str, list[Row]]:
    """Measures each set of weights. Weights without data or sample are skipped with a message."""
    rows = {}
    for name in names:
        measure = measure_forecaster if isinstance(from_pretrained(name), Forecaster) else measure_classifier
        try:
            rows[name] = measure(name, data.get(name.partition(".")[2]))
        except FileNotFoundError as e:
            click.echo(f"{name} is skipped: {e}", err=True)
    return rows


@click.command()
@click.option("--data", multiple=True, metavar="TAG=DIR", help="Data directory of the weights with this tag.")
@click.option(
    "-o", "--output", "out", default=MEASURED, type=click.Path(path_type=Path, dir_okay=False), help="File to write."
)
def main(data: tuple[str, ...], out: Path) -> None:
    """Measure the shipped weights in every precision and write the results."""
    directories = {tag: Path(directory) for tag, _, directory in (entry.partition("=") for entry in data)}
    result = {"torch": torch.__version__, "weights": measured(list(WEIGHTS), directories)}
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    click.echo(out)


if __name__ == "__main__":
    main()
