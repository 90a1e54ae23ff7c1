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


def crps(output: Tensor, truth: Tensor, amount: Tensor) -> Tensor:
    """The continuous ranked probability score of members ``(M, *S)`` against a truth ``(*S)``, the fair one.

    It is the mean distance of a member from the truth, less half of that of two members from each other; as many
    members as there are, its expectation is the same. Of one forecast, without an axis of members, it is the mean
    absolute error.

    References:
        Ferro, C. A. T. (2014). Fair scores for ensemble forecasts. https://doi.org/10.1002/qj.2270

    Example:
        >>> truth = torch.zeros(2)
        >>> float(crps(torch.tensor([[-1.0, 2.0], [1.0, 4.0]]), truth, truth))  # (1 - 2/2 + 3 - 2/2) / 2
        1.0
    """
    error = (output - truth).abs().mean()
    count = len(output)
    if output.dim() == truth.dim() or count == 1:
        return error
    ranks = torch.arange(1 - count, count, 2, device=output.device, dtype=output.dtype)
    apart = (output.sort(0).values.movedim(0, -1) @ ranks) / (count * (count - 1))  # half the mean distance
    return error - apart.mean()


class Loss(NamedTuple):
    """A loss ``of(output, truth, amount)``, amount being the truth in the data's unit."""

    of: Callable[[Tensor, Tensor, Tensor], Tensor]
    activation: Literal["none", "sigmoid"] = "none"
    """The name of what turns a model's output into frames, as :class:`~convrnn_zoo.Preprocessing` knows it."""


LOSSES = {
    "mse": Loss(lambda output, truth, amount: F.mse_loss(output, truth)),
    "mae": Loss(lambda output, truth, amount: F.l1_loss(output, truth)),
    "cross_entropy": Loss(cross_entropy, "sigmoid"),
    "crps": Loss(crps),
    "balanced": Loss(balanced),
    "balanced_light": Loss(partial(balanced, weights=LIGHT)),
}


def partial_derivatives(moments: Tensor) -> Tensor:
    """How far PhyDNet's filters are from partial derivatives: the squared distance of their moments, map by map.

    Filter n is to be the derivative of order ``n // K`` down and ``n % K`` to the right. The mean over the filters
    and the K·K moments of each is summed over the maps that the filters read.

    Args:
        moments: ``(filters, maps, K, K)``, as :meth:`~convrnn_zoo.models.phydnet.PhyDNet.moments` gives them.

    Reference:
        Le Guen, V. and Thome, N. (2020), section 3.2. https://arxiv.org/abs/2003.01460

    Example:
        >>> float(partial_derivatives(torch.eye(9).reshape(9, 1, 3, 3)))
        0.0
    """
    filters, _, size, _ = moments.shape
    meant = torch.eye(filters, size**2).to(moments).reshape(filters, 1, size, size)
    return (moments - meant).square().mean(dim=(0, 2, 3)).sum()


def decoupling(deltas: list[tuple[Tensor, Tensor]]) -> Tensor:
    """How similar PredRNN v2's additions to its two memories are: the mean |cosine| of each channel's two maps.

    Reference:
        Wang, Y. et al. (2023), section 3.3. https://arxiv.org/abs/2103.09504
    """
    return torch.stack([F.cosine_similarity(c.flatten(2), m.flatten(2), dim=2).abs().mean() for c, m in deltas]).mean()
