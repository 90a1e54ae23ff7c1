"""Scores forecasts of EarthNet2021's test cubes: ``python -m references.earthnet MODEL… --data DIR``."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor

from convrnn_zoo import from_pretrained
from convrnn_zoo._atomic import write_text
from convrnn_zoo.cli._options import json_option
from convrnn_zoo.cli._text import columns
from convrnn_zoo.data import MiniCube, read_minicube
from convrnn_zoo.models.earthnet import SGConvLSTM

INPUTS, LENGTH = 10, 30
"""Images of a test cube that are inputs, and all of them. The others are the truth."""


def find_cubes(data: Path) -> dict[str, MiniCube]:
    """Reads all test cubes below a folder by name. Each is a file ``context_….npz`` and its ``target_….npz``."""
    cubes = {}
    for context in sorted(data.rglob("context_*.npz")):
        folders = ["target" if part == "context" else part for part in context.relative_to(data).parts[:-1]]
        target = data.joinpath(*folders, context.name.replace("context_", "target_", 1))
        cube = cubes[context.stem.removeprefix("context_")] = read_minicube(context, target)
        if len(cube.frames) != LENGTH:
            raise click.UsageError(f"expected cubes of {LENGTH} images, as of the main test, got {len(cube.frames)}")
    if not cubes:
        raise click.UsageError(f"{data} has no file context_….npz; pass the folder of a test split of EarthNet2021")
    return cubes


def forecast_cube(model: Any, cube: MiniCube) -> Tensor:
    """Returns a model's forecast of the images after the first ten, ``(T, 4, H, W)``."""
    has_mask = isinstance(model, SGConvLSTM)
    frames = torch.cat([cube.frames, cube.mask], 1) if has_mask else cube.frames
    forecast: Tensor = model.forecast(
        frames[:INPUTS], len(cube.frames) - INPUTS, static=cube.elevation, future=cube.weather(extremes=has_mask)
    )
    return forecast


def last_clear(cube: MiniCube) -> Tensor:
    """Returns each pixel's last clear value among the inputs, or its mean if it was never clear."""
    last = mean_of_inputs(cube)
    for frame, mask in zip(cube.frames[:INPUTS].nan_to_num(0), cube.mask[:INPUTS], strict=True):
        last = torch.where(mask == 0, frame, last)
    return last


def mean_of_inputs(cube: MiniCube) -> Tensor:
    """Returns the mean of all inputs, clouds included."""
    return cube.frames[:INPUTS].nan_to_num(0).clamp(0, 1).mean(0)


def mean_of_clear(cube: MiniCube) -> Tensor:
    """Returns each pixel's mean of its clear inputs, or of all inputs if it was never clear."""
    clear = 1 - cube.mask[:INPUTS]
    mean = (cube.frames[:INPUTS].nan_to_num(0) * clear).sum(0) / clear.sum(0)
    return torch.where(clear.sum(0) > 0, mean, mean_of_inputs(cube))


def ndvi(frames: Tensor) -> Tensor:
    """Returns the vegetation index of frames with the bands blue, green, red and near infrared."""
    red, nir = frames[..., 2, :, :], frames[..., 3, :, :]
    return (nir - red) / (nir + red + 1e-6)


def score(forecast: Tensor, cube: MiniCube) -> dict[str, float]:
    """Returns MAE of the reflectance and RMSE of the NDVI over the clear pixels of the true images."""
    truth = cube.frames[INPUTS:].clamp(0, 1)
    clear = (cube.mask[INPUTS:] == 0) & truth.isfinite().all(1, keepdim=True)
    forecast = forecast.expand_as(truth).nan_to_num(0).clamp(0, 1)
    error = (forecast - truth).abs()[clear.expand_as(truth)]
    ndvi_error = (ndvi(forecast) - ndvi(truth))[clear[:, 0]]
    return {"MAE": error.mean().item(), "NDVI RMSE": ndvi_error.square().mean().sqrt().item()}


BASELINES: dict[str, Callable[[MiniCube], Tensor]] = {
    "last clear pixel": last_clear,
    "mean of the clear inputs": mean_of_clear,
    "mean of the inputs": mean_of_inputs,
}


def score_cubes(models: dict[str, Any], cubes: dict[str, MiniCube]) -> dict[str, dict[str, dict[str, float]]]:
    """Returns the scores of models and baselines by cube."""
    results: dict[str, dict[str, dict[str, float]]] = {}
    for name, cube in cubes.items():
        forecasts = {title: forecast_cube(model, cube) for title, model in models.items()}
        forecasts |= {title: baseline(cube) for title, baseline in BASELINES.items()}
        results[name] = {title: score(forecast, cube) for title, forecast in forecasts.items()}
    return results


@click.command()
@click.argument("sources", metavar="MODEL...", nargs=-1, required=True)
@click.option("--data", required=True, type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="File for the scores of each cube."
)
@json_option
def evaluate(sources: tuple[str, ...], data: Path, output: Path | None, as_json: bool) -> None:
    """Score forecasts of EarthNet2021's test cubes, and compare them with the inputs' last clear pixel and mean.

    MODEL is what from_pretrained loads, such as the directory that convrnn-zoo convert wrote. --data is a folder with
    test cubes, at any depth: context/…/context_….npz and target/…/target_….npz. Nothing is downloaded. Errors are of
    clear pixels, by the masks of the true images, and averaged over cubes. The file tools/earthnet.json of the
    repository is the output of this command.

    \b
    python -m references.earthnet weather2land sg_convlstm --data EarthNet2021
    """
    models = {}
    for source in sources:
        model: Any = from_pretrained(source).eval()
        models[model.pretrained_cfg["architecture"]] = model
    results = score_cubes(models, find_cubes(data))
    text = json.dumps(results)
    if output is not None:
        write_text(output, text + "\n")
    click.echo(text if as_json else columns(table(results)))


def table(results: dict[str, dict[str, dict[str, float]]]) -> list[tuple[str, ...]]:
    """Returns the mean scores, and in how many cubes a method has a lower error than the last clear pixel."""
    baseline, rows = next(iter(BASELINES)), []
    first = next(iter(results.values()))
    for title in first:
        means = [sum(cube[title][m] for cube in results.values()) / len(results) for m in first[title]]
        better = sum(cube[title]["MAE"] < cube[baseline]["MAE"] for cube in results.values())
        rows.append(
            (title, *(f"{mean:.4f}" for mean in means), "–" if title == baseline else f"{better} of {len(results)}")
        )
    return [("", *first[baseline], f"cubes with a lower MAE than the {baseline}"), *rows]


if __name__ == "__main__":
    evaluate()
