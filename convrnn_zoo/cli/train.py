"""``convrnn-zoo train``."""

import os
import shlex
import sys
from pathlib import Path

import click

from ..train import RECIPES, Recipe
from ..train import train as train_recipe
from .names import figure

INTERRUPTED = 130
"""How a shell calls the end of a command by Ctrl-C."""


@click.command()
@click.argument("recipe")
@click.option("--data", type=click.Path(path_type=Path), help="File or directory of the data.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Repository [default: runs/WEIGHTS].")
@click.option(
    "--into", type=click.Path(path_type=Path, file_okay=False),
    help="Directory for weights and record alone, as the zoo carries them [default: --out is a repository].",
)  # fmt: skip
@click.option("--quiet", is_flag=True, help="No progress bars.")
def train(recipe: str, data: Path | None, out: Path | None, into: Path | None, quiet: bool) -> None:
    """Train the weights of RECIPE: a .toml file, or the name of a recipe of the package.

    The directory --out becomes a repository: eval, predict, info and push take it, and so does the `start` of another
    recipe. A run that was interrupted goes on from its checkpoints when started again with the same --out.

    \b
    convrnn-zoo train radar.toml --data radar --out run
    accelerate launch --num_processes 2 -m convrnn_zoo train radar.toml --data radar --out run
    """
    chosen = Recipe.read(recipe)
    out = out or Path("runs") / chosen.weights
    try:
        record = train_recipe(chosen, data=data, out=out, into=into, progress=not quiet)
    except KeyboardInterrupt:
        if os.environ.get("RANK", "0") == "0":  # of several processes one speaks
            given = {"--data": data, "--out": out, "--into": into}
            options = [str(x) for name, value in given.items() if value is not None for x in (name, value)]
            command = shlex.join(["convrnn-zoo", "train", recipe, *options, *(["--quiet"] if quiet else [])])
            click.echo(f"\ninterrupted; go on from the last checkpoint with:\n{command}", err=True)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(INTERRUPTED)  # after a signal in code that was text, sys.exit would end CPython by the signal instead
    for metric in record.metrics if record else ():
        click.echo(f"{figure(metric)}; {metric.dataset}, {metric.split}{'; ' + metric.note if metric.note else ''}")


train.epilog = f"Recipes of the package: {', '.join(RECIPES)}"
