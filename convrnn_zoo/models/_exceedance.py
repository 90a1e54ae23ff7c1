"""Rain as probabilities of exceeding thresholds: their mean, other thresholds, and the decision where it rains."""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

THRESHOLDS = (0.1, 0.25, 0.5, 1.0, 2.0, 3.5, 5.0, 8.0, 12.0, 20.0, 40.0)
"""In mm/h, those whose exceedance a network forecasts."""
DECIDED = {0.5: 0.2, 2.0: 0.2, 5.0: 0.12}
"""The thresholds in mm/h which a forecast rate exceeds where rain that hard is decided for, and the least probability
for which it is: below, a hit is bought with too many false alarms, and with too large a squared error."""
NEAR, FADES = 6.0, 1 / 6
"""How much the logarithm of the extrapolated rate adds to the logits that are decided on, at no lead time, and the
hours in which this fades to 1/e: for a few minutes nothing is surer than that what is there moves on."""
_TURNS = 6


def mean_rate(probabilities: Tensor) -> Tensor:
    """The expected rain rate in mm/h of probabilities ``(…, 11, H, W)`` of exceeding :data:`THRESHOLDS`.

    A rate between two thresholds counts as their geometric mean, one below the first as dry, one above the last as
    50 mm/h.

    Example:
        >>> p = torch.ones(11, 1, 1)
        >>> p[3:] = 0  # between 0.5 and 1 mm/h
        >>> round(mean_rate(p).item(), 3)
        0.707
    """
    middles = [(a * b) ** 0.5 for a, b in itertools.pairwise(THRESHOLDS)] + [50.0]
    steps = [b - a for a, b in zip([0.0, *middles], middles, strict=False)]
    weights = torch.tensor(steps, dtype=probabilities.dtype, device=probabilities.device)
    return (probabilities * weights[:, None, None]).sum(-3)


def between(logits: Tensor, thresholds: Sequence[float]) -> Tensor:
    """Probabilities of exceeding other thresholds, in mm/h, from the logits at :data:`THRESHOLDS`, along log(rate).

    Below 0.1 and above 40 mm/h the logit goes on as between the nearest two.

    Args:
        logits: ``(…, 11, H, W)``.
        thresholds: K of them, above zero.

    Returns:
        ``(…, K, H, W)``.
    """
    known = torch.tensor(THRESHOLDS).log()
    out = []
    for threshold in thresholds:
        at = torch.tensor(float(threshold)).log()
        i = int(torch.searchsorted(known, at).clamp(1, len(known) - 1))
        part = float((at - known[i - 1]) / (known[i] - known[i - 1]))
        out.append(torch.lerp(logits[..., i - 1, :, :], logits[..., i, :, :], part))
    return torch.stack(out, dim=-3).sigmoid()


def decide(probability: Tensor, known: Tensor, least: float = 0.2) -> Tensor:
    """Where to forecast an occurrence so that the expected CSI of the map is greatest.

    That map takes the pixels above ``c / (1 + c)``, c being its own expected CSI, found in a few fixed-point turns.

    Args:
        probability: ``(…, H, W)`` of the occurrence.
        known: the pixels that count, of the same shape or one that broadcasts.
        least: probability below which a pixel is never taken.

    Returns:
        Booleans ``(…, H, W)``.

    Reference:
        Nowozin, S. (2014). Optimal Decisions from Probabilistic Models: the Intersection-over-Union Case.
        https://doi.org/10.1109/CVPR.2014.77

    Example:
        >>> p = torch.tensor([[0.9, 0.45, 0.3, 0.1]])
        >>> decide(p, torch.ones_like(p, dtype=torch.bool)).tolist()
        [[True, True, False, False]]
    """
    p = torch.where(known, probability, 0).detach()
    total = p.sum((-2, -1), keepdim=True)
    threshold = torch.full_like(total, 1 / 3)
    for _ in range(_TURNS):
        chosen = p > threshold
        hits, area = (p * chosen).sum((-2, -1), keepdim=True), chosen.sum((-2, -1), keepdim=True)
        csi = hits / (area + total - hits).clamp_min(1e-9)
        threshold = (csi / (1 + csi)).clamp_min(least)
    return probability > threshold


class Exceedance(NamedTuple):
    """A nowcast before anything is decided."""

    logits: Tensor
    """``(N, horizon, C, 11, H, W)`` of exceeding :data:`THRESHOLDS`, which fall with the threshold."""
    known: Tensor
    """Where the last frame was known ``(N, 1, 1, H, W)``."""
    moved: Tensor
    """The logarithm of the extrapolated rate in mm/h ``(N, horizon, C, H, W)``."""
    hours: Tensor
    """The lead times ``(horizon,)``."""

    def rates(self) -> Tensor:
        """The mean rates ``(N, horizon, C, H, W)`` in mm/h, raised or cut at each threshold of :data:`DECIDED` so that
        they exceed it where :func:`decide` says so, of the probabilities with a part of extrapolation."""
        rate = mean_rate(self.logits.sigmoid())
        near = (NEAR * (-self.hours / FADES).exp())[:, None, None, None]
        for threshold, least in DECIDED.items():
            logits = self.logits[..., THRESHOLDS.index(threshold), :, :] + near * (self.moved - math.log(threshold))
            chosen = decide(logits.sigmoid(), self.known, least)
            rate = torch.where(chosen, rate.clamp_min(threshold * 1.001), rate.clamp_max(threshold * 0.999))
        return rate
