"""Measures the shipped weights in reduced precision: ``python -m tools.precision`` writes ``precision.json``.

Classifiers are scored on their test split. Forecasters are scored on the sample of the demo, and on 50 test sequences
if ``--data TAG=DIR`` provides them. ``int8`` weights are rounded by torchao with one scale per output
channel; the model computes in float32.
"""

import importlib
import json
from collections.abc import Mapping
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
PRECISIONS = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "int8 weights": torch.float32,
}
"""Precisions with the dtype in which the model computes."""


def reduced_model(name: str, precision: str) -> tuple[Any, int]:
    """Loads weights in a precision and returns the model with the size of its file in bytes."""
    model = from_pretrained(name, dtype=PRECISIONS[precision]).eval()
    if precision != "int8 weights":
        return model, len(save(model.state_dict()))
    state, size = int8_weights(model.state_dict())
    model.load_state_dict(state, strict=True)
    return model, size


def int8_weights(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], int]:
    """Rounds kernels and matrices to int8 with one scale per output channel. Biases are unchanged."""
    torchao = importlib.import_module("torchao.quantization")  # not in `dev`: pip install torchao
    rounded, stored = {**state}, {**state}
    for name, value in state.items():
        if value.dim() > 1 and value[0].numel() > 1:
            reduced = torchao.Int8Tensor.from_hp(value.flatten(1), torchao.PerRow())
            rounded[name] = reduced.dequantize().reshape(value.shape).contiguous()
            stored[name], stored[f"{name}.scale"] = reduced.qdata, reduced.scale
    return rounded, len(save(stored))


def measure_classifier(name: str, data: Path | None) -> list[dict[str, Any]]:
    """Returns the accuracy on the test split in per cent for each precision."""
    recipe: Any = Recipe.read(WEIGHTS[name].recipe)
    test, rows = recipe.data.load(data, "test"), []
    for precision in PRECISIONS:
        model, size = reduced_model(name, precision)
        rows.append({"precision": precision, "bytes": size, "accuracy": round(100 * accuracy(model, test), 2)})
    return rows


def measure_forecaster(name: str, data: Path | None) -> list[dict[str, Any]]:
    """Returns the errors of the forecast, and its difference from float32, for each precision."""
    _, recipe, _ = load_forecaster(name)
    sample = open_frames(SAMPLE.with_name(f"{name.partition('.')[2]}.npz")).read()[None]
    x, truth = sample[:, : recipe.inputs], sample[:, recipe.inputs : recipe.inputs + recipe.horizon]
    rows: list[dict[str, Any]] = []
    exact: Tensor | None = None
    for precision in PRECISIONS:
        model, size = reduced_model(name, precision)
        forecast = model.forecast(x, recipe.horizon)
        exact = forecast if exact is None else exact
        difference = _short((forecast - exact).square().nanmean().sqrt())
        row = {"precision": precision, "bytes": size, "unit": model.preprocessing.unit, "difference": difference}
        rows.append({**row, "mse": _short((forecast - truth).square().nanmean())})
        if data is not None:
            clips = recipe.data.load(data, "test", recipe.inputs, recipe.horizon)
            rows[-1]["test"] = scores(model, clips.fixed(SEQUENCES), recipe.inputs, recipe.data.thresholds)
    return rows


def scores(model: Forecaster, frames: Tensor, inputs: int, thresholds: tuple[float, ...]) -> dict[str, Any]:
    """Returns the mean squared error per pixel and the CSI over test sequences and all lead times."""
    truth = frames[:, inputs:]
    forecast = model.forecast(frames[:, :inputs], truth.shape[1])
    row: dict[str, Any] = {"sequences": len(frames), "mse": _short((forecast - truth).square().nanmean())}
    for threshold in thresholds:
        counted = Occurrences(threshold, truth.shape[1])
        counted.add(forecast, truth)
        row[f"CSI {threshold:g}"] = round(average(counted.scores()["CSI"]).value, 4)
    return row


def _short(value: Tensor) -> float:
    return float(f"{value.item():.4g}")


def measured(names: list[str], data: Mapping[str, Path]) -> dict[str, list[dict[str, Any]]]:
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
def main(data: tuple[str, ...]) -> None:
    """Measure the shipped weights in every precision and write the results."""
    directories = {tag: Path(directory) for tag, _, directory in (entry.partition("=") for entry in data)}
    result = {"torch": torch.__version__, "weights": measured(list(WEIGHTS), directories)}
    MEASURED.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
