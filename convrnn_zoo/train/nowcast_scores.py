"""What a nowcast reaches on the events of the test, as tables and as the metrics of its record."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..data.rain_events import Rain
from ..models import Metric
from .baselines import extrapolation, steps
from .verify import GROUPS, THRESHOLDS, last_frame, verify, verify_ensembles

MEMBERS = 20
"""Equally likely rates that stand for a pixel's probabilities where they are scored as an ensemble."""
TESTED_ON = "four events of pysteps' example data"
SPLIT = "mean of Finland 2017-05-09 and Switzerland 2015-05-15, 2016-07-11 and 2017-01-31, windows every 30 minutes"


def pysteps_extrapolation(frames: Tensor, horizon: int) -> Tensor:
    """pysteps' extrapolation of one sequence ``(T, H, W)``."""
    return extrapolation(frames[None, :, None], horizon)[0, :, 0]


def quantiles(exceedance: Callable[[Tensor, Sequence[float], int], Tensor], levels: Sequence[float]) -> Any:
    """An ensemble of the equally likely rates that probabilities of exceeding `levels` stand for.

    Between two levels the probability falls in a straight line, and beyond the last there is no rain.
    """

    def members(frames: Tensor, horizon: int) -> Tensor:
        p = exceedance(frames, levels, horizon)  # (horizon, K, H, W)
        out = []
        for i in range(MEMBERS):
            q = 1 - (i + 0.5) / MEMBERS  # the rate that is exceeded with this probability
            rate = torch.zeros_like(p[:, 0])
            for k in range(len(levels) - 1):
                upper, lower = p[:, k], p[:, k + 1]
                part = ((upper - q) / (upper - lower).clamp_min(1e-6)).clamp(0, 1)
                rate = torch.where(
                    upper > q, torch.lerp(torch.tensor(levels[k]), torch.tensor(levels[k + 1]), part), rate
                )
            out.append(rate.masked_fill(p[:, 0].isnan(), torch.nan))
        return torch.stack(out)

    return members


def score_nowcast(model: Any, rain: Sequence[Rain], members: int = 0, every: int = 6) -> dict[str, Any]:
    """The scores of a model of the kind of ``convgru_advection``, of the last frame and of pysteps' extrapolation.

    Args:
        model: has ``forecast`` and ``probabilities``.
        rain: the events.
        members: of pysteps' STEPS; 0 leaves ensembles out.
        every: frames from the begin of a window to that of the next; ensembles are scored on every second window.

    Returns:
        By event the results of :func:`~convrnn_zoo.train.verify.verify` as ``"forecast"``, ``"last frame"`` and
        ``"extrapolation"``, and of :func:`~convrnn_zoo.train.verify.verify_ensembles` as ``"ensembles"``.
    """
    levels = (0.1, 0.25, 0.5, 1.0, 2.0, 3.5, 5.0, 8.0, 12.0, 20.0, 40.0, 80.0)
    methods = {"forecast": model.forecast, "last frame": last_frame, "extrapolation": pysteps_extrapolation}
    out: dict[str, Any] = {}
    for event in rain:
        out[event.event.name] = {
            "title": f"{event.event.title}, {event.event.day}",
            **verify(methods, event.frames, every),
        }
        if members:
            ensembles = {
                "forecast": quantiles(model.probabilities, levels),
                "STEPS": lambda x, horizon: steps(x, horizon, members=members),
                "extrapolation": lambda x, horizon: pysteps_extrapolation(x, horizon)[None],
            }
            out[event.event.name]["ensembles"] = verify_ensembles(ensembles, event.frames, 2 * every)
    return out


def table(scores: dict[str, Any]) -> tuple[list[str], list[tuple[str, ...]]]:
    """Header and rows of CSI by event and group, and of the MSE as a part of extrapolation's."""
    groups = list(GROUPS)
    rows = []
    for event in scores.values():
        for method in ("forecast", "extrapolation", "last frame"):
            of = event[method]
            csi = ["/".join(f"{of[f'CSI {t:g}'][g]:.3f}" for g in groups) for t in THRESHOLDS]
            rows.append((event["title"], method, *csi, f"{of['MSE'] / event['extrapolation']['MSE']:.2f}"))
    header = ["event", "method", *(f"CSI {t:g} mm/h, {' / '.join(groups)}" if i == 0 else f"{t:g} mm/h" for i, t in
                                   enumerate(THRESHOLDS)), "MSE (extrapolation = 1)"]  # fmt: skip
    return header, rows


def metrics_of(scores: dict[str, Any]) -> tuple[Metric, ...]:
    """The record's metrics, each the mean of the events: CSI by group of lead times, the MSE as a part of
    extrapolation's, and of ensembles the CRPS and Brier scores."""
    events = list(scores.values())
    out = []

    def add(name: str, unit: str, of: Sequence[Mapping[str, float]]) -> None:
        means = {method: statistics.fmean(event[method] for event in of) for method in of[0]}
        value = means.pop("forecast")
        least, most = min(event["forecast"] for event in of), max(event["forecast"] for event in of)
        note = ", ".join(f"{method} ({v:.4g})" for method, v in means.items())
        out.append(
            Metric(
                name,
                round(value, 4),
                TESTED_ON,
                SPLIT,
                unit=unit,
                note=f"compared with {note}; from {least:.4g} to {most:.4g} by event",
                baselines={method: float(f"{v:.4g}") for method, v in means.items()},
            )
        )

    methods = ("forecast", "last frame", "extrapolation")
    for t in THRESHOLDS:
        for group in GROUPS:
            add(f"CSI {t:g} mm/h, {group}", "", [{m: e[m][f"CSI {t:g}"][group] for m in methods} for e in events])
    add(
        "MSE relative to extrapolation",
        "",
        [{m: e[m]["MSE"] / e["extrapolation"]["MSE"] for m in methods} for e in events],
    )
    for key, unit in (("CRPS", "mm/h"), ("Brier 0.5", ""), ("Brier 2", "")):
        if all("ensembles" in e for e in events):
            each = [{m: statistics.fmean(of[f"{key} by frame"]) for m, of in e["ensembles"].items()} for e in events]
            add(key if unit else f"{key} mm/h", unit, each)
    return tuple(out)
