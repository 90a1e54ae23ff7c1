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

from ._backward import Backward
from ._base import DirectionWeights, Equations
from ._conv import convolver, same_conv, same_padding
from ._fused import FusedKernel
from ._kernel import Kernel, Pool
from ._scan import cut, scan, scan_packed
from ._trace import Part

Maps = tuple[Tensor, ...]


class Job(NamedTuple):
    """One layer in one direction over a sequence: all but its tensors."""

    cell: Equations
    sizes: list[int]  # the batch of each step
    reverse: bool
    from_zero: bool  # the first state is zero
    compute: torch.dtype  # of the convolutions
    parts: list[Part]
    fused: bool
    plain: Callable[..., Any]  # the same function of the same tensors, differentiable as often as one likes

    def kernel(self, rest: Sequence[Tensor]) -> Kernel:
        kernel = Kernel(self.cell, self.parts, rest[len(self.cell.states) :], Pool(rest[0], self.compute))
        return FusedKernel(kernel) if self.fused and kernel.step.pointwise else kernel

    def is_packed(self, xs: Tensor) -> bool:
        """Whether the input is ``(ΣT, C, *S)``, and not ``(T, N, C, *S)``."""
        return xs.dim() < self.cell.ndim + 3

    def scan(self, step: Callable[..., Maps], xs: Tensor, state: Maps, reverse: bool) -> Maps:
        """The last state of `step` over the input."""
        if self.is_packed(xs):
            return scan_packed(step, xs.split(self.sizes), state, reverse=reverse)[1]
        return scan(step, xs.unbind(0), state, reverse=reverse)[1]


def can_join(cell: Equations, xs: Tensor, w: DirectionWeights) -> bool:
    """Whether the convolutions of input and state are one over both: of one kernel, padded alike on both sides."""
    pads = same_padding(xs.shape[-cell.ndim :], w.ih.shape[2:], cell.stride, cell.dilation)
    return (
        torch.amp.is_autocast_available(xs.device.type)  # not so on the meta device
        and cell.groups == 1
        and cell.padding_mode == "zeros"
        and w.ih.shape[2:] == w.hh.shape[2:]
        and all(before == after for before, after in pads)
    )


def joined(cell: Equations, w: DirectionWeights) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of the convolution over ``[x, h]``: what the cell's linear `join` makes of each part alone."""
    if type(cell).join is Equations.join:  # a sum, in fewer calls: a thirtieth of the time of small maps
        weight = torch.cat([w.ih, w.hh], 1)
    else:
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
        record: list[Tensor] | None = [] if any(ctx.needs_input_grad) else None
        with torch.autocast(xs.device.type, enabled=False):
            y, last = forward(job, xs, weight, bias, rest, record)
        if record is not None:
            # Saved, a view of an output would be an error: h is read from y itself.
            ctx.save_for_backward(xs, weight, bias, *rest, y, *record)
            ctx.job, ctx.inputs = job, 3 + len(rest)
            ctx.set_materialize_grads(False)
        return y, *(s.clone() for s in last)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        return gradients(_backward, ctx, grads)


def gradients(run: Callable[..., list[Tensor | None]], ctx: Any, grads: Sequence[Tensor | None]) -> Any:
    """Those of a function of `ctx`: by ``run(job, inputs, saved, grads, wanted)`` unless they are to be differentiated.

    What was saved is the inputs, `ctx.inputs` of them, and after them all else.
    """
    job, saved, wanted = ctx.job, ctx.saved_tensors, ctx.needs_input_grad[1:]
    inputs, saved = saved[: ctx.inputs], saved[ctx.inputs :]
    if torch.is_grad_enabled():  # a derivative of this one is wanted
        return None, *_again(job, inputs, grads, wanted)
    with torch.autocast(inputs[0].device.type, enabled=False):
        inputs = [None if t is None else t.detach() for t in inputs]
        return None, *run(job, inputs, saved, grads, wanted)


def _backward(
    job: Job, inputs: Sequence[Any], saved: Sequence[Tensor], grads: Sequence[Tensor | None], wanted: Sequence[bool]
) -> list[Tensor | None]:
    (xs, weight, bias, *rest), (y, *kept) = inputs, saved
    return Backward(job, xs, weight, bias, rest, [y.detach(), *kept], grads, wanted).run()


