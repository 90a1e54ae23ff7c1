"""Data sets of frames to forecast, and the scale of their values."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

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


class Scale(NamedTuple):
    """From the unit of the data to the values that a model sees, and back."""

    unit: str
    encode: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor], Tensor]
    top: float
    """A value of the data, in its unit, that pictures show as the brightest."""


RAIN_FLOOR, RAIN_TOP = 0.1, 100.0
_RANGE = math.log1p(RAIN_TOP / RAIN_FLOOR)


def encode_rain(rate: Tensor) -> Tensor:
    """Rain in mm/h as a logarithm: 0 where it is dry or not known, 1 at 100 mm/h.

    Example:
        >>> encode_rain(torch.tensor([0.0, float("nan"), 100.0])).tolist()
        [0.0, 0.0, 1.0]
    """
    return (rate.nan_to_num(0).clamp_min(0) / RAIN_FLOOR).log1p() / _RANGE


def decode_rain(x: Tensor) -> Tensor:
    """The inverse of :func:`encode_rain`; what is below 0 is dry.

    Example:
        >>> decode_rain(torch.tensor([-0.2, 0.0, 1.0])).round(decimals=3).tolist()
        [0.0, 0.0, 100.0]
    """
    return (x.clamp(0, 1.2) * _RANGE).expm1() * RAIN_FLOOR


BRIGHTNESS = Scale("", lambda x: x, lambda x: x.clamp(0, 1), 1.0)
RAIN = Scale("mm/h", encode_rain, decode_rain, RAIN_TOP)


@dataclass(frozen=True, kw_only=True)
class FrameSet(DataSet):
    """A data set of frames: how it is read, and what is asked of a forecast of it."""

    read: Callable[[Path | None, str, int, str], Clips]
    scale: Scale
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
