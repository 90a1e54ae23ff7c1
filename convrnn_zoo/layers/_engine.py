"""The engine: one layer in one direction over a whole sequence. The one place where cell, convolution and time meet."""

import torch
from torch import Tensor

from ._base import DirectionWeights, Equations
from ._scan import scan, scan_packed


def run(
    cell: Equations,
    xs: Tensor,
    state: tuple[Tensor, ...],
    w: DirectionWeights,
    batch_sizes: list[int] | None = None,
    *,
    reverse: bool = False,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Every ``h`` and the last state.

    `xs` is ``(T, N, C, *S)``, or, given `batch_sizes`, the data ``(ΣT, C, *S)`` of a packed sequence; `state` has
    its batch in the packed order. The output has the layout of `xs`.
    """

    def step(x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return cell.advance(x, state, w)

    if batch_sizes is None:
        ys, state = scan(step, xs.unbind(0), state, reverse=reverse)
        return torch.stack(ys), state
    ys, state = scan_packed(step, xs.split(batch_sizes), state, reverse=reverse)
    return torch.cat(ys), state
