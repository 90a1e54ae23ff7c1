"""Confusion matrices as numbers, tables and figures."""

import csv
import math
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from .._atomic import atomic_write, check_suffix
from .._extras import need
from .figures import FIGURES, new_figure, save_figure
from .metrics import finite

MAX_NAME = 24
"""Characters of a class name in a figure."""


class Confusion(NamedTuple):
    """Confusion matrix: counts ``(K, K)`` by true class (row) and predicted class (column), and the K class names."""

    counts: Tensor
    label_names: tuple[str, ...]

    @property
    def accuracy(self) -> float:
        """Fraction of correct predictions; NaN without samples."""
        return int(self.counts.trace()) / (int(self.counts.sum()) or math.nan)

    @property
    def recall(self) -> dict[str, float]:
        """Recall of each class; NaN for a class without samples."""
        recall = self.counts.diagonal().double() / self.counts.sum(1)
        return dict(zip(self.label_names, recall.tolist(), strict=True))

    def to_json(self) -> dict[str, Any]:
        """Returns the recall of each class in per cent (None without samples) and the counts, for JSON."""
        return {
            "recall": finite({k: 100 * v for k, v in self.recall.items()}),
            "confusion": {"classes": list(self.label_names), "counts": self.counts.tolist()},
        }


def count_confusions(logits: Tensor, labels: Tensor, label_names: tuple[str, ...]) -> Confusion:
    """Returns the confusion matrix of logits ``(N, K)`` and true class numbers ``(N,)``."""
    count = need("torchmetrics.functional.classification", "eval").multiclass_confusion_matrix
    return Confusion(count(logits, labels, logits.shape[1]), label_names)


def write_confusion(confusion: Confusion, path: Path, heading: str = "") -> None:
    """Writes a figure (``.png``, ``.svg``) or a table of counts (``.csv``) atomically."""
    check_suffix(path, (*FIGURES, ".csv"))
    if path.suffix != ".csv":
        save_figure(draw_confusion(confusion, heading), path)
        return
    names = confusion.label_names
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["true class", *names])
        table.writerows([name, *row] for name, row in zip(names, confusion.counts.tolist(), strict=True))


def draw_confusion(confusion: Confusion, heading: str = "") -> Any:
    """Returns a figure of the counts; the shade of a cell is its fraction of the samples of the true class."""
    names = [n if len(n) <= MAX_NAME else f"{n[: MAX_NAME - 1]}…" for n in confusion.label_names]
    shares = (confusion.counts / confusion.counts.sum(1, keepdim=True).clamp_min(1)).numpy()
    cell, font = (0.62, 10) if len(names) <= 12 else (0.42, 8)  # inches, points
    edge = cell * len(names) + 0.09 * max(map(len, names)) + 1.2
    figure = new_figure(max(3.6, edge + 1.8), max(2.8, edge + 0.4), heading)
    axis = figure.subplots()
    image = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ticks = range(len(names))
    axis.set_xticks(ticks, names, rotation=0 if max(map(len, names)) <= 3 else 90, fontsize=font)
    axis.set_yticks(ticks, names, fontsize=font)
    axis.set(xlabel="predicted class", ylabel="true class")
    for i, row in enumerate(confusion.counts.tolist()):
        for j, count in enumerate(row):
            color = "white" if shares[i, j] > 0.55 else "black" if count else "#b0b0b0"
            axis.text(j, i, str(count), ha="center", va="center", color=color, fontsize=font - (count > 999))
    figure.colorbar(image, ax=axis, label="share of the true class", fraction=0.04, pad=0.02)
    return figure
