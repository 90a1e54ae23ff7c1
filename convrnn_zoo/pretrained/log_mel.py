"""From sound to what a classifier of sound sees."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ..layers import _checks as check
from .typed import Entries, check_number


@dataclass(frozen=True, kw_only=True)
class LogMel(Entries):
    r"""The log-mel spectrogram of a sound, the logarithm of its power in mel bands: the front end of a classifier.

    A window of `window` seconds moves on by `hop` seconds a step. With X the spectrum of the window (Hann, by FFT) and
    M the triangles of the bands, the weights of each of which sum to 1, a step is

    .. math::
        x_b &= \log \max(\textit{floor}, \textstyle\sum_f M_{bf} |X_f|^2) \\
        \text{mel}(f) &= 2595 \log_{10}(1 + f / 700)

    A window that the recording does not fill is left out, so that a recording that comes piece by piece gives the same
    steps; one that is shorter than a window is filled with silence. The bands are the channels of a map of one pixel:
    what a band means does not move along the scale, as a convolution over bands would have it.

    Args:
        encoding: what tells it from others where it is stored.
        rate: samples a second of the sound.
        window, hop: seconds.
        bands: how many; the model's input channels.
        lowest, highest: ends of the scale in Hz; half of `rate` is the highest that there can be, and the default.
        floor: the power that counts as silence, of samples from -1 to 1.

    References:
        Stevens, S. S., Volkmann, J. and Newman, E. B. (1937). A scale for the measurement of the psychological
        magnitude pitch. https://doi.org/10.1121/1.1915893
        Davis, S. and Mermelstein, P. (1980). Comparison of parametric representations for monosyllabic word
        recognition in continuously spoken sentences. https://doi.org/10.1109/TASSP.1980.1163420

    Raises:
        ValueError: an entry out of its range; bands so narrow that one holds no frequency of the spectrum.

    Example:
        >>> ear = LogMel(rate=8000)
        >>> tone = torch.sin(torch.arange(8000) / 8000 * 440 * 2 * math.pi)
        >>> steps = ear.encode(tone, 8000)
        >>> tuple(steps.shape), int(steps[10].argmax())
        ((49, 40, 1), 8)
    """

    json_name: ClassVar = "front_end"
    encoding: Literal["log_mel"] = "log_mel"
    rate: int = 16000
    window: float = 0.032
    hop: float = 0.02
    bands: int = 40
    lowest: float = 60.0
    highest: float | None = None
    floor: float = 1e-5

    def __post_init__(self) -> None:
        if self.encoding != "log_mel":
            raise ValueError(f"encoding must be log_mel, got {self.encoding!r}")
        for name in ("rate", "bands"):
            check.positive_int(name, getattr(self, name))
        for name in ("window", "hop", "floor"):
            check_number(name, getattr(self, name), positive=True)
        if not 1 <= self.step <= self.rate or not 2 <= self.size <= self.rate:
            raise ValueError(
                f"window and hop must be from a sample to a second, got {self.window:g} and {self.hop:g} s at "
                f"{self.rate:,} samples a second"
            )
        if not 0 <= self.lowest < self.top <= self.rate / 2:
            raise ValueError(
                f"lowest and highest must rise from 0 to half of rate, {self.rate / 2:g} Hz, got {self.lowest:g} and "
                f"{self.top:g}"
            )
        if bool((self._triangles().sum(1) == 0).any()):
            raise ValueError(f"{self.bands} bands are too many for a window of {self.window:g} s; take fewer")

    @property
    def size(self) -> int:
        """Samples of a window."""
        return round(self.window * self.rate)

    @property
    def step(self) -> int:
        """Samples from window to window."""
        return round(self.hop * self.rate)

    @property
    def top(self) -> float:
        """The highest frequency in Hz."""
        return self.rate / 2 if self.highest is None else self.highest

    def encode(self, wave: Tensor, rate: int) -> Tensor:
        """A recording ``(samples,)`` as ``(T, bands, 1)``.

        Args:
            wave: samples from -1 to 1, as :func:`convrnn_zoo.data.read_sound` reads them.
            rate: their number a second.

        Raises:
            ValueError: another rate than the weights were trained on; no samples, or some that are not finite.
        """
        wave = self._checked(wave, rate)
        return self._steps(F.pad(wave, (0, max(0, self.size - len(wave)))))

    def encode_piece(self, wave: Tensor, rate: int) -> tuple[Tensor, Tensor]:
        """The steps ``(T, bands, 1)`` of the windows that are whole, and the samples with which the next piece begins.

        Example:
            >>> ear, wave, steps, rest = LogMel(rate=8000), torch.randn(4000), [], torch.zeros(0)
            >>> for piece in wave.split(1000):
            ...     found, rest = ear.encode_piece(torch.cat([rest, piece]), 8000)
            ...     steps.append(found)
            >>> torch.allclose(torch.cat(steps), ear.encode(wave, 8000), atol=1e-4)
            True
        """
        wave = self._checked(wave, rate)
        done = max(0, (len(wave) - self.size) // self.step + 1)
        rest = wave[done * self.step :]
        return (self._steps(wave) if done else wave.new_zeros(0, self.bands, 1)), rest

    def _checked(self, wave: Tensor, rate: int) -> Tensor:
        if rate != self.rate:
            raise ValueError(
                f"expected {self.rate:,} samples a second, got {rate:,}; resample the sound, as convrnn_zoo.data."
                f"read_sound(file, rate={self.rate}) does"
            )
        if wave.dim() != 1 or not wave.is_floating_point():
            raise ValueError(
                f"expected one channel of samples from -1 to 1, (samples,), got {tuple(wave.shape)} of {wave.dtype}; "
                "take the mean of several channels, and divide whole numbers by their largest"
            )
        if not len(wave):
            raise ValueError("the recording is empty; expected at least a sample")
        if not bool(torch.isfinite(wave).all()):
            raise ValueError("the recording holds NaN or Inf; cut them out")
        return wave

    def _steps(self, wave: Tensor) -> Tensor:
        windows = wave.unfold(0, self.size, self.step) * torch.hann_window(
            self.size, dtype=wave.dtype, device=wave.device
        )
        power = torch.fft.rfft(windows, self._points).abs().square()
        weights = self._triangles().to(wave)
        return (power @ (weights / weights.sum(1, keepdim=True)).T).clamp_min(self.floor).log().unsqueeze(-1)

    @property
    def _points(self) -> int:
        """Points of the FFT: twice the next power of two, so that narrow bands hold some frequency."""
        return 2 ** (math.ceil(math.log2(self.size)) + 1)

    def _triangles(self) -> Tensor:
        """The weight of each frequency of the spectrum in each band."""
        ends = [2595 * math.log10(1 + f / 700) for f in (self.lowest, self.top)]
        edges = 700 * (10 ** (torch.linspace(ends[0], ends[1], self.bands + 2, dtype=torch.float64) / 2595) - 1)
        f = torch.arange(self._points // 2 + 1) * self.rate / self._points
        left, middle, right = (edges[i : i + self.bands, None] for i in range(3))
        return torch.minimum((f - left) / (middle - left), (right - f) / (right - middle)).clamp_min(0)
