"""Intervals of the differences between a nowcast and other methods: ``python -m references.nowcast.intervals SCORES``.

The differences are paired: both methods forecast the same windows. The intervals are probably too narrow, because there
are few events and the windows of an event, which begin every 30 minutes, share frames.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import torch
from torch import Tensor

from convrnn_zoo.cli._text import columns

SAMPLES = 10_000
BY_WINDOW = " by window"
ALL = "all events"
BASELINES = ("extrapolation", "S-PROG", "ANVIL", "LINDA")
"""Methods of pysteps. The reference of a forecast is the one with the best score for the event and lead times."""
BEST = "best baseline"
"""Reference for all events, if different baselines are the best."""
ENSEMBLE = "STEPS"
"""Reference for probabilities and ensembles."""


class Difference(NamedTuple):
    """Mean difference of a score over windows, with its 95 % interval.

    Example:
        >>> print(Difference(0.0451, 0.042, 0.048), Difference(-0.01, -0.02, 0.0149))
        +0.045 (+0.042 to +0.048) -0.010 (-0.020 to +0.015)
    """

    mean: float
    low: float
    high: float

    @property
    def is_distinguishable(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        largest = max(map(abs, self))
        digits = min(5, max(3, 1 - math.floor(math.log10(largest)))) if largest else 3
        return "{:+.{n}f} ({:+.{n}f} to {:+.{n}f})".format(*self, n=digits)


class Comparison(NamedTuple):
    """Difference between the scores of two methods, for one event or for all events."""

    score: str
    group: str
    """Group of lead times; empty for scores over all lead times."""
    event: str
    reference: str
    difference: Difference


def bootstrap(by_event: Sequence[Sequence[float]], samples: int = SAMPLES, seed: int = 0) -> Difference:
    """Computes the mean of the events' means and its 95 % percentile interval.

    Events are sampled with replacement, and then windows within each sampled event. For one event, only windows are
    sampled.

    Args:
        by_event: for each event, the difference of every window.
        samples: number of samples.
        seed: seed of the samples.

    Example:
        >>> difference = bootstrap([[0.1, 0.2, 0.3], [0.4, 0.5]])
        >>> print(difference)
        +0.325 (+0.150 to +0.475)
    """
    generator = torch.Generator().manual_seed(seed)
    count = len(by_event)

    def means(values: Sequence[float]) -> Tensor:
        indices = torch.randint(len(values), (samples, count, len(values)), generator=generator)
        return torch.tensor(values, dtype=torch.float64)[indices].mean(-1)

    of_events = torch.stack([means(values) for values in by_event], -1)  # (samples, position, event)
    events = torch.randint(count, (samples, count, 1), generator=generator)
    low, high = of_events.gather(-1, events).mean((1, 2)).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64))
    return Difference(math.fsum(math.fsum(v) / len(v) for v in by_event) / count, float(low), float(high))


def compare(scores: Mapping[str, Any]) -> Iterator[Comparison]:
    """Yields a comparison of each score that is given by window, for each event and for all events.

    Args:
        scores: results of :func:`~references.nowcast.scores.score_nowcast`.
    """
    titles = [event["title"] for event in scores.values()]
    for part in ("forecast", "ensembles"):
        events = [event.get("ensembles", {}) if part == "ensembles" else event for event in scores.values()]
        baselines = [[ENSEMBLE] * (ENSEMBLE in e) if part == "ensembles" else find_baselines(e) for e in events]
        if not all(baselines):
            continue
        for name in [key for key in events[0]["forecast"] if key.endswith(BY_WINDOW)]:
            groups = events[0]["forecast"][name][0]
            for group in groups if isinstance(groups, dict) else [""]:
                chosen = [_find_best(e, each, name, group) for e, each in zip(events, baselines, strict=True)]
                by_event = [
                    _differences(e["forecast"][name], e[best][name], group)
                    for e, best in zip(events, chosen, strict=True)
                ]
                score = name.removesuffix(BY_WINDOW)
                for title, differences, best in zip(titles, by_event, chosen, strict=True):
                    if differences:
                        yield Comparison(score, group, title, best, bootstrap([differences]))
                if len(by_event) > 1 and all(by_event):
                    reference = chosen[0] if len(set(chosen)) == 1 else BEST
                    yield Comparison(score, group, ALL, reference, bootstrap(by_event))


def find_baselines(event: Mapping[str, Any]) -> list[str]:
    """Returns the :data:`BASELINES` that were scored for an event."""
    return [name for name in BASELINES if name in event]


def _find_best(event: Mapping[str, Any], methods: Sequence[str], name: str, group: str) -> str:
    """Returns the method with the best mean of a score over the windows of an event."""
    sign = -1 if name.startswith("MSE") else 1

    def mean(method: str) -> float:
        values = [w[group] if group else w for w in event[method][name]]
        known = [v for v in values if v is not None and math.isfinite(v)]
        return sign * math.fsum(known) / len(known) if known else -math.inf

    return max(methods, key=mean)


def _differences(ours: Sequence[Any], theirs: Sequence[Any], group: str) -> list[float]:
    """Returns the differences of the windows in which both methods have a score."""
    pairs = [(a[group], b[group]) if group else (a, b) for a, b in zip(ours, theirs, strict=True)]
    return [a - b for a, b in pairs if a is not None and b is not None and math.isfinite(a - b)]


def interval_table(scores: Mapping[str, Any]) -> str:
    """Returns the comparisons as aligned columns."""
    rows = [
        (
            c.event,
            c.group,
            f"{c.score}, minus {c.reference}'s",
            str(c.difference),
            "" if c.difference.is_distinguishable else "not distinguishable from zero",
        )
        for c in compare(scores)
    ]
    return columns(rows, header=("event", "lead time", "difference of", "mean (95 % interval)", ""))


@click.command()
@click.argument("scores", type=click.Path(path_type=Path, exists=True, dir_okay=False))
def intervals(scores: Path) -> None:
    """Print the differences to the best baseline and to STEPS with 95 % intervals.

    SCORES is the scores.json of references.nowcast.evaluate. Higher CSI and FSS are better, and lower MSE, CRPS, Brier
    scores and reliability errors.
    """
    click.echo(interval_table(json.loads(scores.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    intervals()
