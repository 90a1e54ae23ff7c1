"""Reliability of a nowcast outside its training data: ``python -m references.nowcast.calibration NAME --data DIR``.

The windows are those parts of the training archives that training excludes: other regions of the maps of MRMS and
OPERA, and later hours of the events of KNMI and FMI.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import torch
from torch import Tensor

from convrnn_zoo import create_model
from convrnn_zoo._atomic import write_text
from convrnn_zoo.cli._options import json_option, output_file

from .mrms import CodedEvent, rate_by_code
from .train import load_archives
from .verification import INPUTS, THRESHOLDS, Window, windows_of_hours

BINS, MIN_PIXELS = 10, 1000
"""Number of bins of probability, and minimum number of pixels of a bin that counts."""
PLACES = {
    "mrms": "United States, other region",
    "europe": "Netherlands and Finland, later hours",
    "opera": "southern Europe",
}


class HeldOut(NamedTuple):
    """Window of an event that is not in training, and the minutes between its frames."""

    window: Window
    minutes: float


def held_out_windows(events: Sequence[CodedEvent]) -> Iterator[HeldOut]:
    """Yields the windows of events: one hour of every 30 minutes, or what is left of an hour if they are shorter.

    Of events with less than four minutes between frames, every third frame is read.
    """
    rates = rate_by_code()
    for event in events:
        stride = 3 if event.minutes < 4 else 1
        minutes = event.minutes * stride
        for first in range(stride):
            codes = event.codes[first::stride]
            if len(codes) < INPUTS + int(60 // minutes):
                frames = rates[codes.long()]
                yield HeldOut(Window(frames[:INPUTS], frames[INPUTS:]), minutes)
            else:
                yield from (HeldOut(w, minutes) for w in windows_of_hours(rates[codes.long()], minutes, 30))


class Reliability:
    """Mean probability and observed frequency in bins of probability, over pixels that are known.

    Example:
        >>> reliability = Reliability()
        >>> reliability.add(torch.tensor([0.12, 0.18, 0.9]), torch.tensor([0.0, 5.0, 5.0]), 2.0)
        >>> [round(x, 2) for x in reliability.to_json()["observed"] if x is not None]
        [0.5, 1.0]
    """

    def __init__(self) -> None:
        self.sums = torch.zeros(3, BINS, dtype=torch.float64)  # pixels, probability, occurrences

    def add(self, probability: Tensor, truth: Tensor, threshold: float) -> None:
        """Adds probabilities of reaching a threshold, and the truth; both may be NaN."""
        known = probability.isfinite() & truth.isfinite()
        p, occurred = probability[known].double(), (truth[known] >= threshold).double()
        index = (p * BINS).long().clamp_max(BINS - 1)
        for total, values in zip(self.sums, (torch.ones_like(p), p, occurred), strict=True):
            total += torch.bincount(index, values, BINS)

    def to_json(self) -> dict[str, Any]:
        """Returns counts, means and frequencies by bin, with None in empty bins."""
        count, forecast, observed = self.sums
        means = [
            [x / n if n else None for x, n in zip(s.tolist(), count.tolist(), strict=True)]
            for s in (forecast, observed)
        ]
        return {"count": count.long().tolist(), "forecast": means[0], "observed": means[1]}


def measure(model: Any, directory: Path) -> dict[str, Any]:
    """Returns the reliability by place and threshold."""
    out: dict[str, Any] = {}
    for name, events in load_archives(directory, "test", INPUTS).items():
        diagrams = {t: Reliability() for t in THRESHOLDS}
        for window, minutes in held_out_windows(events):
            known = window.truth.masked_fill(window.inputs[-1].isnan(), torch.nan)
            chances = model.probabilities(window.inputs, THRESHOLDS, len(window.truth), minutes=minutes)
            for k, t in enumerate(THRESHOLDS):
                diagrams[t].add(chances[:, k], known, t)
        out[PLACES[name]] = {f"{t:g}": diagram.to_json() for t, diagram in diagrams.items()}
    return out


@click.command()
@click.argument("name")
@click.option("--data", required=True, type=click.Path(path_type=Path, file_okay=False), help="pysteps' example data.")
@output_file("File for the results, such as tools/nowcast_calibration.json.")
@json_option
def calibrate(name: str, data: Path, output: Path | None, as_json: bool) -> None:
    """Measure the reliability of the nowcast weights NAME on regions and hours that training excludes.

    \b
    python -m references.nowcast.calibration convgru_advection.nowcast --data pysteps-data
    """
    results = measure(create_model(name, pretrained=True).eval(), data)
    text = json.dumps(results, ensure_ascii=False)
    if output is not None:
        write_text(output, text + "\n")
    if as_json:
        click.echo(text)
        return
    for place, by_threshold in results.items():
        for threshold, diagram in by_threshold.items():
            click.echo(f"{place}, {threshold} mm/h: {worst_difference(diagram):+.3f}")


def worst_difference(diagram: dict[str, Any]) -> float:
    """Returns the largest difference of the observed frequency from the probability, over bins with enough pixels."""
    bins = zip(diagram["count"], diagram["forecast"], diagram["observed"], strict=True)
    return max((o - f for n, f, o in bins if n >= MIN_PIXELS), key=abs, default=0.0)


if __name__ == "__main__":
    calibrate()
