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


def half_tanh(x: Tensor, *, out: Tensor) -> Tensor:
    """Computes tanh in float32 with a relative error of at most 4e-5, a hundredth of bfloat16's rounding.

    On the only processor measured, AMD Zen 5, it takes a third of the time of :func:`torch.tanh`. x plus the remainder
    ``2σ(2x) - 1 - x`` is accurate for small x too, whose remainder is lost in rounding: then it is set to zero.
    """
    x = x.clamp(-9, 9)
    remainder = torch.sub(torch.add(x, x, out=out).sigmoid_().sub_(0.5), x, alpha=0.5, out=out)
    return torch.add(x, F.hardshrink(remainder, 1.5e-7), alpha=2, out=out)


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
