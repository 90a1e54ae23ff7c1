"""``convrnn-zoo train``."""

import os
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

import click
import torch

from ..recipes import RECIPES, Recipe
from ..train import train as train_recipe
from ..train.launch import CHECKPOINT_MINUTES, TRACKERS
from ..train.loop import CHECKPOINTS, Terminated, raise_on_sigterm
from ._options import (
    Choice,
    FilePath,
    FiniteRange,
    data_option,
    output_directory,
    quiet_option,
    threads_option,
    training_device_option,
)
from ._text import format_metrics


@click.command()
@click.argument("source", metavar="RECIPE")
@data_option
@output_directory("Directory of the run, which holds the model, its card and checkpoints [default: runs/WEIGHTS].")
@click.option(
    "--weights-dir",
    "into",
    type=FilePath(file_okay=False),
    help="Write only weights and metadata, to this directory, as the package stores them.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Value of a key of the recipe, such as lr=0.001 or data.crop=64; repeatable.",
)
@training_device_option
@threads_option
@click.option(
    "--checkpoint-minutes",
    type=FiniteRange(min=0),
    default=CHECKPOINT_MINUTES,
    show_default=True,
    help="Longest time between two checkpoints.",
)
@click.option(
    "--log-with",
    multiple=True,
    type=Choice(TRACKERS),
    help="Tracker that receives losses, learning rates, scores and figures; repeatable.",
)
@quiet_option
def train(
    source: str, output: Path | None, overrides: tuple[str, ...], threads: int | None, quiet: bool, **options: Any
) -> None:
    """Train the weights of RECIPE, a .toml file or a recipe of the package.

    Pass the directory of the run to eval, predict, info and push, or fine-tune from it with another recipe. A run that
    Ctrl-C or SIGTERM interrupted continues from its checkpoints if it is started again with the same -o. To prolong a
    run, raise max_steps or epochs in its recipe and start it again. Losses and scores are written to training.csv in
    the directory, for a forecaster after every checkpoint_every updates. A classifier has one file per seed, such as
    training_seed0.csv, written after every epoch. At the end, the losses are plotted.

    \b
    convrnn-zoo train radar.toml --data radar -o run
    convrnn-zoo train radar.toml --data radar -o run2 --set lr=0.001 --set data.crop=64
    accelerate launch --multi_gpu --num_processes 2 -m convrnn_zoo train radar.toml --data radar -o run
    """
    recipe = Recipe.read(source, overrides)
    out = output or Path("runs") / recipe.weights
    is_main = os.environ.get("RANK", "0") == "0"  # of several processes
    if is_main and not quiet:
        count = threads or torch.get_num_threads()
        click.echo(f"threads: {count}, or as many as before if a run is resumed; --threads N sets the number", err=True)
    try:
        with raise_on_sigterm():
            metadata = train_recipe(recipe, out=out, progress=not quiet, threads=threads, **options)
    except (KeyboardInterrupt, Terminated) as e:
        if is_main:
            count = int(os.environ.get("WORLD_SIZE", "1"))
            program = ["convrnn-zoo"] if count == 1 else ["-m", "convrnn_zoo"]
            command = shlex.join([*program, *sys.argv[1:]])
            saved = any(out.glob(CHECKPOINTS))
            words = "go on from the last checkpoint" if saved else "nothing was saved yet; start again"
            launcher = f" the launcher for {count} processes, and" if count > 1 else ""
            event = "terminated" if isinstance(e, Terminated) else "interrupted"
            click.echo(f"\n{event}; {words} with{launcher}:\n{command}", err=True)
        sys.stdout.flush()
        sys.stderr.flush()
        # Not sys.exit: if the interrupt has passed through `exec` of a string, CPython ends by the signal instead.
        os._exit(128 + (signal.SIGTERM if isinstance(e, Terminated) else signal.SIGINT))
    if metadata is not None:
        click.echo(format_metrics(metadata.metrics))


train.epilog = f"Recipes of the package: {', '.join(RECIPES)}"
