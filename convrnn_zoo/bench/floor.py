"""The floor: the convolutions of a case alone, channels innermost, with nothing between them.

Whatever runs the same convolutions on the same kernels cannot be faster.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from convrnn_zoo.layers._backward import rows_at_once
from convrnn_zoo.layers._conv import Geometry, conv_gradients, convolver, input_gradient
from convrnn_zoo.layers._scan import chunks

from .cases import Case


class _Conv:
    """One convolution; a training step needs the gradient of the last `state` channels of its input."""

    def __init__(self, case: Case, inputs: int, rows: int, state: int) -> None:
        def map_(channels: int, n: int = case.batch) -> Tensor:
            return torch.randn(n, *case.size, channels).movedim(-1, 1)

        one = (1,) * len(case.size)
        self.geometry, self.x, self.grad = Geometry(one, one, 1, "zeros"), map_(inputs), map_(rows)
        self.weight = torch.randn(rows, inputs, *(case.kernel,) * len(case.size))
        self.conv = convolver(self.weight, None, self.geometry, case.size, True)
        self.to_state = input_gradient(self.weight[:, -state:], self.geometry, case.size, True) if state else None
        # Weight gradients of some steps at once are faster than one by one: as many as the layers take.
        most = rows_at_once(self.weight, case.size)
        self.together = [sum(case.sizes()[a:b]) for a, b in chunks(case.sizes(), most)]
        self.xs, self.grads = (map_(c, max(self.together)) for c in (inputs, len(self.weight)))

    def forward(self, n: int) -> None:
        """The step's convolution."""
        self.conv(self.x[:n])

    def backward(self, n: int) -> None:
        """The step's gradient of the state."""
        if self.to_state is not None:
            self.to_state(self.grad[:n])

    def weights(self) -> None:
        """The weight's gradient over all steps."""
        for n in self.together:
            conv_gradients(self.grads[:n], self.xs[:n], self.weight, self.geometry, (False, True, False))


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
        for each in convs:
            each.weights()

    return inference, training
