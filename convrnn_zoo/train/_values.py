"""Conversion of values to TOML and JSON, and the value range of frames."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..values.preprocessing import Encoding


def toml(value: Any) -> str:
    """Returns a value in the syntax of TOML.

    Example:
        >>> toml(["a", 1.5, True, float("nan"), {"b": 1}])
        '["a", 1.5, true, nan, {b = 1}]'
    """
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{toml_key(k)} = {toml(v)}' for k, v in value.items())}}}"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return json.dumps(value, ensure_ascii=False)


def toml_key(name: str) -> str:
    """Returns a key in the syntax of TOML, in quotes if it has characters that a bare key must not have."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)


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


def flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flattens nested tables; the key of a nested field is its path with dots, such as ``"data.kind"``."""
    saved: dict[str, Any] = {}
    for key, value in table.items():
        saved |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return saved


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
        (0.0, target.top) if target.encoding == "log"
        else (0.0, target.highest or 100.0) if target.encoding == "dbz"
        else (target.lowest, target.highest)
        for target in targets
    ]  # fmt: skip
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
