"""Scheduled sampling: which frames an autoregressive forecaster reads in training, the true ones or its forecasts."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .._hints import similar
from ..pretrained.typed import check_fields, field, read


@dataclass(frozen=True, kw_only=True)
class FreeRunning:
    """The true input frames, then the model's forecasts, as in use."""

    def __post_init__(self) -> None:
        check_fields(self, "sampling.")

    def mask(self, update: int, n: int, inputs: int, horizon: int) -> Tensor:
        """Booleans ``(n, inputs + horizon - 2)``: whether the true frame is read, from the second frame on."""
        inputs_chance, ahead = self.chances(update)
        chance = torch.cat([torch.full((inputs - 1,), inputs_chance), torch.full((horizon - 1,), ahead)])
        return torch.rand(n, len(chance)) < chance

    def chances(self, update: int) -> tuple[float, float]:
        """The probabilities that the true frame is read, for the input frames and for those to forecast."""
        return 1.0, 0.0


@dataclass(frozen=True, kw_only=True)
class Scheduled(FreeRunning):
    """Fewer and fewer true frames: the probability of one falls by ``start / until`` an update, to zero.

    Args:
        until: update from which no true frame is read.
        start: probability at the first update.

    Reference:
        Bengio, S. et al. (2015). Scheduled Sampling for Sequence Prediction with Recurrent Neural Networks.
        https://arxiv.org/abs/1506.03099

    Example:
        >>> Scheduled(until=100).chances(25)
        (1.0, 0.75)
    """

    until: int = field(ge=1)
    start: float = field(1.0, ge=0, le=1)

    def chances(self, update: int) -> tuple[float, float]:
        """See the class."""
        return 1.0, self.start * max(0.0, 1 - update / self.until)


@dataclass(frozen=True, kw_only=True)
class ReverseScheduled(FreeRunning):
    """More and more of the true input frames, so that the model must remember, and fewer of those to forecast.

    Up to update `begin` both probabilities are a half. Up to `end` that of the input frames rises as
    ``1 - exp(-(update - begin) / decay) / 2`` and the other falls in a line to zero; then all is as in forecasting.

    Args:
        begin: update up to which both probabilities are a half.
        end: update from which all is as in forecasting.
        decay: number of updates of the exponential.

    Reference:
        Wang, Y. et al. (2023). PredRNN: A Recurrent Neural Network for Spatiotemporal Predictive Learning,
        section 3.4. https://arxiv.org/abs/2103.09504

    Example:
        >>> [ReverseScheduled(begin=10, end=20, decay=5).chances(u) for u in (0, 10, 20)]
        [(0.5, 0.5), (0.5, 0.5), (1.0, 0.0)]
    """

    begin: int = field(ge=0)
    end: int = field(ge=1)
    decay: float = field(gt=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.end <= self.begin:
            raise ValueError(f"the recipe's sampling.end must be above its begin, got {self.end} and {self.begin}")

    def chances(self, update: int) -> tuple[float, float]:
        """See the class."""
        if update < self.begin:
            return 0.5, 0.5
        if update >= self.end:
            return 1.0, 0.0
        since = update - self.begin
        return 1 - 0.5 * math.exp(-since / self.decay), 0.5 * (1 - since / (self.end - self.begin))


SAMPLINGS: dict[str, type[FreeRunning]] = {
    "own": FreeRunning, "scheduled": Scheduled, "reverse_scheduled": ReverseScheduled,
}  # fmt: skip


def read_sampling(table: Mapping[str, Any]) -> FreeRunning:
    """Returns the scheduled sampling of a recipe's table ``[sampling]``; an empty table is free running.

    Raises:
        ValueError: the name is unknown, or an argument is missing, unknown or out of its range.

    Example:
        >>> read_sampling({"name": "scheduled", "until": 0})
        Traceback (most recent call last):
        ValueError: the recipe's sampling.until must be at least 1, got 0
    """
    args = {"name": "own", **table}
    name = args.pop("name")
    if not isinstance(name, str) or name not in SAMPLINGS:
        hint = similar(name, SAMPLINGS)
        raise ValueError(f"the recipe's sampling.name must be one of {', '.join(SAMPLINGS)}, got {name!r}{hint}")
    return read(SAMPLINGS[name], args, where="sampling.")
