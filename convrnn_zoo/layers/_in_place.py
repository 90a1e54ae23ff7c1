"""One direction of a layer over time, in place, with a hand-written backward.

One buffer stores input and state, so that one convolution with the concatenated weights serves both. A backward step
computes the derivative of the cell's step, then one convolution for the gradient of the state. The gradients of weights
and input are computed for several steps at once.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import accumulate, islice
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ._conv import (
    Geometry,
    PreparedConv,
    bias_gradient,
    conv_gradients,
    plain_conv,
    prepare_conv,
    prepare_input_gradient,
)
from ._nonlinearities import NONLINEARITIES, half_tanh
from ._run import GATES_BYTES, DirectionWeights, Maps, RunSpec, fold, join_ended, resize, sum_bias

# Products, and values of the weight, below which one call beats three without the zeros: measured on AMD Zen 5 by
# ``benchmarks.comparisons joint``.
JOINT_PRODUCTS, JOINT_VALUES = 1 << 23, 24_000
CHANNELS_LAST = ("cpu", "cuda", "xpu")
"""Types of devices on which maps in single precision are in channels-last layout."""
Parts = Sequence[Tensor]
"""Pre-activations of the gates, or their gradients, by :class:`Part`."""
# Derivatives from the results, written into `grad_input`.
sigmoid_backward: Callable[..., Tensor] = torch.ops.aten.sigmoid_backward.grad_input
tanh_backward: Callable[..., Tensor] = torch.ops.aten.tanh_backward.grad_input


# ---- a step in place -------------------------------------------------------------------------------------------
class Buffers:
    """Allocates maps of the size of a state, in channels-last layout where convolutions are faster with it."""

    def __init__(self, like: Tensor, conv_dtype: torch.dtype) -> None:
        self.like = like
        # oneDNN's convolutions are up to twice as fast in channels-last, but do not support double precision. cuDNN
        # needs it in half precision, and torch's kernels of a step read it without a copy.
        half = conv_dtype in (torch.float16, torch.bfloat16)
        is_single = conv_dtype == torch.float32
        self.channels_last = half or (is_single and like.device.type in CHANNELS_LAST)
        # half_tanh takes six calls, which on small maps take longer than their arithmetic.
        is_rounded = half and like.dtype == torch.float32 and like.device.type == "cpu" and like.numel() > 1 << 14
        self.tanh: Callable[..., Tensor] = half_tanh if is_rounded else torch.tanh
        self._scratch: dict[str, Tensor] = {}

    def new(self, n: int, channels: int, dtype: torch.dtype | None = None) -> Tensor:
        """Returns an uninitialised map ``(n, channels, *S)``."""
        size, dtype = self.like.shape[2:], dtype or self.like.dtype
        if not self.channels_last:
            return self.like.new_empty((n, channels, *size), dtype=dtype)
        strides = [channels * math.prod(size[axis:]) for axis in range(len(size) + 1)]
        return self.like.new_empty_strided((n, channels, *size), (strides[0], 1, *strides[1:]), dtype=dtype)

    def scratch(self, name: str, n: int) -> Tensor:
        """Returns an uninitialised map with the shape of h for n sequences. The same name returns the same memory."""
        if name not in self._scratch:
            self._scratch[name] = self.new(*self.like.shape[:2])
        scratch = self._scratch[name]
        return scratch if len(scratch) == n else scratch[:n]


def join_into(out: Tensor, maps: Sequence[Tensor]) -> None:
    """Writes maps one after another into `out`, a part of the channels of a map."""
    if len(maps) == 1:  # torch.cat, up to 2.15 at least, may leave such an `out` as it was
        out.copy_(maps[0])
    else:
        torch.cat([*maps], out=out)


class InPlaceStep:
    """In-place version of a cell's `step` (the operations after the convolutions), with its derivative.

    It computes the same as the cell's `step` without temporaries or an autograd graph; tests compare the two. `parts`
    are the pre-activations that the convolutions return, up to three tensors: the sums of input and state
    contributions, then the input and the state contributions that are not summed. An empty tensor is left out.
    `extra` are the parameters that the cell's `split` returns as `extra`. `keep` is true if :meth:`backward` follows.
    """

    saves_parts = True  # whether `backward` reads the parts

    def __init__(self, cell: Any, extra: Maps, buffers: Buffers, keep: bool) -> None:
        self.cell, self.extra, self.keep = cell, extra, keep
        self.buffers, self.scratch, self.tanh = buffers, buffers.scratch, buffers.tanh
        self.extra_grads: list[Tensor] = []

    def write(self, nonlinearity: str, x: Tensor, out: Tensor) -> None:
        """Writes a function of x to `out`; `nonlinearity` is a key of :data:`NONLINEARITIES`."""
        (self.tanh if nonlinearity == "tanh" else NONLINEARITIES[nonlinearity].write)(x, out=out)

    @staticmethod
    def find_kernel(cell: Any) -> Any:
        """Returns torch's :class:`CellKernel` of the step, or None if torch has none."""
        return None

    def forward(self, parts: Parts, state: Maps, new: Maps) -> None:
        """Writes the next state to `new`, which may share the memory of `state` except for h.

        Overwrites the pre-activations in `parts` with the values that :meth:`backward` reads.
        """
        raise NotImplementedError

    def backward(self, parts: Parts, state: Maps, new: Maps, grads: Maps, into: Parts) -> tuple[Any, ...]:
        """Writes the gradients of the pre-activations to `into`, and returns the gradients of `state`.

        `grads` are the gradients of `new`, and may be overwritten. Adds the gradients of the extra parameters to
        `extra_grads`. The returned gradient of h lacks the part that flows through the convolutions. None means zero.
        """
        raise NotImplementedError


