"""Data augmentation of recordings."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .._typed import check_fields, field
from ..values.log_mel import LogMel

DECIBEL = math.log(10) / 10
"""One decibel as a difference of natural logarithms of power."""


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Fields of a recipe's table ``[augment]``: random changes of each training sequence whenever it is read.

    `flip` and `scale` apply to the sequences of classifiers and of forecasters. `stretch`, `steps` and `rotate`
    apply to any sequence ``(T, C, *S)`` of a classifier. The other fields apply only to the bands of
    :class:`~convrnn_zoo.LogMel`. Masked values become the mean of the training data.

    References:
        Jaitly, N. and Hinton, G. E. (2013). Vocal Tract Length Perturbation (VTLP) improves speech recognition.
        https://www.cs.toronto.edu/~ndjaitly/jaitly-icml13.pdf
        Park, D. S. et al. (2019). SpecAugment: A Simple Data Augmentation Method for Automatic Speech Recognition.
        https://arxiv.org/abs/1904.08779

    Raises:
        ValueError: a field is out of its range.

    Example:
        >>> change = Augment(stretch=0.5, steps=3, gain=6.0, color=3.0, hiss=9.0, pitch=0.1, bands=4)
        >>> x = change(torch.randn(20, 40, 1), torch.zeros(40), LogMel(rate=8000))
        >>> 10 <= len(x) <= 30, tuple(x.shape[1:])
        (True, (40, 1))
    """

    flip: bool = field(
        False,
        description="whether each axis of the maps ``(H, W)`` is mirrored, and square maps are transposed, with "
        "probability 0.5. Directions, such as those of wind, keep their values.",
    )
    scale: float = field(
        0.0, ge=0, description="standard deviation of the natural logarithm of a random factor of a sequence's values."
    )
    stretch: float = field(
        0.0, ge=0, le=0.9, description="the recording becomes longer or shorter by at most this fraction of its length."
    )
    steps: int = field(
        0, ge=0, description="largest number of consecutive steps to mask, up to a third of the recording."
    )
    rotate: float = field(
        0.0,
        ge=0,
        le=math.pi,
        description="largest angle, in radians, of a random rotation about a random axis. Each three channels are a "
        "vector, such as those of an accelerometer and a gyroscope. It imitates a sensor that is worn in "
        "another position.",
    )
    gain: float = field(0.0, ge=0, description="standard deviation, in decibels, of a random change in loudness.")
    color: float = field(
        0.0,
        ge=0,
        description="standard deviation, in decibels, of the random amplitudes of three cosines over the bands. The "
        "cosines are added to the recording. They imitate the frequency response of another microphone or room.",
    )
    hiss: float = field(
        0.0,
        ge=0,
        description="largest level of added noise, in decibels above the lowest value of the recording. The level is "
        "random, and the same for all steps and bands of a recording.",
    )
    tint: float = field(
        0.0,
        ge=0,
        description="the level of `hiss` differs between the bands, by cosines as in `color` with this standard "
        "deviation in decibels. Thus the noise may also be a hum or a rumble.",
    )
    warp: float = field(
        0.0,
        ge=0,
        le=0.9,
        description="the axis of the bands is stretched or compressed by at most this fraction, which imitates a "
        "vocal tract of another length.",
    )
    pitch: float = field(
        0.0,
        ge=0,
        le=1,
        description="all frequencies in Hz are multiplied by a random ratio between 1 / (1 + `pitch`) and 1 + "
        "`pitch`, which imitates the pitch and the formants of a deeper or higher voice.",
    )
    bands: int = field(0, ge=0, description="largest number of neighbouring bands to mask.")

    def __post_init__(self) -> None:
        check_fields(self, "augment.")
        if self.tint and not self.hiss:
            raise ValueError("the recipe's augment.tint is of the noise that augment.hiss adds; set hiss, too")

    @property
    def audio_fields(self) -> list[str]:
        """Names of the nonzero fields that apply to the bands of sound only."""
        return [name for name in ("gain", "color", "hiss", "tint", "warp", "pitch", "bands") if getattr(self, name)]

    @property
    def sequence_fields(self) -> list[str]:
        """Names of the nonzero fields that apply to the sequences of classifiers only."""
        return [name for name in ("stretch", "steps", "rotate") if getattr(self, name)] + self.audio_fields

    def change_maps(self, x: Tensor) -> Tensor:
        """Returns a sequence ``(T, C, *S)`` that is mirrored, transposed and multiplied at random.

        Example:
            >>> frames = torch.arange(4.0).reshape(1, 1, 2, 2)
            >>> sorted(Augment(flip=True).change_maps(frames).flatten().tolist())
            [0.0, 1.0, 2.0, 3.0]
        """
        if self.flip:
            mirrored, transposed = torch.rand(x.dim() - 2) < 0.5, torch.rand(()) < 0.5
            x = x.flip([axis + 2 for axis, coin in enumerate(mirrored.tolist()) if coin])
            x = x.mT if transposed and x.dim() == 4 and x.shape[-1] == x.shape[-2] else x
        return x * (self.scale * torch.randn(())).exp() if self.scale else x

    def __call__(self, x: Tensor, mean: Tensor, front_end: LogMel | None = None) -> Tensor:
        """Returns a randomly changed recording ``(T, C, *S)``.

        Args:
            x: the recording.
            mean: mean of each channel of the training data ``(C,)``.
            front_end: the front end that computed the bands; required by `pitch`.
        """
        x = self.change_maps(x)
        shape = x.shape[1:]
        x = x.reshape(*x.shape[:2], -1)  # (T, C, pixels)
        channels = x.shape[1]
        if self.stretch:
            length = max(1, round(len(x) * (1 + self.stretch * uniform())))
            flat = F.interpolate(x.flatten(1).T[None], length, mode="linear", align_corners=False)
            x = flat[0].T.reshape(length, channels, -1)
        if self.rotate:
            if channels % 3:
                raise ValueError(f"augment.rotate needs vectors of three channels, got {channels} channels")
            rotation = draw_rotation(self.rotate).to(x)
            x = torch.einsum("ij,tvjp->tvip", rotation, x.unflatten(1, (-1, 3))).flatten(1, 2)
        if self.warp:
            x = read_bands(x, torch.arange(channels) * (1 + self.warp * uniform()))
        if self.pitch:
            if front_end is None:
                raise ValueError("augment.pitch needs the frequencies of the bands; pass the front_end of the data")
            ratio = (1 + self.pitch) ** uniform()
            x = read_bands(x, front_end.positions(front_end.frequencies(torch.arange(channels)) / ratio))
        if self.gain:
            x = x + self.gain * DECIBEL * torch.randn(())
        if self.color:
            x = x + self.color * draw_color(channels)
        if self.hiss:
            level = x.min() + self.hiss * DECIBEL * torch.rand(())
            if self.tint:
                level = level + self.tint * draw_color(channels)
            x = torch.logaddexp(x, level + 0.5 * torch.randn_like(x))
        hidden = torch.zeros(len(x), channels, 1, dtype=torch.bool)
        for axis, most in ((0, min(self.steps, len(x) // 3)), (1, min(self.bands, channels))):
            width = int(torch.randint(most + 1, ()))
            start = int(torch.randint(x.shape[axis] - width + 1, ()))
            hidden.narrow(axis, start, width).fill_(True)
        return torch.where(hidden, mean[:, None], x).reshape(-1, *shape)


def draw_color(channels: int) -> Tensor:
    """Returns three cosines over the bands with random amplitudes, ``(channels, 1)``; one decibel has the size 1."""
    across = torch.arange(channels).add(0.5).div(channels).mul(math.pi)[:, None]
    cosines = [float(torch.randn(())) * (k * across).cos() for k in (1, 2, 3)]
    return DECIBEL * (cosines[0] + cosines[1] + cosines[2])


def draw_rotation(most: float) -> Tensor:
    """Returns the matrix ``(3, 3)`` of a rotation about a random axis by a random angle of at most `most` radians."""
    x, y, z = F.normalize(torch.randn(3), dim=0).tolist()
    return torch.matrix_exp(most * uniform() * torch.tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]]))


