"""Nonlinearities of new states, with their in-place versions and derivatives."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

NEGATIVE_SLOPE = 0.2
"""Slope of the leaky ReLU below zero."""


class Nonlinearity(NamedTuple):
    """A function, the function that writes its result to `out`, and its derivative.

    ``gradient(grad, result, grad_input=…)`` writes the gradient of the input, from those of the result.
    """

    function: Callable[[Tensor], Tensor]
    write: Callable[..., Tensor]
    gradient: Callable[..., Tensor]


def _relu_gradient(grad: Tensor, result: Tensor, grad_input: Tensor) -> Tensor:
    return torch.ops.aten.threshold_backward.grad_input(grad, result, 0, grad_input=grad_input)


def _leaky_relu_gradient(grad: Tensor, result: Tensor, grad_input: Tensor) -> Tensor:
    return torch.ops.aten.leaky_relu_backward.grad_input(grad, result, NEGATIVE_SLOPE, True, grad_input=grad_input)


NONLINEARITIES = {
    "tanh": Nonlinearity(torch.tanh, torch.tanh, torch.ops.aten.tanh_backward.grad_input),
    "relu": Nonlinearity(torch.relu, partial(torch.clamp_min, min=0), _relu_gradient),
    "leaky_relu": Nonlinearity(
        partial(F.leaky_relu, negative_slope=NEGATIVE_SLOPE),
        partial(torch.ops.aten.leaky_relu.out, negative_slope=NEGATIVE_SLOPE),
        _leaky_relu_gradient,
    ),
}
"""Nonlinearities by torch's names."""
