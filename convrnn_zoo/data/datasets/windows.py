"""Samples windows of a Zarr store by importance, and stores them in a CSV file that every training reads."""

import csv
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from ..._atomic import atomic_write
from ..._extras import need
from ..._steps import Step
from ..files import reading
from ..frames import split_at_gaps
from ..readers import Frames
from .frame_sequences import Sampling, Window, find_windows

COLUMNS = ("t", "x", "y")
"""Columns in the order that other programs, such as mlcast, expect."""
HINT = "write it again with `convrnn-zoo windows`"
MAX_WINDOWS = 2_000_000
"""Maximum number of windows of a store that training accepts without a CSV file of windows."""
IMPORTANCE = Sampling(base=2e-4, scale=0.1)


def list_windows(
    frames: Frames, window: Window, sampling: Sampling, step: Step | None = None, seed: int = 0
) -> Iterator[Tensor]:
    """Samples windows and yields them as rows ``(t, y, x)`` of tensors ``(M, 3)``; none spans a gap in time."""
    generator = torch.Generator().manual_seed(seed)
    for part in split_at_gaps(frames, step):
        for places in find_windows(part, window, sampling, generator):
            yield turn_windows(places, window, frames)


def turn_windows(places: Tensor, window: Window, frames: Frames) -> Tensor:
    """Converts windows ``(M, 3)`` between the directions of labelled frames and those of the store.

    CSV files have the directions of the store, since other programs read them, too.
    """
    turned = () if frames.dataset is None else frames.dataset.encoding.get("turned", ())
    places = places.clone()
    for axis, column, edge, size in zip("yx", (1, 2), (window.height, window.width), frames.size, strict=True):
        if axis in turned:
            places[:, column] = size - edge - places[:, column]
    return places


def write_windows(windows: Iterator[Tensor], path: Path) -> int:
    """Writes windows to a CSV file, atomically, and returns the number of windows."""
    count = 0
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for part in windows:
            writer.writerows(part[:, [0, 2, 1]].tolist())
            count += len(part)
    return count


def read_windows(path: Path) -> Tensor:
    """Reads the columns t, y and x of a CSV file, in any order, as windows ``(M, 3)`` in the order t, y, x."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; `convrnn-zoo windows RECIPE --data STORE` writes it")
    numpy = need("numpy", "cli")
    with reading(path, "file of `convrnn-zoo windows`"), path.open(encoding="utf-8") as file:
        columns = file.readline().strip().split(",")
        if sorted(columns) != sorted(COLUMNS):
            raise ValueError(f"expected a first line {','.join(COLUMNS)}, got {','.join(columns)[:60]!r}; {HINT}")
        lines = [line for line in file if line.strip()]
        rows = numpy.loadtxt(lines, dtype="int64", delimiter=",", ndmin=2) if lines else numpy.empty((0, 3), "int64")
        if rows.shape[1] != len(COLUMNS):
            raise ValueError(f"expected three whole numbers in a line, got {rows.shape[1]}; {HINT}")
    return torch.from_numpy(rows[:, [columns.index(name) for name in ("t", "y", "x")]])
