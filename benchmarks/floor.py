"""Lower bound of the time: only the convolutions of a case, in channels-last layout.

No implementation that uses the same convolution kernels can be faster.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from convrnn_zoo.layers._conv import Geometry, conv_gradients, prepare_conv, prepare_input_gradient
from convrnn_zoo.layers._run import GATES_BYTES

from .cases import Case


class _Conv:
    """One convolution. Training needs the gradient of the last `state` channels of its input."""

    def __init__(self, case: Case, inputs: int, rows: int, state: int) -> None:
        def map_(channels: int, n: int = case.batch) -> Tensor:
            return torch.randn(n, *case.size, channels).movedim(-1, 1)

        one = (1,) * len(case.size)
        self.geometry, self.x, self.grad = Geometry(one, one, 1, ("zeros",) * len(one)), map_(inputs), map_(rows)
        self.weight = torch.randn(rows, inputs, *(case.kernel,) * len(case.size))
        self.conv, self.args = prepare_conv(self.weight, None, self.geometry, case.batch, case.size, True)
        self.to_state = None
        if state:
            to_state = self.weight[:, -state:]
            self.to_state = prepare_input_gradient(to_state, self.geometry, case.batch, case.size, True)
        # Weight gradients of some steps at once are faster than one by one. Use as many as the layers do.
        most = GATES_BYTES // (rows * math.prod(case.size) * self.x.itemsize)
        self.together: list[int] = []
        for n in case.sizes():
            if self.together and self.together[-1] + n <= most:
                self.together[-1] += n
            else:
                self.together.append(n)
        self.xs, self.grads = (map_(c, max(self.together)) for c in (inputs, rows))

    def forward(self, n: int) -> None:
        self.conv(self.x[:n], *self.args)

    def backward(self, n: int) -> None:
        """Computes the gradient of the state of one step."""
        if self.to_state is not None:
            self.to_state(self.grad[:n])

    def weights(self) -> None:
        """Computes the gradient of the weight over all steps."""
        for n in self.together:
            conv_gradients(self.grads[:n], self.xs[:n], self.weight, self.geometry, to_x=False)


def floor(case: Case) -> tuple[Callable[[], None], Callable[[], None]]:
    """Returns two functions: the convolutions of inference and of a training step of `case`."""
    sizes, c, directions, conv = case.sizes(), case.channels, 1 + case.bidirectional, partial(_Conv, case)
    convs = []
    for layer in range(case.num_layers):
        below = directions * c if layer else case.in_channels
        if case.kind == "GRU":  # input and state part of the candidate stay apart
            convs += [conv(below + c, 2 * c, (below if layer else 0) + c)] * directions
            convs += [conv(below, c, below if layer else 0), conv(c, c, c)] * directions
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
        for each in convs:
            each.weights()

    return inference, training
