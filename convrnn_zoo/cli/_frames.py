"""Frames from files."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..data.arrays import NUMPY, check_numbers, read_arrays
from ..data.pictures import VIDEO_READERS, clips_below
from ..data.radar import RADAR_FORMATS, STEP, check_steps, read_composite, time_of


class Frames(NamedTuple):
    """Frames ``(T, H, W)`` or ``(T, C, H, W)``, with labels where the files tell the time.

    `unit` and `step` (minutes) are those that the files tell; ``""`` is brightness from 0 to 1, None is not said.
    """

    frames: Tensor
    labels: list[str] | None
    unit: str | None = None
    step: float | None = None


def read_array(path: Path) -> Frames:
    """Frames of a ``.npy``, or of the one array of a ``.npz`` or its ``x``; bytes are made [0, 1].

    Beside `x` a ``.npz`` may hold ``labels``, words for frames from the first on, such as times of the day.
    """
    arrays = read_arrays(path)
    if len(arrays) > 1 and "x" not in arrays:
        raise ValueError(f"{path}: expected one array, or one called x, got {', '.join(arrays)}")
    array = arrays.get("x", next(iter(arrays.values()), np.empty(0)))
    check_numbers(array, f"{path}:x" if "x" in arrays else str(path))
    frames = torch.as_tensor(array, dtype=torch.float32)
    if frames.dim() == 4 and frames.shape[1] == 1:
        frames = frames[:, 0]
    if frames.dim() not in (3, 4) or 0 in frames.shape:
        raise ValueError(f"{path}: expected frames (T, H, W) or (T, C, H, W), got {tuple(frames.shape)}")
    labels = [str(word) for word in arrays["labels"]] if "labels" in arrays else None
    return Frames(frames / 255, labels, "") if array.dtype == np.uint8 else Frames(frames, labels)


def read_film(path: Path, channels: int) -> Frames:
    """The frames of a GIF, a video or a folder of pictures as brightness in [0, 1], grey or in three colours."""
    frames = clips_below(path)[path](path, channels)
    return Frames((frames[:, 0] if channels == 1 else frames).float() / 255, None, "")


FILES = (*NUMPY, *VIDEO_READERS)
"""One file of frames ends so; radar files are several."""


def read_frames(paths: Sequence[Path], coarsen: int = 1, add: int = 0, channels: int = 1) -> Frames:
    """The frames of one array, GIF or video, of a folder of pictures, or of radar files in order of time.

    Args:
        paths: the files.
        coarsen: pixels a side of which one is made, for radar.
        add: times to label beyond the last radar file.
        channels: of pictures, 1 for grey and 3 for colour.

    Raises:
        ValueError: a file is of no known kind or broken, or radar files are not five minutes apart.
        FileNotFoundError: there is no such file.
    """
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"{path} is not there")
    first = paths[0]
    if len(paths) == 1 and first.suffix.lower() in NUMPY:
        return read_array(first)
    if len(paths) == 1 and first in clips_below(first):
        return read_film(first, channels)
    if len(paths) == 1 and first.is_dir():
        kinds = [sorted(first.glob(f.pattern)) for f in RADAR_FORMATS.values()]
        paths = next((k for k in kinds if k), [])
        if not paths:
            raise ValueError(f"{first} holds no radar file of KNMI or FMI")
    if any(path.suffix.lower() in FILES for path in paths):
        raise ValueError(f"expected one file of {', '.join(FILES)}, or radar files, got {len(paths)} files")
    paths = sorted(paths, key=time_of)
    times = [time_of(path) for path in paths]
    check_steps(times, "expected radar files")
    frames = [read_composite(path, coarsen) for path in paths]
    if len({f.shape for f in frames}) > 1:
        raise ValueError(f"expected composites of one size, got {sorted({tuple(f.shape) for f in frames})}")
    every = times + [times[-1] + i * STEP for i in range(1, add + 1)]
    return Frames(torch.stack(frames), [f"{t:%H:%M}" for t in every], "mm/h", STEP.total_seconds() / 60)
