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
from ._fused import fused_kernel
from ._kernel import Kernel, Pool
from ._scan import scan_packed
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
    plain: Callable[..., Any]  # the same function of the same tensors, differentiable as often as one likes

    def kernel(self, weight: Tensor, rest: Sequence[Tensor]) -> Kernel:
        make = fused_kernel() or Kernel
        return make(self.cell, len(weight), rest[len(self.cell.states) :], Pool(rest[0], self.compute))

    def steps(self, xs: Tensor) -> Sequence[Tensor]:
        """The input by time: of ``(T, N, C, *S)`` or packed ``(ΣT, C, *S)``."""
        return xs.unbind(0) if xs.dim() == self.cell.ndim + 3 else xs.split(self.sizes)


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
        record: list[Maps] | None = [] if any(ctx.needs_input_grad) else None
        with torch.autocast(xs.device.type, enabled=False):
            y, last = _forward(job, xs, weight, bias, rest, record)
        if record is not None:
            ctx.save_for_backward(xs, weight, bias, *rest, *itertools.chain(*record))
            ctx.job, ctx.inputs = job, 3 + len(rest)
            ctx.set_materialize_grads(False)
        return y, *last

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        job, saved, wanted = ctx.job, ctx.saved_tensors, ctx.needs_input_grad[1:]
        inputs, saved = saved[: ctx.inputs], saved[ctx.inputs :]
        if torch.is_grad_enabled():  # a derivative of this one is wanted
            return None, *_again(job, inputs, grads, wanted)
        each = len(saved) // len(job.sizes)
        record = [saved[i : i + each] for i in range(0, len(saved), each)]
        with torch.autocast(inputs[0].device.type, enabled=False):
            return None, *Backward(job, *inputs[:3], inputs[3:], record, grads, wanted).run()


def _forward(
    job: Job, xs: Tensor, weight: Tensor, bias: Tensor | None, rest: Sequence[Tensor], record: list[Maps] | None
) -> tuple[Tensor, Maps]:
    """The scan. `record` gets of every step its state and what the kernel keeps."""
    geometry, kinds, kernel = job.cell.geometry, len(job.cell.states), job.kernel(weight, rest)
    pool, (n, channels) = kernel.pool, rest[0].shape[:2]
    inputs, first = weight.shape[1] - channels, job.from_zero
    weight = weight.to(job.compute)
    convs = [(weight[p.rows, _span(p, inputs)].contiguous(), _cut(bias, p.rows, job.compute), p) for p in job.parts]
    both = pool.map(n, inputs + channels, job.compute)
    y = pool.map(sum(job.sizes), channels)
    outs = iter(y.split(job.sizes)[:: -1 if job.reverse else 1])
    views: dict[int, Maps] = {}
    turn = 0

    def step(x: Tensor, state: Maps) -> Maps:
        nonlocal first, turn
        rows, turn = len(x), 1 - turn
        if rows not in views:
            seen = both[:rows]
            views[rows] = (seen, seen[:, :inputs], seen[:, inputs:])
        seen, to_x, to_h = views[rows]
        to_x.copy_(x)
        to_h.copy_(state[0])
        if first:  # the state's part of the convolution is zero
            convolved = [_conv_x(to_x, *conv, inputs, geometry) for conv in convs]
        else:
            convolved = [
                plain_conv(seen if p.from_x and p.from_h else to_x if p.from_x else to_h, w, b, geometry)
                for w, b, p in convs
            ]
        first = False
        if record is None:
            new = (next(outs), *pool.states(f"state {turn}", kinds - 1, rows))
        else:
            new = (next(outs), *(pool.map(rows, channels) for _ in state[1:]))
        kept = kernel.forward(convolved, state, new, keep=record is not None)
        if record is not None:
            record.append((*state, *kept))
        return new

    state = tuple(pool.map(*s.shape[:2]).copy_(s) for s in rest[:kinds])
    _, last = scan_packed(step, job.steps(xs), state, reverse=job.reverse)
    return y, tuple(s.clone() for s in last)


def _span(part: Part, inputs: int) -> slice:
    """The channels of ``[x, h]`` that a part sees."""
    return slice(0 if part.from_x else inputs, None if part.from_h else inputs)


def _cut(bias: Tensor | None, rows: slice, dtype: torch.dtype) -> Tensor | None:
    return None if bias is None else bias[rows].to(dtype)


def _conv_x(x: Tensor, weight: Tensor, bias: Tensor | None, part: Part, inputs: int, geometry: Any) -> Tensor:
    if part.from_x:
        return plain_conv(x, weight[:, :inputs].contiguous(), bias, geometry)
    out = x.new_zeros(len(x), *x.shape[2:], len(weight)).movedim(-1, 1)
    return out if bias is None else out + bias.view(-1, *(1,) * (x.dim() - 2))


