"""What every data set tells of itself, whichever kind it is."""

from typing import Any

import torch

from ..models import Preprocessing
from .clips import Clips
from .readers import ReadOptions
from .readers.units import is_rain

RAIN_THRESHOLDS = (0.5, 2.0, 5.0, 10.0)
"""In mm/h."""
BASELINES = ("last frame", "zero")
LOG = {"floor": 0.1, "top": 100.0}
"""Of the encoding ``log``, in the unit of the data."""


class FrameSource:
    """Frames to forecast: how they are read, and what is asked of a forecast of them.

    A subclass has as attributes what :class:`~convrnn_zoo.models.Weights` tells of the data (`title`, `task`, `url`,
    `license`), the `unit` and `step` of the frames, the recipe's `encode`, and `split_words`, the test split in words.
    """

    title: str
    task: str
    url: str
    license: str
    unit: str
    step: float | None
    encode: str
    floor: float = LOG["floor"]
    top: float = LOG["top"]
    split_words: str
    thresholds: tuple[float, ...]
    """In the data's unit: from where on a pixel counts as an occurrence, for CSI, POD and FAR."""
    bounds: tuple[float | None, float | None] = (None, None)
    """The lowest and the highest value that make sense."""
    summed_over: int | None = None
    """Pixels of a frame, where others state errors as sums over them."""

    def read_options(self) -> ReadOptions:
        """Returns how files are read, in training and in use."""
        return ReadOptions(unit=self.unit)

    def load(self, path: Any, split: str, inputs: int, horizon: int) -> Clips:
        """The sequences of ``"train"`` or ``"test"``, of which `inputs` frames are read and `horizon` forecast."""
        raise NotImplementedError(f"{type(self).__name__} must read its files")

    @property
    def baselines(self) -> tuple[str, ...]:
        """Names of the forecasts without a model that an evaluation compares with."""
        return (*BASELINES, "extrapolation") if is_rain(self.unit) else BASELINES

    def preprocessing(self, train: Clips | None, inputs: int, horizon: int, activation: str = "none") -> Preprocessing:
        """The way from these frames to what a model sees, its constants found in the training split."""
        lowest, highest = self.bounds
        facts: dict[str, Any] = {
            "unit": self.unit, "step": self.step, "inputs": inputs, "horizon": horizon, "activation": activation,
            "encoding": self.encode,
        }  # fmt: skip
        if self.encode == "log":
            facts |= {"floor": self.floor, "top": self.top}
            lowest = 0.0 if lowest is None else lowest
        if self.encode == "standardize":
            if train is None:
                raise ValueError(f"{self.title}: mean and std are found in the training split; pass it")
            mean, std = mean_and_std(train)
            if not bool((std > 0).all()):
                raise ValueError(
                    f'{self.title}: a channel of the training split has one value alone; encode = "none" takes it'
                )
            facts |= {"mean": tuple(mean.tolist()), "std": tuple(std.tolist())}
        return Preprocessing(**facts, lowest=lowest, highest=highest)


def mean_and_std(sequences: Clips, n: int = 256) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns mean and standard deviation of each channel over `n` sequences, of which a few are read at a time."""

    def total(change: Any) -> torch.Tensor:
        parts = (
            sequences.read(part).double().transpose(0, 2).flatten(1) for part in sequences.fixed_samples(n).split(8)
        )
        return torch.stack([change(part).sum(1) for part in parts]).sum(0)

    count = total(torch.isfinite)
    mean = total(lambda x: x.nan_to_num(0)) / count
    return mean, (total(lambda x: (x - mean[:, None]).nan_to_num(0).square()) / count).sqrt()