class Part(NamedTuple):
    """Pre-activations of some gates: their number of rows, and whether they read the input and the state."""

    rows: int
    reads_x: bool = True
    reads_h: bool = True


@dataclass(eq=False)
class FusedConv:
    """A convolution over some channels of the concatenated input and state, whose weight is prepared at first use."""

    geometry: Geometry
    batch: int  # the largest
    size: Sequence[int]
    dtype: torch.dtype  # of the convolution
    channels_last: bool
    weight: Tensor
    bias: Tensor | None
    inputs: int  # number of input channels, before those of the state
    parts: Sequence[Part]

    def __post_init__(self) -> None:
        self.reads_x, self.reads_h = any(p.reads_x for p in self.parts), any(p.reads_h for p in self.parts)
        self.channels = slice(0 if self.reads_x else self.inputs, None if self.reads_h else self.inputs)
        self.weight = self.weight.to(self.dtype)
        self.bias = None if self.bias is None else self.bias.to(self.dtype)

    def split(self, rows: Tensor, dim: int = 0) -> Sequence[Tensor]:
        """Splits a tensor with rows of gates into one tensor for each of `parts`."""
        return rows.split([p.rows for p in self.parts], dim)

    @cached_property
    def prepared_conv(self) -> PreparedConv:
        """Function that convolves the `channels` of the concatenated input and state."""
        return prepare_conv(self.weight, self.bias, self.geometry, self.batch, self.size, self.channels_last)

    def first_conv(self, zero_state: bool, only_step: bool) -> tuple[slice, PreparedConv]:
        """Returns the channels and the function of the first step, if possible without those of a zero state.

        If there is only one step, the weight is not prepared.
        """
        products = self.batch * math.prod(self.size) * self.weight.numel()
        only_x = zero_state and self.reads_x and self.reads_h and products > JOINT_PRODUCTS
        if only_x:
            inputs = slice(self.inputs)
            return inputs, plain_conv(self.weight[:, inputs], self.bias, self.geometry, self.size)
        if only_step:
            return self.channels, plain_conv(self.weight, self.bias, self.geometry, self.size)
        return self.channels, self.prepared_conv

    @cached_property
    def x_gradient(self) -> Callable[[Tensor], Tensor]:
        """Function that computes the gradient of the input from the gradient of the result."""
        weight = self.weight[:, : self.inputs]
        return prepare_input_gradient(weight, self.geometry, self.batch, self.size, self.channels_last)

    @cached_property
    def h_gradient(self) -> Callable[[Tensor], Tensor]:
        """Function that computes the gradient of the state from the gradient of the result."""
        weight = self.weight[:, self.inputs if self.reads_x else 0 :]
        return prepare_input_gradient(weight, self.geometry, self.batch, self.size, self.channels_last)