def make_negatives(x: Tensor, lengths: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Makes `count` sequences of no class from random sequences of a batch; returns them with their lengths.

    Half of them are played backwards. In the others, one random step is repeated with Gaussian noise whose standard
    deviation is random, from 0 to 0.5: a steady sound, such as silence, a hum or a hiss.

    Args:
        x: sequences ``(N, T, C, *S)``, padded and standardized.
        lengths: their numbers of steps ``(N,)``.
        count: number of sequences to make.

    Reference:
        Hendrycks, D., Mazeika, M. and Dietterich, T. (2019). Deep Anomaly Detection with Outlier Exposure.
        https://arxiv.org/abs/1812.04606

    Example:
        >>> x, lengths = make_negatives(torch.arange(6.0).reshape(1, 6, 1), torch.tensor([4]), 1)
        >>> x.flatten().tolist(), lengths.tolist()
        ([3.0, 2.0, 1.0, 0.0, 4.0, 5.0], [4])
    """
    chosen = torch.randint(len(x), (count,), device=x.device)
    lengths, rows = lengths.to(x.device, non_blocking=True)[chosen, None], torch.arange(count, device=x.device)[:, None]
    steps = torch.arange(x.shape[1], device=x.device).expand(count, -1)
    backwards = torch.where(steps < lengths, lengths - 1 - steps, steps)
    one = (torch.rand(count, 1, device=x.device) * lengths).long()
    is_steady = rows >= (count + 1) // 2
    made = x[chosen][rows, torch.where(is_steady, one, backwards)]
    spread = 0.5 * torch.rand(count, device=x.device) * is_steady.flatten()
    made = made + spread.reshape(-1, *(1,) * (x.dim() - 1)) * torch.randn_like(made)
    return made, lengths.flatten()


def read_bands(x: Tensor, position: Tensor) -> Tensor:
    """Interpolates bands ``(T, C, pixels)`` linearly at fractional band numbers ``(C,)``, clamped to 0 and C - 1."""
    position = position.clamp(0, x.shape[1] - 1)
    lower = position.floor().long()
    weight = (position - lower)[:, None]
    return x[:, lower] * (1 - weight) + x[:, position.ceil().long()] * weight


def uniform() -> float:
    """Returns a random number between -1 and 1."""
    return 2 * torch.rand(()).item() - 1
