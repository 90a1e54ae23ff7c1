"""The plain way through a layer: its equations step after step, under ordinary autograd.

What the fast way is held to, what runs where it cannot, and what torch transforms when it transforms a layer.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from . import _checks as check
from ._base import DirectionWeights, Equations
from ._conv import same_conv, same_padding
from ._inplace import Maps
from ._scan import scan, scan_packed


class Job(NamedTuple):
    """A layer over a sequence: all but its tensors.

    Those are the input, ``(T, N, C, *S)`` or the data ``(ΣT, C, *S)`` of a packed sequence, and for each direction the
    state, the weights, the biases and the extra parameters.
    """

    cell: Equations
    sizes: list[int]
    """The batch of each step."""
    packed: bool
    directions: int
    from_zero: bool
    """Whether the first state is zero."""
    recompute: bool
    """Whether a backward pass computes the steps again, √T at a time, instead of keeping them."""
    differentiated: bool
    compute: torch.dtype = torch.float32
    """Of the convolutions."""

    def steps(self, xs: Tensor) -> tuple[Tensor, ...]:
        """The input of each step."""
        return xs.split(self.sizes) if self.packed else xs.unbind(0)

    def by_direction(self, tensors: Sequence[Any]) -> list[tuple[Maps, DirectionWeights]]:
        """State and parameters of each direction."""
        each, kinds = len(tensors) // self.directions, len(self.cell.states)
        found = []
        for i in range(0, len(tensors), each):
            ih, hh, b_ih, b_hh, *extra = tensors[i + kinds : i + each]
            found.append((tuple(tensors[i : i + kinds]), DirectionWeights(ih, hh, b_ih, b_hh, tuple(extra))))
        return found

    def segments(self) -> list[range]:
        """√T steps each if the steps are to be computed again, else all of them."""
        steps = len(self.sizes)
        length = math.isqrt(steps - 1) + 1 if self.recompute else steps
        return [range(t, min(t + length, steps)) for t in range(0, steps, length)]


def is_one_conv(cell: Equations, xs: Tensor, w: DirectionWeights) -> bool:
    """Whether the convolutions of input and state are one over both: of one kernel, padded alike on both sides."""
    pads = same_padding(xs.shape[-cell.ndim :], w.ih.shape[2:], cell.stride, cell.dilation)
    return (
        cell.groups == 1
        and cell.padding_mode == "zeros"
        and w.ih.shape[2:] == w.hh.shape[2:]
        and all(before == after for before, after in pads)
    )


def over_segments(job: Job, advance: Callable[[range, Maps], Maps], state: Maps, reverse: bool) -> Maps:
    """The last state of ``state = advance(steps, state)`` over the segments."""
    segments = job.segments()
    if job.packed:
        sizes = [job.sizes[ts.start] for ts in segments]
        return scan_packed(advance, segments, state, reverse=reverse, sizes=sizes)[1]
    return scan(advance, segments, state, reverse=reverse)[1]


def plain(job: Job, xs: Tensor, *tensors: Any) -> Maps:
    """Every h in rows ``(ΣT, C, *S)``, directions side by side, then the last states."""
    over: Any = scan_packed if job.packed else scan
    ys: list[Tensor] = []
    ends: list[Tensor] = []
    for d, (state, w) in enumerate(job.by_direction(tensors)):
        y, end = over(plain_step(job.cell, xs, w), job.steps(xs), state, reverse=d == 1)
        ys.append(torch.cat(y))
        ends += end
    return torch.cat(ys, 1), *ends


def plain_step(cell: Equations, xs: Tensor, w: DirectionWeights) -> Callable[[Tensor, Maps], Maps]:
    """A step of `cell` on maps of the size of those of `xs`, by one convolution where its two are one."""
    dtype = w.ih.dtype
    advance: Callable[..., Maps] = partial(cell._checked_advance, w=w)
    if type(cell).advance is Equations.advance and cell.summed is None and is_one_conv(cell, xs, w):
        weight = torch.cat([w.ih, w.hh], 1)
        bias = w.b_ih if w.b_hh is None or w.b_ih is None else w.b_ih + w.b_hh

        def advance(x: Tensor, state: Maps) -> Maps:
            both = torch.cat([x.to(dtype), state[0]], 1)
            gates = same_conv(both, weight, bias, cell.geometry)
            return check.new_state(type(cell), cell.step(gates, state, w.extra), state)

    kinds = len(cell.states)  # a step may return more, which no sequence layer passes on
    return lambda x, state: tuple(s.to(dtype) for s in advance(x, state)[:kinds])


def plain_in_segments(job: Job, xs: Tensor, *tensors: Any) -> Maps:
    """:func:`plain`, of which only the seams between segments are kept between passes."""
    found = [
        _segments_of_direction(job, xs, state, w, d == 1) for d, (state, w) in enumerate(job.by_direction(tensors))
    ]
    return torch.cat([y for y, _ in found], 1), *(s for _, end in found for s in end)


def _segments_of_direction(
    job: Job, xs: Tensor, state: Maps, w: DirectionWeights, reverse: bool
) -> tuple[Tensor, Maps]:
    steps, ys = job.steps(xs), {}
    over: Any = scan_packed if job.packed else scan

    def run_steps(ts: range, *state: Tensor) -> Any:
        y, end = over(plain_step(job.cell, xs, w), steps[ts.start : ts.stop], state, reverse=reverse)
        return torch.cat(y), end

    def segment(ts: range, state: Maps) -> Maps:
        ys[ts], state = checkpoint(run_steps, ts, *state, use_reentrant=False)
        return state

    state = over_segments(job, segment, state, reverse)
    return torch.cat([ys[ts] for ts in job.segments()]), state
