"""The backward pass of the fast path."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ._conv import conv_gradients, input_gradient
from ._scan import chunks, cut

if TYPE_CHECKING:
    from ._joined import Job

Maps = tuple[Tensor, ...]

# Gate gradients that wait for their weight gradient: steps enough to fill the cores, few enough for a cache.
_CHUNK_BYTES = 8 << 20


class Backward:
    """The scan once more, the other way round: a step takes the gradient of its state to that of the one before."""

    def __init__(
        self, job: Job, xs: Tensor, weight: Tensor, bias: Tensor | None, rest: Sequence[Tensor],
        saved: Sequence[Tensor], grads: Sequence[Tensor | None], wanted: Sequence[bool],
    ) -> None:  # fmt: skip
        kinds, (n, channels, *size) = len(job.cell.states), rest[0].shape
        self.job, self.xs, self.dtype = job, xs, rest[0].dtype
        self.kernel = job.kernel(rest)
        order = slice(None, None, -1 if job.reverse else 1)
        sizes, (y, *kept) = job.sizes[order], saved
        spans = self.kernel.spans(sizes)
        held = (kinds - 1) * len(spans)
        each = (len(kept) - held) // len(sizes)
        self.kept = [kept[i : i + each] for i in range(held, len(kept), each)] if each else [()] * len(sizes)
        rests = cut(kept[:held], sizes, spans)[order]
        self.states = [(h, *rest) for h, rest in zip(y.split(job.sizes), rests, strict=True)]
        pool, self.inputs, geometry = self.kernel.pool, weight.shape[1] - channels, job.cell.geometry
        self.to_x, self.to_weight, self.to_bias, *to_state = wanted[: 3 + kinds]
        self.to_state = to_state
        self.weight = weight.to(job.compute)
        self.to_h, self.to_input = (
            [
                (part.rows, input_gradient(self.weight[part.rows, span], geometry, size, pool.inside))
                for part in job.parts
                if wanted_here and (part.from_x if span.start is None else part.from_h)
            ]
            for span, wanted_here in ((slice(self.inputs, None), True), (slice(self.inputs), self.to_x))
        )
        self.first = tuple(pool.map(*s.shape[:2]).copy_(s) for s in rest[:kinds])
        self.y_grads = None if grads[0] is None else grads[0].split(job.sizes)
        self.last = tuple(
            pool.map(n, channels).zero_() if g is None else pool.map(n, channels).copy_(g) for g in grads[1:]
        )
        ends = list(itertools.accumulate(job.sizes))
        self.starts = [end - size for end, size in zip(ends, job.sizes, strict=True)]
        self.chunks = chunks(job.sizes, rows_at_once(self.weight, size))
        most = max(ends[b - 1] - self.starts[a] for a, b in self.chunks)
        self.gates = pool.map(most, weight.shape[0])
        self.both = pool.map(most, weight.shape[1], job.compute)
        self.total = pool.map(n, channels)
        self.x_grad = pool.map(ends[-1], self.inputs, xs.dtype) if self.to_x else None
        self.weight_grad = torch.zeros_like(weight, memory_format=torch.contiguous_format) if self.to_weight else None
        self.bias_grad = torch.zeros_like(bias) if self.to_bias and bias is not None else None

    def run(self) -> list[Tensor | None]:
        """The gradients of xs, weight, bias, state and own weights."""
        todo = [(t, chunk) for chunk in self.chunks for t in range(*chunk)]
        self.todo, self.left = iter(todo if self.job.reverse else todo[::-1]), len(todo)
        first = self.job.scan(self.step, self.xs, self.last, not self.job.reverse)
        return [
            None if self.x_grad is None else self.x_grad.view(self.xs.shape),
            self.weight_grad,
            self.bias_grad,
            *(g if wanted else None for g, wanted in zip(first, self.to_state, strict=True)),
            *self.kernel.own_grads,
        ]

    def step(self, x: Tensor, grads: Maps) -> Maps:
        (t, (a, b)), rows = next(self.todo), x.shape[0]
        self.left -= 1
        if t == (a if self.job.reverse else b - 1):
            sizes = self.job.sizes[a:b]
            gates = self.gates[: sum(sizes)]
            self.room = list(zip(gates.split(sizes), self.kernel.into(gates, sizes), strict=True))
        dh = grads[0]
        if self.y_grads is not None:
            dh = torch.add(dh, self.y_grads[t], out=self.total if rows == len(self.total) else self.total[:rows])
        gates, into = self.room[t - a]
        before = self.kernel.backward(
            self.kept[self.left], self.before(t), self.states[t], (dh, *grads[1:]), into, self.left % 2
        )
        if t == (b - 1 if self.job.reverse else a):
            self.flush(a, b)
        if not self.left and not any(self.to_state):
            return grads
        of_h, gates = before[0], gates.to(self.job.compute)
        for span, gradient in self.to_h:
            part = gradient(gates[:, span]).to(self.dtype)
            of_h = part if of_h is None else part.add_(of_h)
        assert of_h is not None
        return of_h, *(torch.zeros_like(of_h) if g is None else g for g in before[1:])

    def before(self, t: int) -> Maps:
        """The state that step t started from."""
        rows, previous = self.job.sizes[t], t + 1 if self.job.reverse else t - 1
        if not 0 <= previous < len(self.states):
            return tuple(s[:rows] for s in self.first)
        state, held = self.states[previous], self.job.sizes[previous]
        if held >= rows:
            return state if held == rows else tuple(s[:rows] for s in state)
        return tuple(torch.cat([s, first[held:rows]]) for s, first in zip(state, self.first, strict=True))

    def flush(self, a: int, b: int) -> None:
        """The gradients of weights and input over the steps `a` to `b`, which have come together."""
        start, rows = self.starts[a], sum(self.job.sizes[a:b])
        gates, both = self.gates[:rows].to(self.job.compute), self.both[:rows]
        if self.to_weight:
            xs = self.xs[a:b].flatten(0, 1) if self.xs.dim() > both.dim() else self.xs[start : start + rows]
            both[:, : self.inputs].copy_(xs)
            torch.cat([self.before(t)[0] for t in range(a, b)], out=both[:, self.inputs :])
        for part in self.job.parts if self.to_weight or self.to_bias else ():
            span = part.sees(self.inputs)
            _, of_weight, of_bias = conv_gradients(
                gates[:, part.rows], both[:, span], self.weight[part.rows, span], self.job.cell.geometry,
                (False, self.to_weight, self.to_bias),
            )  # fmt: skip
            if self.weight_grad is not None and of_weight is not None:
                self.weight_grad[part.rows, span].add_(of_weight)
            if self.bias_grad is not None and of_bias is not None:
                self.bias_grad[part.rows].add_(of_bias)
        if self.x_grad is not None:
            first, *others = (gradient(gates[:, rows]) for rows, gradient in self.to_input)
            for other in others:
                first.add_(other)
            self.x_grad[start : start + rows].copy_(first)


def rows_at_once(weight: Tensor, size: Sequence[int]) -> int:
    """How many rows of gate gradients wait for their weight gradient."""
    return _CHUNK_BYTES // (weight.shape[0] * math.prod(size) * weight.element_size())
