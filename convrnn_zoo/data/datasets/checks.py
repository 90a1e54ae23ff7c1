"""Checks of training data, before the first update: values that cannot be in the stated unit."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ..._units import is_rain
from ..readers import FileError, Frames

SENTINELS = (-99.0, -99.9, -999.0, -999.9, -9999.0, -99999.0, -32768.0, 9999.0, 99999.0, 32767.0, 65535.0)
"""Numbers by which files mark missing values."""
HUGE = 1e15
"""Magnitude of values that can only mark missing ones, such as NetCDF's 9.97e36."""
WET, WET_STRIDE = 0.1, 7
"""Rain rate in mm/h of a wet pixel, and the distance of those that are compared with reflectivity."""
MAX_READ = 64
"""Frames of a file that are checked, if it is not in memory; they are equally spaced."""


class ValidRange(NamedTuple):
    """Unit and range of valid values of frames, or of one of their variables, whose name is in errors."""

    unit: str
    valid_min: float | None = None
    valid_max: float | None = None
    name: str = ""


def check_values(parts: Iterable[Tensor], name: str | Path, ranges: Sequence[ValidRange]) -> None:
    """Raises FileError if values cannot be in their unit; the message names the key of ``[data]`` that fixes it.

    Args:
        parts: frames ``(T, C, H, W)``, a few at a time, NaN where values are missing.
        name: the file, for the message.
        ranges: a range for each channel, or one for all. With `valid_max`, heavy rain is not taken for reflectivity.
    """
    wet: list[list[Tensor]] = [[] for _ in ranges]
    names = [f"{name}: {r.name}" if r.name else str(name) for r in ranges]
    for part in parts:
        for i, valid in enumerate(ranges):
            values = part[:, i] if len(ranges) > 1 else part
            _check_range(values, names[i], valid)
            if is_rain(valid.unit) and valid.valid_max is None:
                wet[i].append(values[values > WET][::WET_STRIDE])
    for label, valid, parts_of_rain in zip(names, ranges, wet, strict=True):
        rain = torch.cat(parts_of_rain) if parts_of_rain else torch.empty(0)
        if len(rain) and rain.median().item() >= 10 and 20 < rain.max().item() <= 80:
            raise FileError(
                f"{label}: half of the wet values are above {rain.median().item():g}, as is usual for reflectivity in "
                f"dBZ, and data.unit is {valid.unit!r}; convert them, or state data.valid_max if they are rain rates"
            )


def check_files(files: Sequence[Frames], ranges: Sequence[ValidRange]) -> None:
    """Checks the frames of files by :func:`check_values`; of files that are not in memory, some of them."""
    for frames in files:
        count = len(frames)
        numbers: Sequence[int] = range(0, count, MAX_READ)
        step = MAX_READ
        if not frames.is_loaded:
            numbers, step = torch.linspace(0, count - 1, min(MAX_READ, count)).long().tolist(), 1
        check_values((frames.read(t, t + step) for t in numbers), frames.path, ranges)


def _check_range(values: Tensor, name: str, valid: ValidRange) -> None:
    """Raises FileError if values are infinite, mark missing values, or are out of their range."""
    unit, valid_min, valid_max, _ = valid
    values = values[~values.isnan()]
    if not len(values):
        return
    low, high = values.min().item(), values.max().item()
    if math.isinf(low) or math.isinf(high):
        raise FileError(f"{name}: expected finite values, got {low:g} to {high:g}; replace infinite ones by NaN")
    summary = f"{name}: values from {low:g} to {high:g}"
    for value in (low, high):
        others = values[values != value]
        largest = others.abs().max().item() if len(others) else 0.0
        if abs(value) >= HUGE or (round(value, 1) in SENTINELS and abs(value) > 3 * largest):
            raise FileError(
                f"{summary}; if {value:g} marks missing values, write `fill_value = {value:g}` under [data], "
                "else correct them"
            )
    rain = is_rain(unit)
    if rain and valid_min is None:
        valid_min = 0.0
    span = 0.0 if valid_min is None or valid_max is None else valid_max - valid_min
    if valid_min is not None and low < valid_min - (1e-2 if rain else max(0.1 * span, 1e-2)):
        hint = "correct `valid_min` or `unit` under [data], or write `fill_value` if it marks missing values"
        if rain:
            hint = (
                "convert reflectivity in dBZ to mm/h, or state its unit as `unit` under [data]; if negative numbers "
                "mark missing values, write `fill_value` under [data]"
            )
        raise FileError(f"{summary}, and data.unit = {unit!r} expects {valid_min:g} or more; {hint}")
    if valid_max is not None and high > valid_max + max(0.1 * span, 1e-2 * abs(valid_max)):
        raise FileError(
            f"{summary}, and the recipe expects at most data.valid_max = {valid_max:g}; correct `valid_max` or `unit` "
            "under [data], or write `fill_value` if it marks missing values"
        )
