"""Checks training data for values that cannot be in the stated unit."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ...values.preprocessing import find_marker
from ...values.steps import Step, describe_step, mean_minutes
from ...values.units import is_rain
from ..readers import FileError, Frames

WET, WET_STRIDE = 0.1, 7
"""Lowest rain rate in mm/h (or brightness) of a wet pixel. Every seventh wet pixel is checked for values in dBZ."""
MAX_READ = 64
"""Number of equally spaced frames that are checked in a file that is not in memory."""


class ValidRange(NamedTuple):
    """Unit and range of valid values of all frames or of one variable. Error messages contain `name`."""

    unit: str
    valid_min: float | None = None
    valid_max: float | None = None
    name: str = ""


def check_values(parts: Iterable[Tensor], name: str | Path, ranges: Sequence[ValidRange]) -> None:
    """Raises FileError if values cannot be in their unit. The message names the key of ``[data]`` to correct.

    `parts` are tensors of frames ``(T, C, H, W)``, NaN where values are missing. `ranges` has one item for each
    channel, or one for all. Rain rates are also rejected if they look like dBZ, unless their range has a `valid_max`.
    """
    wet: list[list[Tensor]] = [[] for _ in ranges]
    labels = [f"{name}: {r.name}" if r.name else str(name) for r in ranges]
    for part in parts:
        for i, valid in enumerate(ranges):
            values = part[:, i] if len(ranges) > 1 else part
            _check_range(values, labels[i], valid)
            if is_rain(valid.unit) and valid.valid_max is None:
                wet[i].append(values[values > WET][::WET_STRIDE])
    for label, rates in zip(labels, wet, strict=True):
        rain = torch.cat([torch.empty(0), *rates])
        if len(rain) and rain.median() >= 10 and 20 < rain.max() <= 80:
            reason = f"half of the wet values exceed {rain.median():g}, as those in dBZ do"
            raise FileError(f"{label}: {reason}; convert them, correct data.unit, or set data.valid_max of rain rates")


def check_files(files: Sequence[Frames], ranges: Sequence[ValidRange]) -> None:
    """Applies :func:`check_values` to all frames in memory, and to :data:`MAX_READ` frames of each file on disk."""
    for frames in files:
        starts: Sequence[int] = range(0, len(frames), MAX_READ)
        step = MAX_READ
        if not frames.is_loaded:
            numbers = torch.linspace(0, len(frames) - 1, min(MAX_READ, len(frames)), dtype=torch.float64)
            starts, step = numbers.long().tolist(), 1
        check_values((frames.read(t, t + step) for t in starts), frames.path, ranges)


def check_steps(files: Sequence[Frames], step: Step | None) -> None:
    """Raises FileError if files state different steps of time and there is no `step` of the recipe to compare with.

    The minutes of the most frequent steps may differ by 15 %, since months have 28 to 31 days.
    """
    stated = [f for f in files if f.step] if step is None else []
    for frames in stated[1:]:
        steps = [f.step or 0.0 for f in (stated[0], frames)]
        first, other = map(mean_minutes, steps)
        if not first / 1.15 < other < first * 1.15:
            words = list(map(describe_step, steps))
            raise FileError(
                f"{stated[0].path} has a step of {words[0]}, and {frames.path} of {words[1]}; set data.step in the "
                "recipe, and leave out the files with another step"
            )


def _check_range(values: Tensor, name: str, valid: ValidRange) -> None:
    """Raises FileError if values are infinite, out of the valid range, or look like markers of missing values."""
    unit, valid_min, valid_max, _ = valid
    values = values[~values.isnan()]
    if not len(values):
        return
    low, high = values.min().item(), values.max().item()
    summary = f"{name}: values from {low:g} to {high:g}"
    if math.isinf(low) or math.isinf(high):
        raise FileError(f"{summary}, expected finite ones; replace infinite values by NaN")
    if (value := find_marker(values, unit)) is not None:
        raise FileError(
            f"{summary}; write data.fill_value = {value:.9g}, or the number that the file stores for it, if it "
            "marks missing values, or correct them"
        )
    rain = is_rain(unit)
    valid_min = 0.0 if rain and valid_min is None else valid_min
    span = 0.0 if valid_min is None or valid_max is None else valid_max - valid_min
    fix = "or set data.fill_value if it marks missing values"
    if valid_min is not None and low < valid_min - (1e-2 if rain else max(0.1 * span, 1e-2)):
        hint = "convert dBZ to mm/h, or state data.unit" if rain else "correct data.valid_min or data.unit"
        raise FileError(f"{summary}, and data.unit = {unit!r} expects {valid_min:g} or more; {hint}, {fix}")
    if valid_max is not None and high > valid_max + max(0.1 * span, 1e-2 * abs(valid_max)):
        raise FileError(f"{summary}, above data.valid_max = {valid_max:g}; correct it or data.unit, {fix}")
