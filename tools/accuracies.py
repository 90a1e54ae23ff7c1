"""Recomputes the accuracies of all shipped classifiers: ``python -m tools.accuracies --data fsdd=DIR``.

aeon provides JapaneseVowels. Other datasets are skipped if no directory is passed. The command fails if an accuracy
differs from its metadata.
"""

import sys
from pathlib import Path
from typing import Any

import click

from convrnn_zoo import WEIGHTS, create_model
from convrnn_zoo.cli._text import columns
from convrnn_zoo.data import to_table
from convrnn_zoo.recipes import ClassifierRecipe, Recipe
from convrnn_zoo.train.classifier import evaluate_classifier


@click.command()
@click.option("--data", multiple=True, metavar="KIND=DIR", help="Directory of a dataset, such as fsdd=recordings.")
def main(data: tuple[str, ...]) -> None:
    """Recompute the accuracy of every shipped classifier and compare it with its metadata."""
    directories = {kind: Path(path) for kind, _, path in (entry.partition("=") for entry in data)}
    rows, wrong = [], 0
    for name, metadata in WEIGHTS.items():
        recipe: Any = Recipe.parse(metadata.recipe)
        if not isinstance(recipe, ClassifierRecipe):
            continue
        claimed = metadata.metrics[0].value
        try:
            model = create_model(name, pretrained=True).eval()
            accuracies, _ = evaluate_classifier(model, recipe, directories.get(to_table(recipe.data)["kind"]))
            accuracy = round(accuracies["prediction"], 2)
        except FileNotFoundError as e:
            rows.append((name, f"{claimed:g} %", "–", str(e)))
            continue
        wrong += accuracy != claimed
        rows.append((name, f"{claimed:g} %", f"{accuracy:g} %", "equal" if accuracy == claimed else "DIFFERENT"))
    click.echo(columns(rows, header=("weights", "metadata", "recomputed", "")))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