def forward(
    job: Job, xs: Tensor, weight: Tensor, bias: Tensor | None, rest: Sequence[Tensor],
    record: list[Tensor] | None = None, out: Tensor | None = None,
) -> tuple[Tensor, Maps]:  # fmt: skip
    """The scan, not differentiable; every h is written to `out`, if given.

    `record` gets the states of all steps, but for h, and what the kernel keeps.
    """
    kinds, kernel = len(job.cell.states), job.kernel(rest)
    pool, (n, channels, *size) = kernel.pool, rest[0].shape
    inputs, from_zero, geometry = weight.shape[1] - channels, job.from_zero, job.cell.geometry
    weight, bias = kernel.weights(weight, bias)
    weight = weight.to(job.compute)
    biases = [None if bias is None else bias[part.rows].to(job.compute) for part in job.parts]

    both = pool.map(n, inputs + channels, job.compute)
    y = pool.map(sum(job.sizes), channels) if out is None else out
    order = slice(None, None, -1 if job.reverse else 1)
    sizes = job.sizes[order]
    rests: Any
    if record is None:  # the state that is read is not the one that is written
        rests = (pool.states(f"state {t % 2}", kinds - 1, n) for t, n in enumerate(sizes))
    else:
        spans = kernel.spans(sizes)
        record += [pool.map(sum(sizes[a:b]), channels) for a, b in spans for _ in range(kinds - 1)]
        rests = cut(record, sizes, spans)
    news = ((h, *rest) for h, rest in zip(y.split(job.sizes)[order], rests, strict=False))

    def once(part: Part, bias: Tensor | None) -> tuple[slice, Callable[[Tensor], Tensor]]:
        span = part.sees(inputs, not (from_zero and part.from_x))  # a zero state has no part beside an input
        return span, lambda seen: same_conv(seen, weight[part.rows, span], bias, geometry)

    def often(part: Part, bias: Tensor | None) -> tuple[slice, Callable[[Tensor], Tensor]]:
        span = part.sees(inputs)
        return span, convolver(weight[part.rows, span], bias, geometry, size, pool.inside)

    parts = list(zip(job.parts, biases, strict=True))
    later = [often(*each) for each in parts] if len(sizes) > 1 else []
    # What is convolved once does not pay for a weight made ready.
    first = later if later and not from_zero else [once(*each) for each in parts]
    todo = itertools.chain([first], itertools.repeat(later))
    views: dict[int, Any] = {}
    there = 0  # rows whose h the step before has put beside the input

    def step(x: Tensor, state: Maps) -> Maps:
        nonlocal there
        rows = x.shape[0]
        if rows not in views:
            seen = both[:rows]
            views[rows] = (seen[:, :inputs], seen[:, inputs:], [seen[:, span] for span, _ in later])
        to_x, to_h, spans = views[rows]
        to_x.copy_(x)
        if rows > there:
            to_h.copy_(state[0])
        there = rows
        now = next(todo)
        if now is not later:
            spans = [both[:rows, span] for span, _ in now]
        convolved = [conv(seen) for seen, (_, conv) in zip(spans, now, strict=True)]
        new = next(news)
        kept = kernel.forward(convolved, state, new, to_h)
        if record is not None:
            record.extend(kept)
        return new

    state = tuple(pool.map(*s.shape[:2]).copy_(s) for s in rest[:kinds])
    return y, job.scan(step, xs, state, job.reverse)


def _again(
    job: Job, inputs: Sequence[Tensor | None], grads: Sequence[Tensor | None], wanted: Sequence[bool]
) -> list[Tensor | None]:
    """The gradients as a function that can itself be differentiated, by way of the plain path."""
    outs = job.plain(*inputs)
    ends = [(o, g) for o, g in zip(outs, grads, strict=True) if g is not None and o.requires_grad]
    sources = [t for t, w in zip(inputs, wanted, strict=True) if w and t is not None]
    found = iter(
        torch.autograd.grad([o for o, _ in ends], sources, [g for _, g in ends], create_graph=True, allow_unused=True)
    )
    return [next(found) if w else None for w in wanted]
