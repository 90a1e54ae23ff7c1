"""Nonlinearities of new states, with their in-place versions and derivatives."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

NEGATIVE_SLOPE = 0.2  # of the leaky ReLU


class Nonlinearity(NamedTuple):
    """A function, a version of it that writes its result to `out`, and its derivative.

    ``gradient(grad, result, grad_input=…)`` writes the gradient of the input. `grad` is the gradient of `result`.
    """

    function: Callable[[Tensor], Tensor]
    write: Callable[..., Tensor]
    gradient: Callable[..., Tensor]


NONLINEARITIES = {
    "tanh": Nonlinearity(torch.tanh, torch.tanh, torch.ops.aten.tanh_backward.grad_input),
    "relu": Nonlinearity(
        torch.relu,
        partial(torch.clamp_min, min=0),
        partial(torch.ops.aten.threshold_backward.grad_input, threshold=0),
    ),
    "leaky_relu": Nonlinearity(
        partial(F.leaky_relu, negative_slope=NEGATIVE_SLOPE),
        partial(torch.ops.aten.leaky_relu.out, negative_slope=NEGATIVE_SLOPE),
        partial(torch.ops.aten.leaky_relu_backward.grad_input, negative_slope=NEGATIVE_SLOPE, self_is_result=True),
    ),
}
