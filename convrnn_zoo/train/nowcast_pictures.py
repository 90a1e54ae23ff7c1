"""Nowcasts drawn beside extrapolation and what came, and their scores over lead time."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .._extras import need
from .._whole import whole
from ..models import Preprocessing
from .pictures import MOTION_WIDTH, figure_of, pixels_of, save
from .verify import THRESHOLDS, Window

RATES = Preprocessing(unit="mm/h", lowest=0.0)
SHOWN = (0, 2, 5, 8, 11)
"""Frames of a strip, counted from 0."""


def draw_beside(
    window: Window, made: Mapping[str, Tensor], heading: str, out: Path, minutes: float = 5.0
) -> list[Path]:
    """A strip (.png) and a film (.gif) of what came and of each nowcast of it, at ``out`` with these endings."""
    unknown = ~window.inputs[-1].isfinite()
    rows = {"truth": window.truth, **made}
    rows = {name: frames.masked_fill(unknown, torch.nan) for name, frames in rows.items()}

    def title(k: int) -> str:
        return f"+{(k + 1) * minutes:g} min"

    parts = [(name, dict(enumerate(frames))) for name, frames in rows.items()]
    shown = [k for k in SHOWN if k < len(window.truth)]
    strip = pixels_of(figure_of(parts, [shown] * len(parts), title, RATES, heading))
    names = list(rows)

    def frame_of_film(k: int) -> Any:
        line = [("", {i: frames[k] for i, frames in enumerate(rows.values())})]
        columns = [list(range(len(names)))]
        return figure_of(line, columns, lambda i: names[i], RATES, f"{heading}  {title(k)}", MOTION_WIDTH)

    film = [pixels_of(frame_of_film(k)) for k in range(len(window.truth))]
    files = [out.with_suffix(".png"), out.with_suffix(".gif")]
    save([strip], files[0])
    save(film, files[1], milliseconds=400)
    return files


def draw_scores(scores: Mapping[str, Any], path: Path, minutes: float = 5.0) -> None:
    """CSI, MSE and bias over lead time, a row an event and a line a method; written whole or not at all."""
    metrics = [*(f"CSI {t:g} by frame" for t in THRESHOLDS), "MSE by frame", "bias by frame"]
    figure = _figure(len(metrics), len(scores))
    for line, event in zip(figure.subplots(len(scores), len(metrics), squeeze=False), scores.values(), strict=True):
        for axis, metric in zip(line, metrics, strict=True):
            for method in ("forecast", "extrapolation", "last frame"):
                values = _plain(event[method][metric])
                axis.plot([minutes * (k + 1) for k in range(len(values))], values, marker=".", label=method)
            axis.set_title(metric.removesuffix(" by frame"), fontsize=9)
            axis.set_ylim(bottom=0)
        line[0].set_ylabel(event["title"].replace(", ", "\n"), fontsize=8)
    figure.axes[0].legend(fontsize=7)
    figure.supxlabel("lead time in minutes", fontsize=9)
    _write(figure, path)


def draw_ensembles(scores: Mapping[str, Any], path: Path, minutes: float = 5.0) -> None:
    """Reliability, CRPS and Brier scores of the events that have them; written whole or not at all."""
    figure = _figure(5, len(scores))
    for line, event in zip(figure.subplots(len(scores), 5, squeeze=False), scores.values(), strict=True):
        for method, of in event["ensembles"].items():
            for axis, t in zip(line, (0.5, 2.0), strict=False):
                if method != "extrapolation":
                    diagram = of[f"reliability {t:g}"]
                    axis.plot(_plain(diagram["forecast"]), _plain(diagram["observed"]), marker=".", label=method)
                axis.plot([0, 1], [0, 1], color="grey", linewidth=0.5)
                axis.set_title(f"reliability, > {t:g} mm/h", fontsize=9)
            for axis, metric in zip(line[2:], ("CRPS by frame", "Brier 0.5 by frame", "Brier 2 by frame"), strict=True):
                values = _plain(of[metric])
                axis.plot([minutes * (k + 1) for k in range(len(values))], values, marker=".", label=method)
                axis.set_title(metric.removesuffix(" by frame"), fontsize=9)
        for axis in line[2:]:
            axis.set_ylim(bottom=0)
        line[0].set_ylabel(event["title"].replace(", ", "\n"), fontsize=8)
    figure.axes[2].legend(fontsize=7)
    _write(figure, path)


def _figure(columns: int, rows: int) -> Any:
    figure_module: Any = need("matplotlib.figure", "draw")
    return figure_module.Figure(figsize=(2.6 * columns, 2.1 * rows + 0.4), dpi=80, layout="constrained")


def _plain(values: Sequence[float | None]) -> list[float]:
    return [float("nan") if v is None else v for v in values]


def _write(figure: Any, path: Path) -> None:
    with whole(path) as temporary:
        figure.savefig(temporary, format=path.suffix.lstrip("."))
