"""Scheduled sampling: whether an autoregressive forecaster reads true frames or its own forecasts in training."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .. import _checks as check
from .._typed import check_fields, field, read


@dataclass(frozen=True, kw_only=True)
class FreeRunning:
    """No scheduled sampling: the model reads the true input frames, then its own forecasts, as in inference."""

    def __post_init__(self) -> None:
        check_fields(self, "sampling.")

    def mask(self, update: int, n: int, inputs: int, horizon: int, generator: torch.Generator | None = None) -> Tensor:
        """Returns random booleans ``(n, inputs + horizon - 2)``, true where the true frame is read.

        The columns are frames 1 to inputs + horizon - 2: frame 0 is always true, and the last frame is never read.
        They are sampled by torch's global generator, or by `generator`.
        """
        inputs_chance, ahead = self.chances(update)
        chance = torch.cat([torch.full((inputs - 1,), inputs_chance), torch.full((horizon - 1,), ahead)])
        return torch.rand(n, len(chance), generator=generator) < chance

    def chances(self, update: int) -> tuple[float, float]:
        """Returns the probabilities of reading the true frame, first for input frames, then for frames to forecast."""
        return 1.0, 0.0


@dataclass(frozen=True, kw_only=True)
class Scheduled(FreeRunning):
    """Scheduled sampling: all input frames are true; later frames are true with a linearly falling probability.

    Reference:
        Bengio, S. et al. (2015). Scheduled Sampling for Sequence Prediction with Recurrent Neural Networks.
        https://arxiv.org/abs/1506.03099

    Example:
        >>> Scheduled(until=100).chances(25)
        (1.0, 0.75)
    """

    until: int = field(ge=1, description="update from which the probability is 0.")
    start: float = field(
        1.0, ge=0, le=1, description="probability at the first update; it falls to 0 at update `until`."
    )

    def chances(self, update: int) -> tuple[float, float]:
        """Returns the probabilities of reading the true frame, as :meth:`FreeRunning.chances` does."""
        return 1.0, self.start * max(0.0, 1 - update / self.until)


@dataclass(frozen=True, kw_only=True)
class ReverseScheduled(FreeRunning):
    """Sampling of more and more true frames among the inputs, and of fewer and fewer among the frames to forecast.

    If an input frame is not true, the model reads its own forecast of it, and must remember earlier frames.

    From `begin` to `end`, the probability of true input frames is ``1 - exp(-(update - begin) / decay) / 2``, and that
    of true frames to forecast falls linearly from 0.5 to 0. From `end` on, the probabilities are 1 and 0.

    Reference:
        Wang, Y. et al. (2023). PredRNN: A Recurrent Neural Network for Spatiotemporal Predictive Learning,
        section 3.4. https://arxiv.org/abs/2103.09504

    Example:
        >>> [ReverseScheduled(begin=10, end=20, decay=5).chances(u) for u in (0, 10, 20)]
        [(0.5, 0.5), (0.5, 0.5), (1.0, 0.0)]
    """

    begin: int = field(ge=0, description="update until which both probabilities are 0.5.")
    end: int = field(ge=1, description="update from which frames are read as in inference.")
    decay: float = field(gt=0, description="decay constant of the exponential, in updates.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.end <= self.begin:
            raise ValueError(f"the recipe's sampling.end must be above its begin, got {self.end} and {self.begin}")

    def chances(self, update: int) -> tuple[float, float]:
        """Returns the probabilities of reading the true frame, as :meth:`FreeRunning.chances` does."""
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
"""Ways to sample the frames that a network reads in training, by name."""


def read_sampling(table: Mapping[str, Any]) -> FreeRunning:
    """Returns the scheduled sampling of a recipe's table ``[sampling]``; :class:`FreeRunning` for an empty table.

    Raises:
        ValueError: the name is unknown, or an argument is missing, unknown or out of its range.

    Example:
        >>> read_sampling({"name": "scheduled", "until": 0})
        Traceback (most recent call last):
        ValueError: the recipe's sampling.until must be at least 1, got 0
    """
    args = {"name": "own", **table}
    name = check.choice("the recipe's sampling.name", args.pop("name"), list(SAMPLINGS))
    return read(SAMPLINGS[name], args, where="sampling.")
