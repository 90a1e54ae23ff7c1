"""Confusion matrices: how many of each class were taken for which, as numbers, tables and pictures."""

import csv
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from .._atomic import atomic_write
from .._extras import need
from ..data import Labelled
from ._values import finite
from .pictures import DRAWN, new_figure, save_figure

KINDS = (*DRAWN, ".csv")
"""What the file of a confusion matrix may be."""


class Confusion(NamedTuple):
    """Counts ``(K, K)``: a row a true class, a column an answer; and the names of the classes."""

    counts: Tensor
    label_names: tuple[str, ...]

    @property
    def accuracy(self) -> float:
        """The fraction that is right."""
        return int(self.counts.trace()) / int(self.counts.sum())

    @property
    def recall(self) -> dict[str, float]:
        """Of each class the fraction that was found, NaN of one that never came.

        Example:
            >>> import torch
            >>> Confusion(torch.tensor([[3, 1], [0, 0]]), ("left", "right")).recall
            {'left': 0.75, 'right': nan}
        """
        shares = self.counts.diagonal().double() / self.counts.sum(1)
        return dict(zip(self.label_names, shares.tolist(), strict=True))

    def to_json(self) -> dict[str, Any]:
        """As JSON may hold it: recall in per cent, null of a class that never came."""
        return {
            "recall": finite({k: 100 * v for k, v in self.recall.items()}),
            "confusion": {"classes": list(self.label_names), "counts": self.counts.tolist()},
        }


def confusion_of(logits: Tensor, data: Labelled) -> Confusion:
    """What logits ``(N, K)`` say of sequences, beside what they are."""
    count = need("torchmetrics.functional.classification", "eval").multiclass_confusion_matrix
    return Confusion(count(logits, data.labels, logits.shape[1]), data.label_names)


def check_name(path: Path) -> None:
    """Raises ValueError where the name of a file does not end as one of a confusion matrix."""
    if path.suffix not in KINDS:
        raise ValueError(f"{path}: expected a name that ends in {', '.join(KINDS)}")


def write(confusion: Confusion, path: Path, heading: str = "") -> None:
    """Writes a picture, or a table of counts; whole or not at all.

    Raises:
        ValueError: the name ends otherwise.
    """
    check_name(path)
    if path.suffix != ".csv":
        save_figure(drawn(confusion, heading), path)
        return
    names = confusion.label_names
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["true class", *names])
        table.writerows([name, *row] for name, row in zip(names, confusion.counts.tolist(), strict=True))


def drawn(confusion: Confusion, heading: str = "") -> Any:
    """A figure: counts in cells, which are the darker the larger their share of the true class is."""
    names, counts = [shortened(name) for name in confusion.label_names], confusion.counts
    shares = (counts / counts.sum(1, keepdim=True).clamp_min(1)).numpy()
    edge = 0.62 if len(names) <= 12 else 0.42  # inches of a cell; the counts of 30 classes still fit
    small = 10 if len(names) <= 12 else 8
    beside = 0.09 * max(map(len, names)) + 1.2
    square = edge * len(names) + beside
    figure = new_figure(max(3.6, square + 1.8), max(2.8, square + 0.4), heading)
    axis = figure.subplots()
    image = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ticks = range(len(names))
    axis.set_xticks(ticks, names, rotation=0 if max(map(len, names)) <= 3 else 90, fontsize=small)
    axis.set_yticks(ticks, names, fontsize=small)
    axis.set_xlabel("answer")
    axis.set_ylabel("true class")
    for i in ticks:
        for j in ticks:
            count = int(counts[i, j])
            colour = "white" if shares[i, j] > 0.55 else "black" if count else "#b0b0b0"
            axis.text(j, i, str(count), ha="center", va="center", color=colour, fontsize=small - (count > 999))
    figure.colorbar(image, ax=axis, label="share of the true class", fraction=0.04, pad=0.02)
    return figure


def shortened(name: str, most: int = 24) -> str:
    """A name that is not too long to stand at an axis.

    Example:
        >>> shortened("somebody who walks to the left")
        'somebody who walks to t…'
    """
    return name if len(name) <= most else f"{name[: most - 1]}…"
