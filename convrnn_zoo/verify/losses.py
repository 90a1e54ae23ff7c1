"""Losses of forecasts. Each also defines the activation that converts the output of a model to frames.

To add one, write a function ``(output, truth, amount)`` and an entry of :data:`LOSSES`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import _checks as check
from .._extras import need
from ..models.nowcast.decisions import THRESHOLDS
from ..values.preprocessing import Preprocessing
from ..values.units import is_rain

BALANCE = ((2.0, 2.0), (5.0, 5.0), (10.0, 10.0), (30.0, 30.0))
"""Pairs of a rain rate in mm/h and the weight of pixels from this rate on; pixels with less rain have weight 1."""
LIGHT = ((0.5, 3.0), (2.0, 5.0), (5.0, 10.0), (10.0, 20.0))
"""The same with larger weights for light rain: a model then forecasts light rain an hour ahead where it is likely."""
SSIM_WINDOW = 7
"""Edge of the window of SSIM in pixels."""
EXCEEDANCE_WEIGHTS = (1.0, 1.0, 1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 3.0, 3.0, 3.0)
"""Weights of the cross-entropy at each threshold of a nowcast: heavy rain is rare."""


def limited_mse(output: Tensor, truth: Tensor, amount: Tensor) -> Tensor:
    """Returns the mean squared error, where outputs beyond a truth of 0 or 1 count as correct.

    A forecast of brightness is limited to the range 0 to 1, so outputs beyond the range are no errors. With the plain
    squared error, outputs scatter around 0 in the background; with this loss, they fall below 0, and the forecast is 0.

    Example:
        >>> truth = torch.tensor([0.0, 0.0, 1.0, 0.5])
        >>> round(float(limited_mse(torch.tensor([-0.5, 0.2, 1.5, -0.5]), truth, truth)), 3)  # (0 + 0.04 + 0 + 1) / 4
        0.26
    """
    is_beyond = ((truth <= 0) & (output < 0)) | ((truth >= 1) & (output > 1))
    return F.mse_loss(torch.where(is_beyond, truth, output), truth)


def cross_entropy(output: Tensor, truth: Tensor, amount: Tensor) -> Tensor:
    """Returns the mean binary cross-entropy of logits against a truth in [0, 1].

    Reference:
        Shi, X. et al. (2015), section 4.1. https://arxiv.org/abs/1506.04214
    """
    return F.binary_cross_entropy_with_logits(output, truth)


def balanced(output: Tensor, truth: Tensor, amount: Tensor, weights: Sequence[tuple[float, float]] = BALANCE) -> Tensor:
    """Returns the squared plus absolute error, weighted by the observed rain, because heavy rain is rare.

    `weights` are pairs of a rain rate in mm/h and the weight of pixels whose `amount` is at least this rate.

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
    """Returns the mean of :func:`fair_crps` for members ``(M, *S)`` or for a single forecast ``(*S)``.

    Example:
        >>> truth = torch.zeros(2)
        >>> float(crps(torch.tensor([[-1.0, 2.0], [1.0, 4.0]]), truth, truth))  # (1 - 2/2 + 3 - 2/2) / 2
        1.0
    """
    return fair_crps(output.unsqueeze(0) if output.dim() == truth.dim() else output, truth).mean()


def fair_crps(members: Tensor, truth: Tensor) -> Tensor:
    """Returns the fair continuous ranked probability score of random members ``(M, *S)`` at each value of ``(*S)``.

    The score has the unit of the data, and lower is better. It is the mean distance of a member from the truth, minus
    half the mean distance of two members. Its expectation does not depend on the number of members. The score of a
    single member is its absolute error.

    References:
        Ferro, C. A. T. (2014). Fair scores for ensemble forecasts. https://doi.org/10.1002/qj.2270

    Example:
        >>> fair_crps(torch.tensor([[0.0], [2.0]]), torch.tensor([3.0])).tolist()  # (3 + 1) / 2 - 2 / 2
        [1.0]
    """
    return (members - truth).abs().mean(0) - half_distance(members, max(1, len(members) * (len(members) - 1)))


