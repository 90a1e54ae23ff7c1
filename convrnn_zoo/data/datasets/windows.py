"""Samples windows of a Zarr store by importance, and stores them in a CSV file that every training reads."""

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..._atomic import atomic_write
from ..._extras import need
from ...values.steps import Step
from ..files import FileError, reading
from ..frames import split_at_gaps
from ..readers import Frames
from .frame_sequences import Window, WindowSelection, find_windows

COLUMNS = ("t", "x", "y")
"""Columns in the order that other programs, such as mlcast, expect; pandas skips the line before with `comment`."""
KEYS = (
    "variable", "unit", "rain_relation", "sel", "dims", "fill_value", "coarsen", "step", "crop", "stride",
    "min_valid_fraction", "min_wet_fraction",
)  # fmt: skip
"""Keys of ``[data]`` that determine the windows of a store."""
HINT = "write it again with `convrnn-zoo windows`"
MAX_WINDOWS = 2_000_000
"""Maximum number of windows of a store that training accepts without a CSV file of windows."""
IMPORTANCE = WindowSelection(min_probability=2e-4, scale=0.1)


def list_windows(
    frames: Frames, window: Window, selection: WindowSelection, step: Step | None = None, seed: int = 0
) -> Iterator[Tensor]:
    """Samples windows and yields them as rows ``(t, y, x)`` of tensors ``(M, 3)``; none spans a gap in time."""
    generator = torch.Generator().manual_seed(seed)
    for part in split_at_gaps(frames, step):
        for places in find_windows(part, window, selection, generator):
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


def window_keys(data: Any, length: int) -> dict[str, Any]:
    """Returns what determines the windows of `length` frames in a store: the values of keys of ``[data]``."""
    keys = {key: getattr(data, key) for key in KEYS} | {"frames": length}
    if data.min_wet_fraction:
        keys["wet"] = data.selection.threshold
    return json.loads(json.dumps(keys))


def write_windows(windows: Iterator[Tensor], path: Path, keys: Mapping[str, Any]) -> int:
    """Writes windows to a CSV file, atomically, and returns the number of windows.

    The first line is ``#`` and the `keys` of :func:`window_keys` as JSON. The second line names the columns. Raises
    ValueError, and writes nothing, if there are no windows.
    """
    count = 0
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        file.write(f"# {json.dumps(keys, ensure_ascii=False, sort_keys=True)}\n")
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for part in windows:
            writer.writerows(part[:, [0, 2, 1]].tolist())
            count += len(part)
        if not count:
            raise ValueError(
                f"{path}: no window is kept; pass a store with more or larger frames, raise --min-probability or "
                "--scale, or lower data.min_wet_fraction or min_valid_fraction"
            )
    return count


def read_windows(path: Path, keys: Mapping[str, Any]) -> Tensor:
    """Reads the columns t, y and x of a CSV file, in any order, as windows ``(M, 3)`` in the order t, y, x.

    Raises:
        FileNotFoundError: the file does not exist.
        FileError: it is no file of :func:`write_windows`, or its windows are those of other `keys`.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; `convrnn-zoo windows RECIPE --data STORE` writes it")
    numpy = need("numpy", "cli")
    with reading(path, "file of `convrnn-zoo windows`"), path.open(encoding="utf-8") as file:
        first = file.readline()
        if not first.startswith("# {"):
            raise ValueError(f"the first line must have the recipe's keys, got {first[:60].strip()!r}; {HINT}")
        listed = json.loads(first[1:])
        columns = file.readline().strip().split(",")
        if sorted(columns) != sorted(COLUMNS):
            raise ValueError(f"expected a second line {','.join(COLUMNS)}, got {','.join(columns)[:60]!r}; {HINT}")
        lines = [line for line in file if line.strip()]
        rows = numpy.loadtxt(lines, dtype="int64", delimiter=",", ndmin=2) if lines else numpy.empty((0, 3), "int64")
        if rows.shape[1] != len(COLUMNS):
            raise ValueError(f"expected three whole numbers in a line, got {rows.shape[1]}; {HINT}")
    if other := [key for key in {**listed, **keys} if listed.get(key) != keys.get(key)]:
        values = ", ".join(f"{key} = {listed.get(key)} and not {keys.get(key)}" for key in other)
        raise FileError(f"{path}: the windows were listed for {values}; {HINT}, or restore the recipe")
    return torch.from_numpy(rows[:, [columns.index(name) for name in ("t", "y", "x")]])
