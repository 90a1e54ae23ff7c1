"""The floor: the convolutions of a case alone, channels innermost, with nothing between them.

Whatever runs the same convolutions on the same kernels cannot be faster.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from convrnn_zoo.layers._conv import Geometry, plain_conv, plain_conv_backward

from .cases import Case


class _Conv(NamedTuple):
    x: Tensor
    weight: Tensor
    grad: Tensor
    state: int  # the channels of the input, its last, whose gradient a training step needs

    def forward(self, n: int, geometry: Geometry) -> None:
        plain_conv(self.x[:n], self.weight, None, geometry)

    def backward(self, n: int, geometry: Geometry) -> None:
        plain_conv_backward(self.grad[:n], self.x[:n], self.weight, geometry, (False, True, False))
        if self.state:
            of_state = self.weight[:, -self.state :].contiguous()
            like = self.grad[:n, : self.state]
            plain_conv_backward(self.grad[:n], like, of_state, geometry, (True, False, False))


def floor(case: Case) -> tuple[Callable[[], None], Callable[[], None]]:
    """Inference and training step of `case`, convolutions only."""
    one = (1,) * len(case.size)
    geometry, sizes, c = Geometry(one, one, 1, "zeros"), case.sizes(), case.channels
    directions = 1 + case.bidirectional

    def conv(inputs: int, rows: int, state: int) -> _Conv:
        def map_(channels: int) -> Tensor:
            return torch.randn(case.batch, *case.size, channels).movedim(-1, 1)

        return _Conv(map_(inputs), torch.randn(rows, inputs, *(case.kernel,) * len(case.size)), map_(rows), state)

    convs = []
    for layer in range(case.num_layers):
        below = directions * c if layer else case.in_channels
        if case.kind == "GRU":  # input and state part of the candidate stay apart
            convs += [conv(below, 3 * c, below if layer else 0), conv(c, 3 * c, c)] * directions
        else:
            convs += [conv(below + c, 4 * c, (below if layer else 0) + c)] * directions
        if case.kind == "PeepholeLSTM":
            convs += [conv(c, c, c)] * 3 * directions

    def inference() -> None:
        for n in sizes:
            for each in convs:
                each.forward(n, geometry)

    def training() -> None:
        inference()
        for n in sizes:
            for each in convs:
                each.backward(n, geometry)

    return inference, training
