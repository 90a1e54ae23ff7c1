"""Pools over the frames so far, in the step form: what goes in, comes out, and goes on."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ._plan import BATCH, Port


def pool_of(model: Any) -> str:
    """The pool of a model's classifier by name, or nothing where it has none."""
    return ("avg" if model.num_classes else "") if model.global_pool is None else model.global_pool


def pool_ports(kind: str, width: int, dtype: torch.dtype) -> tuple[list[Port], list[Port]]:
    """What a pool carries from step to step: in and out."""
    if kind not in ("avg", "max"):
        return [], []
    return (
        [Port("pool_in", [BATCH, width], dtype), Port("steps_in", [BATCH], dtype)],
        [Port("pool_out", [BATCH, width], dtype), Port("steps_out", [BATCH], dtype)],
    )


def pool_so_far(kind: str, pooled: Tensor, inputs: Mapping[str, Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The pool over all frames from that of this one ``(N, F)``, and what is carried on."""
    if kind == "last":
        return pooled, ()
    before, steps = inputs["pool_in"], inputs["steps_in"].unsqueeze(1)
    if kind == "avg":
        pooled = pooled + before
        return pooled / (steps + 1), (pooled, (steps + 1).squeeze(1))
    pooled = torch.where(steps > 0, torch.maximum(pooled, before), pooled)
    return pooled, (pooled.clone(), (steps + 1).squeeze(1))