def quantile_crps(quantiles: Tensor, truth: Tensor) -> Tensor:
    """Returns the continuous ranked probability score of quantiles ``(M, *S)`` at each value of ``(*S)``.

    The quantiles are those of the M probabilities ``(i + 0.5) / M``, as the members of a nowcast by probabilities. The
    score is twice their mean pinball loss. For random members it would depend on M; see :func:`fair_crps`.

    References:
        Laio, F. and Tamea, S. (2007). Verification tools for probabilistic forecasts of continuous hydrological
        variables. https://doi.org/10.5194/hess-11-1267-2007

    Example:
        >>> quantile_crps(torch.tensor([[0.0], [2.0]]), torch.tensor([3.0])).tolist()  # 2 · (0.25 · 3 + 0.75 · 1) / 2
        [1.5]
    """
    return (quantiles - truth).abs().mean(0) - half_distance(quantiles, len(quantiles) ** 2)


def half_distance(members: Tensor, pairs: int) -> Tensor:
    """Returns half the sum of the distances of all ordered pairs of members ``(M, *S)``, divided by `pairs`."""
    count = len(members)
    ranks = torch.arange(1 - count, count, 2, device=members.device, dtype=members.dtype)
    return (members.sort(0).values.movedim(0, -1) @ ranks) / pairs


def ssim(output: Tensor, truth: Tensor, amount: Tensor) -> Tensor:
    """Returns 1 minus the mean structural similarity of encoded frames ``(…, H, W)``, for a data range of 1.

    The windows are uniform and have 7×7 pixels, as in the evaluation. Frames smaller than 7×7 have smaller windows.

    Reference:
        Wang, Z. et al. (2004). Image quality assessment. https://doi.org/10.1109/TIP.2003.819861

    Example:
        >>> frames = torch.rand(2, 1, 8, 8)
        >>> abs(float(ssim(frames, frames, frames))) < 1e-6 < float(ssim(frames, 1 - frames, frames))
        True
    """
    structural_similarity = need("torchmetrics.functional.image", "train").structural_similarity_index_measure
    edge = min(SSIM_WINDOW, *truth.shape[-2:])
    x, y = (z.reshape(-1, 1, *z.shape[-2:]) for z in (output, truth))
    return 1 - structural_similarity(x, y, gaussian_kernel=False, kernel_size=edge - (edge + 1) % 2, data_range=1.0)


def quantile(output: Tensor, truth: Tensor, amount: Tensor, probability: float = 0.5) -> Tensor:
    """Returns the pinball loss, which is lowest if the output is the quantile of the truth for `probability`.

    Reference:
        Koenker, R. and Bassett, G. (1978). Regression quantiles. https://doi.org/10.2307/1913643

    Example:
        >>> float(quantile(torch.zeros(2), torch.tensor([1.0, -1.0]), torch.zeros(2), 0.75))  # (0.75 + 0.25) / 2
        0.5
    """
    error = truth - output
    return torch.maximum(probability * error, (probability - 1) * error).mean()


def exceedance(logits: Tensor, truth: Tensor) -> Tensor:
    """Returns the cross-entropy of logits ``(…, 11, H, W)`` for the probabilities that rain reaches 11 thresholds.

    The thresholds are those of :class:`~convrnn_zoo.models.nowcast.network.ConvGRUAdvection`. The cross-entropies of
    the thresholds are weighted and summed, and the sum is averaged over known pixels. The truth ``(…, H, W)`` is rain
    in mm/h; unknown pixels are NaN.
    """
    known = truth.isfinite().unsqueeze(-3)
    levels = torch.tensor(THRESHOLDS)[:, None, None].to(truth.device, non_blocking=True)
    weights = torch.tensor(EXCEEDANCE_WEIGHTS)[:, None, None].to(truth.device, non_blocking=True) * known
    reached = (truth.nan_to_num(0).unsqueeze(-3) >= levels).to(logits.dtype)
    total = F.binary_cross_entropy_with_logits(logits, reached, weight=weights, reduction="sum")
    return total / known.sum().clamp_min(1)


def check_rain(name: str, values: Preprocessing) -> None:
    """Raises ValueError if the targets are not rain in mm/h."""
    units = {v.unit for v in values.target_variables}
    if not all(map(is_rain, units)):
        raise ValueError(f"the loss {name} is for rain in mm/h, and the unit of the data.targets is {sorted(units)}")


def check_limits(name: str, values: Preprocessing) -> None:
    """Raises ValueError if the forecasts are not limited to 0 to 1."""
    if any((v.encoding, v.lowest, v.highest) != ("none", 0, 1) for v in values.target_variables):
        raise ValueError(
            f'the loss {name} is for forecasts that are limited to 0 to 1: set data.encoding = "none", '
            "data.valid_min = 0 and data.valid_max = 1, or choose another loss"
        )


