"""One direction of a layer over a sequence, forward and backward, in place: what is made once serves every step.

The input and the state lie side by side in one buffer, so that their convolutions are one, with the weights joined.
Backward, each step takes the derivative of the cell's step and one convolution for the state; the gradients of the
weights and of the input wait until a few steps are together and take one convolution for all of them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ._base import DirectionWeights, Equations
from ._conv import bias_gradient, conv_gradients
from ._inplace import Buffers, Maps
from ._parts import Part, parts_of
from ._scan import scan, scan_packed

# Gate gradients that wait for their weight gradient: steps enough to fill the cores, few enough for a cache.
_GATES_BYTES = 8 << 20


class Pass:
    """One direction of a layer over a sequence.

    Args:
        cell: the layer, for its equations.
        w: the parameters.
        first: the first state, for its size.
        xs: the input, ``(T, N, C, *S)`` or the data ``(ΣT, C, *S)`` of a packed sequence.
        sizes: the batch of each step.
        y: where every h stands, ``(ΣT, C, *S)``; None where the steps will be computed again.
        reverse: whether the last step comes first.
        compute: dtype of the convolutions.
        keep: whether :meth:`backward` will follow.
    """

    def __init__(
        self, cell: Equations, w: DirectionWeights, first: Maps, xs: Tensor, sizes: list[int], y: Tensor | None,
        *, reverse: bool, compute: torch.dtype, keep: bool,
    ) -> None:  # fmt: skip
        assert cell.in_place is not None
        self.cell, self.sizes, self.reverse = cell, sizes, reverse
        self.packed = xs.dim() == first[0].dim()
        self.steps = xs.split(sizes) if self.packed else xs.unbind(0)
        self.starts = [0, *itertools.accumulate(sizes)]
        self.ys: dict[int, Tensor] = {} if y is None else dict(enumerate(y.split(sizes)))
        self.dtype, self.compute, self.keep = first[0].dtype, compute, keep
        self.channels, *self.size = first[0].shape[1:]
        self.inputs = w.ih.shape[1]
        self.buffers = Buffers(first[0], compute)
        self.in_place = cell.in_place(cell, w.extra, self.buffers, keep)
        self.parts = parts_of(cell, w, partial(Part, cell.geometry, self.size, compute, self.buffers.channels_last))
        self.kept: dict[int, tuple[Maps, Maps]] = {}
        """Of each step what its derivative wants: the parts of its gates, and its states but h."""

    # ---- steps ------------------------------------------------------------------------------------
    def _scan(self, step: Callable[[int, Maps], Maps], ts: range, state: Maps, reverse: bool) -> Maps:
        if self.packed:
            return scan_packed(step, ts, state, reverse=reverse, sizes=self.sizes[ts.start : ts.stop])[1]
        return scan(step, ts, state, reverse=reverse)[1]

    def _blocks(self, ts: range) -> dict[int, range]:
        """For each step those whose gate gradients wait for each other."""
        row = sum(len(part.weight) for part in self.parts) * math.prod(self.size) * self.dtype.itemsize
        found: dict[int, range] = {}
        first = ts.start
        for t in range(ts.start + 1, ts.stop + 1):
            if t == ts.stop or self.starts[t + 1] - self.starts[first] > _GATES_BYTES // row:
                found.update(dict.fromkeys(range(first, t), range(first, t)))
                first = t
        return found

    def _rows(self, block: range) -> int:
        return self.starts[block.stop] - self.starts[block.start]

    # ---- forward -------------------------------------------------------------------------------------------
    def forward(self, ts: range, state: Maps, from_zero: bool) -> Maps:
        """Writes the h of every step of `ts` into `ys`, and returns the last state."""
        inputs, buffers, convs = self.inputs, self.buffers, [part.conv for part in self.parts] if len(ts) > 1 else []
        both = buffers.new(len(state[0]), inputs + self.channels, self.compute)
        views: dict[int, Any] = {}  # of the first n rows: for x, for h, and for the convolution of each part
        first = ts[-1] if self.reverse else ts[0]

        def step(t: int, state: Maps) -> Maps:
            n = self.sizes[t]
            if n not in views:
                views[n] = both[:n, :inputs], both[:n, inputs:], [both[:n, part.channels] for part in self.parts]
            x, h, seen = views[n]
            x.copy_(self.steps[t])
            h.copy_(state[0])
            if t == first:
                parts = [p.conv_once(s, from_zero, not convs) for p, s in zip(self.parts, seen, strict=True)]
            else:
                parts = [conv(s) for conv, s in zip(convs, seen, strict=True)]
            if self.compute != self.dtype:
                parts = [part.to(self.dtype) for part in parts]
            # What is to be kept is new, all else is written over what it replaces.
            rest = tuple([buffers.new(n, self.channels) for _ in state[1:]]) if self.keep else state[1:]
            new = (self.ys[t], *rest)
            self.in_place.forward(parts, state, new)
            if self.keep:
                self.kept[t] = tuple(parts) if self.in_place.keeps_parts else (), rest
            return new

        if not self.keep:  # then the states but h are written over
            state = (state[0], *[buffers.new(*s.shape[:2]).copy_(s) for s in state[1:]])
        return self._scan(step, ts, state, self.reverse)

    # ---- backward ------------------------------------------------------------------------------------------
    def give(self) -> list[Tensor]:
        """What :meth:`forward` has kept, step by step, for another pass to :meth:`take`."""
        return [m for t in self.ys if t in self.kept for maps in self.kept[t] for m in maps]

    def take(self, kept: Iterator[Tensor]) -> None:
        """The other end of :meth:`give`."""
        parts, rest = len(self.parts) if self.in_place.keeps_parts else 0, len(self.cell.states) - 1
        for t in self.ys:
            self.kept[t] = tuple(itertools.islice(kept, parts)), tuple(itertools.islice(kept, rest))

    def forward_again(self, ts: range, start: Maps, from_zero: bool) -> None:
        """:meth:`forward`, whose outcome but for what is kept was there before."""
        sizes = self.sizes[ts.start : ts.stop]
        self.ys = dict(zip(ts, self.buffers.new(sum(sizes), self.channels).split(sizes), strict=True))
        self.forward(ts, start, from_zero)

    def start_backward(self, x_grad: Tensor | None, add: bool, y_grad: Tensor | None, weights: bool) -> None:
        """Makes room for the gradients: that of the input is written to `x_grad`, or added to what is there.

        `weights` tells whether any parameter wants its own.
        """
        self.x_grad, self.add, self.weights = x_grad, add, weights
        self.y_grads = None if y_grad is None else y_grad.split(self.sizes)
        self.in_place.extra_grads = [torch.zeros_like(w) for w in self.in_place.extra]
        self.weight_grads = [torch.zeros_like(p.weight, memory_format=torch.contiguous_format) for p in self.parts]
        self.bias_grads = [None if p.bias is None else torch.zeros_like(p.bias) for p in self.parts]

    def parameter_gradients(self) -> list[Tensor | None]:
        """Those of ih, hh, b_ih, b_hh and the extra parameters."""
        ih, hh = [], []
        b_ih: list[Tensor] = []
        b_hh: list[Tensor] = []
        for part, weight, bias in zip(self.parts, self.weight_grads, self.bias_grads, strict=True):
            if part.of_x:
                ih.append(weight[:, : self.inputs])
                b_ih += [] if bias is None else [bias]
            if part.of_h:
                hh.append(weight[:, self.inputs if part.of_x else 0 :])
                b_hh += [] if bias is None else [bias]
        return [torch.cat(ih), torch.cat(hh), *(torch.cat(b) if b else None for b in (b_ih, b_hh)),
                *self.in_place.extra_grads]  # fmt: skip

    def backward(self, ts: range, start: Maps, grads: Maps, to_start: bool) -> Maps:
        """The gradient of the state `start` before `ts`, if wanted, from `grads`, that of the state after them."""
        blocks = self._blocks(ts)
        most = max(map(self._rows, blocks.values()))
        gates = [self.buffers.new(most, len(part.weight)) for part in self.parts]
        both = self.buffers.new(most, self.inputs + self.channels, self.compute)
        last = ts[-1] if self.reverse else ts[0]
        into_at: dict[int, tuple[Tensor, ...]] = {}
        made = [self.ys.__getitem__, *(lambda t, i=i: self.kept[t][1][i] for i in range(len(start) - 1))]

        def step(t: int, grads: Maps) -> Maps:
            block = blocks[t]
            if t not in into_at:
                rows, sizes = self._rows(block), self.sizes[block.start : block.stop]
                into_at.update(zip(block, zip(*(g[:rows].split(sizes) for g in gates), strict=True), strict=True))
            into = into_at.pop(t)
            if self.y_grads is not None:
                grads[0].add_(self.y_grads[t])
            parts, rest = self.kept.pop(t)
            before = tuple([self._before(t, ts, s, of) for s, of in zip(start, made, strict=True)])
            dh, *others = self.in_place.backward(parts, before, (self.ys[t], *rest), grads, into)
            if not into_at:
                self._flush(block, ts, start[0], gates, both)
            if t == last and not to_start:
                return grads
            for part, grad in zip(self.parts, into, strict=True):
                if part.of_h:
                    of_part = part.to_h(grad.to(self.compute)).to(self.dtype)
                    dh = of_part if dh is None else of_part.add_(dh)
            return dh, *others

        return self._scan(step, ts, grads, not self.reverse)

    def _before(self, t: int, ts: range, start: Tensor, made: Callable[[int], Tensor]) -> Tensor:
        """The state that step t started from; the step u has made ``made(u)``."""
        n, previous = self.sizes[t], t + 1 if self.reverse else t - 1
        if previous not in ts:
            return start[:n]
        held = self.sizes[previous]
        if held < n:  # reversed, sequences that enter here
            return torch.cat([made(previous), start[held:n]])
        return made(previous) if held == n else made(previous)[:n]

    def _flush(self, block: range, ts: range, start: Tensor, gates: Sequence[Tensor], both: Tensor) -> None:
        """The gradients of weights and input over the steps of a block, which have come together."""
        rows = slice(self.starts[block.start], self.starts[block.stop])
        gates = [g[: rows.stop - rows.start].to(self.compute) for g in gates]
        if self.weights:
            both = both[: rows.stop - rows.start]
            torch.cat([self.steps[t] for t in block], out=both[:, : self.inputs])
            h = [self._before(t, ts, start, self.ys.__getitem__) for t in block]
            torch.cat(h, out=both[:, self.inputs :])
            for part, grad, weight, bias in zip(self.parts, gates, self.weight_grads, self.bias_grads, strict=True):
                seen = both[:, part.channels]
                weight.add_(conv_gradients(grad, seen, part.weight, self.cell.geometry, to_x=False)[1])
                if bias is not None:
                    bias.add_(bias_gradient(grad))
        if self.x_grad is not None:
            of_x = [part.to_x(grad) for part, grad in zip(self.parts, gates, strict=True) if part.of_x]
            for other in of_x[1:]:
                of_x[0].add_(other)
            (self.x_grad[rows].add_ if self.add else self.x_grad[rows].copy_)(of_x[0])
