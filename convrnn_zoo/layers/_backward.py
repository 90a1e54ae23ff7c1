"""The backward pass of the fast path."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ._conv import conv_gradients, input_gradient

if TYPE_CHECKING:
    from ._joined import Job

Maps = tuple[Tensor, ...]

# Gate gradients that wait for their weight gradient: steps enough to fill the cores, few enough for a cache.
_CHUNK_BYTES = 16 << 20


class Backward:
    """The scan once more, the other way round: a step takes the gradient of its state to that of the one before."""

    def __init__(
        self, job: Job, xs: Tensor, weight: Tensor, bias: Tensor | None, rest: Sequence[Tensor],
        y: Tensor, record: list[Maps], grads: Sequence[Tensor | None], wanted: Sequence[bool],
    ) -> None:  # fmt: skip
        kinds, (n, channels, *size) = len(job.cell.states), rest[0].shape
        self.job, self.xs, self.record, self.dtype = job, xs, record, rest[0].dtype
        self.kernel = job.kernel(weight, rest)
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
        self.y, self.h = y.split(job.sizes), rest[0]
        self.y_grads = None if grads[0] is None else grads[0].split(job.sizes)
        self.last = tuple(
            pool.map(n, channels).zero_() if g is None else pool.map(n, channels).copy_(g) for g in grads[1:]
        )
        ends = list(itertools.accumulate(job.sizes))
        self.starts = [end - size for end, size in zip(ends, job.sizes, strict=True)]
        self.chunks = chunks(job.sizes, rows_at_once(self.weight, size))
        most = max(ends[b - 1] - self.starts[a] for a, b in self.chunks)
        self.gates = pool.map(most, weight.shape[0], job.compute)
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
        (t, (a, b)), kinds, rows = next(self.todo), len(grads), x.shape[0]
        self.left -= 1
        record = self.record[self.left]
        state, kept = (self.h_before(t), *record[: kinds - 1]), record[kinds - 1 :]
        dh = grads[0]
        if self.y_grads is not None:
            dh = torch.add(dh, self.y_grads[t], out=self.total[:rows])
        start = self.starts[t] - self.starts[a]
        gates = self.gates[start : start + rows]
        before = self.kernel.backward(kept, state, (dh, *grads[1:]), gates, self.left % 2)
        if self.to_weight:
            both = self.both[start : start + rows]
            both[:, : self.inputs].copy_(x)
            both[:, self.inputs :].copy_(state[0])
        if t == (b - 1 if self.job.reverse else a):
            self.flush(self.starts[a], self.starts[b - 1] + self.job.sizes[b - 1])
        if not self.left and not any(self.to_state):
            return grads
        of_h = before[0]
        for span, gradient in self.to_h:
            part = gradient(gates[:, span]).to(self.dtype)
            of_h = part if of_h is None else part.add_(of_h)
        assert of_h is not None
        return of_h, *(torch.zeros_like(s) if g is None else g for g, s in zip(before[1:], state[1:], strict=True))

    def h_before(self, t: int) -> Tensor:
        """The h that step t started from."""
        rows, previous = self.job.sizes[t], t + 1 if self.job.reverse else t - 1
        if not 0 <= previous < len(self.y):
            return self.h[:rows]
        h, held = self.y[previous], self.job.sizes[previous]
        return h[:rows] if held >= rows else torch.cat([h, self.h[held:rows]])

    def flush(self, start: int, end: int) -> None:
        """The gradients of weights and input over the steps that have come together, rows `start` to `end`."""
        gates, both = self.gates[: end - start], self.both[: end - start]
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
            self.x_grad[start:end].copy_(first)


def rows_at_once(weight: Tensor, size: Sequence[int]) -> int:
    """How many rows of gate gradients wait for their weight gradient."""
    return _CHUNK_BYTES // (weight.shape[0] * math.prod(size) * weight.element_size())


def chunks(sizes: list[int], rows: int) -> list[tuple[int, int]]:
    """Ranges of steps of up to so many rows together, one step at least."""
    ranges, start, held = [], 0, 0
    for t, n in enumerate(sizes):
        if t > start and held + n > rows:
            ranges.append((start, t))
            start, held = t, 0
        held += n
    return [*ranges, (start, len(sizes))]
