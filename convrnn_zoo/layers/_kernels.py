"""One direction of a layer over time on a GPU, by torch's kernels of ``nn.LSTMCell`` and ``nn.GRUCell``.

On a GPU, a call costs the host 5 to 10 microseconds, whatever the size of the map. So a step is two calls: the
convolution of the state, and the kernel, which adds the contributions of the input and computes the next state. The
input is convolved for many steps at once. A kernel reads matrices ``(pixels, gates · channels)``: a map in
channels-last layout is one without a copy.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ._conv import bias_gradient, conv_gradients
from ._in_place import Direction, FusedConv, Part
from ._run import DirectionWeights, Maps, fold

ops: Any = torch.ops.aten
DEVICES = ("cuda", "xpu")
"""Types of devices that have the kernels."""
BLOCK_BYTES = 64 << 20
"""Size of the gates of the steps whose inputs are convolved, or whose weights are differentiated, at once."""


class CellKernel(NamedTuple):
    """Kernels of a cell's step and of its derivative. All tensors are matrices of pixels and channels.

    ``forward(of_x, of_h, state, b_ih, b_hh)`` adds the contributions of input and state and their biases, and returns
    the next state and the workspace that the derivative reads. ``backward(grads, state, new, workspace)`` returns the
    gradients of the two contributions, and those of the state, without the part that flows through the convolution.
    """

    forward: Callable[..., tuple[Maps, Tensor]]
    backward: Callable[..., tuple[Tensor, Tensor, tuple[Any, ...]]]


def _lstm_step(of_x: Tensor, of_h: Tensor, state: Maps, *biases: Tensor | None) -> tuple[Maps, Tensor]:
    h, c, workspace = ops._thnn_fused_lstm_cell(of_x, of_h, state[1], *biases)
    return (h, c), workspace


def _lstm_gradient(grads: Maps, state: Maps, new: Maps, workspace: Tensor) -> tuple[Tensor, Tensor, Any]:
    gates, dc, _ = ops._thnn_fused_lstm_cell_backward_impl(*grads, state[1], new[1], workspace, False)
    return gates, gates, (None, dc)


def _gru_step(of_x: Tensor, of_h: Tensor, state: Maps, *biases: Tensor | None) -> tuple[Maps, Tensor]:
    h, workspace = ops._thnn_fused_gru_cell(of_x, of_h, state[0], *biases)
    return (h,), workspace


def _gru_gradient(grads: Maps, state: Maps, new: Maps, workspace: Tensor) -> tuple[Tensor, Tensor, Any]:
    of_x, of_h, dh, *_ = ops._thnn_fused_gru_cell_backward(grads[0], workspace, False)
    return of_x, of_h, (dh,)


LSTM, GRU = CellKernel(_lstm_step, _lstm_gradient), CellKernel(_gru_step, _gru_gradient)


@cache
def has_operations(device: str) -> bool:
    """Returns whether this torch has the four private operations for a type of devices."""
    cells = ("lstm_cell", "lstm_cell_backward_impl", "gru_cell", "gru_cell_backward")
    with suppress(AttributeError, RuntimeError):
        has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key
        return device in DEVICES and all(has_kernel(f"aten::_thnn_fused_{cell}", device.upper()) for cell in cells)
    return False


def find_direction(cell: Any, weights: Sequence[DirectionWeights], xs: Tensor) -> type[Direction]:
    """Returns the class that runs a fused layer: by torch's kernels if the device has that of the cell, or in place.

    Fake tensors and other subclasses run in place: not all of the kernels have an implementation for them.
    """
    is_plain = type(xs) in (Tensor, torch.nn.Parameter) and all(w.h_mask is None for w in weights)
    has_kernel = is_plain and has_operations(xs.device.type) and cell.in_place.find_kernel(cell) is not None
    return KernelDirection if has_kernel else Direction


def to_rows(maps: Tensor) -> Tensor:
    """Returns maps ``(N, C, *S)`` as a matrix with a row for each pixel, without a copy in channels-last layout."""
    return maps.movedim(1, -1).reshape(-1, maps.shape[1])


class KernelDirection(Direction):
    """One direction of a layer by a :class:`CellKernel`, with the interface of :class:`Direction`."""

    title = "kernels"
    num_saved_parts = 1  # the workspace

    def make_convs(self, w: DirectionWeights, make: Callable[..., FusedConv]) -> list[FusedConv]:
        """Returns the convolutions of the input and of the state. The kernel adds their biases."""
        self.biases, rows = (w.b_ih, w.b_hh), len(w.ih)
        kernel = self.spec.cell.in_place.find_kernel(self.spec.cell)
        self.kernel_forward, self.kernel_backward = kernel.forward, kernel.backward
        of_x, of_h = Part(rows, reads_h=False), Part(rows, reads_x=False)
        return [make(w.ih, None, self.inputs, [of_x]), make(w.hh, None, self.inputs, [of_h])]

    def to_maps(self, rows: Tensor) -> Tensor:
        """Returns a matrix as maps; the inverse of :func:`to_rows`."""
        return rows.view(-1, *self.size, rows.shape[1]).movedim(-1, 1)

    def stacked_input(self, block: range) -> Tensor:
        """Returns the input of the steps of a block along axis 0, in the dtype of the convolutions."""
        if self.spec.packed:
            return self.input[self.starts[block.start] : self.starts[block.stop]].to(self.conv_dtype)
        return self.input[block.start : block.stop].flatten(0, 1).to(self.conv_dtype)

    def forward(self, ts: range, state: Maps, zero_state: bool) -> Maps:
        """Writes the h of every step of `ts` into `ys` and returns the final state."""
        (convolve_x, x_args), (convolve_h, h_args) = (conv.prepared_conv for conv in self.convs)
        of_x: dict[int, Tensor] = {}
        hs: dict[int, Tensor] = {}  # as matrices, which one call copies for all steps

        def run_step(t: int, state: Maps) -> Maps:
            of_h = to_rows(convolve_h(state[0].to(self.conv_dtype), *h_args)).to(self.dtype)
            rows, workspace = self.kernel_forward(of_x.pop(t), of_h, [*map(to_rows, state)], *self.biases)
            new = tuple(map(self.to_maps, rows))
            hs[t] = rows[0]
            if self.keep:
                self.saved[t] = (workspace,), new[1:]
            return new

        def run_block(block: range, state: Maps) -> Maps:
            gates = convolve_x(self.stacked_input(block), *x_args).to(self.dtype)
            of_x.update(zip(block, map(to_rows, gates.split(self.sizes[block.start : block.stop])), strict=True))
            state = fold(run_step, block, state, reverse=self.reverse, sizes=self.spec.sizes(block))
            self.output(block).copy_(self.to_maps(torch.cat([hs.pop(t) for t in block])))
            return state

        blocks = self.blocks(ts, BLOCK_BYTES)
        return fold(run_block, blocks, state, reverse=self.reverse, sizes=self.spec.sizes(blocks))

    def output(self, block: range) -> Tensor:
        """Returns the memory of the outputs of a block, which are next to each other."""
        first = self.ys[block.start]
        return first.as_strided((sum(self.sizes[block.start : block.stop]), *first.shape[1:]), first.stride())

    def backward(self, ts: range, start: Maps, grads: Maps, to_start: bool) -> Maps:
        """Returns the gradient of `start`, as :meth:`Direction.backward`."""
        last = ts[-1] if self.reverse else ts[0]
        state_at = [self.ys.__getitem__, *(lambda t, i=i: self.saved[t][1][i] for i in range(len(start) - 1))]
        gates: dict[int, tuple[Tensor, Tensor]] = {}

        def step_back(t: int, grads: Maps) -> Maps:
            # The sum also casts the gradient that a convolution in half precision returned at the step after t.
            dh = grads[0].to(self.dtype) if self.y_grads is None else grads[0] + self.y_grads[t]
            grads = dh, *grads[1:]
            before = [to_rows(self.before(t, ts, s, at)) for s, at in zip(start[1:], state_at[1:], strict=True)]
            (workspace,), others = self.saved.pop(t)
            new, rows = [None, *map(to_rows, others)], tuple(map(to_rows, grads))
            of_x, of_h, direct = self.kernel_backward(rows, [None, *before], new, workspace)
            gates[t] = of_x, of_h
            direct_maps: list[Any] = [g if g is None else self.to_maps(g) for g in direct]
            dh_direct, *dc = direct_maps
            if t == last and not to_start:
                return grads
            h_grad = self.convs[1].h_gradient(self.to_maps(of_h).to(self.conv_dtype))
            return h_grad if dh_direct is None else dh_direct.add_(h_grad), *dc

        def run_block(block: range, grads: Maps) -> Maps:
            grads = fold(step_back, block, grads, reverse=not self.reverse, sizes=self.spec.sizes(block))
            hs = [to_rows(self.before(t, ts, start[0], state_at[0])) for t in block] if self.weights else []
            self.add_gradients(block, [gates.pop(t) for t in block], hs)
            return grads

        blocks = self.blocks(ts, BLOCK_BYTES)
        dh, *others = fold(run_block, blocks, grads, reverse=not self.reverse, sizes=self.spec.sizes(blocks))
        return dh.to(self.dtype), *others

    def add_gradients(self, block: range, gates: list[tuple[Tensor, Tensor]], hs: list[Tensor]) -> None:
        """Computes the gradients of weights and input over the steps of a block; `hs` are the matrices of h before."""
        of_x = torch.cat([x for x, _ in gates])
        of_h = of_x if gates[0][0] is gates[0][1] else torch.cat([h for _, h in gates])
        maps = [self.to_maps(rows).to(self.conv_dtype) for rows in ((of_x,) if of_h is of_x else (of_x, of_h))]
        if self.weights:
            inputs, pairs = (
                (self.stacked_input(block), self.to_maps(torch.cat(hs)).to(self.conv_dtype)),
                (maps[0], maps[-1]),
            )
            new = [
                conv_gradients(grad, x, conv.weight, conv.geometry, to_x=False)[1].to(self.dtype)
                for grad, x, conv in zip(pairs, inputs, self.convs, strict=True)
            ]
            if self.biases[0] is not None:
                new += [bias_gradient(of_x, self.dtype), bias_gradient(of_h, self.dtype)]
            for total, grad in zip(self.weight_grads, new, strict=False):
                total.add_(grad)
            self.weight_grads = self.weight_grads or new
        if self.x_grad is not None:
            x_grad = self.x_grad[self.starts[block.start] : self.starts[block.stop]]
            (x_grad.add_ if self.reverse else x_grad.copy_)(self.convs[0].x_gradient(maps[0]))

    def parameter_gradients(self) -> list[Tensor | None]:
        """Returns the gradients of ih, hh, b_ih, b_hh and the mask of h, which is always None."""
        return [*self.weight_grads, *[None] * (5 - len(self.weight_grads))]
