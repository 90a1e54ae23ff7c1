"""Probabilities of reaching rain rates: mean rates, other thresholds, and decisions about where rain occurs."""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..._autocast import no_autocast
from ...layers._run import is_traced, is_transformed
from ..base import constants
from .motion import AdvectedFrames

THRESHOLDS = (0.1, 0.25, 0.5, 1.0, 2.0, 3.5, 5.0, 8.0, 12.0, 20.0, 40.0)
"""Thresholds in mm/h; the network forecasts the probability of reaching each."""
LEVELS = (*THRESHOLDS, 80.0)
"""Rain rates in mm/h between which the quantiles of an ensemble are interpolated."""
DECIDED = {0.5: 0.2, 2.0: 0.2, 5.0: 0.12}
"""Thresholds in mm/h at which a forecast decides where rain occurs, each with a minimum probability.

The minimum probability is the argument `min_probability` of :func:`decide`. Below it, more than four of five forecasts
would be false alarms, and the squared error would grow. Pixels below it only serve to reach the minimum area."""
CLIMATOLOGY = (0.1671, 0.1206, 0.0844, 0.0478, 0.0205, 0.0085, 0.0047, 0.0022, 0.0012, 0.0006, 0.0002)
"""Frequencies of reaching each threshold in the training data of the shipped weights.

They are means over MRMS, KNMI and FMI, and OPERA, weighted by their shares of the training batches."""
REACH = 10.0
"""Distance in pixels from the nearest known pixel at which the weight of the network has fallen to 1 / e.

It is a compromise. On training events, the network's own probabilities of 0.5 mm/h have the better Brier scores outside
the map, up to some 60 km, because large areas of rain continue there. Those of 2 mm/h or more, and cells, do not."""
FLOOR = 0.01
"""Rate in mm/h that is added before the logarithm in :func:`extrapolate`, so that dry pixels are finite."""


def mean_rate(probabilities: Tensor) -> Tensor:
    """Returns the expected rain rate in mm/h from probabilities ``(…, 11, H, W)`` of reaching :data:`THRESHOLDS`.

    Rates between two thresholds count as their geometric mean, below the first as 0, and above the last as 50 mm/h.

    Example:
        >>> p = torch.ones(11, 1, 1)
        >>> p[3:] = 0  # between 0.5 and 1 mm/h
        >>> round(mean_rate(p).item(), 3)
        0.707
    """
    middles = [(a * b) ** 0.5 for a, b in itertools.pairwise(THRESHOLDS)] + [50.0]
    steps = [b - a for a, b in itertools.pairwise([0.0, *middles])]
    flat = probabilities.flatten(-2)
    return (constants(steps, flat) @ flat).unflatten(-1, probabilities.shape[-2:])


def interpolate_probabilities(logits: Tensor, thresholds: Sequence[float]) -> Tensor:
    """Returns probabilities ``(…, K, H, W)`` of reaching K other `thresholds` in mm/h.

    The logits ``(…, 11, H, W)`` of :data:`THRESHOLDS` are interpolated or extrapolated linearly over log(threshold).
    """
    if tuple(thresholds) == THRESHOLDS:
        return logits.sigmoid()
    known = torch.tensor(THRESHOLDS).log()
    out = []
    for threshold in thresholds:
        at = torch.tensor(float(threshold)).log()
        i = int(torch.searchsorted(known, at).clamp(1, len(known) - 1))
        part = float((at - known[i - 1]) / (known[i] - known[i - 1]))
        out.append(torch.lerp(logits[..., i - 1, :, :], logits[..., i, :, :], part))
    return torch.stack(out, dim=-3).sigmoid()


def decide(probability: Tensor, known: Tensor, min_probability: float = 0.2, min_area: Tensor | None = None) -> Tensor:
    """Decides where to forecast an event of `probability` ``(…, H, W)``, and returns booleans ``(…, H, W)``.

    To maximize the expected CSI c over the `known` pixels, the event is forecast where its probability is above
    ``c / (1 + c)``, and above `min_probability`. Fixed-point iteration estimates c. If this selects fewer known pixels
    than `min_area` ``(…, 1, 1)``, the most probable ones are added. Results for unknown pixels have no meaning.

    Reference:
        Nowozin, S. (2014). Optimal Decisions from Probabilistic Models: the Intersection-over-Union Case.
        https://doi.org/10.1109/CVPR.2014.77

    Example:
        >>> p = torch.tensor([[0.9, 0.45, 0.3, 0.1]])
        >>> decide(p, torch.ones_like(p, dtype=torch.bool)).tolist()
        [[True, True, False, False]]
        >>> decide(p, torch.ones_like(p, dtype=torch.bool), min_area=torch.tensor([[3]])).tolist()
        [[True, True, True, False]]
    """
    p = torch.where(known, probability, 0).detach()
    total = p.sum((-2, -1), keepdim=True)
    threshold = torch.full_like(total, 1 / 3)
    for _ in range(6):
        occurs = (p > threshold).to(p.dtype)
        area = occurs.sum((-2, -1), keepdim=True)
        hits = occurs.mul_(p).sum((-2, -1), keepdim=True)
        csi = hits / (area + total - hits).clamp_min(1e-9)
        threshold = (csi / (1 + csi)).clamp_min(min_probability)
    selected = probability > threshold
    if min_area is not None:
        selected = selected | ((p >= _lowest_ranked(p, p > threshold, min_area)) & (min_area > 0))
    return selected


