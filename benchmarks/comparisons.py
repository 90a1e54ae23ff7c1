"""Comparisons of layers on some cases: ``python -m benchmarks.comparisons NAME`` writes the medians to NAME.json.

``half``: layers in bfloat16 against float32. ``joint``: one convolution for all gates of a GRU, whose weight is zero
where a gate does not read a channel, against one per part. ``minimal``: minimal layers against a GRU. ``norms``: layers
with norms against layers without. ``torchgeo``: TorchGeo's ConvLSTM against ours.
"""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple
from unittest.mock import patch

import click
import torch
from torch import Tensor

from convrnn_zoo import layers
from convrnn_zoo.layers import _in_place

from .cases import CASES, Case
from .measure import CLOCKS, time_case
from .peers import Output, autograd_of_the_step, ours, torchgeo


class Half(Output):
    """Layer in bfloat16: under autocast, or with bfloat16 weights and input."""

    def __init__(self, case: Case, autocast: bool) -> None:
        super().__init__(case.layer() if autocast else case.layer().bfloat16())
        self.autocast = autocast
        self.x = case.padded() if autocast else case.padded().bfloat16()

    def forward(self, _: Any) -> Tensor:
        """Returns the output in float32."""
        with torch.autocast("cpu", enabled=self.autocast):
            return super().forward(self.x).float()


class Joined(Output):
    """Layer whose gates are joined if the weight has at most `values` values."""

    def __init__(self, case: Case, values: int) -> None:
        super().__init__(case.layer())
        self.values = values

    def forward(self, x: Any) -> Tensor:
        """Returns the output."""
        with patch.multiple(_in_place, JOINT_VALUES=self.values, JOINT_PRODUCTS=1 << 40):
            return super().forward(x)


def build(case: Case, kind: str = "", **options: Any) -> Output:
    """Builds the layer of a case, or one of another `kind`, with options."""
    return Output(case.layer(partial(getattr(layers, f"Conv2d{kind}") if kind else case.layer_class(), **options)))


def select(*names: str) -> list[Case]:
    """Returns the cases with these names."""
    return [case for case in CASES if case.name in names]


class Comparison(NamedTuple):
    """Cases, and the implementations that are timed on each, by name."""

    cases: Sequence[Case]
    implementations: dict[str, Any]


JOINT_SHAPES = [
    (8, 3, 8, (8, 8), 3),
    (1, 3, 8, (8, 8), 3),
    (8, 8, 16, (8, 8), 3),
    (1, 8, 16, (8, 8), 3),
    (1, 12, 20, (8, 8), 3),
    (1, 16, 32, (8, 8), 3),
    (1, 32, 64, (4, 4), 3),
    (1, 64, 64, (4, 4), 3),
    (8, 1, 32, (40,), 5),
    (1, 1, 32, (40,), 5),
]
COMPARISONS = {
    "half": Comparison(
        select("wide", "large-map", "tiny", "batch", "gru"),
        {
            "float32": ours,
            "autocast": partial(Half, autocast=True),
            "bfloat16 weights": partial(Half, autocast=False),
        },
    ),
    "joint": Comparison(
        [
            Case(f"{n}x{in_channels}-{channels}x{len(size)}d", "GRU", 20, n, in_channels, channels, size, kernel)
            for n, in_channels, channels, size, kernel in JOINT_SHAPES
        ],
        {"ours": ours, "joint": partial(Joined, values=1 << 40), "separate": partial(Joined, values=0)},
    ),
    "minimal": Comparison(
        [Case(f"{steps} steps", "GRU", steps, 4, 16, 64, (16, 16), 3) for steps in (10, 50, 200)],
        {"GRU": ours, **{kind: partial(build, kind=kind) for kind in ("MinGRU", "MinLSTM", "MinExpLSTM")}},
    ),
    "norms": Comparison(
        select("wide", "tiny", "gru"),
        {
            "plain": partial(build, norm=None),
            "autograd of the step": autograd_of_the_step,
            "layer": partial(build, norm="layer"),
            "group": partial(build, norm="group"),
        },
    ),
    "torchgeo": Comparison(select("wide", "kernel5", "large-map", "packed"), {"ours": ours, "torchgeo": torchgeo}),
}


@click.command()
@click.argument("name", type=click.Choice(list(COMPARISONS)))
@click.option("--case", "names", multiple=True, help="Only this case.")
@click.option("--rounds", default=15, show_default=True, type=click.IntRange(1), help="Runs of each layer.")
@click.option("--threads", type=click.IntRange(1), help="Threads of torch.")
@click.option("--clock", type=click.Choice(list(CLOCKS)), default="wall", show_default=True, help="See benchmarks.")
@click.option("-o", "--output", "out", type=click.Path(path_type=Path, dir_okay=False), help="File to write.")
def main(name: str, names: tuple[str, ...], rounds: int, threads: int | None, clock: str, out: Path | None) -> None:
    """Time the implementations of a comparison on its cases, and write their medians."""
    if threads:
        torch.set_num_threads(threads)
    cases, implementations = COMPARISONS[name]
    if unknown := sorted({*names} - {c.name for c in cases}):
        raise click.UsageError(f"--case: {name} has no {', '.join(unknown)}, but {', '.join(c.name for c in cases)}")
    rows = []
    for case in [c for c in cases if c.name in names] or cases:
        row: dict[str, Any] = {"title": case.title}
        for task, times in time_case(case, implementations, rounds, clock):
            row[task] = {name: round(median(times[name]), 7) for name in implementations}
        rows.append(row)
        click.echo(json.dumps(row))
    result = {"threads": torch.get_num_threads(), "torch": torch.__version__, "clock": clock, "rounds": rounds}
    file = out or Path(__file__).with_name(f"{name}.json")
    file.write_text(json.dumps({**result, "cases": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
