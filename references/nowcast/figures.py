"""Figures of nowcasts next to extrapolation and the observed rain, and of their scores by lead time."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from convrnn_zoo import Preprocessing
from convrnn_zoo.values.units import format_lead_time
from convrnn_zoo.verify.figures import draw_frames, new_figure, render, save_figure, save_images, side_by_side

from .intervals import find_baselines
from .verification import THRESHOLDS, Window

RATES = Preprocessing(unit="mm/h", lowest=0.0)
SHOWN = (0, 2, 5, 8, 11)
"""Frames of a strip, counted from 0."""


def draw_event(window: Window, nowcasts: Mapping[str, Tensor], heading: str, out: Path, minutes: float) -> list[Path]:
    """Plots the observed rain and each nowcast to `out` as a .png image and a .gif animation; returns both paths."""
    unknown = ~window.inputs[-1].isfinite()
    rows = {k: frames.masked_fill(unknown, torch.nan) for k, frames in {"truth": window.truth, **nowcasts}.items()}

    def title(k: int) -> str:
        return format_lead_time(k + 1, minutes)

    shown = [k for k in SHOWN if k < len(window.truth)]
    parts = {name: {k: frames[k] for k in shown} for name, frames in rows.items()}
    strip = render(draw_frames(parts, title, RATES, heading))
    film = [
        render(side_by_side([(name, frames[k]) for name, frames in rows.items()], RATES, f"{heading}  {title(k)}"))
        for k in range(len(window.truth))
    ]
    files = [out.with_suffix(".png"), out.with_suffix(".gif")]
    save_images([strip], files[0])
    save_images(film, files[1], milliseconds=400)
    return files


def draw_scores(scores: Mapping[str, Any], path: Path) -> None:
    """Plots CSI, MSE and bias by lead time, with a row per event and a line per method. Writes atomically."""
    metrics = [*(f"CSI {t:g} by frame" for t in THRESHOLDS), "MSE by frame", "bias by frame"]
    figure = _figure(len(metrics), len(scores))
    for line, event in zip(figure.subplots(len(scores), len(metrics), squeeze=False), scores.values(), strict=True):
        for axis, metric in zip(line, metrics, strict=True):
            for method in ("forecast", *find_baselines(event), "last frame"):
                _line(axis, metric, event[method][metric], method)
            axis.set_ylim(bottom=0)
        line[0].set_ylabel(event["title"].replace(", ", "\n"), fontsize=8)
    figure.axes[0].legend(fontsize=7)
    figure.supxlabel("lead time in minutes", fontsize=9)
    save_figure(figure, path)


def draw_ensembles(scores: Mapping[str, Any], path: Path) -> None:
    """Plots reliability, CRPS and Brier scores of ensembles, with a row per event. Writes atomically."""
    figure = _figure(5, len(scores))
    for line, event in zip(figure.subplots(len(scores), 5, squeeze=False), scores.values(), strict=True):
        for method, scores in event["ensembles"].items():
            for axis, t in zip(line, (0.5, 2.0), strict=False):
                if method != "extrapolation":
                    diagram = scores[f"reliability {t:g}"]
                    axis.plot(_plain(diagram["forecast"]), _plain(diagram["observed"]), marker=".", label=method)
                axis.plot([0, 1], [0, 1], color="grey", linewidth=0.5)
                axis.set_title(f"reliability, ≥ {t:g} mm/h", fontsize=9)
            for axis, metric in zip(line[2:], ("CRPS by frame", "Brier 0.5 by frame", "Brier 2 by frame"), strict=True):
                _line(axis, metric, scores[metric], method)
        for axis in line[2:]:
            axis.set_ylim(bottom=0)
        line[0].set_ylabel(event["title"].replace(", ", "\n"), fontsize=8)
    figure.axes[2].legend(fontsize=7)
    save_figure(figure, path)


def _figure(columns: int, rows: int) -> Any:
    return new_figure(2.6 * columns, 2.1 * rows + 0.4, dpi=80)


def _plain(values: Sequence[float | None]) -> list[float]:
    return [torch.nan if v is None else v for v in values]


def _line(axis: Any, metric: str, values: Sequence[float | None], method: str) -> None:
    minutes = 60 / len(values)
    axis.plot([minutes * (k + 1) for k in range(len(values))], _plain(values), marker=".", label=method)
    axis.set_title(metric.removesuffix(" by frame"), fontsize=9)
