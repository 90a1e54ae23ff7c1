"""The engine: one layer in one direction over a whole sequence. The one place where cell, convolution and time meet."""

from typing import NamedTuple

import torch
from torch import Tensor

from ._base import DirectionWeights, Equations
from ._conv import same_conv
from ._fused import kernel_class
from ._joined import Job, JoinedScan, can_join, joined
from ._scan import scan, scan_packed
from ._trace import parts

Maps = tuple[Tensor, ...]


def run(
    cell: Equations,
    xs: Tensor,
    state: Maps,
    w: DirectionWeights,
    batch_sizes: list[int] | None = None,
    *,
    reverse: bool = False,
    from_zero: bool = False,
) -> tuple[Tensor, Maps]:
    """Every ``h`` and the last state.

    `xs` is ``(T, N, C, *S)``, or, given `batch_sizes`, the data ``(ΣT, C, *S)`` of a packed sequence; `state` has
    its batch in the packed order. The output has the layout of `xs`. `from_zero` says that `state` is zero.
    """
    dtype = w.ih.dtype  # of states and output, whatever autocast makes of the convolutions
    state = tuple(s.to(dtype) for s in state)
    device = xs.device.type
    joins = can_join(cell, xs.shape[-cell.ndim :], w)
    if _traced() or not joins or not xs.numel() or not torch.amp.is_autocast_available(device):
        return _plain(cell, xs, state, w, batch_sizes, reverse)
    weight, bias = joined(cell, w)

    def plain(xs: Tensor, weight: Tensor, bias: Tensor | None, *rest: Tensor) -> Maps:
        def step(x: Tensor, state: Maps) -> Maps:
            gates = same_conv(torch.cat([x.to(dtype), state[0]], 1), weight, bias, cell.geometry)
            return tuple(s.to(dtype) for s in cell.step(gates, state, rest[len(cell.states) :]))

        ys, last = _scan(step, xs, rest[: len(cell.states)], batch_sizes, reverse)
        return torch.cat(ys), *last

    compute = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else dtype
    sizes = batch_sizes or [xs.shape[1]] * len(xs)
    job = Job(cell, sizes, reverse, from_zero, compute, parts(cell, len(w.ih), len(w.hh)), kernel_class(), plain)
    y, *last = JoinedScan.apply(job, xs, weight, bias, *state, *w.own)
    return y if batch_sizes else y.unflatten(0, xs.shape[:2]), tuple(last)


def _traced() -> bool:
    """Whether somebody else takes the program apart (a compiler, torch.func, forward-mode differentiation)."""
    return (
        torch.compiler.is_compiling()
        or torch._C._functorch.peek_interpreter_stack() is not None
        or torch.autograd.forward_ad._current_level >= 0
    )


def _scan(step, xs, state, batch_sizes, reverse):
    if batch_sizes is None:
        return scan(step, xs.unbind(0), state, reverse=reverse)
    return scan_packed(step, xs.split(batch_sizes), state, reverse=reverse)


def _plain(cell: Equations, xs: Tensor, state: Maps, w: DirectionWeights, batch_sizes, reverse) -> tuple[Tensor, Maps]:
    dtype = w.ih.dtype

    def step(x: Tensor, state: Maps) -> Maps:
        return tuple(s.to(dtype) for s in cell.advance(x, state, w))

    ys, last = _scan(step, xs, state, batch_sizes, reverse)
    return (torch.stack(ys) if batch_sizes is None else torch.cat(ys)), last