def _lowest_ranked(p: Tensor, selected: Tensor, counts: Tensor) -> Tensor:
    """Returns the probability ``(…, 1, 1)`` with rank `counts` ``(…, 1, 1)`` in each map.

    On a CPU it is only computed for maps with fewer `selected` pixels, and infinite for others. An accelerator would
    wait for this comparison, and a graph cannot contain it.
    """
    maps, ranks = p.flatten(-2), (counts.flatten(-2) - 1).clamp_min(0)
    if p.device.type != "cpu" or is_traced() or is_transformed(unknown=True):
        return maps.sort(-1, descending=True).values.gather(-1, ranks).unsqueeze(-1)
    lowest = torch.full_like(counts, math.inf, dtype=p.dtype)
    is_short = selected.sum((-2, -1)).flatten() < counts.flatten()
    for i in is_short.nonzero().flatten().tolist():
        rank = int(ranks.flatten()[i])
        lowest.view(-1)[i] = maps.reshape(-1, maps.shape[-1])[i].kthvalue(maps.shape[-1] - rank).values
    return lowest


class Exceedance(NamedTuple):
    """A probabilistic nowcast."""

    logits: Tensor
    """Logits ``(N, horizon, C, 11, H, W)`` of reaching :data:`THRESHOLDS`; they never increase with the threshold."""
    known: Tensor
    """Booleans ``(N, 1, 1, H, W)``, true where the last frame is known."""
    log_rate: Tensor
    """Logarithm of the extrapolated rate plus :data:`FLOOR`, both in mm/h, ``(N, horizon, C, H, W)``."""
    weight: Tensor
    """Weight of the network ``(N, horizon, 1, H, W)``: 1 where the rain's origin in the last frame is known.

    It falls with the distance of the origin from the known pixels, and the climatology has the rest of the weight."""
    climatology: Tensor
    """Logits ``(11, 1, 1)`` of reaching :data:`THRESHOLDS` in the training data."""
    advected: AdvectedFrames
    """The frames and their motion."""

    @property
    def outside(self) -> Tensor:
        """Mask ``(N, horizon, 1, H, W)`` of pixels whose rain was outside the map, or unknown, in the last frame."""
        return self.weight < 1

    def probabilities(self, thresholds: Sequence[float] = THRESHOLDS) -> Tensor:
        """Returns probabilities ``(N, horizon, C, K, H, W)`` of reaching K thresholds in mm/h."""
        network, climatology = (interpolate_probabilities(x, thresholds) for x in (self.logits, self.climatology))
        return torch.lerp(climatology, network, self.weight.unsqueeze(3))

    def rates(self) -> Tensor:
        """Returns mean rates ``(N, horizon, C, H, W)`` in mm/h.

        For each threshold of :data:`DECIDED`, :func:`decide` selects pixels. Rates are clamped to reach the threshold
        in selected pixels, and to stay below it in other pixels; the highest threshold takes precedence. At least as
        many pixels are selected as reach the threshold in the model's extrapolation. The result is the mean of these
        rates and of the rate of the climatology, with the :attr:`weight` of the network.
        """
        with no_autocast(self.logits):  # rates in half precision would be rounded by up to 0.4 %
            probabilities = self.logits.sigmoid()
            rate = mean_rate(probabilities)
            for threshold, min_probability in DECIDED.items():
                probability = probabilities[..., THRESHOLDS.index(threshold), :, :]
                extrapolated = (self.log_rate > math.log(threshold + FLOOR)) & self.known
                occurs = decide(probability, self.known, min_probability, extrapolated.sum((-2, -1), keepdim=True))
                rate = torch.where(occurs, rate.clamp_min(threshold * 1.001), rate.clamp_max(threshold * 0.999))
            return torch.lerp(mean_rate(self.climatology.sigmoid()), rate, self.weight)
