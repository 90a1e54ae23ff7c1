"""Scheduled sampling: which frames an autoregressive forecaster reads in training, the true ones or its forecasts."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class FreeRunning:
    """The true input frames, then the model's forecasts, as in use."""

    def mask(self, update: int, n: int, inputs: int, horizon: int) -> Tensor:
        """Booleans ``(n, inputs + horizon - 2)``: whether the true frame is read, from the second frame on."""
        given, ahead = self.chances(update)
        chance = torch.cat([torch.full((inputs - 1,), given), torch.full((horizon - 1,), ahead)])
        return torch.rand(n, len(chance)) < chance

    def chances(self, update: int) -> tuple[float, float]:
        """The probabilities that the true frame is read, for the input frames and for those to forecast."""
        return 1.0, 0.0


@dataclass(frozen=True)
class Scheduled(FreeRunning):
    """Fewer and fewer true frames: the probability of one falls by ``start / until`` an update, to zero.

    Reference:
        Bengio, S. et al. (2015). Scheduled Sampling for Sequence Prediction with Recurrent Neural Networks.
        https://arxiv.org/abs/1506.03099

    Example:
        >>> Scheduled(until=100).chances(25)
        (1.0, 0.75)
    """

    until: int
    start: float = 1.0

    def chances(self, update: int) -> tuple[float, float]:
        """See the class."""
        return 1.0, self.start * max(0.0, 1 - update / self.until)


@dataclass(frozen=True)
class ReverseScheduled(FreeRunning):
    """More and more of the true input frames, so that the model must remember, and fewer of those to forecast.

    Up to update `begin` both probabilities are a half. Up to `end` that of the input frames rises as
    ``1 - exp(-(update - begin) / decay) / 2`` and the other falls in a line to zero; then all is as in forecasting.

    Reference:
        Wang, Y. et al. (2023). PredRNN: A Recurrent Neural Network for Spatiotemporal Predictive Learning,
        section 3.4. https://arxiv.org/abs/2103.09504

    Example:
        >>> [ReverseScheduled(begin=10, end=20, decay=5).chances(u) for u in (0, 10, 20)]
        [(0.5, 0.5), (0.5, 0.5), (1.0, 0.0)]
    """

    begin: int
    end: int
    decay: float

    def chances(self, update: int) -> tuple[float, float]:
        """See the class."""
        if update < self.begin:
            return 0.5, 0.5
        if update >= self.end:
            return 1.0, 0.0
        since = update - self.begin
        return 1 - 0.5 * math.exp(-since / self.decay), 0.5 * (1 - since / (self.end - self.begin))


SAMPLINGS: dict[str, type[FreeRunning]] = {
    "own": FreeRunning,
    "scheduled": Scheduled,
    "reverse_scheduled": ReverseScheduled,
}
