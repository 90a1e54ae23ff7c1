"""Whether what was exported says what the model says."""

from collections.abc import Mapping
from typing import Any

import torch

from ._errors import ExportError
from ._plan import Axis, Plan, Run

EXACT = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""The largest difference, as a part of the largest value."""
_TRACED = {"batch": 2, "time": 4, "horizon": 3, "length": 3, "depth": 3, "height": 4, "width": 5}
_TRIED = (
    {"batch": 3, "time": 5, "horizon": 4, "length": 5, "depth": 4, "height": 3, "width": 6},
    {"batch": 4, "time": 3, "horizon": 5, "length": 7, "depth": 5, "height": 6, "width": 3},
)
_ALONE = {"batch": 1, "time": 1, "horizon": 1, "length": 4, "depth": 3, "height": 3, "width": 4}
"""What a program of torch.export may refuse: to torch, one is no size like others."""


def sizes_of(plan: Plan, which: Mapping[str, int]) -> dict[str, int]:
    """Those that a plan has open, none below what it takes."""
    ports = [p for part in plan.parts.values() for p in part.inputs]
    names = {a.size for p in ports for a in p.axes if isinstance(a, Axis)}
    names |= {p.name for p in ports if p.name == "horizon"}
    return {n: which[n] + max(0, plan.least.get(n, 1) - 3) for n in which if n in names}


def traced_sizes(plan: Plan) -> dict[str, int]:
    """The sizes that a plan is exported with."""
    return sizes_of(plan, _TRACED)


def check(plan: Plan, runs: Mapping[str, Run], dtype: torch.dtype, *, alone: bool) -> float:
    """The largest difference from the model at sizes it was not exported with, as a part of the largest value.

    `alone` tries one sequence of one step as well.

    Raises:
        ExportError: it is more than rounding, or a size is refused.
    """
    worst = 0.0
    for tried in (*_TRIED, _ALONE) if alone else _TRIED:
        sizes = {"time": tried["time"], "horizon": tried["horizon"], **sizes_of(plan, tried)}
        try:
            with torch.no_grad():
                found = list(plan.trial(runs, sizes))
        except ExportError:
            raise
        except Exception as e:
            raise ExportError(f"what was exported does not run at {sizes}; {type(e).__name__}: {str(e)[:300]}") from e
        for what, got, wanted in found:
            worst = max(worst, difference(what, got, wanted, dtype, sizes))
    return worst


def difference(what: str, got: torch.Tensor, wanted: torch.Tensor, dtype: torch.dtype, sizes: Any) -> float:
    """The largest difference as a part of the largest value, refused if it is more than rounding."""
    if got.shape != wanted.shape or got.dtype != wanted.dtype:
        raise ExportError(
            f"what was exported says {tuple(got.shape)} {got.dtype} for the {what} at {sizes}, and the model "
            f"{tuple(wanted.shape)} {wanted.dtype}"
        )
    scale = max(float(wanted.abs().max()), 1e-3)
    found = float((got.double() - wanted.double()).abs().max()) / scale
    if not found <= EXACT[dtype]:
        raise ExportError(
            f"what was exported differs from the model by {found:.1e} of the largest value in the {what} at {sizes}, "
            f"more than {EXACT[dtype]:.0e}"
        )
    return found
