"""Losses of a forecast, with the name of the activation that turns a model's output into frames."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

BALANCE = ((2.0, 2.0), (5.0, 5.0), (10.0, 10.0), (30.0, 30.0))
"""From a rain rate in mm/h on, the weight of a pixel; 1 below."""
LIGHT = ((0.5, 3.0), (2.0, 5.0), (5.0, 10.0), (10.0, 20.0))
"""The same from light rain on: where an hour ahead rain is as likely as not, rain is then forecast."""


def mse(output: Tensor, truth: Tensor, amount: Tensor) -> Tensor:
    """The mean squared error."""
    return F.mse_loss(output, truth)


def mae(output: Tensor, truth: Tensor, amount: Tensor) -> Tensor:
    """The mean absolute error."""
    return F.l1_loss(output, truth)


def cross_entropy(output: Tensor, truth: Tensor, amount: Tensor) -> Tensor:
    """The mean binary cross-entropy of logits against a truth in [0, 1].

    Reference:
        Shi, X. et al. (2015), section 4.1. https://arxiv.org/abs/1506.04214
    """
    return F.binary_cross_entropy_with_logits(output, truth)


def balanced(output: Tensor, truth: Tensor, amount: Tensor, weights: Sequence[tuple[float, float]] = BALANCE) -> Tensor:
    """Squared plus absolute error, both weighted by the rain that fell: heavy rain is rare and matters most.

    Reference:
        Shi, X. et al. (2017). Deep Learning for Precipitation Nowcasting: A Benchmark and A New Model, section 4.2.
        https://arxiv.org/abs/1706.03458

    Example:
        >>> truth = torch.zeros(2)
        >>> float(balanced(truth + 1, truth, amount=torch.tensor([0.0, 30.0])))  # weights 1 and 30
        31.0
    """
    weight = torch.ones_like(amount)
    for threshold, value in weights:
        weight = torch.where(amount >= threshold, value, weight)
    error = output - truth
    return (weight * (error.square() + error.abs())).mean()


class Loss(NamedTuple):
    """A loss ``of(output, truth, amount)``, amount being the truth in the data's unit."""

    of: Callable[[Tensor, Tensor, Tensor], Tensor]
    activation: Literal["none", "sigmoid"] = "none"
    """The name of what turns a model's output into frames, as :class:`~convrnn_zoo.Preprocessing` knows it."""


LOSSES = {
    "mse": Loss(mse),
    "mae": Loss(mae),
    "cross_entropy": Loss(cross_entropy, "sigmoid"),
    "balanced": Loss(balanced),
    "balanced_light": Loss(partial(balanced, weights=LIGHT)),
}


def decoupling(deltas: list[tuple[Tensor, Tensor]]) -> Tensor:
    """How similar PredRNN v2's additions to its two memories are: the mean |cosine| of each channel's two maps.

    Reference:
        Wang, Y. et al. (2023), section 3.3. https://arxiv.org/abs/2103.09504
    """
    return torch.stack([F.cosine_similarity(c.flatten(2), m.flatten(2), dim=2).abs().mean() for c, m in deltas]).mean()