def fused_convs(cell: Any, w: DirectionWeights, pixels: int, make: Callable[..., FusedConv]) -> list[FusedConv]:
    """Returns up to three convolutions, for rows that read both input and state, only the input, or only the state.

    With few channels on small maps, where a call takes longer than its arithmetic, one convolution computes all rows.
    Its weight is zero for the channels that a row does not read. After :func:`convolve_inputs`, one convolution of the
    state is left.
    """
    if w.ih is None:
        summed = min(len(w.hh), cell.summed_rows(cell.gates * w.hh.shape[1]))
        parts = [Part(n, reads_x=False) for n in (summed, len(w.hh) - summed) if n]
        return [make(w.hh, w.b_hh, 0, parts)]
    inputs, rows, n = w.ih.shape[1], len(w.ih), cell.summed_rows(len(w.ih))
    if n == rows:
        return [make(torch.cat([w.ih, w.hh], 1), sum_bias(w.b_ih, w.b_hh), inputs, [Part(n)])]
    (b_ih, b_n), (b_hh, b_hn) = ((None, None) if b is None else (b[:n], b[n:]) for b in (w.b_ih, w.b_hh))
    weights = [torch.cat([w.ih[:n], w.hh[:n]], 1), w.ih[n:], w.hh[n:]]
    biases: list[Tensor | None] = [sum_bias(b_ih, b_hh), b_n, b_hn]
    all_parts = [Part(n), Part(rows - n, reads_h=False), Part(len(w.hh) - n, reads_x=False)]
    groups = [group for group in zip(weights, biases, all_parts, strict=True) if group[2].rows]
    values = (rows + len(w.hh) - n) * weights[0][0].numel()
    if values > JOINT_VALUES or pixels * values > JOINT_PRODUCTS:
        return [make(weight, bias, inputs, [part]) for weight, bias, part in groups]
    joint = w.ih.new_zeros(rows + len(w.hh) - n, *weights[0].shape[1:])
    joint[:rows, :inputs] = w.ih
    joint[:n, inputs:], joint[rows:, inputs:] = w.hh[:n], w.hh[n:]
    filled = [w.ih.new_zeros(part.rows) if bias is None else bias for _, bias, part in groups]
    bias = None if w.b_ih is None and w.b_hh is None else torch.cat(filled)
    return [make(joint, bias, inputs, [part for *_, part in groups])]


