"""Measures the shipped weights in reduced precision: ``python -m tools.precision`` writes ``precision.json``.

Classifiers are scored on their test split. Forecasters are scored on the sample of the demo, and on 50 test sequences
if ``--data TAG=DIR`` provides them. ``int8`` weights are rounded by torchao with one scale per output
channel; the model computes in float32.
"""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import torch
from safetensors.torch import save
from torch import Tensor

from convrnn_zoo import WEIGHTS, Forecaster, from_pretrained
from convrnn_zoo.cli.demo import SAMPLE
from convrnn_zoo.data import open_frames
from convrnn_zoo.recipes import Recipe
from convrnn_zoo.train.classifier import accuracy
from convrnn_zoo.verify import Occurrences, average

from . import record

MEASURED = "tools/precision.json"
SEQUENCES = 50
PRECISIONS = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "int8 weights": torch.float32,
}
"""Precisions with the dtype in which the model computes."""


def reduced_models(name: str) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yields a model in each precision, with the name of the precision and the size of its file in bytes."""
    for precision, dtype in PRECISIONS.items():
        model = from_pretrained(name, dtype=dtype).eval()
        stored = state = model.state_dict()
        if precision == "int8 weights":
            state, stored = int8_weights(state)
            model.load_state_dict(state, strict=True)
        yield model, {"precision": precision, "bytes": len(save(stored))}


def int8_weights(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Rounds kernels and matrices to int8 with one scale per output channel, and returns their values and their file.

    Biases are unchanged.
    """
    torchao = importlib.import_module("torchao.quantization")  # not in `dev`: pip install torchao
    rounded, stored = {**state}, {**state}
    for name, value in state.items():
        if value.dim() > 1 and value[0].numel() > 1:
            reduced = torchao.Int8Tensor.from_hp(value.flatten(1), torchao.PerRow())
            rounded[name] = reduced.dequantize().reshape(value.shape).contiguous()
            stored[name], stored[f"{name}.scale"] = reduced.qdata, reduced.scale
    return rounded, stored


def measure_classifier(name: str, data: Path | None) -> list[dict[str, Any]]:
    """Returns the accuracy on the test split in per cent for each precision."""
    recipe: Any = Recipe.read(WEIGHTS[name].recipe)
    test = recipe.data.load(data, "test")
    return [row | {"accuracy": round(100 * accuracy(model, test), 2)} for model, row in reduced_models(name)]


def measure_forecaster(name: str, data: Path | None) -> list[dict[str, Any]]:
    """Returns the errors of the forecast, and its difference from float32, for each precision."""
    recipe: Any = Recipe.read(WEIGHTS[name].recipe)
    inputs, horizon, rows = recipe.inputs, recipe.horizon, []
    x = open_frames(SAMPLE.with_name(f"{name.partition('.')[2]}.npz")).read()[None, : inputs + horizon]
    test = None if data is None else recipe.data.load(data, "test", inputs, horizon).fixed(SEQUENCES)
    exact: Any = from_pretrained(name)
    exact = exact.forecast(x[:, :inputs], horizon)
    for model, row in reduced_models(name):
        forecast = model.forecast(x[:, :inputs], horizon)
        row |= {"unit": model.preprocessing.unit, "difference": mean_square(forecast - exact, 0.5)}
        row |= {"mse": mean_square(forecast - x[:, inputs:])}
        rows.append(row if test is None else row | {"test": scores(model, test, inputs, recipe.data.thresholds)})
    return rows


def scores(model: Forecaster, frames: Tensor, inputs: int, thresholds: tuple[float, ...]) -> dict[str, Any]:
    """Returns the mean squared error per pixel and the CSI over test sequences and all lead times."""
    truth = frames[:, inputs:]
    forecast = model.forecast(frames[:, :inputs], truth.shape[1])
    row: dict[str, Any] = {"sequences": len(frames), "mse": mean_square(forecast - truth)}
    for threshold in thresholds:
        counted = Occurrences(threshold, truth.shape[1])
        counted.add(forecast, truth)
        row[f"CSI {threshold:g}"] = round(average(counted.scores()["CSI"]).value, 4)
    return row


def mean_square(differences: Tensor, power: float = 1) -> float:
    """Returns a power of the mean square over known pixels, with four digits."""
    return float(f"{differences.square().nanmean().item() ** power:.4g}")


@click.command()
@click.option("--data", multiple=True, metavar="TAG=DIR", help="Data directory of the weights with this tag.")
def main(data: tuple[str, ...]) -> None:
    """Measure the shipped weights in every precision and write the results.

    Weights without data or sample are skipped with a message.
    """
    directories = {tag: Path(directory) for tag, _, directory in (entry.partition("=") for entry in data)}
    results: dict[str, Any] = {"versions": {"torch": torch.__version__}}
    for name in WEIGHTS:
        measure = measure_forecaster if isinstance(from_pretrained(name), Forecaster) else measure_classifier
        try:
            results[name] = measure(name, directories.get(name.partition(".")[2]))
        except FileNotFoundError as e:
            click.echo(f"{name} is skipped: {e}", err=True)
    record(MEASURED, results)


if __name__ == "__main__":
    main()
