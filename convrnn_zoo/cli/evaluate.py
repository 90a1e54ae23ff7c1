"""``convrnn-zoo eval``."""

from pathlib import Path

import click

from .._whole import whole
from ..train.apply import data_of, load_forecaster
from ..train.scores import better, curves, evaluate, mean, to_json
from ._text import columns


@click.command("eval")
@click.argument("name", metavar="NAME|RECORD.json")
@click.option("--data", required=True, type=click.Path(path_type=Path, file_okay=False), help="Directory of the data.")
@click.option("--recipe", help="Recipe of the weights, by name or as a file [default: the record's].")
@click.option("--sequences", type=click.IntRange(min=1), help="How many [default: the recipe's number].")
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="File for all scores.")
@click.option("--curve", type=click.Path(path_type=Path, dir_okay=False), help="Picture (.png, .svg) over lead time.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def eval_weights(
    name: str,
    data: Path,
    recipe: str | None,
    sequences: int | None,
    json_file: Path | None,
    curve: Path | None,
    quiet: bool,
) -> None:
    """Evaluate the forecaster NAME on the fixed test sequences of its data, beside the baselines.

    NAME is a set of weights of the zoo, or the record that a training run wrote beside its own. MSE and MAE are
    means over pixels; every figure is the mean over lead times, which --json and --curve tell apart. Rain is
    extrapolated by pysteps as well, where that is installed: pip install 'convrnn-zoo[nowcast]'.

    \b
    convrnn-zoo eval convgru_forecaster.moving_mnist --data mnist --curve mse.png
    """
    model, chosen, record = load_forecaster(name, recipe)
    if curve is not None and curve.suffix not in (".png", ".svg"):
        raise ValueError(f"{curve}: expected a name that ends in .png or .svg")
    test = data_of(chosen).load(data, "test", chosen.inputs)
    scores = evaluate(model, chosen, test, sequences, progress=not quiet)
    if json_file is not None:
        with whole(json_file) as temporary:
            temporary.write_text(to_json(scores), encoding="utf-8")
    if curve is not None:
        curves(scores, curve, f"{record.name} on {data_of(chosen).title}")
    others = [name for name in scores if name != "forecast"]
    rows = [(metric, *(f"{mean(by[metric]):.4g}" for by in scores.values())) for metric in scores["forecast"]]
    click.echo(columns(rows, header=("mean over lead times", *scores)))
    rows = [(metric, *(better(scores, metric, b) for b in others)) for metric in scores["forecast"]]
    click.echo("\n" + columns(rows, header=("forecast is better than", *others)))
