"""Compares settings of a classifier recipe by cross-validation on the training split only.

``python -m tools.crossval japanese_vowels --set model.global_pool=last,avg,max --set noise=0.1,0.3``

``--group NAME`` validates on one group of the data, such as a speaker, and trains on all other groups.
"""

import dataclasses
import itertools
import json
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import torch

from convrnn_zoo.data import Labelled
from convrnn_zoo.recipes import ClassifierRecipe, Recipe
from convrnn_zoo.train.classifier import load_split, train_one


def changed(recipe: ClassifierRecipe, settings: Mapping[str, Any]) -> ClassifierRecipe:
    """Returns a recipe with changed keys. A key in a table is written as ``table.key``.

    Example:
        >>> changed(Recipe.read("japanese_vowels"), {"model.hidden_channels": 8, "noise": 0.0}).model["hidden_channels"]
        8
    """
    for key, value in settings.items():
        table, _, name = key.rpartition(".")
        new: dict[str, Any] = {name: value}
        if table:
            old: Any = getattr(recipe, table)
            new = {table: {**old, **new} if isinstance(old, Mapping) else dataclasses.replace(old, **new)}
        recipe = dataclasses.replace(recipe, **new)
    return recipe


def folds(data: Labelled, count: int) -> Iterator[tuple[Labelled, Labelled]]:
    """Yields stratified training and validation parts of a fixed random split."""
    generator, part = torch.Generator().manual_seed(0), torch.empty(len(data.labels), dtype=torch.long)
    for label in data.labels.unique():
        indices = (data.labels == label).nonzero().flatten()
        part[indices[torch.randperm(len(indices), generator=generator)]] = torch.arange(len(indices)) % count
    for fold in range(count):
        inside, outside = (part != fold).nonzero().flatten(), (part == fold).nonzero().flatten()
        yield data.subset(inside.tolist()), data.subset(outside.tolist())


def group_folds(data: Labelled, groups: Sequence[str]) -> Iterator[tuple[Labelled, Labelled]]:
    """Yields two parts for each group: the recordings of all other groups, and the recordings of the group.

    Raises:
        ValueError: the data have no such group.
    """
    for group in groups:
        if group not in data.groups:
            raise ValueError(f"--group must be one of {', '.join(sorted(set(data.groups)))}; got {group}")
        own, others = ([i for i, g in enumerate(data.groups) if (g == group) == same] for same in (True, False))
        yield data.subset(others), data.subset(own)


def compare(
    recipe: ClassifierRecipe,
    data: Any,
    grid: Mapping[str, list[Any]],
    count: int,
    seeds: int,
    groups: Sequence[str] = (),
) -> list[Any]:
    """Returns the mean and standard deviation of the accuracy in per cent for each combination of settings."""
    rows = []
    for values in itertools.product(*grid.values()):
        settings = dict(zip(grid, values, strict=True))
        candidate = changed(recipe, settings)
        if candidate.patience:
            raise click.UsageError("patience has no effect without a validation part; pass --set patience=0")
        train = load_split(candidate, data, "train")
        accuracies = [
            100 * train_one(candidate, seed, inside, outside, progress=False).accuracy
            for seed in range(seeds)
            for inside, outside in (group_folds(train, groups) if groups else folds(train, count))
        ]
        rows.append(
            {**settings, "mean": round(statistics.fmean(accuracies), 2), "std": round(statistics.pstdev(accuracies), 2)}
        )
        click.echo(json.dumps(rows[-1]), err=True)
    return sorted(rows, key=lambda row: -row["mean"])


@click.command()
@click.argument("recipe")
@click.option("--data", type=click.Path(path_type=Path), help="Directory of the data.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE,...", help="A key and the values to compare.")
@click.option("--weights", help="Replaces the architecture.tag of the recipe.")
@click.option("--folds", "count", default=3, show_default=True)
@click.option("--seeds", default=1, show_default=True)
@click.option("--group", "groups", multiple=True, metavar="NAME", help="Validate on this group of the data.")
def main(
    recipe: str, data: Path | None, settings: tuple[str, ...], weights: str | None, count: int, seeds: int,
    groups: tuple[str, ...],
) -> None:  # fmt: skip
    """Compare settings of RECIPE by cross-validation on the training split, best first."""

    def value(text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError:
            return text

    grid = {k: [value(v) for v in vs.split(",")] for k, _, vs in (s.partition("=") for s in settings)}
    read: Any = Recipe.read(recipe)
    if not isinstance(read, ClassifierRecipe):
        raise click.ClickException(f"{recipe} is not a classifier recipe")
    base = dataclasses.replace(read, weights=weights) if weights else read
    click.echo(json.dumps(compare(base, data, grid, count, seeds, groups), indent=1))


if __name__ == "__main__":
    sys.exit(main())
