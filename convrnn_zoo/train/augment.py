"""Recordings changed at random while a classifier is trained, so that it hears more voices than there are."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..data import schema
from ..data.schema import field

DECIBEL = math.log(10) / 10
"""A decibel, in the logarithm of power."""


@dataclass(frozen=True, kw_only=True)
class Augment:
    """A recipe's table ``[augment]``: what is drawn anew for each recording and epoch.

    The first two are for any sequence ``(T, C, *S)``, the others for the bands of :class:`~convrnn_zoo.LogMel`: data
    that are no sound are refused.
    Masked values become the mean of the training data.

    Args:
        stretch: time runs faster or slower by at most this part.
        steps: up to so many steps in a row are masked, and never more than a third of the recording.
        gain: standard deviation of the loudness, in decibels.
        color: standard deviation, in decibels, of each of three slow waves over the bands, as another microphone or
            room colors sound.
        hiss: a steady noise is added, at most so many decibels above the quietest value of the recording.
        warp: the scale of frequencies is stretched by at most this part, as by another length of the vocal tract.
        bands: up to so many neighbouring bands are masked.

    References:
        Jaitly, N. and Hinton, G. E. (2013). Vocal Tract Length Perturbation (VTLP) improves speech recognition.
        https://www.cs.toronto.edu/~ndjaitly/jaitly-icml13.pdf
        Park, D. S. et al. (2019). SpecAugment: A Simple Data Augmentation Method for Automatic Speech Recognition.
        https://arxiv.org/abs/1904.08779

    Raises:
        ValueError: an entry is out of its range.

    Example:
        >>> change = Augment(stretch=0.5, steps=3, gain=6.0, color=3.0, hiss=9.0, warp=0.1, bands=4)
        >>> x = change(torch.randn(20, 40, 1), torch.zeros(40))
        >>> 10 <= len(x) <= 30, tuple(x.shape[1:])
        (True, (40, 1))
    """

    stretch: float = field(0.0, ge=0, le=0.9)
    steps: int = field(0, ge=0)
    gain: float = field(0.0, ge=0)
    color: float = field(0.0, ge=0)
    hiss: float = field(0.0, ge=0)
    warp: float = field(0.0, ge=0, le=0.9)
    bands: int = field(0, ge=0)

    def __post_init__(self) -> None:
        schema.check(self, "augment.")

    @property
    def of_sound(self) -> list[str]:
        """The entries that are set and mean something on the bands of sound alone."""
        return [name for name in ("gain", "color", "hiss", "warp", "bands") if getattr(self, name)]

    def __call__(self, x: Tensor, mean: Tensor) -> Tensor:
        """A recording ``(T, C, *S)`` changed; `mean` ``(C,)`` is that of the data."""
        if self.stretch:
            flat = x.flatten(1).T[None]
            length = max(1, round(len(x) * (1 + self.stretch * uniform())))
            x = F.interpolate(flat, length, mode="linear", align_corners=False)[0].T.reshape(length, *x.shape[1:])
        if self.warp:
            channels = x.shape[1]
            at = (torch.arange(channels) * (1 + self.warp * uniform())).clamp(0, channels - 1)
            below = at.floor().long()
            part = (at - below).reshape(-1, *[1] * (x.dim() - 2))
            x = x[:, below] * (1 - part) + x[:, (below + 1).clamp(max=channels - 1)] * part
        across = torch.arange(x.shape[1]).add(0.5).div(x.shape[1]).mul(math.pi).reshape(-1, *[1] * (x.dim() - 2))
        if self.gain:
            x = x + self.gain * DECIBEL * torch.randn(())
        if self.color:
            x = x + self.color * DECIBEL * sum(float(torch.randn(())) * (k * across).cos() for k in (1, 2, 3))
        if self.hiss:
            level = x.min() + self.hiss * DECIBEL * torch.rand(())
            x = torch.logaddexp(x, level + 0.5 * torch.randn_like(x))
        hidden = torch.zeros(x.shape[:2], dtype=torch.bool)
        for axis, most in ((0, min(self.steps, len(x) // 3)), (1, min(self.bands, x.shape[1]))):
            width = int(torch.randint(most + 1, ()))
            start = int(torch.randint(x.shape[axis] - width + 1, ()))
            hidden.narrow(axis, start, width).fill_(True)
        like = [1] * (x.dim() - 2)
        return torch.where(hidden.reshape(*hidden.shape, *like), mean.reshape(-1, *like), x)


def uniform() -> float:
    """A number from -1 to 1, of torch's generator."""
    return 2 * torch.rand(()).item() - 1
