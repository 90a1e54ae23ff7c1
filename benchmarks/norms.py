"""Cost of norms: ``python -m benchmarks.norms`` times layers with and without norms and writes norms.json."""

import json
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import click
import torch

from .cases import CASES, Case
from .measure import CLOCKS, time_case
from .peers import Output, autograd_of_the_step

MEASURED = Path(__file__).with_name("norms.json")
NAMES = ("wide", "tiny", "gru")


def build(case: Case, norm: str | None) -> Output:
    """Builds the layer of a case with a norm."""
    return Output(case.layer(partial(case.layer_class(), norm=norm)))


IMPLEMENTATIONS: dict[str, Any] = {
    "plain": partial(build, norm=None),
    "autograd of the step": autograd_of_the_step,
    "layer": partial(build, norm="layer"),
    "group": partial(build, norm="group"),
}


@click.command()
@click.option("--rounds", default=15, show_default=True, type=click.IntRange(1), help="Runs of each layer.")
@click.option("--threads", type=click.IntRange(1), help="Threads of torch.")
@click.option("--clock", type=click.Choice(list(CLOCKS)), default="wall", show_default=True, help="See benchmarks.")
@click.option(
    "-o", "--output", "out", default=MEASURED, type=click.Path(path_type=Path, dir_okay=False), help="File to write."
)
def main(rounds: int, threads: int | None, clock: str, out: Path) -> None:
    """Time layers with norms against layers without."""
    if threads:
        torch.set_num_threads(threads)
    rows = []
    for case in (case for case in CASES if case.name in NAMES):
        row: dict[str, Any] = {"title": case.title}
        for task, times in time_case(case, IMPLEMENTATIONS, rounds, clock):
            row[task] = {name: round(median(times[name]), 7) for name in IMPLEMENTATIONS}
        rows.append(row)
        click.echo(json.dumps(row))
    result = {"threads": torch.get_num_threads(), "torch": torch.__version__, "clock": clock, "rounds": rounds}
    out.write_text(json.dumps({**result, "cases": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
