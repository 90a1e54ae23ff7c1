"""Data sets of frames to forecast, and what their values mean."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from ..models import Preprocessing
from .baselines import SIMPLE, Baseline, extrapolation
from .data import DataSet
from .moving import load_moving
from .radar import load_rain


class Clips(Protocol):
    """Sequences ``(N, T, C, H, W)`` in the unit of the data."""

    def draw(self, n: int, length: int, generator: torch.Generator | None = None) -> Tensor:
        """`n` random ones, from torch's global generator by default."""
        ...

    def fixed(self, n: int, length: int) -> Tensor:
        """`n` that are the same at every call."""
        ...


BRIGHTNESS = Preprocessing(lowest=0.0, highest=1.0)
RAIN = Preprocessing(encoding="log", floor=0.1, top=100.0, unit="mm/h", step=5.0, lowest=0.0, highest=300.0)
"""Rain as a logarithm: 0 where it is dry or not known, 1 at 100 mm/h."""


@dataclass(frozen=True, kw_only=True)
class FrameSet(DataSet):
    """A data set of frames: how it is read, and what is asked of a forecast of it."""

    read: Callable[[Path | None, str, int, str], Clips]
    scale: Preprocessing
    """From the unit of the data to what a model sees; a recipe adds how many frames and the activation."""
    split: str
    """What the test split is, in words."""
    thresholds: tuple[float, ...] = ()
    """In the data's unit: from where on a pixel counts as an occurrence, for CSI, POD and FAR."""
    pixels: int = 64 * 64
    """Of a frame of the test split."""
    baselines: Mapping[str, Baseline] = field(default_factory=lambda: SIMPLE)
    """What an evaluation compares a model with; one whose package is not installed is left out."""

    def load(self, directory: Path | None, split: str, inputs: int) -> Clips:
        """The sequences of ``"train"`` or ``"test"``, of which `inputs` frames are read and the others forecast."""
        return self.read(directory, split, inputs, self.where)


_moving = partial(
    FrameSet,
    task="video prediction",
    read=load_moving,
    scale=BRIGHTNESS,
    split="fixed draw from the 10,000 test images; same generator as the published test file, own draw",
)
FRAME_SETS: dict[str, FrameSet] = {
    "moving_mnist": _moving(
        title="Moving MNIST",
        url="http://yann.lecun.com/exdb/mnist/",
        license="CC BY-SA 3.0",
        where="get the four idx files from https://ossci-datasets.s3.amazonaws.com/mnist/ (train-images-idx3-ubyte.gz "
        "and t10k-images-idx3-ubyte.gz are read)",
    ),
    "moving_fashion_mnist": _moving(
        title="Moving Fashion-MNIST",
        url="https://github.com/zalandoresearch/fashion-mnist",
        license="MIT",
        where="get the idx files from https://github.com/zalandoresearch/fashion-mnist/tree/master/data/fashion",
    ),
    "rain": FrameSet(
        title="radar composites of KNMI (2010-08-26) and FMI (2016-09-28)",
        task="precipitation nowcasting",
        url="https://github.com/pySTEPS/pysteps-data",
        license="CC BY 4.0",
        where="pysteps.datasets.download_pysteps_data(DIR) brings them, or clone "
        "https://github.com/pySTEPS/pysteps-data",
        read=load_rain,
        scale=RAIN,
        split="crops of 128×128 km at 2 km from the last third of each event in time",
        thresholds=(0.5, 2.0, 5.0, 10.0),
        baselines={**SIMPLE, "extrapolation": extrapolation},
    ),
}
