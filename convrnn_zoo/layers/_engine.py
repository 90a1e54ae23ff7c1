"""The engine: one layer over a whole sequence, by the fast way or the plain one."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ._base import DirectionWeights, Equations
from ._function import Scan
from ._inplace import Maps
from ._plain import Job, is_one_conv, plain, plain_in_segments


def run(
    cell: Equations,
    xs: Tensor,
    states: Sequence[Maps],
    weights: Sequence[DirectionWeights],
    batch_sizes: list[int] | None = None,
    *,
    from_zero: bool = False,
    recompute: bool = False,
) -> tuple[Tensor, list[Maps]]:
    """Every ``h``, those of all directions side by side, and the last state of each.

    Both are in the dtype of the weights, whatever autocast makes of the convolutions.

    `xs` is ``(T, N, C, *S)``, or, given `batch_sizes`, the data ``(ΣT, C, *S)`` of a packed sequence; a state has
    its batch in the packed order. The output has the layout of `xs`. The second direction, if any, is the reverse.
    `from_zero` says that the states are zero; `recompute` that a backward pass shall compute again what is inside √T
    segments of time instead of keeping it.
    """
    dtype = weights[0].ih.dtype
    states = [tuple(s.to(dtype) for s in state) for state in states]
    tensors = [t for s, w in zip(states, weights, strict=True) for t in (*s, w.ih, w.hh, w.b_ih, w.b_hh, *w.extra)]
    job = Job(
        cell=cell,
        sizes=batch_sizes or [xs.shape[1]] * xs.shape[0],
        packed=batch_sizes is not None,
        directions=len(weights),
        from_zero=from_zero,
        recompute=recompute,
        differentiated=torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in [xs, *tensors]),
    )
    # A compiler wants the operations one by one.
    one_by_one = torch.compiler.is_compiling() or torch.jit.is_tracing()
    if cell.in_place is None or one_by_one or xs.numel() == 0 or not all(is_one_conv(cell, xs, w) for w in weights):
        over = plain_in_segments if recompute and job.differentiated else plain
        y, *last = over(job, xs, *tensors)
    else:
        y, *last = Scan.apply(job._replace(compute=_conv_dtype(xs, dtype)), [], xs, *tensors)
    kinds = len(cell.states)
    y = y if batch_sizes else y.view(*xs.shape[:2], *y.shape[1:])
    return y, [tuple(last[i : i + kinds]) for i in range(0, len(last), kinds)]


def _conv_dtype(xs: Tensor, dtype: torch.dtype) -> torch.dtype:
    device = xs.device.type
    autocast = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return torch.get_autocast_dtype(device) if autocast else dtype
