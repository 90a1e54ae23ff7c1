"""Frames from files, for forecasts."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .._tensors import to_tensor
from ..data.arrays import HDF5, NUMPY, STORE, check_numbers, opened, read_arrays
from ..data.pictures import VIDEO_READERS, clips_below
from ..data.radar import RADAR_FORMATS, STEP, check_steps, read_composite, time_of

FILES = (*NUMPY, *HDF5, STORE, *VIDEO_READERS)
"""Suffixes of files that hold all frames; radar archives have one file per frame."""


class Frames(NamedTuple):
    """Consecutive frames ``(T, H, W)`` or ``(T, C, H, W)`` of a file, NaN where unknown.

    `unit` and `step` (minutes) are those that the file states, or None. The unit ``""`` is brightness from 0 to 1.
    `labels` are names of the frames that a ``.npz`` may hold.
    """

    frames: Tensor
    times: list[datetime] | None = None
    unit: str | None = None
    step: float | None = None
    labels: list[str] | None = None


class FrameReader(NamedTuple):
    """Open file, or radar archive, from which any part of the frames can be read.

    `times` are the times of all frames, where the file has them.
    """

    num_frames: int
    times: list[datetime] | None
    read: Callable[[slice], Frames]


def _as_float(frames: Tensor) -> tuple[Tensor, str | None]:
    """Converts frames to floats, drops a channel axis of 1, and returns the unit that the dtype implies."""
    if frames.dim() == 4 and frames.shape[1] == 1:
        frames = frames[:, 0]
    return (frames / 255, "") if frames.dtype == torch.uint8 else (frames.float(), None)


def _array_reader(path: Path) -> FrameReader:
    """Opens a ``.npy``, or the array `x` (or the only one) of a ``.npz``, which may hold `labels` of the frames."""
    arrays = read_arrays(path)
    if len(arrays) > 1 and "x" not in arrays:
        raise ValueError(f"{path}: expected one array, or one called x, got {', '.join(arrays)}")
    array = arrays.get("x", next(iter(arrays.values()), np.empty(0)))
    check_numbers(array, f"{path}:x" if "x" in arrays else str(path))
    if array.ndim not in (3, 4) or 0 in array.shape:
        raise ValueError(f"{path}: expected frames (T, H, W) or (T, C, H, W), got {array.shape}")
    frames, unit = _as_float(to_tensor(str(path), array))
    labels = [str(word) for word in np.ravel(arrays["labels"])] if "labels" in arrays else None
    return FrameReader(
        len(frames), None, lambda part: Frames(frames[part], unit=unit, labels=labels[part] if labels else None)
    )


@contextlib.contextmanager
def _stack_reader(path: Path, key: str) -> Iterator[FrameReader]:
    """Opens an array of an HDF5, netCDF or Zarr file; `key` names it in a file with several."""
    with opened(path, key, "--key") as stack:
        minutes = stack.times
        dated = minutes is not None and minutes.min() > 366 * 24 * 60  # else counted from the start of the file
        times = [datetime(1970, 1, 1) + timedelta(minutes=float(m)) for m in minutes] if dated else None

        def read(part: slice) -> Frames:
            frames, unit = _as_float(stack.values(part))
            steps = [] if minutes is None else sorted(set(np.diff(minutes[part]).round(3).tolist()))
            if len(steps) > 1:
                listed = ", ".join(f"{step:g}" for step in steps[:4])
                raise ValueError(f"{path}: frames are {listed} minutes apart; choose frames at one step with --start")
            return Frames(frames, times[part] if times else None, unit, steps[0] if steps else None)

        yield FrameReader(stack.array.shape[0], times, read)


def _film_reader(path: Path, channels: int) -> FrameReader:
    """Opens a GIF, a video or a folder of images, in grey or with three color channels."""
    frames, unit = _as_float(clips_below(path)[path](path, channels))
    return FrameReader(len(frames), None, lambda part: Frames(frames[part], unit=unit))


def _radar_reader(paths: Sequence[Path], coarsen: int) -> FrameReader:
    """Opens the composites of a radar archive, one file per frame, in order of time."""
    paths = sorted(paths, key=time_of)
    times = [time_of(path) for path in paths]

    def read(part: slice) -> Frames:
        check_steps(times[part], "expected radar files")
        frames = [read_composite(path, coarsen) for path in paths[part]]
        if len({f.shape for f in frames}) > 1:
            raise ValueError(f"expected composites of one size, got {sorted({tuple(f.shape) for f in frames})}")
        return Frames(torch.stack(frames), times[part], "mm/h", STEP.total_seconds() / 60)

    return FrameReader(len(paths), times, read)


def is_radar(path: Path) -> bool:
    """Returns whether a file has a name of a radar archive."""
    return any(path.match(f.pattern) for f in RADAR_FORMATS.values())


@contextlib.contextmanager
def open_frames(paths: Sequence[Path], coarsen: int = 1, channels: int = 1, key: str = "") -> Iterator[FrameReader]:
    """Opens one array, GIF or video, a folder of images, or the files of a radar archive.

    Args:
        paths: the file, the folder, or the radar files in any order.
        coarsen: edge of the square of radar pixels that are averaged.
        channels: of images and videos, 1 for grey and 3 for color.
        key: name of the array in an HDF5, netCDF or Zarr file with several.

    Raises:
        ValueError: the format is not supported, or a file is damaged.
        FileNotFoundError: a file does not exist.
    """
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist")
    first = paths[0]
    one = len(paths) == 1 and not is_radar(first)
    stored = one and first.suffix.lower() in (*HDF5, STORE)
    if key and not stored:
        raise ValueError(f"--key names an array of one file of {', '.join((*HDF5, STORE))}; omit it for {first}")
    if stored:
        with _stack_reader(first, key) as reader:
            yield reader
    elif one and first.suffix.lower() in NUMPY:
        yield _array_reader(first)
    elif one and first in clips_below(first):
        yield _film_reader(first, channels)
    else:
        if one and first.is_dir():
            archives = [sorted(first.glob(f.pattern)) for f in RADAR_FORMATS.values()]
            paths = next((files for files in archives if files), [])
            if not paths:
                raise ValueError(f"{first} contains no images and no radar files of KNMI or FMI")
        if any(path.suffix.lower() in FILES and not is_radar(path) for path in paths):
            raise ValueError(f"expected one file of {', '.join(FILES)}, or radar files, got {len(paths)} files")
        yield _radar_reader(paths, coarsen)


def read_frames(paths: Sequence[Path], coarsen: int = 1, channels: int = 1, key: str = "") -> Frames:
    """Reads all frames; see :func:`open_frames`."""
    with open_frames(paths, coarsen, channels, key) as reader:
        return reader.read(slice(0, reader.num_frames))
