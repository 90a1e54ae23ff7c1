"""The engine: one layer over a whole sequence. The one place where cell, convolution and time meet."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint

from ._base import DirectionWeights, Equations
from ._conv import same_conv
from ._fused import is_fused
from ._joined import Job, JoinedScan, can_join, forward, joined
from ._kernel import Pool
from ._recompute import RecomputedScan
from ._scan import scan, scan_packed
from ._trace import parts

Maps = tuple[Tensor, ...]
Run = Callable[["Segment", Maps, bool], tuple[Tensor, Maps]]


@dataclass
class Segment:
    """Steps in a row: ``(T, N, C, *S)``, or the data ``(ΣT, C, *S)`` of a packed sequence, and the batch of each."""

    xs: Tensor
    sizes: list[int]
    packed: bool

    def __len__(self) -> int:
        return self.sizes[0]

    def steps(self) -> tuple[Tensor, ...]:
        return self.xs.split(self.sizes) if self.packed else self.xs.unbind(0)

    def cut(self, steps: int) -> list["Segment"]:
        sizes = [self.sizes[i : i + steps] for i in range(0, len(self.sizes), steps)]
        xs = self.xs.split([sum(s) for s in sizes] if self.packed else steps)
        return [Segment(x, s, self.packed) for x, s in zip(xs, sizes, strict=True)]


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
    whole = Segment(xs, batch_sizes or [xs.shape[1]] * xs.shape[0], batch_sizes is not None)
    states = [tuple(s.to(weights[0].ih.dtype) for s in state) for state in states]
    joint, apart = [xs.numel() > 0 and can_join(cell, xs, w) for w in weights], _is_taken_apart()
    outs: list[Tensor | None] = [None] * len(weights)
    both = None
    # Written where they belong, the directions need not be joined: a twentieth of the time of two layers.
    if len(weights) > 1 and all(joint) and not apart and not torch.is_grad_enabled():
        like = states[0][0]
        both = Pool(like, _compute(xs, like)).map(sum(whole.sizes), len(weights) * like.shape[1])
        outs = list(both.chunk(len(weights), 1))
    ys, ends = [], []
    for d, (state, w, out) in enumerate(zip(states, weights, outs, strict=True)):
        y, end = _way(cell, w, d == 1, joint[d], apart, out, recompute)(whole, state, from_zero)
        ys.append(y)
        ends.append(end)
    if both is None:
        both = ys[0] if len(ys) == 1 else cat(ys, 1, 1)
    return both if batch_sizes else both.view(*xs.shape[:2], *both.shape[1:]), ends


def _way(
    cell: Equations, w: DirectionWeights, reverse: bool, joint: bool, apart: bool, out: Tensor | None, recompute: bool
) -> Run:
    """How one direction is run."""
    advance: Callable[..., Maps] = partial(cell.advance, w=w)
    if joint:
        weight, bias = joined(cell, w)
        if not apart:
            return partial(_joined, cell, w, reverse, weight, bias, out, recompute)
        if len(weight) == len(w.ih):  # no row of zeros: one convolution is no more work than two
            advance = partial(_advance, cell, weight, bias, w.own)
    one: Run = partial(_plain, advance, reverse)
    return partial(_recomputed, one, reverse) if recompute and torch.is_grad_enabled() else one


def _compute(xs: Tensor, like: Tensor) -> torch.dtype:
    """The dtype of the convolutions."""
    device = xs.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else like.dtype


def _is_taken_apart() -> bool:
    """Whether a compiler, torch.func or forward-mode differentiation wants the operations one by one."""
    return (
        torch.compiler.is_compiling()
        or torch._C._functorch.peek_interpreter_stack() is not None
        or forward_ad._current_level >= 0
    )


def _plain(advance: Callable[..., Maps], reverse: bool, segment: Segment, state: Maps, from_zero: bool) -> Any:
    """Step after step under ordinary autograd: for all that :func:`can_join` excludes, and for compilers."""
    return _steps(advance, segment, state, reverse)


def _advance(cell: Equations, weight: Tensor, bias: Tensor | None, own: Maps, x: Tensor, state: Maps) -> Maps:
    """One whole step with the weights joined."""
    both = torch.cat([x.to(state[0].dtype), state[0]], 1)
    return cell.step(same_conv(both, weight, bias, cell.geometry), state, own)


def _steps(advance: Callable[..., Maps], segment: Segment, state: Maps, reverse: bool) -> tuple[Tensor, Maps]:
    dtype = state[0].dtype

    def step(x: Tensor, state: Maps) -> Maps:
        return tuple(s.to(dtype) for s in advance(x, state))

    over = scan_packed if segment.packed else scan
    ys, state = over(step, segment.steps(), state, reverse=reverse)
    return torch.cat(ys), state


def _joined(
    cell: Equations,
    w: DirectionWeights,
    reverse: bool,
    weight: Tensor,
    bias: Tensor | None,
    out: Tensor | None,
    recompute: bool,
    segment: Segment,
    state: Maps,
    from_zero: bool,
) -> tuple[Tensor, Maps]:
    device, kinds = segment.xs.device.type, len(state)

    def plain(xs: Tensor, weight: Tensor, bias: Tensor | None, *rest: Tensor) -> Maps:
        advance = partial(_advance, cell, weight, bias, rest[kinds:])
        y, last = _steps(advance, Segment(xs, segment.sizes, segment.packed), rest[:kinds], reverse)
        return y, *last

    job = Job(
        cell=cell,
        sizes=segment.sizes,
        reverse=reverse,
        from_zero=from_zero,
        compute=_compute(segment.xs, weight),
        parts=parts(cell, w.ih.shape[0], w.hh.shape[0]),
        fused=is_fused(),
        plain=plain,
    )
    rest = (*state, *w.own)
    if not torch.is_grad_enabled() or not any(
        t.requires_grad for t in (segment.xs, weight, bias, *rest) if t is not None
    ):
        with torch.autocast(device, enabled=False):
            return forward(job, segment.xs, weight, bias, rest, out=out)
    y, *last = (RecomputedScan if recompute else JoinedScan).apply(job, segment.xs, weight, bias, *rest)
    return y, tuple(last)


def _recomputed(one: Run, reverse: bool, whole: Segment, state: Maps, from_zero: bool) -> tuple[Tensor, Maps]:
    """`one` over √T segments in turn; between passes only their ends are kept."""
    ys: list[Tensor] = []

    def step(segment: Segment, state: Maps) -> Maps:
        y, state = checkpoint(one, segment, state, from_zero and not ys, use_reentrant=False, preserve_rng_state=False)
        ys.append(y)
        return state

    segments = whole.cut(math.isqrt(len(whole.sizes) - 1) + 1)
    over: Any = scan_packed if whole.packed else scan
    _, state = over(step, segments, state, reverse=reverse)
    return cat(ys[:: -1 if reverse else 1], 0, -state[0].dim() + 1), state


def cat(maps: list[Tensor], dim: int, channels: int) -> Tensor:
    """Joined along `dim`, `channels` still innermost where they are: torch.cat itself does that in 4 axes alone."""
    inside = [m.movedim(channels, -1) for m in maps]
    if all(m.is_contiguous() for m in inside):
        return torch.cat(inside, -1 if dim == channels else dim).movedim(-1, channels)
    return torch.cat(maps, dim)
