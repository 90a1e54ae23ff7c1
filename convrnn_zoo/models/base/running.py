"""Pools over all steps so far, of sequences that come piece by piece."""

from collections.abc import Callable

import torch
from torch import Tensor

from .sequences import POOLS

RunningPool = Callable[[Tensor | None, Tensor, Tensor, Tensor], Tensor]
"""Takes what was pooled before, ``(N, F)`` or None, the steps with this piece ``(N,)``, the piece ``(N, T, F, *S)``
and how many of its steps are of each sequence, ``(N,)``, none for one that waits. Gives what is pooled now, in at least
single precision: in half a mean over many steps would stop moving."""


def _running(kind: str, combine: Callable[[Tensor, Tensor, Tensor], Tensor]) -> RunningPool:
    def pool(before: Tensor | None, steps: Tensor, y: Tensor, lengths: Tensor) -> Tensor:
        lengths = lengths.to(y.device)
        exact = torch.promote_types(y.dtype, torch.float32)
        new = POOLS[kind](y.to(exact), lengths.clamp(min=1), 1)
        if before is None:
            return new
        fresh, waiting = (steps == lengths).unsqueeze(1), (lengths == 0).unsqueeze(1)
        share = (lengths / steps.clamp(min=1)).to(exact).unsqueeze(1)
        return torch.where(waiting, before, torch.where(fresh, new, combine(before, new, share)))

    return pool


RUNNING_POOLS: dict[str, RunningPool] = {
    "avg": _running("avg", torch.lerp),
    "max": _running("max", lambda before, new, share: torch.maximum(before, new)),
    "last": _running("last", lambda before, new, share: new),
}
"""By the names of :data:`~convrnn_zoo.models.base.sequences.POOLS`."""