class Loss(NamedTuple):
    """Loss function ``of(output, truth, amount)``: `truth` is encoded, `amount` is the truth in the data's unit."""

    of: Callable[[Tensor, Tensor, Tensor], Tensor]
    activation: Literal["none", "sigmoid"] = "none"
    """Activation of :class:`~convrnn_zoo.Preprocessing` that converts the output of the model to frames."""
    is_pixelwise: bool = True
    """Whether the loss is a mean over pixels, so that unknown pixels can be left out."""
    is_bounded: bool = False
    """Whether encoded values must be from 0 to 1."""
    is_ensemble: bool = False
    """Whether the output may be an ensemble, with a first axis of members."""
    is_probabilistic: bool = False
    """Whether the output is the logits of a nowcast's probabilities. The encoding of the data is then ignored."""
    check: Callable[[str, Preprocessing], None] = lambda name, values: None
    """Function of the loss's name and a preprocessing that raises ValueError if they do not fit."""


LOSSES = {
    "mse": Loss(lambda output, truth, amount: F.mse_loss(output, truth)),
    "limited_mse": Loss(limited_mse, is_bounded=True, check=check_limits),
    "mae": Loss(lambda output, truth, amount: F.l1_loss(output, truth)),
    "cross_entropy": Loss(cross_entropy, "sigmoid", is_bounded=True),
    "crps": Loss(crps, is_ensemble=True),
    "ssim": Loss(ssim, is_pixelwise=False, is_bounded=True),
    "quantile": Loss(quantile),
    "balanced": Loss(balanced, check=check_rain),
    "balanced_light": Loss(partial(balanced, weights=LIGHT), check=check_rain),
    "exceedance": Loss(lambda output, truth, amount: exceedance(output, amount), is_probabilistic=True),
}
"""Losses by the names that a recipe uses."""


def find_loss(name: str, probability: float = 0.5) -> Loss:
    """Returns the loss with a name, or the sum of several losses, such as ``mse+mae``.

    Args:
        name: names in :data:`LOSSES`, joined by ``+``.
        probability: the probability of the loss ``quantile``.

    Raises:
        ValueError: a name is unknown, or the losses cannot be added because they are of different outputs: they need
            different activations, or one is of probabilities.

    Example:
        >>> zeros = torch.zeros(1)
        >>> float(find_loss("mse+mae").of(zeros + 2, zeros, zeros))
        6.0
    """
    names = [check.choice("loss (or each of several joined by +)", n, list(LOSSES)) for n in name.split("+")]
    losses = [
        LOSSES[n]._replace(of=partial(quantile, probability=probability)) if n == "quantile" else LOSSES[n]
        for n in names
    ]
    if len(losses) == 1:
        return losses[0]
    if any(loss.is_probabilistic for loss in losses) or len({loss.activation for loss in losses}) > 1:
        raise ValueError(f"loss {name!r}: these losses are of different outputs of a model and cannot be added")

    def total(output: Tensor, truth: Tensor, amount: Tensor) -> Tensor:
        return torch.stack([loss.of(output, truth, amount) for loss in losses]).sum()

    return Loss(total, losses[0].activation, all(loss.is_pixelwise for loss in losses))


def partial_derivatives(moments: Tensor) -> Tensor:
    """Returns the squared difference between the moments of PhyDNet's K×K filters and those of partial derivatives.

    The target of filter n is the derivative of order ``n // K`` downwards and ``n % K`` to the right. The squares are
    averaged over the filters and their K·K moments, and summed over the input maps.

    Args:
        moments: ``(filters, maps, K, K)``, from :meth:`~convrnn_zoo.models.phydnet.PhyDNet.moments`.

    Reference:
        Le Guen, V. and Thome, N. (2020), section 3.2. https://arxiv.org/abs/2003.01460

    Example:
        >>> float(partial_derivatives(torch.eye(9).reshape(9, 1, 3, 3)))
        0.0
    """
    filters, _, size, _ = moments.shape
    target = torch.eye(filters, size**2).to(moments).reshape(filters, 1, size, size)
    return (moments - target).square().mean(dim=(0, 2, 3)).sum()


def decoupling(deltas: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Returns the mean absolute cosine similarity of the increments of PredRNN v2's two memories.

    `deltas` has a pair of increments ``(N, C, H, W)`` for every step and layer. Each channel has its own similarity.

    Reference:
        Wang, Y. et al. (2023), section 3.3. https://arxiv.org/abs/2103.09504
    """
    return torch.stack([F.cosine_similarity(c.flatten(2), m.flatten(2), dim=2).abs().mean() for c, m in deltas]).mean()
