"""Shipped weights next to the strongest simple baseline: ``python -m benchmarks.baselines [TAG=DIR ...]``.

It prints one row for each set of weights, from its metadata. With the data of a tag, such as ``digit_motion=mnist/``,
it first fits logistic regressions, a random forest, gradient boosting and MiniRocket of aeon on the training split of
the recipe, and scores them on its test split; ``--weights-dir`` writes the scores to the metadata.
"""

import dataclasses
from pathlib import Path
from typing import Any

import click
import torch
import torch.nn.functional as F
from torch import Tensor

from convrnn_zoo import WEIGHTS, Metric, WeightsMetadata
from convrnn_zoo._extras import need
from convrnn_zoo.data import Labelled
from convrnn_zoo.recipes import Recipe
from convrnn_zoo.train.classifier import load_labelled, percent

from .tables import table

STEPS = 12
"""Steps to which sequences are resampled for baselines that read them in order."""
LOSSES = ("MSE", "MAE", "CRPS")
SIMPLE = (
    "last frame",
    "zero",
    "extrapolation",
    "S-PROG",
    "ANVIL",
    "LINDA",
    "STEPS",
    "commonest class",
    "linear model",
    "logistic regression",
    "logistic regression, frames in order",
    "random forest",
    "gradient boosting",
    "MiniRocket",
)
"""Baselines that are methods of their own; other entries of the metadata are the network under other conditions."""


def pool_frames(data: Labelled) -> Tensor:
    """Returns the means and standard deviations of each value over time ``(N, 2 C S)``, which have no order."""
    rows = (x.flatten(1).float() for x in data.sequences)
    return torch.stack([torch.cat([x.mean(0), x.std(0, correction=0)]) for x in rows])


def order_frames(data: Labelled) -> Tensor:
    """Returns each sequence resampled to :data:`STEPS` steps ``(N, C S, STEPS)``, by linear interpolation."""
    rows = (x.flatten(1).float().T[None] for x in data.sequences)
    return torch.cat([F.interpolate(x, STEPS, mode="linear", align_corners=True) for x in rows])


def score_baselines(train: Labelled, test: Labelled) -> dict[str, float]:
    """Returns the test accuracies of simple classifiers in per cent, by their names.

    Settings are the libraries' defaults; logistic regressions read standardized inputs and make 100 iterations. The
    first one, the random forest and gradient boosting read :func:`pool_frames`, the others :func:`order_frames`.
    """
    linear, scaling, pipeline = (need(f"sklearn.{n}", "data") for n in ("linear_model", "preprocessing", "pipeline"))
    torch.manual_seed(0)
    parts: list[Any] = [(pool_frames(x), order_frames(x), x.labels.numpy()) for x in (train, test)]

    def regression() -> Any:
        return pipeline.make_pipeline(scaling.StandardScaler(), linear.LogisticRegression(max_iter=100))

    ensemble = need("sklearn.ensemble", "data")
    forest = ensemble.RandomForestClassifier(300, random_state=0)
    boosting = ensemble.HistGradientBoostingClassifier(random_state=0)
    rocket = need("aeon.classification.convolution_based", "data").MiniRocketClassifier(random_state=0)
    models = {
        "logistic regression": (regression(), 0, 1),
        "logistic regression, frames in order": (regression(), 1, 1),
        "random forest": (forest, 0, 1),
        "gradient boosting": (boosting, 0, 1),
        "MiniRocket": (rocket, 1, 2),
    }
    scores = {}
    for name, (model, features, first_axis) in models.items():
        (x, y), (x_test, y_test) = ((part[features].flatten(first_axis).numpy(), part[2]) for part in parts)
        scores[name] = percent(float((model.fit(x, y).predict(x_test) == y_test).mean()))
        click.echo(f"{name}: {scores[name]:g} %", err=True)
    return scores


def strongest(metric: Metric) -> tuple[str, float]:
    """Returns the name and the score of the best simple baseline of a metric.

    Example:
        >>> strongest(Metric("MSE", 1.0, "", "", baselines={"last frame": 3.0, "zero": 2.0, "middle frame only": 0.5}))
        ('zero', 2.0)
    """
    known = {name: value for name, value in metric.baselines.items() if name in SIMPLE}
    best = min if metric.name.startswith(LOSSES) else max
    if not known:
        raise ValueError(f"accuracy or error {metric.name!r} of {metric.dataset} has no simple baseline; pass its data")
    name = best(known, key=known.__getitem__)
    return name, known[name]


def baseline_rows() -> list[tuple[str, Metric, str, float, bool]]:
    """Returns for each metric: weights, metric, strongest baseline, its score, and whether it is worse."""
    rows = []
    for name, weights in WEIGHTS.items():
        for metric in weights.metrics:
            if metric is weights.metrics[0] or (metric.name.startswith("accuracy, unseen") and metric.baselines):
                baseline, value = strongest(metric)
                loss = metric.name.startswith(LOSSES)
                rows.append((name, metric, baseline, value, metric.value < value if loss else metric.value > value))
    return rows


def baseline_table() -> str:
    """Formats the table of all sets of weights and their strongest baselines."""
    columns: dict[str, Any] = {
        "weights": lambda row: f"`{row[0]}`",
        "metric": lambda row: row[1].name,
        "network": lambda row: f"{row[1].value:.4g}",
        "strongest baseline": lambda row: f"{row[2]} {row[3]:.4g}",
        "better": lambda row: "network" if row[4] else "**baseline**",
    }
    return table(baseline_rows(), columns)


def add_scores(weights: WeightsMetadata, scores: dict[str, float]) -> WeightsMetadata:
    """Returns metadata with the scores of simple classifiers next to the first accuracy; a higher one is kept."""
    first, *others = weights.metrics
    best = {name: max(value, first.baselines.get(name, value)) for name, value in scores.items()}
    first = dataclasses.replace(first, baselines={**first.baselines, **best})
    return dataclasses.replace(weights, metrics=(first, *others))


@click.command()
@click.argument("data", nargs=-1, metavar="[TAG=DIR]...")
@click.option("--weights-dir", type=click.Path(path_type=Path), help="Write the scores to the metadata in a directory.")
def main(data: tuple[str, ...], weights_dir: Path | None) -> None:
    """Print the shipped weights next to the strongest simple baselines, after scoring those of the given data."""
    for tag, _, path in (item.partition("=") for item in data):
        named = [w for name, w in WEIGHTS.items() if name.partition(".")[2] == tag]
        if not named:
            raise click.BadParameter(
                f"no shipped weights have the tag {tag!r}; expected TAG=DIR, as in digit_motion=mnist"
            )
        recipe: Any = Recipe.read(named[0].recipe)  # sets of one tag have the same data
        scores = score_baselines(*load_labelled(recipe, Path(path) if path else None))
        for weights in named:
            WEIGHTS[weights.name] = measured = add_scores(weights, scores)
            if weights_dir:
                measured.save(weights_dir)
    click.echo(baseline_table())


if __name__ == "__main__":
    main()
