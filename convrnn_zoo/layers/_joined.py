"""The fast path: one convolution a step over ``[x_t, h]``, and a backward pass of its own.

The input and the state lie side by side in one buffer, so that their convolutions are one, with the weights joined.
Backward, each step takes the derivative of the equations and one convolution for the state; the gradients of the
weights and of the input wait until a few steps are together and take one convolution for all of them.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ._base import DirectionWeights, Equations
from ._conv import plain_conv, plain_conv_backward, same_padding
from ._kernel import Kernel, channels_inside
from ._scan import scan_packed

Maps = tuple[Tensor, ...]

# Bytes of gate gradients that wait for their weight gradient: steps enough to fill the cores, few enough for a cache.
_CHUNK_BYTES = 16 << 20


class Job(NamedTuple):
    """One layer in one direction over a sequence: all but its tensors."""

    cell: Equations
    sizes: list[int]  # the batch of each step
    reverse: bool
    from_zero: bool  # the first state is zero
    compute: torch.dtype  # of the convolutions
    plain: Callable[..., Any]  # the same function of the same tensors, differentiable as often as one likes


def can_join(cell: Equations, size: Sequence[int], w: DirectionWeights) -> bool:
    """Whether the convolutions of input and state are one over both: of one kernel, padded alike on both sides."""
    pads = same_padding(size, w.ih.shape[2:], cell.stride, cell.dilation)
    return (
        cell.groups == 1
        and cell.padding_mode == "zeros"
        and w.ih.shape[2:] == w.hh.shape[2:]
        and all(before == after for before, after in pads)
    )


def joined(cell: Equations, w: DirectionWeights) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of the convolution over ``[x, h]``: what the cell's linear `join` makes of each part alone."""
    ih, hh = w.ih.transpose(0, 1), w.hh.transpose(0, 1)  # join works on axis 1
    from_x = cell.join(ih, hh.new_zeros(len(ih), *hh.shape[1:]))
    from_h = cell.join(ih.new_zeros(len(hh), *ih.shape[1:]), hh)
    weight = torch.cat([from_x, from_h]).transpose(0, 1)
    if w.b_ih is None or w.b_hh is None:
        return weight, None
    return weight, cell.join(w.b_ih[None], w.b_hh[None])[0]


class JoinedScan(torch.autograd.Function):
    """``apply(job, xs, weight, bias, *state, *own)``: every h in rows ``(ΣT, C, *S)``, then the last state."""

    @staticmethod
    def forward(ctx: Any, job: Job, xs: Tensor, weight: Tensor, bias: Tensor | None, *rest: Tensor) -> Any:
        record: list[tuple[Maps, Tensor]] | None = [] if any(ctx.needs_input_grad) else None
        with torch.autocast(xs.device.type, enabled=False):
            y, last = _forward(job, xs, weight, bias, rest, record)
        if record is not None:
            ctx.save_for_backward(xs, weight, bias, *rest, *itertools.chain(*((*s, g) for s, g in record)))
            ctx.job, ctx.inputs = job, 3 + len(rest)
            ctx.set_materialize_grads(False)
        return y, *last

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        job, saved, wanted = ctx.job, ctx.saved_tensors, ctx.needs_input_grad[1:]
        inputs, saved = saved[: ctx.inputs], saved[ctx.inputs :]
        if torch.is_grad_enabled():  # a derivative of this one is wanted
            return None, *_again(job, inputs, grads, wanted)
        kinds = len(job.cell.states)
        record = [(saved[i : i + kinds], saved[i + kinds]) for i in range(0, len(saved), kinds + 1)]
        with torch.autocast(inputs[0].device.type, enabled=False):
            return None, *_backward(job, *inputs[:3], inputs[3:], record, grads, wanted)


def _kernel(job: Job, weight: Tensor, rest: Sequence[Tensor]) -> Kernel:
    kinds = len(job.cell.states)
    return Kernel(job.cell, len(weight), rest[0], rest[kinds:], channels_inside(job.compute, rest[0].device))


def _steps(job: Job, xs: Tensor) -> Sequence[Tensor]:
    """The input by time: of ``(T, N, C, *S)`` or packed ``(ΣT, C, *S)``."""
    return xs.unbind(0) if xs.dim() == job.cell.ndim + 3 else xs.split(job.sizes)


def _forward(
    job: Job, xs: Tensor, weight: Tensor, bias: Tensor | None, rest: Sequence[Tensor], record: list | None
) -> tuple[Tensor, Maps]:
    geometry, kernel = job.cell.geometry, _kernel(job, weight, rest)
    n, channels = rest[0].shape[:2]
    inputs = weight.shape[1] - channels
    weight = weight.to(job.compute).contiguous()
    bias = None if bias is None else bias.to(job.compute)
    both = kernel.map(n, inputs + channels, job.compute)
    y = kernel.map(sum(job.sizes), channels)
    outs = iter(y.split(job.sizes)[:: -1 if job.reverse else 1])
    first = job.from_zero

    def step(x: Tensor, state: Maps) -> Maps:
        nonlocal first
        if first:
            seen, taken = kernel.map(len(x), inputs, job.compute).copy_(x), weight[:, :inputs].contiguous()
        else:
            seen, taken = both[: len(x)], weight
            seen[:, :inputs].copy_(x)
            seen[:, inputs:].copy_(state[0])
        first = False
        gates = plain_conv(seen, taken, bias, geometry)
        new, kept = kernel.forward(gates, state, next(outs), keep=record is not None)
        if record is not None:
            record.append((state, kept))
        return new

    state = tuple(kernel.map(*s.shape[:2]).copy_(s) for s in rest[: len(job.cell.states)])
    _, last = scan_packed(step, _steps(job, xs), state, reverse=job.reverse)
    return y, tuple(s.clone() for s in last)


