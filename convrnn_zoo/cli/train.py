"""``convrnn-zoo train``."""

from pathlib import Path

import click

from ..train import RECIPES, Recipe
from ..train import train as train_recipe
from .names import figure


@click.command()
@click.argument("recipe")
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="Directory of the data set.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Checkpoints [default: runs/WEIGHTS].")
@click.option("--into", type=click.Path(path_type=Path, file_okay=False), help="Weights and record [default: --out].")
@click.option("--quiet", is_flag=True, help="No progress bars.")
def train(recipe: str, data: Path | None, out: Path | None, into: Path | None, quiet: bool) -> None:
    """Train the weights of RECIPE: a .toml file, or the name of a recipe of the package.

    A run that was interrupted goes on from its checkpoints when started again with the same --out.
    """
    chosen = Recipe.read(recipe)
    record = train_recipe(chosen, data=data, out=out or Path("runs") / chosen.weights, into=into, progress=not quiet)
    for metric in record.metrics if record else ():
        click.echo(f"{figure(metric)}; {metric.dataset}, {metric.split}{'; ' + metric.note if metric.note else ''}")


train.epilog = f"Recipes of the package: {', '.join(RECIPES)}"
