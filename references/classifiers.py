"""Further accuracies of shipped classifiers: on groups excluded from training, and with padding read as data.

``python -m references.classifiers RECIPE --data DIR -o run --weights-dir weights --groups`` trains RECIPE as
``convrnn-zoo train`` does. For each group of the data, such as a speaker, it then trains a model without the group and
adds the accuracy on the group to the metadata. ``--selected-on GROUP`` excludes from the mean a group on which settings
were selected. ``--padding`` adds the accuracies of models that read padding as data. RECIPE may be any recipe of a
classifier; ``group_pattern`` in the recipe, or an array ``groups`` in the files, defines the groups of custom data.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from convrnn_zoo import Metric
from convrnn_zoo.cli._options import data_option, output_directory
from convrnn_zoo.data import Labelled
from convrnn_zoo.recipes import ClassifierRecipe, Recipe
from convrnn_zoo.train import train
from convrnn_zoo.train.classifier import accuracy, accuracy_metric, train_one
from convrnn_zoo.train.groups import group_names, load_parts, measure_groups

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
            for seed in recipe.seeds  # type: ignore[union-attr]
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
