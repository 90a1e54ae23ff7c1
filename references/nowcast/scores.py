"""Scores of a nowcast on the test events, as tables and as the metrics of its metadata."""

import itertools
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from convrnn_zoo import Metric
from convrnn_zoo._extras import quiet
from convrnn_zoo.verify.baselines import extrapolation, quiet_pysteps

from .events import Rain
from .intervals import ALL, compare
from .verification import FRACTIONS, GROUPS, HOUR, THRESHOLDS, last_frame, verify, verify_ensembles

DRY, DRIEST = -15.0, 0.1
"""Value of dry pixels in dB, and the lowest rain rate in mm/h, as in pysteps' examples."""
TESTED_ON = "five events of pysteps' example data"
SPLIT = (
    "mean of Finland 2017-05-09, Switzerland 2015-05-15, 2016-07-11 and 2017-01-31 and Melbourne 2018-06-16, windows "
    "every 30 minutes"
)


def pysteps_extrapolation(frames: Tensor, horizon: int) -> Tensor:
    """Returns pysteps' extrapolation of one sequence ``(T, H, W)``."""
    return extrapolation(frames[None, :, None], horizon)[0, :, 0]


def steps(frames: Tensor, horizon: int, members: int = 20, minutes: float = 5.0) -> Tensor:
    """Returns an ensemble of nowcasts by pysteps' STEPS, ``(members, horizon, H, W)`` in mm/h.

    STEPS is the usual baseline for probabilities of rain; its options are those of pysteps' examples. It reads three or
    more frames ``(T, H, W)`` in mm/h, `minutes` apart and with pixels of 2 km. Unknown values are read as dry.

    Raises:
        ImportError: pysteps or OpenCV is not installed.

    Reference:
        Bowler, N. E. et al. (2006). STEPS: A probabilistic precipitation forecasting scheme which merges an
        extrapolation nowcast with downscaled NWP. https://doi.org/10.1256/qj.04.100
    """
    pysteps = quiet_pysteps()
    to_db = pysteps.utils.transformation.dB_transform
    with quiet():
        rate, _ = to_db(frames.nan_to_num(0).double().numpy(), threshold=DRIEST, zerovalue=DRY)
        threshold = 10 * math.log10(DRIEST)
        forecast = pysteps.nowcasts.get_method("steps")(
            rate[-3:],
            pysteps.motion.get_method("LK")(rate),
            horizon,
            n_ens_members=members,
            n_cascade_levels=6,
            precip_thr=threshold,
            kmperpixel=2.0,
            timestep=minutes,
            noise_method="nonparametric",
            vel_pert_method="bps",
            mask_method="incremental",
            seed=0,
        )
        forecast, _ = to_db(forecast, threshold=threshold, inverse=True)
    return torch.as_tensor(forecast, dtype=torch.float32)


def score_nowcast(model: Any, rain: Sequence[Rain], members: int = 0, every: float = 30.0) -> dict[str, Any]:
    """Scores a model such as ``convgru_advection``, and the baselines: the last frame and pysteps' extrapolation.

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
        methods = {
            "forecast": partial(model.forecast, minutes=minutes),
            "last frame": last_frame,
            "extrapolation": pysteps_extrapolation,
        }
        out[event.event.name] = {
            "title": f"{event.event.title}, {event.event.day}",
            **verify(methods, event.frames, minutes, every),
        }
        if members:
            ensembles = {
                "forecast": partial(model.forecast, members=members, seed=0, minutes=minutes),
                "STEPS": partial(steps, members=members, minutes=minutes),
                "extrapolation": lambda x, horizon: pysteps_extrapolation(x, horizon)[None],
            }
            out[event.event.name]["ensembles"] = verify_ensembles(ensembles, event.frames, minutes, 2 * every)
    return out


def table(scores: dict[str, Any]) -> tuple[list[str], list[tuple[str, ...]]]:
    """Returns header and rows of a table: CSI by event and group of lead times, and MSE relative to extrapolation."""
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


def make_metrics(scores: dict[str, Any]) -> tuple[Metric, ...]:
    """Returns metrics for the metadata: means over the events, with intervals of the differences from the references.

    They are CSI by group of lead times, the fractions skill score (FSS) of the first hour, MSE relative to
    extrapolation, and for ensembles CRPS, Brier scores and reliability errors.
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

    def add(name: str, unit: str, of: Sequence[Mapping[str, float]], interval: str = "") -> None:
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
                note=f"compared with {note}; from {least:.4g} to {most:.4g} by event{interval}",
                baselines={method: float(f"{v:.4g}") for method, v in means.items()},
            )
        )

    methods = ("forecast", "last frame", "extrapolation")
    for t in THRESHOLDS:
        for group in GROUPS:
            of = [{m: e[m][f"CSI {t:g}"][group] for m in methods} for e in events]
            add(f"CSI {t:g} mm/h, {group}", "", of, interval(f"CSI {t:g}", group))
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
            each = [{m: mean(of[f"{key} by window"]) for m, of in e["ensembles"].items()} for e in events]
            add(*(("CRPS", "mm/h") if key == "CRPS" else (f"{key} mm/h", "")), each, interval(key))
    return tuple(out)


def mean(values: Iterable[float | None]) -> float:
    """Returns the mean of the values that are not None."""
    return statistics.fmean(v for v in values if v is not None)