class Backward:
    """The scan once more, the other way round: a step takes the gradient of its state to that of the one before."""

    # Bytes of gate gradients that wait for their weight gradient: steps enough to fill the cores, few enough for a
    # cache.
    chunk_bytes = 16 << 20

    def __init__(
        self,
        job: Job,
        xs: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        rest: Sequence[Tensor],
        record: list[Maps],
        grads: Sequence[Tensor | None],
        wanted: Sequence[bool],
    ) -> None:
        kinds, (n, channels) = len(job.cell.states), rest[0].shape[:2]
        self.job, self.xs, self.record, self.dtype = job, xs, record, rest[0].dtype
        self.kernel = job.kernel(weight, rest)
        self.inputs = inputs = weight.shape[1] - channels
        self.to_x, self.to_weight, self.to_bias = wanted[:3]
        self.to_state = wanted[3 : 3 + kinds]
        self.weight = weight.to(job.compute)
        self.weights_h = [
            (p.rows, self.weight[p.rows, inputs:].contiguous()) for p in job.parts if p.from_h
        ]
        self.x_steps = job.steps(xs)
        pool = self.kernel.pool
        self.y_grads = None if grads[0] is None else grads[0].split(job.sizes)
        self.last = tuple(
            pool.map(n, channels).zero_() if g is None else pool.map(n, channels).copy_(g) for g in grads[1:]
        )
        ends = list(itertools.accumulate(job.sizes))
        self.starts = [end - size for end, size in zip(ends, job.sizes, strict=True)]
        row_bytes = len(weight) * rest[0][0, 0].numel() * self.weight.element_size()
        self.chunks = chunks(job.sizes, self.chunk_bytes // max(1, row_bytes))
        most = max(ends[b - 1] - self.starts[a] for a, b in self.chunks)
        self.gate_grads = pool.map(most, len(weight), job.compute)
        self.both = pool.map(most, inputs + channels, job.compute)
        self.total = pool.map(n, channels)
        self.x_grad = pool.map(ends[-1], inputs, xs.dtype) if self.to_x else None
        self.weight_grad = torch.zeros_like(weight, memory_format=torch.contiguous_format) if self.to_weight else None
        self.bias_grad = torch.zeros_like(bias) if self.to_bias and bias is not None else None

    def run(self) -> list[Tensor | None]:
        """The gradients of xs, weight, bias, state and own weights."""
        todo = [(t, chunk) for chunk in self.chunks for t in range(*chunk)]
        self.todo = iter(todo if self.job.reverse else todo[::-1])
        self.left = len(todo)
        _, first = scan_packed(self.step, self.x_steps, self.last, reverse=not self.job.reverse)
        return [
            None if self.x_grad is None else self.x_grad.view(self.xs.shape),
            self.weight_grad,
            self.bias_grad,
            *(g if wanted else None for g, wanted in zip(first, self.to_state, strict=True)),
            *self.kernel.own_grads,
        ]

    def step(self, x: Tensor, grads: Maps) -> Maps:
        (t, (a, b)), kinds = next(self.todo), len(grads)
        self.left -= 1
        state, kept = self.record[self.left][:kinds], self.record[self.left][kinds:]
        dh, rows = grads[0], len(x)
        if self.y_grads is not None:
            dh = torch.add(dh, self.y_grads[t], out=self.total[:rows])
        start = self.starts[t] - self.starts[a]
        here = slice(start, start + rows)
        gates = self.gate_grads[here]
        before = self.kernel.backward(kept, state, (dh, *grads[1:]), gates, self.left % 2)
        if self.to_weight:
            both = self.both[here]
            both[:, : self.inputs].copy_(x)
            both[:, self.inputs :].copy_(state[0])
        if t == (b - 1 if self.job.reverse else a):
            self.flush(self.starts[a], self.starts[b - 1] + self.job.sizes[b - 1])
        if not self.left and not any(self.to_state):
            return grads
        of_h = before[0]
        for span, weight in self.weights_h:
            part, *_ = plain_conv_backward(
                gates[:, span], state[0].to(self.job.compute), weight, self.job.cell.geometry, (True, False, False)
            )
            assert part is not None
            part = part.to(self.dtype)
            of_h = part if of_h is None else part.add_(of_h)
        assert of_h is not None
        return of_h, *(torch.zeros_like(s) if g is None else g for g, s in zip(before[1:], state[1:], strict=True))

    def flush(self, start: int, end: int) -> None:
        """The gradients of weights and input over the steps that have come together, rows `start` to `end`."""
        gates, both = self.gate_grads[: end - start], self.both[: end - start]
        mask = (False, self.to_weight, self.to_bias)
        x_grad = None
        for part in self.job.parts:
            span, of_gates = _span(part, self.inputs), gates[:, part.rows]
            if any(mask):
                _, of_weight, of_bias = plain_conv_backward(
                    of_gates, both[:, span], self.weight[part.rows, span], self.job.cell.geometry, mask
                )
                if self.weight_grad is not None:
                    self.weight_grad[part.rows, span].add_(of_weight)
                if self.bias_grad is not None:
                    self.bias_grad[part.rows].add_(of_bias)
            if self.to_x and part.from_x:
                weight = self.weight[part.rows, : self.inputs].contiguous()
                of_x, *_ = plain_conv_backward(
                    of_gates, both[:, : self.inputs], weight, self.job.cell.geometry, (True, False, False)
                )
                x_grad = of_x if x_grad is None else x_grad.add_(of_x)
        if self.x_grad is not None:
            self.x_grad[start:end].copy_(x_grad)


def chunks(sizes: list[int], rows: int) -> list[tuple[int, int]]:
    """Ranges of steps of up to so many rows together, one step at least."""
    ranges, start, held = [], 0, 0
    for t, n in enumerate(sizes):
        if t > start and held + n > rows:
            ranges.append((start, t))
            start, held = t, 0
        held += n
    return [*ranges, (start, len(sizes))]


def _again(
    job: Job, inputs: Sequence[Tensor | None], grads: Sequence[Tensor | None], wanted: Sequence[bool]
) -> list[Tensor | None]:
    """The gradients as a function that can itself be differentiated, by way of the plain path."""
    outs = job.plain(*inputs)
    ends = [(o, g) for o, g in zip(outs, grads, strict=True) if g is not None and o.requires_grad]
    found = torch.autograd.grad(
        [o for o, _ in ends], [t for t, w in zip(inputs, wanted, strict=True) if w], [g for _, g in ends],
        create_graph=True, allow_unused=True,
    )  # fmt: skip
    left = iter(found)
    return [next(left) if w else None for w in wanted]
