"""Further accuracies of shipped classifiers: on groups excluded from training, and with padding read as data.

``python -m references.classifiers RECIPE --data DIR -o run --weights-dir weights --groups`` trains RECIPE as
``convrnn-zoo train`` does. For each group of the data, such as a speaker, it then trains a model without the group and
adds the accuracy on the group to the metadata. ``--selected-on GROUP`` excludes from the mean a group on which settings
were selected. ``--padding`` adds the accuracies of models that read padding as data. RECIPE may be any recipe of a
classifier; ``group_pattern`` in the recipe, or an array ``groups`` in the files, defines the groups of custom data.
"""

import dataclasses
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import torch

from convrnn_zoo import Metric
from convrnn_zoo.cli._options import data_option, output_directory
from convrnn_zoo.data import Labelled
from convrnn_zoo.train import ClassifierRecipe, Recipe, train
from convrnn_zoo.train.classifier import accuracy, accuracy_metric, load_splits, percent, train_one
from convrnn_zoo.train.tasks import list_splits

weights_option = click.option(
    "--weights-dir", "into", type=click.Path(path_type=Path, file_okay=False), required=True,
    help="Directory of weights.",
)  # fmt: skip


class WithoutLengths(Labelled):
    """Labelled sequences whose batches have no lengths, so that a model reads their padding as data."""

    def batch(self, indices: Any, change: Any = lambda x: x) -> tuple[Any, Any, Any]:
        """Returns padded sequences, None for their lengths, and their labels."""
        x, _, labels = super().batch(indices, change)
        return x, None, labels


def load_parts(recipe: ClassifierRecipe, data: Any) -> tuple[Labelled, ...]:
    """Returns the training split, the test split and, if the recipe has one, the validation split."""
    return load_splits(recipe, data, splits=list_splits(recipe, data))


def group_names(parts: Sequence[Labelled], selected_on: Sequence[str] = ()) -> list[str]:
    """Returns the names of the groups in all splits of the data, and checks that `selected_on` are some of them.

    Raises:
        ValueError: there are fewer than two groups, a sequence has no group, or `selected_on` includes an unknown
            group or all groups.
    """
    names = sorted({group for part in parts for group in part.groups})
    if len(names) < 2 or "" in names:
        raise ValueError(
            "--groups needs data in two or more groups, such as speakers: set data.group_pattern in the recipe, or add "
            "an array groups to the .npz files"
        )
    if not set(selected_on) < set(names):
        raise ValueError(
            f"--selected-on must be some of the groups {', '.join(names)}, and not all of them; got "
            f"{', '.join(selected_on)}"
        )
    return names


def measure_padding(recipe: ClassifierRecipe, data: Any, out: Path, progress: bool = True) -> list[Metric]:
    """Returns accuracies without lengths, of models that were trained with lengths and of models trained without."""
    dataset = recipe.data
    parts = load_parts(recipe, data)
    padded = [WithoutLengths(*part) for part in parts]

    def train_all(parts: Sequence[Labelled], name: str, suffix: str) -> list[Any]:
        return [
            train_one(
                recipe, seed, *parts, name=name, checkpoint=out / f"seed{seed}{suffix}.ckpt", progress=progress
            ).model
            for seed in recipe.seeds
        ]

    with_lengths, without = train_all(parts, "", ""), train_all(padded, "padding read", "-padding-read")
    count = len(parts[1].labels)
    split = f"{dataset.split_words} ({count})"
    return [
        accuracy_metric(f"accuracy, {name}", values, dataset.title, split, note=note)
        for name, values, note in (
            ("lengths withheld", [accuracy(m, padded[1], count) for m in with_lengths],
             "the same models, with the padding read as data"),
            ("trained without lengths", [accuracy(m, padded[1], count) for m in without],
             "other models, trained on padding as data; one batch padded to the longest recording"),
            ("trained without lengths, one at a time", [accuracy(m, parts[1], batch_size=1) for m in without],
             "those models on one recording at a time: their predictions depend on the batch"),
        )
    ]  # fmt: skip


def measure_groups(
    recipe: ClassifierRecipe, data: Any, out: Path, selected_on: Sequence[str] = (), progress: bool = True
) -> list[Metric]:
    """Trains one model per group without the group, and returns its accuracy on all recordings of the group.

    The first metric is the mean over the groups that are not in `selected_on`.

    Raises:
        ValueError: as in :func:`group_names`.
    """
    dataset = recipe.data
    parts = load_parts(recipe, data)
    values, metrics = [], []
    names = group_names(parts, selected_on)
    for name in names:
        own = [part.subset([i for i, g in enumerate(part.groups) if g == name]) for part in parts]
        train_part, _, *validation = (
            part.subset([i for i, g in enumerate(part.groups) if g != name]) for part in parts
        )
        unseen = own[0]._replace(
            sequences=[x for part in own for x in part.sequences], labels=torch.cat([part.labels for part in own])
        )
        run = train_one(
            recipe, recipe.seeds[0], train_part, unseen, *(part for part in validation if len(part.labels)),
            name=f"without {name}",
            checkpoint=out / f"without-{name}.ckpt", progress=progress,
        )  # fmt: skip
        values += [run.accuracy] if name not in selected_on else []
        split = f"all {len(unseen.labels)} recordings of {name}"
        metrics.append(Metric(f"accuracy, {name} unseen", percent(run.accuracy), dataset.title, split))
    mean, split = statistics.fmean(values), "all recordings of the group that was held out"
    note = "mean of other models, each trained without one of the groups"
    if selected_on:
        note += f" {', '.join(n for n in names if n not in selected_on)}"
    total = accuracy_metric("accuracy, unseen groups", values, dataset.title, split, note=note)
    return [dataclasses.replace(total, value=percent(mean)), *metrics]


@click.command()
@click.argument("recipe")
@data_option
@output_directory("Directory of the runs.", required=True)
@weights_option
@click.option("--padding", is_flag=True, help="Measure models that read padding as data.")
@click.option("--groups", is_flag=True, help="Measure models that were trained without one group of the data.")
@click.option("--selected-on", multiple=True, metavar="GROUP", help="Leave a group out of the mean of --groups.")
def main(
    recipe: str, data: Path | None, output: Path, into: Path, padding: bool, groups: bool, selected_on: tuple[str, ...]
) -> None:
    """Train RECIPE, measure further models, and write the weights with all metrics."""
    loaded = Recipe.read(recipe)
    if not isinstance(loaded, ClassifierRecipe):
        raise click.UsageError(f"{recipe} is not the recipe of a classifier")
    if groups:
        group_names(load_parts(loaded, data), selected_on)  # raises before training
    metadata: Any = train(loaded, data=data, out=output, into=into)
    metrics = [*metadata.metrics]
    if padding:
        metrics += measure_padding(loaded, data, output)
    if groups:
        metrics += measure_groups(loaded, data, output, selected_on)
    dataclasses.replace(metadata, metrics=tuple(metrics)).save(into)


if __name__ == "__main__":
    main()
