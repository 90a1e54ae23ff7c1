"""``convrnn-zoo eval``."""

import json
from pathlib import Path

import click

from .._atomic import check_suffix, write_text
from ..data import frames_of
from ..models import Forecaster, ZooModel, from_pretrained
from ..train import ClassifierRecipe, ForecasterRecipe, Recipe, confusion
from ..train.classify import evaluate_classifier
from ..train.forecast import split_of
from ..train.pictures import DRAWN
from ..train.scores import Scores, better, curves, evaluate, mean, to_json
from ._text import columns


@click.command("eval")
@click.argument("name", metavar="DIR|NAME|REPO")
@click.option("--data", type=click.Path(path_type=Path), help="File or directory of the data.")
@click.option("--recipe", help="Recipe of the weights, by name or as a file [default: the record's].")
@click.option(
    "--sequences", type=click.IntRange(min=1), help="Test sequences to evaluate [default: the recipe's number]."
)
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="File for all scores.")
@click.option("--curve", type=click.Path(path_type=Path, dir_okay=False), help="Picture (.png, .svg) over lead time.")
@click.option(
    "--confusion", "matrix", type=click.Path(path_type=Path, dir_okay=False),
    help="Confusion matrix of a classifier: a picture (.png, .svg) or counts (.csv).",
)  # fmt: skip
@click.option("--quiet", is_flag=True, help="No progress bar.")
def eval_weights(
    name: str,
    data: Path | None,
    recipe: str | None,
    sequences: int | None,
    json_file: Path | None,
    curve: Path | None,
    matrix: Path | None,
    quiet: bool,
) -> None:
    """Evaluate NAME on the test part of its data, beside the baselines.

    NAME is the directory of a training run, weights of the zoo, a record, or a repository of the Hub. The errors of a
    forecaster are means over pixels and lead times; --json and --curve tell the lead times apart. Rain is extrapolated
    by pysteps as well, where that is installed: pip install 'convrnn-zoo[nowcast]'. Of a classifier --json also tells
    the recall of each class, and --confusion which classes were taken for which.

    \b
    convrnn-zoo eval run --data radar
    convrnn-zoo eval convgru_forecaster.moving_mnist --data mnist --curve mse.png
    convrnn-zoo eval run --data clips --confusion confusion.png
    """
    if json_file is not None:
        check_suffix(json_file, (".json",))
    if curve is not None:
        check_suffix(curve, DRAWN)
    if matrix is not None:
        confusion.check_name(matrix)
    model = from_pretrained(name).eval()
    chosen = recipe_of(model, name, recipe)
    if chosen.architecture != model.pretrained_cfg["architecture"]:
        raise ValueError(
            f"the recipe makes {chosen.weights}, and {name} is a {model.pretrained_cfg['architecture']}; pass its own"
        )
    if isinstance(chosen, ClassifierRecipe):
        if curve is not None or sequences is not None:
            raise ValueError(f"{name} is a classifier, which has no lead times: leave --curve and --sequences out")
        accuracies, found = evaluate_classifier(model, chosen, data)
        if json_file is not None:
            told = {k: {"accuracy": [v]} for k, v in accuracies.items()}
            write_text(json_file, json.dumps({**told, **found.to_json()}, indent=2, ensure_ascii=False) + "\n")
        if matrix is not None:
            confusion.write(found, matrix, f"{chosen.weights}: {accuracies['prediction']:.1f} % right")
        click.echo(columns([("accuracy", *(f"{v:.2f} %" for v in accuracies.values()))], header=("", *accuracies)))
        return
    if not isinstance(model, Forecaster) or not isinstance(chosen, ForecasterRecipe):
        raise ValueError(f"{name} neither classifies nor forecasts by its recipe; pass another --recipe")
    if matrix is not None:
        raise ValueError(f"{name} forecasts and has no classes to take for one another: leave --confusion out")
    source = frames_of(chosen.data)
    scores = evaluate(model, chosen, split_of(source, chosen, data, "test"), sequences, progress=not quiet)
    if json_file is not None:
        write_text(json_file, to_json(scores))
    if curve is not None:
        curves(scores, curve, f"{chosen.weights} on {source.title}")
    click.echo(table_of(scores))


def recipe_of(model: ZooModel, name: str, recipe: str | None) -> Recipe:
    """The recipe of a model: by name or file, or else its record's."""
    if recipe is not None:
        return Recipe.read(recipe)
    if model.record is None:
        raise ValueError(f"{name} has no record, so nobody says how it was trained; pass --recipe")
    return Recipe.parse(model.record.recipe)


def table_of(scores: Scores) -> str:
    """Each metric of each method, and where the forecast is better."""
    others = [name for name in scores if name != "forecast"]
    rows = [(metric, *(f"{mean(by[metric]):.4g}" for by in scores.values())) for metric in scores["forecast"]]
    compared = [(metric, *(better(scores, metric, b) for b in others)) for metric in scores["forecast"]]
    return "\n\n".join(
        [
            columns(rows, header=("mean over lead times", *scores)),
            columns(compared, header=("forecast is better than", *others)),
        ]
    )
