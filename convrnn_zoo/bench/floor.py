"""The floor: the convolutions of a case alone, channels innermost, with nothing between them.

Whatever runs the same convolutions on the same kernels cannot be faster.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from convrnn_zoo.layers._conv import Geometry, conv_gradients, convolver, input_gradient

from .cases import Case


class _Conv:
    """One convolution; a training step needs the gradient of the last `state` channels of its input."""

    def __init__(self, case: Case, inputs: int, rows: int, state: int) -> None:
        def map_(channels: int) -> Tensor:
            return torch.randn(case.batch, *case.size, channels).movedim(-1, 1)

        one = (1,) * len(case.size)
        self.geometry, self.x, self.grad = Geometry(one, one, 1, "zeros"), map_(inputs), map_(rows)
        self.weight = torch.randn(rows, inputs, *(case.kernel,) * len(case.size))
        self.conv = convolver(self.weight, None, self.geometry, case.size, True)
        self.to_state = input_gradient(self.weight[:, -state:], self.geometry, case.size, True) if state else None

    def forward(self, n: int) -> None:
        self.conv(self.x[:n])

    def backward(self, n: int) -> None:
        conv_gradients(self.grad[:n], self.x[:n], self.weight, self.geometry, (False, True, False))
        if self.to_state is not None:
            self.to_state(self.grad[:n])


def floor(case: Case) -> tuple[Callable[[], None], Callable[[], None]]:
    """Inference and training step of `case`, convolutions only."""
    sizes, c, directions, conv = case.sizes(), case.channels, 1 + case.bidirectional, partial(_Conv, case)
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
                each.forward(n)

    def training() -> None:
        inference()
        for n in sizes:
            for each in convs:
                each.backward(n)

    return inference, training
