"""Data, and further accuracies, of the weights for RadHAR: of recordings, of unseen days, and of linear models.

``python -m references.radhar write DIR radhar`` writes the windows of a checkout of RadHAR for ``convrnn-zoo train
radhar --data radhar``. ``python -m references.radhar measure DIR -o run --weights-dir weights`` writes and trains both.
It also trains a network on the recordings of each of the two days, and tests it on the other day. The metadata receive
these accuracies for windows and for recordings, next to those of linear models of the same maps.
"""

import dataclasses
import statistics
from pathlib import Path
from typing import Any

import click
import numpy
import torch
from torch import Tensor

from convrnn_zoo import Metric, from_pretrained
from convrnn_zoo._extras import need
from convrnn_zoo.cli._options import output_directory
from convrnn_zoo.data import Labelled
from convrnn_zoo.recipes import Recipe
from convrnn_zoo.train import train
from convrnn_zoo.train.classifier import accuracy_interval, compute_logits, load_labelled, percent

from .classifiers import train_model, weights_option
from .radhar_windows import DAYS, load_windows


def classify_recordings(logits: Tensor, data: Labelled) -> tuple[Tensor, Tensor]:
    """Returns the class of each recording, that of the mean log probability of its windows, and its label."""
    groups = sorted(set(data.groups))
    index = torch.tensor([groups.index(group) for group in data.groups])
    total = torch.zeros(len(groups), logits.shape[1]).index_add_(0, index, logits.log_softmax(1).float())
    return total.argmax(1), torch.zeros(len(groups), dtype=torch.long).index_copy_(0, index, data.labels)


def measure(logits: Tensor, data: Labelled) -> dict[str, Tensor]:
    """Returns whether each window, and each recording, is classified correctly."""
    predicted, labels = classify_recordings(logits, data)
    return {"windows": logits.argmax(1) == data.labels, "recordings": predicted == labels}


def fit_linear(train: Labelled, test: Labelled) -> Tensor:
    """Returns the log probabilities of a logistic regression on means and deviations of the maps over time."""
    linear = need("sklearn.linear_model", "data")
    scaler = need("sklearn.preprocessing", "data").StandardScaler()

    def describe(data: Labelled) -> Any:
        return torch.stack([torch.cat([x.mean(0).flatten(), x.std(0).flatten()]) for x in data.sequences]).numpy()

    model = linear.LogisticRegression(C=0.003, max_iter=500)
    model.fit(scaler.fit_transform(describe(train)), train.labels.numpy())
    return torch.from_numpy(model.predict_log_proba(scaler.transform(describe(test))))


def to_metrics(name: str, model: Tensor, linear: Tensor, test: Labelled, split: str) -> list[Metric]:
    """Returns the accuracies of windows and recordings for the logits of a network and of a linear model."""
    metrics = []
    baselines = measure(linear, test)
    for unit, correct in measure(model, test).items():
        fraction, count = correct.float().mean().item(), len(correct)
        # The windows of a recording are not independent: no interval for their accuracy.
        fields: Any = {
            "baselines": {"linear model": percent(baselines[unit].float().mean().item())},
            "interval": accuracy_interval(fraction, count) if unit == "recordings" else None,
        }
        metrics.append(
            Metric(f"accuracy, {unit}{name}", percent(fraction), "RadHAR", f"{split}, {count} {unit}", **fields)
        )
    return metrics


def average(metrics: list[Metric], name: str) -> Metric:
    """Returns the mean of accuracies and of their baselines."""
    value = percent(statistics.fmean(m.value for m in metrics) / 100)
    baseline = percent(statistics.fmean(m.baselines["linear model"] for m in metrics) / 100)
    note = "mean of two other networks, each trained on one day and tested on the other"
    return dataclasses.replace(
        metrics[0],
        name=name,
        value=value,
        split="recordings of the other day",
        note=note,
        baselines={"linear model": baseline},
        interval=None,
    )


def write_windows(data: Path, folder: Path, test: str) -> None:
    """Writes the windows of a checkout to two files in a folder; `test` selects those of the test part."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    for name, windows in zip(("train", "test"), load_windows(data, test), strict=True):
        numpy.savez_compressed(folder / f"{name}.npz", **windows._asdict())
        click.echo(f"{folder / name}.npz: {len(windows.labels):,} windows of {len(set(windows.groups))} recordings")


@click.group()
def main() -> None:
    """Data of the recipe `radhar`, and accuracies of its weights."""


@main.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--test", type=click.Choice(["official", *DAYS]), default="official", help="Recordings of the test part.")
def write(data: Path, folder: Path, test: str) -> None:
    """Write the windows of DATA, the directory of the repository of RadHAR, to train.npz and test.npz in FOLDER."""
    write_windows(data, folder, test)


@main.command("measure")
@click.argument("data", type=click.Path(path_type=Path))
@output_directory("Directory of the runs.", required=True)
@weights_option
def measure_all(data: Path, output: Path, into: Path) -> None:
    """Train the recipe radhar, measure further accuracies, and write the weights with all metrics."""
    recipe: Any = Recipe.read("radhar")
    days = []
    for day in DAYS:
        write_windows(data, folder := output / day.replace(" ", "-"), day)
        parts = load_labelled(recipe, folder)
        model = train_model(recipe, recipe.seed, parts, name=day, checkpoint=folder / "seed0.ckpt")
        split, logits = f"recordings of {day}, windows of 2 s", compute_logits(model, parts[1])
        days.append(to_metrics(f", {day} unseen", logits, fit_linear(*parts), parts[1], split))
        print(*days[-1], sep="\n", flush=True)
    write_windows(data, folder := output / "official", "official")
    metadata: Any = train(recipe, data=folder, out=output, into=into)
    parts = load_labelled(recipe, folder)
    logits = compute_logits(from_pretrained(str(into / f"{metadata.name}.json")), parts[1])
    split = "official test split, windows of 2 s"
    windows, recordings = to_metrics("", logits, fit_linear(*parts), parts[1], split)
    first = metadata.metrics[0]
    first = dataclasses.replace(first, interval=None, baselines={**first.baselines, **windows.baselines}, split=split)
    names = ("accuracy, unseen days", "accuracy, recordings of unseen days")
    means = [average([day[i] for day in days], name) for i, name in enumerate(names)]
    metrics = (first, recordings, *means, *days[0], *days[1])
    dataclasses.replace(metadata, metrics=metrics).save(into)


if __name__ == "__main__":
    main()
