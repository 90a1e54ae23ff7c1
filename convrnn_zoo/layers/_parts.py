"""The convolutions of a step: one over input and state for the gates that are sums, one of each for the others."""

from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from ._base import DirectionWeights, Equations
from ._conv import Geometry, ready_conv, ready_input_gradient, same_conv

Conv = Callable[[Tensor], Tensor]


class Part:
    """A convolution over some channels of ``[x, h]``; its parameters are made ready when they are first used.

    Args:
        geometry: how the kernel is laid over the map.
        size: of the map.
        compute: dtype of the convolution.
        channels_last: whether maps have their channels innermost.
        weight, bias: the parameters.
        inputs: channels of x.
        of_x, of_h: whether it sees x, and h.
    """

    def __init__(
        self, geometry: Geometry, size: Sequence[int], compute: torch.dtype, channels_last: bool,
        weight: Tensor, bias: Tensor | None, inputs: int, of_x: bool, of_h: bool,
    ) -> None:  # fmt: skip
        self.weight, self.bias, self.inputs, self.of_x, self.of_h = weight, bias, inputs, of_x, of_h
        self.geometry, self.channels_last, self.size, self.compute = geometry, channels_last, size, compute
        self.channels = slice(0 if of_x else inputs, None if of_h else inputs)

    @cached_property
    def conv(self) -> Conv:
        """The convolution."""
        bias = None if self.bias is None else self.bias.to(self.compute)
        return ready_conv(self.weight.to(self.compute), bias, self.geometry, self.size, self.channels_last)

    def conv_once(self, seen: Tensor, from_zero: bool, alone: bool) -> Tensor:
        """For the first step: a zero state is not convolved, nothing is made ready for a step that is `alone`."""
        x_alone = from_zero and self.of_x and self.of_h
        if not alone and not x_alone:
            return self.conv(seen)
        channels = slice(self.inputs) if x_alone else slice(None)
        bias = None if self.bias is None else self.bias.to(self.compute)
        return same_conv(seen[:, channels], self.weight[:, channels].to(self.compute), bias, self.geometry)

    @cached_property
    def to_x(self) -> Conv:
        """The gradient of x from that of the result."""
        return self._input_gradient(slice(self.inputs))

    @cached_property
    def to_h(self) -> Conv:
        """The gradient of h from that of the result."""
        return self._input_gradient(slice(self.inputs if self.of_x else 0, None))

    def _input_gradient(self, channels: slice) -> Conv:
        weight = self.weight[:, channels].to(self.compute)
        return ready_input_gradient(weight, self.geometry, self.size, self.channels_last)


def parts_of(cell: Equations, w: DirectionWeights, part: Callable[..., Part]) -> list[Part]:
    """The convolutions of a step of `cell`; `part` makes one of its weight, bias, channels of x, and what it sees."""
    inputs = w.ih.shape[1]
    if cell.summed is None:
        return [part(torch.cat([w.ih, w.hh], 1), summed_bias(w.b_ih, w.b_hh), inputs, True, True)]
    n = cell.summed_rows(w.ih.shape[0])
    (ih, of_x), (hh, of_h) = ((weight[:n], weight[n:]) for weight in (w.ih, w.hh))
    (b_ih, b_x), (b_hh, b_h) = ((None, None) if b is None else (b[:n], b[n:]) for b in (w.b_ih, w.b_hh))
    parts = [part(torch.cat([ih, hh], 1), summed_bias(b_ih, b_hh), inputs, True, True)]
    if of_x.shape[0]:
        parts.append(part(of_x, b_x, inputs, True, False))
    if of_h.shape[0]:
        parts.append(part(of_h, b_h, inputs, False, True))
    return parts


def summed_bias(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    """The sum of those that are there."""
    return first if second is None else second if first is None else first + second
