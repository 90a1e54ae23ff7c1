"""Rain as probabilities of exceeding thresholds: their mean, other thresholds, and the decision where it rains."""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

THRESHOLDS = (0.1, 0.25, 0.5, 1.0, 2.0, 3.5, 5.0, 8.0, 12.0, 20.0, 40.0)
"""In mm/h, those whose exceedance a network forecasts."""
DECIDED = (0.5, 2.0, 5.0)
"""In mm/h, the thresholds at which a forecast rate is above where rain that hard is decided for."""
LEAST = 0.2
"""The least probability for which rain is decided: below, a hit is bought with too many false alarms."""
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


def between(probabilities: Tensor, thresholds: Sequence[float]) -> Tensor:
    """Probabilities of exceeding other thresholds, in mm/h, by the logits at :data:`THRESHOLDS` along log(rate).

    Below 0.1 and above 40 mm/h the logit goes on as between the nearest two.

    Args:
        probabilities: ``(…, 11, H, W)``.
        thresholds: K of them, above zero.

    Returns:
        ``(…, K, H, W)``.
    """
    known = torch.tensor(THRESHOLDS).log()
    logits = probabilities.clamp(1e-6, 1 - 1e-6).logit()
    out = []
    for threshold in thresholds:
        at = torch.tensor(float(threshold)).log()
        i = int(torch.searchsorted(known, at).clamp(1, len(known) - 1))
        part = float((at - known[i - 1]) / (known[i] - known[i - 1]))
        out.append(torch.lerp(logits[..., i - 1, :, :], logits[..., i, :, :], part))
    return torch.stack(out, dim=-3).sigmoid()


def decide(probability: Tensor, known: Tensor) -> Tensor:
    """Where to forecast an occurrence so that the expected CSI of the map is greatest.

    That map takes the pixels above ``c / (1 + c)``, c being its own expected CSI, found in a few fixed-point turns;
    a pixel below :data:`LEAST` is never taken.

    Args:
        probability: ``(…, H, W)`` of the occurrence.
        known: the pixels that count, of the same shape or one that broadcasts.

    Returns:
        Booleans ``(…, H, W)``.

    Reference:
        Dembczyński, K. et al. (2011). An Exact Algorithm for F-Measure Maximization; of the Jaccard index, the same
        threshold rule holds where pixels are independent. https://papers.nips.cc/paper/4389

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
        threshold = (csi / (1 + csi)).clamp_min(LEAST)
    return probability > threshold


def decided_rate(probabilities: Tensor, known: Tensor) -> Tensor:
    """The mean rate ``(…, H, W)``, raised or cut at :data:`DECIDED` so that it exceeds them where :func:`decide` says.

    Args:
        probabilities: ``(…, 11, H, W)`` at :data:`THRESHOLDS`.
        known: booleans that broadcast with ``(…, H, W)``.
    """
    rate = mean_rate(probabilities)
    for threshold in DECIDED:
        chosen = decide(probabilities[..., THRESHOLDS.index(threshold), :, :], known)
        rate = torch.where(chosen, rate.clamp_min(threshold * 1.001), rate.clamp_max(threshold * 0.999))
    return rate