# ---- one direction ---------------------------------------------------------------------------------------------
class Direction:
    """One direction of a layer over a sequence, forward and backward. Allocates its buffers once for all steps.

    :meth:`forward` writes the output to `y` ``(ΣT, C, *S)``; ΣT is the sum of all sequence lengths. `y` is None in the
    backward pass of a checkpointed layer, which recomputes the output. `keep` is true if :meth:`backward` follows.
    """

    title = "in place"

    def __init__(
        self, spec: RunSpec, xs: Tensor, state: Maps, w: DirectionWeights, y: Tensor | None, reverse: bool, keep: bool
    ) -> None:
        cell, dtype = spec.cell, spec.conv_dtype
        self.spec, self.state, self.reverse, self.keep = spec, state, reverse, keep
        self.sizes = spec.batch_sizes
        xs = spec.input_of(int(reverse), xs, w)
        self.input = xs
        self.xs = xs.split(self.sizes) if spec.packed else xs.unbind(0)
        self.starts = [0, *accumulate(self.sizes)]
        self.ys: dict[int, Tensor] = {} if y is None else dict(enumerate(y.split(self.sizes)))
        self.dtype, self.conv_dtype, self.is_cast = state[0].dtype, dtype, dtype != state[0].dtype
        self.channels, *self.size = state[0].shape[1:]
        self.adds_x = w.ih is None  # whether `xs` are contributions to the gates
        self.inputs, self.h_mask = 0 if w.ih is None else w.ih.shape[1], w.h_mask
        self.buffers = Buffers(state[0], dtype)
        self.in_place = cell.in_place(cell, w.extra, self.buffers, keep)
        make = partial(FusedConv, cell.geometry, len(state[0]), self.size, dtype, self.buffers.channels_last)
        self.convs = self.make_convs(w, make)
        self.joint = self.convs[0] if len(self.convs[0].parts) > 1 else None
        self.saved: dict[int, tuple[Maps, Maps]] = {}
        """Intermediates of each step for the backward pass: `parts` (see :class:`InPlaceStep`) and states except h."""

    def make_convs(self, w: DirectionWeights, make: Callable[..., FusedConv]) -> list[FusedConv]:
        """Returns the convolutions of a step."""
        return fused_convs(self.spec.cell, w, self.state[0][:, 0].numel(), make)

    @property
    def num_saved_parts(self) -> int:
        """Number of tensors in `parts` that a step saves; see :class:`InPlaceStep`."""
        if not self.in_place.saves_parts:
            return 0
        return sum(len(conv.parts) for conv in self.convs) + (len(self._split_x(self.xs[0])) - 1 if self.adds_x else 0)

    # ---- forward -----------------------------------------------------------------------------------------------
    def forward(self, ts: range, state: Maps, zero_state: bool) -> Maps:
        """Writes the h of every step of `ts` into `ys` and returns the final state."""
        inputs, buffers, convs, joint, keep = self.inputs, self.buffers, self.convs, self.joint, self.keep
        sizes, xs, ys, h_mask, write = self.sizes, self.xs, self.ys, self.h_mask, self.in_place.forward
        at_first = [conv.first_conv(zero_state, only_step=len(ts) == 1) for conv in convs]
        later = [(conv.channels, conv.prepared_conv) for conv in convs] if len(ts) > 1 else []
        xh = buffers.new(len(state[0]), inputs + self.channels, self.conv_dtype)
        gates = [buffers.new(len(state[0]), part.rows) for conv in convs for part in conv.parts] if self.is_cast else []
        views: dict[Any, Any] = {}  # of the first n rows: x, h, and what each convolution reads, with the convolution
        if not keep:  # the states except h are overwritten
            state = (state[0], *[buffers.new(*s.shape[:2]).copy_(s) for s in state[1:]])
        # As `fold` does, with the step in the loop: its calls count on small maps.
        steps, initial, ended = ts[::-1] if self.reverse else ts, state, list[Maps]()
        state = tuple([s[: sizes[steps[0]]] for s in state])
        for t in steps:
            key = n, is_first = sizes[t], t == steps[0]
            state = resize(state, n, initial, ended)
            if key not in views:
                calls = [(xh[:n, channels], *prepared) for channels, prepared in (at_first if is_first else later)]
                views[key] = xh[:n, :inputs], xh[:n, inputs:], calls
            x, h, calls = views[key]
            if not self.adds_x:
                x.copy_(xs[t])
            h.copy_(state[0])
            if h_mask is not None:
                h.mul_(h_mask[:n])
            parts = [function(maps, *args) for maps, function, args in calls]
            if joint:
                parts = [part.clone() for part in joint.split(parts[0], 1)]
            if self.adds_x:
                summed, *of_x = self._split_x(xs[t])
                parts = [parts[0].add_(summed), *(part.clone() for part in of_x), *parts[1:]]
            if self.is_cast:
                into = [buffers.new(n, part.shape[1]) for part in parts] if keep else [g[:n] for g in gates]
                parts = [g.copy_(part) for g, part in zip(into, parts, strict=True)]
            # States that the backward pass reads get new memory; the others are overwritten.
            others = tuple([buffers.new(n, self.channels) for _ in state[1:]]) if keep else state[1:]
            new = (ys[t], *others)
            write(parts, state, new)
            if keep:
                self.saved[t] = tuple(parts) if self.in_place.saves_parts else (), others
            state = new
        return join_ended(state, ended)

    def _split_x(self, gates: Tensor) -> Sequence[Tensor]:
        """Splits contributions of the input into those that are added to one of the state, and the others."""
        n = self.convs[0].parts[0].rows
        return [gates[:, :n], gates[:, n:]] if gates.shape[1] > n else [gates]

    def forward_segments(self, saved: list[Tensor]) -> Maps:
        """Runs all steps in segments and adds the state before each segment to `saved`."""
        boundaries: dict[range, Maps] = {}

        def segment(ts: range, state: Maps) -> Maps:
            # Copies, since the states are parts of memory that is overwritten or returned.
            boundaries[ts] = tuple(s.clone() for s in state)
            return self.forward(ts, state, self.spec.zero_state and len(boundaries) == 1)

        segments = self.spec.segments()
        final = fold(segment, segments, self.state, reverse=self.reverse, sizes=self.spec.sizes(segments))
        saved += [s for ts in segments for s in boundaries[ts]]
        return final

    # ---- backward ----------------------------------------------------------------------------------------------
    def backward_all(
        self,
        saved: Iterator[Tensor],
        grads: Maps,
        x_grad: Tensor | None,
        y_grad: Tensor | None,
        weights: bool,
        to_state: bool,
    ) -> list[Any]:
        """Returns the gradients of the initial state and the parameters.

        `grads` and `y_grad` are the gradients of the final state and of the output. `saved` continues with the tensors
        that this direction saved. The reverse direction adds to `x_grad`, the forward direction overwrites it.
        `weights` and `to_state` are true if a parameter or the initial state requires a gradient.
        """
        spec, segments = self.spec, self.spec.segments()
        if self.adds_x:
            shape = self.starts[-1], self.xs[0].shape[1]
            x_grad = self.buffers.new(*shape) if x_grad is None else x_grad.chunk(spec.num_directions, 1)[self.reverse]
        self.x_grad, self.weights = x_grad, weights
        self.y_grads = None if y_grad is None else y_grad.split(self.sizes)
        self.in_place.extra_grads = [torch.zeros_like(w) for w in self.in_place.extra]
        like = self.state[0]
        self.weight_grads: list[Tensor] = []  # of each convolution, from the first block on
        self.bias_grads = [None if conv.bias is None else like.new_zeros(conv.bias.shape) for conv in self.convs]
        num_others = len(self.state) - 1
        if not spec.checkpointed:
            num_parts = self.num_saved_parts
            for t in self.ys:
                self.saved[t] = tuple(islice(saved, num_parts)), tuple(islice(saved, num_others))
            return [*self.backward(segments[0], self.state, grads, to_state), *self.parameter_gradients()]
        first = segments[-1 if self.reverse else 0]
        boundaries = {ts: tuple(islice(saved, 1 + num_others)) for ts in segments}

        def segment(ts: range, grads: Maps) -> Maps:
            sizes = self.sizes[ts.start : ts.stop]
            self.ys = dict(zip(ts, self.buffers.new(sum(sizes), self.channels).split(sizes), strict=True))
            self.forward(ts, boundaries[ts], spec.zero_state and ts == first)
            return self.backward(ts, boundaries[ts], grads, to_state or ts != first)

        grads = fold(segment, segments, grads, reverse=not self.reverse, sizes=spec.sizes(segments))
        return [*grads, *self.parameter_gradients()]

    def backward(self, ts: range, start: Maps, grads: Maps, to_start: bool) -> Maps:
        """Returns the gradient of `start`, the state before the steps `ts`.

        `grads` is the gradient of the state after these steps. Without `to_start` the gradient of `start` is not
        needed: its convolution is left out, and the result is meaningless.
        """
        blocks, joint = self.blocks(ts), self.joint
        max_rows = max(self.starts[block.stop] - self.starts[block.start] for block in blocks)
        gates = [self.buffers.new(max_rows, len(conv.weight), self.conv_dtype) for conv in self.convs]
        uncast = [self.buffers.new(len(start[0]), len(conv.weight)) for conv in self.convs] if self.is_cast else []
        xh = self.buffers.new(max_rows, self.inputs + self.channels, self.conv_dtype)
        last = ts[-1] if self.reverse else ts[0]
        into_at: dict[int, Maps] = {}
        state_at = [self.ys.__getitem__, *(lambda t, i=i: self.saved[t][1][i] for i in range(len(start) - 1))]

        def step_back(t: int, grads: Maps) -> Maps:
            gate_grads = into_at[t]
            into = [g[: self.sizes[t]] for g in uncast] if self.is_cast else gate_grads
            if self.y_grads is not None:
                grads[0].add_(self.y_grads[t])
            parts, others = self.saved.pop(t)
            before = tuple([self.before(t, ts, s, at) for s, at in zip(start, state_at, strict=True)])
            into_parts = joint.split(into[0], 1) if joint else into
            if self.adds_x and self.x_grad is not None:
                x_grad = self.x_grad[self.starts[t] : self.starts[t + 1]]
                into_parts = [into_parts[0], *self._split_x(x_grad)[1:], *into_parts[1:]]
            dh, *other_grads = self.in_place.backward(parts, before, (self.ys[t], *others), grads, into_parts)
            for grad, into_grad, bias in zip(gate_grads, into, self.bias_grads, strict=True) if self.is_cast else ():
                grad.copy_(into_grad)
                if bias is not None and self.weights:
                    bias.add_(bias_gradient(into_grad, bias.dtype))
            if t == last and not to_start:
                return grads
            for conv, grad in zip(self.convs, gate_grads, strict=True):
                if conv.reads_h:
                    h_grad = conv.h_gradient(grad).to(self.dtype)
                    if self.h_mask is not None:
                        h_grad.mul_(self.h_mask[: self.sizes[t]])
                    dh = h_grad if dh is None else h_grad.add_(dh)
            return dh, *other_grads

        def run_block(block: range, grads: Maps) -> Maps:
            sizes = self.sizes[block.start : block.stop]
            parts = [g[: sum(sizes)].split(sizes) for g in gates]
            into_at.update(zip(block, zip(*parts, strict=True), strict=True))
            grads = fold(step_back, block, grads, reverse=not self.reverse, sizes=self.spec.sizes(block))
            self._flush(block, ts, start[0], gates, xh)
            return grads

        return fold(run_block, blocks, grads, reverse=not self.reverse, sizes=self.spec.sizes(blocks))

    def parameter_gradients(self) -> list[Tensor | None]:
        """Returns the gradients of ih, hh, b_ih, b_hh, the mask of h (always None) and the extra parameters."""
        if not self.weights:
            return [None, None, None, None, None, *self.in_place.extra_grads]
        rows: list[tuple[Part, Tensor, Tensor | None]] = []
        for conv, weight, bias in zip(self.convs, self.weight_grads, self.bias_grads, strict=True):
            biases: Sequence[Any] = [None] * len(conv.parts) if bias is None else conv.split(bias)
            rows += zip(conv.parts, conv.split(weight), biases, strict=True)
        ih = [weight[:, : self.inputs] for part, weight, _ in rows if part.reads_x]
        hh = [weight[:, -self.channels :] for part, weight, _ in rows if part.reads_h]
        b_ih = [bias for part, _, bias in rows if part.reads_x and bias is not None]
        b_hh = [bias for part, _, bias in rows if part.reads_h and bias is not None]
        # A gradient of all channels is not copied.
        grads = [g[0] if self.adds_x and len(g) == 1 else torch.cat(g) if g else None for g in (ih, hh, b_ih, b_hh)]
        return [*grads, None, *self.in_place.extra_grads]

    def blocks(self, ts: range, max_bytes: int = GATES_BYTES) -> list[range]:
        """Divides `ts` into blocks of steps, whose gates, or their gradients, are read at once."""
        row = sum(len(conv.weight) for conv in self.convs) * math.prod(self.size) * self.dtype.itemsize
        blocks = []
        first = ts.start
        for t in range(ts.start + 1, ts.stop + 1):
            if t == ts.stop or self.starts[t + 1] - self.starts[first] > max_bytes // row:
                blocks.append(range(first, t))
                first = t
        return blocks

    def before(self, t: int, ts: range, start: Tensor, state_at: Callable[[int], Tensor]) -> Tensor:
        """Returns the state before step t; ``state_at(u)`` is the state after step u."""
        n, previous = self.sizes[t], t + 1 if self.reverse else t - 1
        if previous not in ts:
            return start[:n]
        running = self.sizes[previous]
        if running < n:  # in reverse, sequences that enter at step t
            return torch.cat([state_at(previous), start[running:n]])
        return state_at(previous) if running == n else state_at(previous)[:n]

    def _flush(self, block: range, ts: range, start: Tensor, gates: Sequence[Tensor], xh: Tensor) -> None:
        """Computes the gradients of weights and input over the collected steps of a block."""
        rows = slice(self.starts[block.start], self.starts[block.stop])
        n = rows.stop - rows.start
        gates = [g[:n] for g in gates]
        if self.weights:
            xh = xh[:n]
            if self.inputs:
                join_into(xh[:, : self.inputs], [self.xs[t] for t in block])
            join_into(xh[:, self.inputs :], [self.before(t, ts, start, self.ys.__getitem__) for t in block])
            if self.h_mask is not None:
                xh[:, self.inputs :].mul_(torch.cat([self.h_mask[: self.sizes[t]] for t in block]))
            weight_grads = [
                conv_gradients(grad, xh[:, conv.channels], conv.weight, self.spec.cell.geometry, to_x=False)[1]
                for conv, grad in zip(self.convs, gates, strict=True)
            ]
            for total, grad in zip(self.weight_grads, weight_grads, strict=False):
                total.add_(grad)
            self.weight_grads = self.weight_grads or [grad.to(self.dtype) for grad in weight_grads]
            for grad, bias in zip(gates, self.bias_grads, strict=True):
                if bias is not None and not self.is_cast:  # else added step by step, before rounding
                    bias.add_(bias_gradient(grad, bias.dtype))
        if self.adds_x and self.x_grad is not None:
            summed, *_ = self._split_x(self.x_grad[rows])
            summed.copy_(gates[0][:, : summed.shape[1]])
        elif self.x_grad is not None:
            total, *others = [c.x_gradient(grad) for c, grad in zip(self.convs, gates, strict=True) if c.reads_x]
            for other in others:
                total.add_(other)
            (self.x_grad[rows].add_ if self.reverse else self.x_grad[rows].copy_)(total)
