"""Checks of training data, before the first update: values that cannot be in the stated unit."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..readers import FileError, Frames
from ..readers.units import is_rain

SENTINELS = (-99.0, -99.9, -999.0, -999.9, -9999.0, -99999.0, -32768.0, 9999.0, 99999.0, 32767.0, 65535.0)
"""Numbers by which files mark missing values."""
HUGE = 1e15
"""Magnitude of values that can only mark missing ones, such as NetCDF's 9.97e36."""
MAX_READ = 64
"""Frames of a file that are checked, if it is not in memory; they are equally spaced."""


def check_values(
    values: Tensor, name: str | Path, unit: str = "", lowest: float | None = None, highest: float | None = None
) -> None:
    """Raises FileError if values cannot be in `unit`; the message names the key of ``[data]`` that fixes it.

    Args:
        values: frames of any shape, NaN where values are missing.
        name: the file, for the message.
        unit: unit of the values; ``""`` for brightness or numbers without one.
        lowest, highest: range of valid values; `valid_max` also states that high rain rates are meant.
    """
    values = values[~values.isnan()]
    if not len(values):
        return
    low, high = values.min().item(), values.max().item()
    if math.isinf(low) or math.isinf(high):
        raise FileError(f"{name}: expected finite values, got {low:g} to {high:g}; replace infinite ones by NaN")
    found = f"{name}: values from {low:g} to {high:g}"
    for value in (low, high):
        others = values[values != value]
        largest = others.abs().max().item() if len(others) else 0.0
        if abs(value) >= HUGE or (round(value, 1) in SENTINELS and abs(value) > 3 * largest):
            raise FileError(
                f"{found}; if {value:g} marks missing values, write `fill_value = {value:g}` under [data], "
                "else correct them"
            )
    rain = is_rain(unit)
    if rain and lowest is None:
        lowest = 0.0
    span = highest - lowest if None not in (highest, lowest) else 0.0  # type: ignore[operator]
    if lowest is not None and low < lowest - max(0.1 * span, 1e-2):
        hint = (
            "if they are reflectivity in dBZ, convert them to mm/h or state `unit` under [data] as it is; if negative "
            "numbers mark missing values, write `fill_value` under [data]"
            if rain
            else "correct `valid_min` or `unit` under [data], or write `fill_value` if it marks missing values"
        )
        raise FileError(f"{found}, and data.unit = {unit!r} expects {lowest:g} or more; {hint}")
    if highest is not None and high > highest + max(0.1 * span, 1e-2 * abs(highest)):
        raise FileError(
            f"{found}, and the recipe expects at most data.valid_max = {highest:g}; correct `valid_max` or `unit` "
            "under [data], or write `fill_value` if it marks missing values"
        )
    wet = values[values > 0.1]
    if rain and highest is None and len(wet) and wet.median().item() >= 10 and 20 < high <= 80:
        raise FileError(
            f"{found}, of which half of the wet ones are above {wet.median().item():g}: they look like reflectivity in "
            f"dBZ, and data.unit is {unit!r}; convert them, or state data.valid_max if they are rain rates"
        )


def check_files(files: Sequence[Frames], unit: str, lowest: float | None, highest: float | None) -> None:
    """Checks the frames of files by :func:`check_values`."""
    for frames in files:
        for values in _parts(frames):
            check_values(values, frames.path, unit, lowest, highest)


def _parts(frames: Frames) -> Iterator[Tensor]:
    if hasattr(frames.array, "tobytes"):  # in memory
        yield frames.read()
        return
    numbers = torch.linspace(0, len(frames) - 1, min(MAX_READ, len(frames))).long().tolist()
    yield from (frames.read(t, t + 1) for t in numbers)