def _backward(
    job: Job,
    xs: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    rest: Sequence[Tensor],
    record: list[tuple[Maps, Tensor]],
    grads: Sequence[Tensor | None],
    wanted: Sequence[bool],
) -> list[Tensor | None]:
    """The scan once more, the other way round: a step takes the gradient of its state to that of the one before."""
    geometry, kernel = job.cell.geometry, _kernel(job, weight, rest)
    kinds, (n, channels) = len(job.cell.states), rest[0].shape[:2]
    inputs = weight.shape[1] - channels
    to_x, to_weight, to_bias, to_state = wanted[0], wanted[1], wanted[2], any(wanted[3 : 3 + kinds])
    weight = weight.to(job.compute)
    weight_x, weight_h = weight[:, :inputs].contiguous(), weight[:, inputs:].contiguous()
    sums: list[Tensor | None] = [None, None]
    sizes = job.sizes
    ends = list(itertools.accumulate(sizes))
    order = list(range(len(sizes)))[:: 1 if job.reverse else -1]
    row_bytes = weight.shape[0] * rest[0][0, 0].numel() * rest[0].element_size()
    chunks = _chunks(sizes, max(1, _CHUNK_BYTES // max(1, row_bytes)))
    most = max(ends[b - 1] - ends[a] + sizes[a] for a, b in chunks)
    gate_grads = kernel.map(most, len(weight), job.compute)
    both = kernel.map(most, inputs + channels, job.compute)
    x_steps = _steps(job, xs)
    dx = kernel.map(sum(sizes), inputs, xs.dtype) if to_x else None
    chunk_of = {t: (a, b) for a, b in chunks for t in range(a, b)}
    dy_steps = (None,) * len(sizes) if grads[0] is None else grads[0].split(sizes)
    record = record[::-1] if not job.reverse else record[::-1]
    todo = iter(order)
    taken = iter(record)
    total = kernel.map(n, channels)

    def flush(a: int, b: int) -> None:
        start, rows = ends[a] - sizes[a], ends[b - 1] - ends[a] + sizes[a]
        g, seen = gate_grads[:rows], both[:rows]
        if to_weight or to_bias:
            _, *parts = plain_conv_backward(g, seen, weight, geometry, (False, to_weight, to_bias))
            for i, part in enumerate(parts):
                if part is not None:
                    sums[i] = part.to(rest[0].dtype) if sums[i] is None else sums[i].add_(part)
        if dx is not None:
            part, *_ = plain_conv_backward(g, seen[:, :inputs], weight_x, geometry, (True, False, False))
            dx[start : start + rows].copy_(part)

    def step(_: Tensor, state_grads: Maps) -> Maps:
        t, (state, kept) = next(todo), next(taken)
        a, b = chunk_of[t]
        here = slice(ends[t] - sizes[t] - (ends[a] - sizes[a]), ends[t] - (ends[a] - sizes[a]))
        dh, dy = state_grads[0], dy_steps[t]
        if dy is not None:
            dh = torch.add(dh, dy, out=total[: sizes[t]])
        into = gate_grads[here]
        before = kernel.backward(kept, state, (dh, *state_grads[1:]), into)
        if to_weight:
            both[here][:, :inputs].copy_(x_steps[t])
            both[here][:, inputs:].copy_(state[0])
        if t == (b - 1 if job.reverse else a):
            flush(a, b)
        if t == order[-1] and not to_state:
            return state_grads
        dh, *_ = plain_conv_backward(into, state[0].to(job.compute), weight_h, geometry, (True, False, False))
        assert dh is not None
        dh = dh.to(rest[0].dtype)
        if before[0] is not None:
            dh.add_(before[0])
        return dh, *(torch.zeros_like(s) if g is None else g for g, s in zip(before[1:], state[1:], strict=True))

    given = [
        kernel.map(n, channels).zero_() if g is None else kernel.map(n, channels).copy_(g) for g in grads[1:]
    ]
    _, first = scan_packed(step, _steps(job, xs), tuple(given), reverse=not job.reverse)
    return [
        None if dx is None else dx.view(xs.shape),
        *sums,
        *(g if w else None for g, w in zip(first, wanted[3:], strict=False)),
        *kernel.own_grads,
    ]


def _chunks(sizes: list[int], rows: int) -> list[tuple[int, int]]:
    """Ranges of steps of up to so many rows together, one step at least."""
    chunks, start, held = [], 0, 0
    for t, n in enumerate(sizes):
        if t > start and held + n > rows:
            chunks.append((start, t))
            start, held = t, 0
        held += n
    return [*chunks, (start, len(sizes))]


def _again(
    job: Job, inputs: Sequence[Tensor | None], grads: Sequence[Tensor | None], wanted: Sequence[bool]
) -> list[Tensor | None]:
    """The gradients as a differentiable function of everything, through the plain path."""
    outs = job.plain(*inputs)
    ends = [(o, g) for o, g in zip(outs, grads, strict=True) if g is not None and o.requires_grad]
    sources = [t for t, w in zip(inputs, wanted, strict=True) if w]
    found = iter(
        torch.autograd.grad(
            [o for o, _ in ends], sources, [g for _, g in ends], create_graph=True, allow_unused=True
        )
    )
    return [next(found) if w else None for w in wanted]
