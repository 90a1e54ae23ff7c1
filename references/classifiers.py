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
from urllib.parse import quote

import click
import torch

from convrnn_zoo import Metric
from convrnn_zoo._extras import need
from convrnn_zoo.cli._options import data_option, output_directory
from convrnn_zoo.data import Labelled
from convrnn_zoo.recipes import ClassifierRecipe, Recipe
from convrnn_zoo.train import train
from convrnn_zoo.train.classifier import ClassifierTrainer, accuracy, load_labelled, percent

weights_option = click.option(
    "--weights-dir",
    "into",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Directory of weights.",
)


def load_parts(recipe: ClassifierRecipe, data: Any) -> tuple[Labelled, ...]:
    """Returns the training split, the test split and, if the recipe has one, the validation split."""
    return load_labelled(recipe, data, recipe.list_splits(data))


def train_model(recipe: ClassifierRecipe, seed: int, parts: Sequence[Labelled], **options: Any) -> Any:
    """Trains one model on the training split, the first of `parts`, and the validation split, the third one if any."""
    trainer = ClassifierTrainer(recipe, seed, parts[0], *parts[2:], **options)
    trainer.fit()
    return trainer.model


def accuracy_metric(name: str, values: Sequence[float], dataset: str, split: str, **fields: Any) -> Metric:
    """Returns the metric for the accuracies `values` of several runs; the first one is the accuracy of the weights."""
    several = len(values) > 1
    mean, std = (percent(f(values)) if several else None for f in (statistics.fmean, statistics.pstdev))
    return Metric(name, percent(values[0]), dataset, split, mean, std, len(values), **fields)


class WithoutLengths(Labelled):
    """Labelled sequences whose batches have no lengths, so that a model reads their padding as data."""

    def batch(self, indices: Any, change: Any = lambda x: x) -> tuple[Any, Any, Any]:
        """Returns padded sequences, None for their lengths, and their labels."""
        x, _, labels = super().batch(indices, change)
        return x, None, labels


def measure_padding(recipe: ClassifierRecipe, data: Any, out: Path, progress: bool = True) -> list[Metric]:
    """Returns accuracies without lengths, of models that were trained with lengths and of models trained without."""
    dataset = recipe.data
    parts = load_parts(recipe, data)
    padded = [WithoutLengths(*part) for part in parts]

    def train_all(parts: Sequence[Labelled], name: str, suffix: str) -> list[Any]:
        return [
            train_model(recipe, seed, parts, name=name, checkpoint=out / f"seed{seed}{suffix}.ckpt", progress=progress)
            for seed in recipe.seeds  # type: ignore[union-attr]
        ]

    with_lengths, without = train_all(parts, "", ""), train_all(padded, "padding read", "-padding-read")
    count = len(parts[1].labels)
    split = f"{dataset.split_words} ({count})"
    return [
        accuracy_metric(f"accuracy, {name}", values, dataset.title, split, note=note)
        for name, values, note in (
            (
                "lengths withheld",
                [accuracy(m, padded[1], count) for m in with_lengths],
                "the same models, with the padding read as data",
            ),
            (
                "trained without lengths",
                [accuracy(m, padded[1], count) for m in without],
                "other models, trained on padding as data; one batch padded to the longest recording",
            ),
            (
                "trained without lengths, one at a time",
                [accuracy(m, parts[1], batch_size=1) for m in without],
                "those models on one recording at a time: their predictions depend on the batch",
            ),
        )
    ]


def check_groups(parts: Sequence[Labelled], selected_on: Sequence[str] = ()) -> None:
    """Raises ValueError unless all sequences are in two or more groups, of which `selected_on` are some."""
    names = sorted({group for part in parts for group in part.groups})
    if len(names) < 2 or "" in names:
        raise ValueError("--groups needs data in two or more groups: set data.group_pattern, or add an array groups")
    if not set(selected_on) < set(names):
        raise ValueError(f"--selected-on must be some of the groups {', '.join(names)}; got {', '.join(selected_on)}")


def measure_groups(
    recipe: ClassifierRecipe, data: Any, out: Path, selected_on: Sequence[str] = (), progress: bool = True
) -> list[Metric]:
    """Trains one model per group without the group, and returns its accuracy on all recordings of the group.

    The models are trained on the training part. If no group of the test part is in it, as with ``split = "group"``,
    they are also trained on the test part. The first metric is the mean over the groups that are not in `selected_on`.
    """
    parts = load_parts(recipe, data)
    check_groups(parts, selected_on)
    train_part, test_part = parts[:2]
    every = train_part._replace(
        sequences=[x for part in parts for x in part.sequences],
        labels=torch.cat([part.labels for part in parts]),
        groups=tuple(group for part in parts for group in part.groups),
        names=(),
    )
    known = len(train_part.labels) + len(test_part.labels)
    end = len(train_part.labels) if {*train_part.groups} & {*test_part.groups} else known
    values, metrics, title = [], [], recipe.data.title
    splits = need("sklearn.model_selection", "data").LeaveOneGroupOut().split(every.labels, groups=every.groups)
    for others, unseen in splits:
        name, held_out = every.groups[unseen[0]], every.subset(unseen)
        used = [every.subset([i for i in others if i < end]), held_out]
        if validation := [i for i in others if i >= known]:
            used.append(every.subset(validation))
        options: Any = {"checkpoint": out / f"without-{quote(name, safe='')}.ckpt", "progress": progress}
        model = train_model(recipe, recipe.seed, used, name=f"without {name}", **options)
        value = accuracy(model, held_out, recipe.batch_size, progress)
        values += [value] if name not in selected_on else []
        split = f"all {len(unseen)} recordings of {name}"
        metrics.append(Metric(f"accuracy, {name} unseen", percent(value), title, split))
    note = "mean of other models, each trained without one of the groups"
    if selected_on:
        note += f" {', '.join(n for n in sorted({*every.groups}) if n not in selected_on)}"
    split = "all recordings of the group that was held out"
    total = accuracy_metric("accuracy, unseen groups", values, title, split, note=note)
    return [dataclasses.replace(total, value=percent(statistics.fmean(values))), *metrics]


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
        check_groups(load_parts(loaded, data), selected_on)  # raises before training
    metadata: Any = train(loaded, data=data, out=output, into=into)
    metrics = [*metadata.metrics]
    if padding:
        metrics += measure_padding(loaded, data, output)
    if groups:
        metrics += measure_groups(loaded, data, output, selected_on)
    dataclasses.replace(metadata, metrics=tuple(metrics)).save(into)


if __name__ == "__main__":
    main()
