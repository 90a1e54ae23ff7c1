"""Frames from files."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..data.arrays import HDF5, NUMPY, STORE, check_numbers, opened, read_arrays
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
    if array.ndim not in (3, 4) or 0 in array.shape:
        raise ValueError(f"{path}: expected frames (T, H, W) or (T, C, H, W), got {array.shape}")
    labels = [str(word) for word in arrays["labels"]] if "labels" in arrays else None
    return _of_values(torch.as_tensor(array))._replace(labels=labels)


def read_stack(path: Path, key: str = "", most: int | None = None) -> Frames:
    """The first frames of an array of HDF5, netCDF or Zarr, `most` of them; what the file calls missing is NaN.

    Raises:
        ValueError: the file is broken, it has several arrays and `key` names none, or its step in time changes.
    """
    with opened(path, key, "--key") as stack:
        frames = _of_values(stack.values(slice(most)))
        minutes = np.empty(0) if stack.times is None else np.diff(stack.times[:most])
        steps = sorted(set(minutes.round(3).tolist()))
    if len(steps) > 1:
        listed = ", ".join(f"{step:g}" for step in steps[:4])
        raise ValueError(f"{path}: frames are {listed} minutes apart; give frames at one step")
    return frames._replace(step=steps[0] if steps else None)


def _of_values(frames: Tensor) -> Frames:
    """Numbers as they are, bytes as brightness; one channel has no axis."""
    if frames.dim() == 4 and frames.shape[1] == 1:
        frames = frames[:, 0]
    return Frames(frames / 255, None, "") if frames.dtype == torch.uint8 else Frames(frames.float(), None)


def read_film(path: Path, channels: int) -> Frames:
    """The frames of a GIF, a video or a folder of pictures as brightness in [0, 1], grey or in three colours."""
    frames = clips_below(path)[path](path, channels)
    return Frames((frames[:, 0] if channels == 1 else frames).float() / 255, None, "")


FILES = (*NUMPY, *HDF5, STORE, *VIDEO_READERS)
"""One file of frames ends so; radar files are several."""


def is_radar(path: Path) -> bool:
    """Whether a file is called like one of a radar archive."""
    return any(path.match(f.pattern) for f in RADAR_FORMATS.values())


def read_frames(
    paths: Sequence[Path], coarsen: int = 1, add: int = 0, channels: int = 1, key: str = "", most: int | None = None
) -> Frames:
    """The frames of one array, GIF or video, of a folder of pictures, or of radar files in order of time.

    Args:
        paths: the files.
        coarsen: pixels a side of which one is made, for radar.
        add: times to label beyond the last radar file.
        channels: of pictures, 1 for grey and 3 for colour.
        key: the array of a file of several, of HDF5, netCDF and Zarr.
        most: frames that are read of such a file; all by default.

    Raises:
        ValueError: a file is of no known kind or broken, or radar files are not five minutes apart.
        FileNotFoundError: there is no such file.
    """
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"{path} is not there")
    first = paths[0]
    stored = len(paths) == 1 and first.suffix.lower() in (*HDF5, STORE) and not is_radar(first)
    if key and not stored:
        raise ValueError(f"--key names an array of one file of {', '.join((*HDF5, STORE))}; leave it out for {first}")
    if stored:
        return read_stack(first, key, most)
    if len(paths) == 1 and first.suffix.lower() in NUMPY:
        return read_array(first)
    if len(paths) == 1 and first in clips_below(first):
        return read_film(first, channels)
    if len(paths) == 1 and first.is_dir():
        kinds = [sorted(first.glob(f.pattern)) for f in RADAR_FORMATS.values()]
        paths = next((k for k in kinds if k), [])
        if not paths:
            raise ValueError(f"{first} holds no radar file of KNMI or FMI")
    if any(path.suffix.lower() in FILES and not is_radar(path) for path in paths):
        raise ValueError(f"expected one file of {', '.join(FILES)}, or radar files, got {len(paths)} files")
    paths = sorted(paths, key=time_of)
    times = [time_of(path) for path in paths]
    check_steps(times, "expected radar files")
    frames = [read_composite(path, coarsen) for path in paths]
    if len({f.shape for f in frames}) > 1:
        raise ValueError(f"expected composites of one size, got {sorted({tuple(f.shape) for f in frames})}")
    every = times + [times[-1] + i * STEP for i in range(1, add + 1)]
    return Frames(torch.stack(frames), [f"{t:%H:%M}" for t in every], "mm/h", STEP.total_seconds() / 60)
