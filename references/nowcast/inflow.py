"""Scores of a nowcast where rain comes from outside the map: ``python -m references.nowcast.inflow NAME --data DIR``.

Maps are cut into tiles, so that the rain that enters a tile was observed. No tile is of a test event.
"""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor

from convrnn_zoo import create_model
from convrnn_zoo.cli._options import Choice
from convrnn_zoo.cli._text import columns
from convrnn_zoo.models.nowcast.decisions import interpolate_probabilities

from .calibration import HeldOut, held_out_windows
from .mrms import CodedEvent
from .train import load_archives
from .verification import INPUTS, THRESHOLDS, Window

EDGE, SPACING = 192, 4
"""Edge of a tile in pixels, and the reciprocal of the share of tiles that are read."""
METHODS = ("nowcast", "network", "climatology")
"""Probabilities with the fallback, those of the network everywhere, and those of the climatology everywhere."""
MAX_MINUTES = 10
"""Maximum number of minutes between the frames that are read."""


def tiles(events: Sequence[CodedEvent]) -> Iterator[HeldOut]:
    """Yields tiles of the windows of events, each known at more than half of the pixels of its last input frame."""
    count = itertools.count()
    for (inputs, truth), minutes in held_out_windows([e for e in events if e.minutes <= MAX_MINUTES]):
        height, width = (n - EDGE + 1 for n in inputs.shape[1:])
        for top, left in itertools.product(range(0, height, EDGE), range(0, width, EDGE)):
            x, y = (maps[:, top : top + EDGE, left : left + EDGE] for maps in (inputs, truth))
            if next(count) % SPACING == 0 and x[-1].isfinite().float().mean() > 0.5:
                yield HeldOut(Window(x, y), minutes)


@torch.no_grad()
def brier_scores(model: Any, events: Sequence[CodedEvent]) -> Tensor:
    """Returns sums ``(2, thresholds, 1 + methods)`` of pixels and squared errors, within the map and outside."""
    sums = torch.zeros(2, len(THRESHOLDS), 1 + len(METHODS), dtype=torch.float64)
    for (inputs, truth), minutes in tiles(events):
        nowcast = model.exceedance(inputs[None, :, None], len(truth), minutes)
        known = (truth.isfinite() & inputs[-1].isfinite())[:, None]
        occurs = torch.stack([truth >= t for t in THRESHOLDS], 1).double()
        of = [interpolate_probabilities(x, THRESHOLDS) for x in (nowcast.logits[0, :, 0], nowcast.climatology)]
        errors = [(p - occurs).square() for p in (nowcast.probabilities(THRESHOLDS)[0, :, 0], *of)]
        outside = nowcast.outside[0]
        for i, mask in enumerate((known & ~outside, known & outside)):
            scored = [x.where(mask, 0).sum((0, 2, 3)) for x in (torch.ones_like(occurs), *errors)]
            sums[i] += torch.stack(scored, -1)
    return sums


@click.command()
@click.argument("name")
@click.option("--data", required=True, type=click.Path(path_type=Path, file_okay=False), help="pysteps' example data.")
@click.option("--split", type=Choice(["train", "test"]), default="train", show_default=True, help="Part of the data.")
def main(name: str, data: Path, split: str) -> None:
    """Compare the Brier scores of the nowcast weights NAME within the map and where rain comes from outside.

    \b
    python -m references.nowcast.inflow convgru_advection.nowcast --data pysteps-data
    """
    model: Any = create_model(name, pretrained=True).eval()
    rows = []
    for place, events in load_archives(data, split, INPUTS).items():
        sums = brier_scores(model, events)
        for part, by_threshold in zip(("within", "outside", "all"), (*sums, sums.sum(0)), strict=True):
            for threshold, (count, *errors) in zip(THRESHOLDS, by_threshold.tolist(), strict=True):
                scores = (f"{error / max(count, 1):.4f}" for error in errors)
                rows.append((place, part, f"{threshold:g} mm/h", f"{count:,.0f}", *scores))
    click.echo(columns(rows, header=("data", "pixels", "threshold", "count", *METHODS)))


if __name__ == "__main__":
    main()
