"""Recomputes the accuracies of all shipped classifiers: ``python -m tools.accuracies --data fsdd=DIR``.

JapaneseVowels come with aeon. A set of data that is not given is named and skipped; an accuracy that is not what its
record says makes the command fail.
"""

import sys
from pathlib import Path
from typing import Any

import click

from convrnn_zoo.cli._text import columns
from convrnn_zoo.models import WEIGHTS, create_model
from convrnn_zoo.train.classify import evaluate_classifier
from convrnn_zoo.train.recipe import ClassifierRecipe, Recipe


@click.command()
@click.option("--data", multiple=True, metavar="KIND=DIR", help="Where data are, such as fsdd=recordings.")
def main(data: tuple[str, ...]) -> None:
    """Recompute the accuracy of every shipped classifier, and compare it with its record."""
    given = {kind: Path(path) for kind, _, path in (entry.partition("=") for entry in data)}
    rows, wrong = [], 0
    for name, record in WEIGHTS.items():
        recipe: Any = Recipe.parse(record.recipe)
        if not isinstance(recipe, ClassifierRecipe):
            continue
        said = record.metrics[0].value
        try:
            model = create_model(name, pretrained=True).eval()
            found = round(
                evaluate_classifier(model, recipe, given.get(recipe.data["kind"])).accuracies["prediction"], 2
            )
        except FileNotFoundError as e:
            rows.append((name, f"{said:g} %", "–", str(e)))
            continue
        wrong += found != said
        rows.append((name, f"{said:g} %", f"{found:g} %", "equal" if found == said else "DIFFERENT"))
    click.echo(columns(rows, header=("weights", "record", "recomputed", "")))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
