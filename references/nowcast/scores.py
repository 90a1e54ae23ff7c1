"""Scores of a nowcast on the test events, as tables and as the metrics of its metadata."""

import itertools
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from convrnn_zoo import Metric
from convrnn_zoo.verify import anvil, extrapolation, linda, sprog, steps

from .events import Rain
from .intervals import ALL, compare, find_baselines
from .verification import FRACTIONS, GROUPS, HOUR, THRESHOLDS, Nowcast, last_frame, verify, verify_ensembles

TESTED_ON = "five events of pysteps' example data"
SPLIT = (
    "mean of Finland 2017-05-09, Switzerland 2015-05-15, 2016-07-11 and 2017-01-31 and Melbourne 2018-06-16, windows "
    "every 30 minutes, those of ensembles every hour"
)


def for_event(baseline: Callable[..., Tensor], **options: Any) -> Nowcast:
    """Returns a function that runs a baseline on one sequence ``(T, H, W)`` and returns ``(…, horizon, H, W)``."""

    def forecast(frames: Tensor, horizon: int) -> Tensor:
        return baseline(frames[None, :, None], horizon, **options).squeeze(-3).squeeze(-4)

    return forecast


def pysteps_methods(minutes: float) -> dict[str, Nowcast]:
    """Returns the methods of pysteps that forecast one map, by name, for frames `minutes` apart."""
    return {
        "extrapolation": for_event(extrapolation),
        "S-PROG": for_event(sprog),
        "ANVIL": for_event(anvil),
        "LINDA": for_event(linda, minutes=minutes),
    }


def score_nowcast(model: Any, rain: Sequence[Rain], members: int = 0, every: float = 30.0) -> dict[str, Any]:
    """Scores a model such as ``convgru_advection``, and the baselines: the last frame and methods of pysteps.

    Args:
        model: a model whose ``forecast`` takes `members`.
        rain: the events.
        members: number of ensemble members of the model and of pysteps' STEPS; 0 leaves ensembles out.
        every: minutes between the first frames of windows; ensembles are scored on every second window.

    Returns:
        For each event, the results of :func:`~references.nowcast.verification.verify` with the keys ``"forecast"``,
        ``"last frame"`` and ``"extrapolation"``, and those of
        :func:`~references.nowcast.verification.verify_ensembles` with the key ``"ensembles"``.
    """
    out: dict[str, Any] = {}
    for event in rain:
        minutes = event.event.minutes
        methods: dict[str, Nowcast] = {
            "forecast": partial(model.forecast, minutes=minutes),
            "last frame": last_frame,
            **pysteps_methods(minutes),
        }
        out[event.event.name] = {
            "title": f"{event.event.title}, {event.event.day}",
            **verify(methods, event.frames, minutes, every),
        }
        if members:
            ensembles: dict[str, Any] = {
                "forecast": partial(model.forecast, members=members, seed=0, minutes=minutes),
                "STEPS": for_event(steps, members=members, minutes=minutes, fill=False),
                "extrapolation": lambda x, horizon: for_event(extrapolation)(x, horizon)[None],
            }
            out[event.event.name]["ensembles"] = verify_ensembles(ensembles, event.frames, minutes, 2 * every)
    return out


def table(scores: dict[str, Any]) -> tuple[list[str], list[tuple[str, ...]]]:
    """Returns header and rows of a table: CSI by event and group of lead times, and MSE relative to extrapolation."""
    groups = list(GROUPS)
    rows = []
    for event in scores.values():
        for method in ("forecast", *find_baselines(event), "last frame"):
            of = event[method]
            csi = ["/".join(f"{of[f'CSI {t:g}'][g]:.3f}" for g in groups) for t in THRESHOLDS]
            rows.append((event["title"], method, *csi, f"{of['MSE'] / event['extrapolation']['MSE']:.2f}"))
    header = [
        "event",
        "method",
        *(f"CSI {t:g} mm/h, {' / '.join(groups)}" if i == 0 else f"{t:g} mm/h" for i, t in enumerate(THRESHOLDS)),
        "MSE (extrapolation = 1)",
    ]
    return header, rows


def make_metrics(scores: dict[str, Any]) -> tuple[Metric, ...]:
    """Returns metrics for the metadata: means over the events, with intervals of the differences from the references.

    They are CSI by group of lead times, the fractions skill score (FSS) of the first hour, MSE relative to
    extrapolation, and for ensembles CRPS, Brier scores and reliability errors, the ratios of CRPS and Brier scores to
    those of STEPS, and the ratio of the spread to the error.
    """
    events = list(scores.values())
    out = []

    differences = {(c.score, c.group): c for c in compare(scores) if c.event == ALL}

    def interval(score: str, group: str = "") -> str:
        c = differences.get((score, group))
        if c is None:
            return ""
        clear = "" if c.difference.is_distinguishable else ", not distinguishable from zero"
        return f"; minus {c.reference}: {c.difference}, 95 % interval{clear}"

    def add(name: str, unit: str, by_event: Sequence[Mapping[str, float]], interval: str = "") -> None:
        means = {method: statistics.fmean(event[method] for event in by_event) for method in by_event[0]}
        value = means.pop("forecast")
        least, most = min(event["forecast"] for event in by_event), max(event["forecast"] for event in by_event)
        note = ", ".join(f"{method} ({v:.4g})" for method, v in means.items())
        out.append(
            Metric(
                name,
                round(value, 4),
                TESTED_ON,
                SPLIT,
                unit=unit,
                note=f"compared with {note}; from {least:.4g} to {most:.4g} by event{interval}",
                baselines={method: float(f"{v:.4g}") for method, v in means.items()},
            )
        )

    methods = ("forecast", "last frame", *find_baselines(events[0]))
    for t in THRESHOLDS:
        for group in GROUPS:
            each = [{m: e[m][f"CSI {t:g}"][group] for m in methods} for e in events]
            add(f"CSI {t:g} mm/h, {group}", "", each, interval(f"CSI {t:g}", group))
    add(
        "MSE relative to extrapolation",
        "",
        [{m: e[m]["MSE"] / e["extrapolation"]["MSE"] for m in methods} for e in events],
    )
    for t, scale in itertools.product(THRESHOLDS, FRACTIONS):
        key = f"FSS {t:g}, {scale}"
        each = [{m: mean(w[HOUR] for w in e[m][f"{key} by window"]) for m in methods} for e in events]
        add(f"FSS {t:g} mm/h, {scale}", "", each, interval(key, HOUR))
    if all("ensembles" in e for e in events):
        for key in ("CRPS", *(f"{score} {t:g}" for score in ("Brier", "reliability error") for t in THRESHOLDS)):
            each = [{m: mean(v[f"{key} by window"]) for m, v in e["ensembles"].items()} for e in events]
            add(*(("CRPS", "mm/h") if key == "CRPS" else (f"{key} mm/h", "")), each, interval(key))
            if "error" not in key:
                title = key if key == "CRPS" else f"{key} mm/h"
                add(f"{title} relative to STEPS", "", [{m: v[m] / v["STEPS"] for m in v} for v in each])
        if all("spread / error" in e["ensembles"]["forecast"] for e in events):
            for group in GROUPS:
                each = [{m: e["ensembles"][m]["spread / error"][group] for m in ("forecast", "STEPS")} for e in events]
                add(f"spread / error, {group}", "", each)
    return tuple(out)


def mean(values: Iterable[float | None]) -> float:
    """Returns the mean of the values that are not None."""
    return statistics.fmean(v for v in values if v is not None)
