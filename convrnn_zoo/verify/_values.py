"""Value range of frames, and conversion of values to JSON."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..values.preprocessing import Encoding


def finite(value: Any) -> Any:
    """Replaces numbers that are not finite, which JSON cannot express, by None.

    Example:
        >>> finite({"a": [1.0, float("nan")]})
        {'a': [1.0, None]}
    """
    if isinstance(value, Mapping):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def find_value_range(values: Encoding, frames: Tensor) -> tuple[float, float] | None:
    """Returns the lowest and the highest value for SSIM, PSNR and figures; see :func:`find_value_ranges`."""
    return find_value_ranges([values], [[frames]])[0]


def find_value_ranges(
    targets: Sequence[Encoding], parts: Iterable[Sequence[Tensor]]
) -> list[tuple[float, float] | None]:
    """Returns the lowest and the highest value of each target for SSIM, PSNR and figures, or None for equal bounds.

    A bound that the encoding does not declare is the minimum or maximum of the target's frames in all `parts`. These
    have a tensor for each target, and are not read if all bounds are declared.
    """
    declared = [
        (0.0, target.top)
        if target.encoding == "log"
        else (0.0, target.highest or 100.0)
        if target.encoding == "dbz"
        else (target.lowest, target.highest)
        for target in targets
    ]
    observed = [(math.inf, -math.inf)] * len(targets)
    for part in parts if any(None in bounds for bounds in declared) else ():
        for i, frames in enumerate(part):
            known, (lowest, highest) = torch.isfinite(frames), observed[i]
            lowest = min(lowest, torch.where(known, frames, math.inf).min().item())
            highest = max(highest, torch.where(known, frames, -math.inf).max().item())
            observed[i] = lowest, highest
    ranges: list[tuple[float, float] | None] = []
    for (low, high), (lowest, highest) in zip(declared, observed, strict=True):
        lowest, highest = (lowest, highest) if lowest <= highest else (0.0, 0.0)  # no value is known
        bounds = lowest if low is None else low, highest if high is None else high
        ranges.append(bounds if bounds[0] < bounds[1] else None)
    return ranges
