"""The log-mel spectrogram, the front end of audio classifiers."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from .._typed import JsonObject, field
from .tensors import to_tensor

MAX_PEAK = 10.0
"""Largest magnitude of float samples: loud float files exceed 1, but 16-bit samples are far larger."""
MAX_FILTERS = 2**25
"""Largest product of bands and points of the spectrum: the size of the filters."""
MAX_SPECTRA = 2**24
"""Number of FFT points that are computed at once, enough for minutes of speech."""


@dataclass(frozen=True, kw_only=True)
class LogMel(JsonObject):
    r"""Log-mel spectrogram: the front end of an audio classifier.

    A window of `window` seconds moves by `hop` seconds per step. The samples in the window are multiplied by a Hann
    function; X is the FFT of the product. M_b is the triangular filter of band b, normalised to a sum of 1. The bands
    are equally wide on the scale mel(f). The values of a step are

    .. math::
        x_b &= \log \max(\textit{floor}, \textstyle\sum_f M_{bf} |X_f|^2) \\
        \text{mel}(f) &= 2595 \log_{10}(1 + f / 700)

    A window that extends past the end of the recording is dropped, so that streaming gives the same steps. A recording
    shorter than one window is padded with silence. The bands are channels of a map of one pixel, not an axis of the
    map: a convolution along the bands would treat all frequencies alike.

    Args:
        encoding: identifier of this front end in stored files.
        rate: sample rate in Hz.
        window, hop: seconds; `hop` is at most `window`.
        bands: number of mel bands, which is the model's number of input channels.
        lowest, highest: range of frequencies in Hz; `highest` is half of `rate` by default.
        floor: lower bound of the power in a band, for samples on the scale of -1 to 1.

    References:
        Stevens, S. S., Volkmann, J. and Newman, E. B. (1937). A scale for the measurement of the psychological
        magnitude pitch. https://doi.org/10.1121/1.1915893
        Davis, S. and Mermelstein, P. (1980). Comparison of parametric representations for monosyllabic word
        recognition in continuously spoken sentences. https://doi.org/10.1109/TASSP.1980.1163420

    Raises:
        ValueError: an argument is out of its range, or the bands are narrower than the spectrum resolves.

    Example:
        >>> front_end = LogMel(rate=8000)
        >>> tone = torch.sin(torch.arange(8000) / 8000 * 440 * 2 * math.pi)
        >>> steps = front_end.encode(tone, 8000)
        >>> tuple(steps.shape), int(steps[10].argmax())
        ((49, 40, 1), 8)
    """

    json_name: ClassVar = "front_end"
    encoding: Literal["log_mel"] = "log_mel"
    rate: int = field(16000, ge=1)
    window: float = field(0.032, gt=0)
    hop: float = field(0.02, gt=0)
    bands: int = field(40, ge=1)
    lowest: float = 60.0
    highest: float | None = None
    floor: float = field(1e-5, gt=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 2 <= self.size <= self.rate or not 1 <= self.hop_length <= self.size:
            raise ValueError(
                f"window must be between two samples and a second, and hop between one sample and window; got "
                f"window={self.window:g}, hop={self.hop:g} at {self.rate:,} samples per second"
            )
        if not 0 <= self.lowest < self.top <= self.rate / 2:
            raise ValueError(
                f"lowest and highest must rise from 0 to half of rate, {self.rate / 2:g} Hz, got {self.lowest:g} and "
                f"{self.top:g}"
            )
        if self.bands * self._points > MAX_FILTERS or bool((self._triangles().sum(1) == 0).any()):
            raise ValueError(f"{self.bands} bands are too many for a window of {self.window:g} s; take fewer")

    @property
    def size(self) -> int:
        """Number of samples in a window."""
        return round(self.window * self.rate)

    @property
    def hop_length(self) -> int:
        """Number of samples from the start of one window to the start of the next."""
        return round(self.hop * self.rate)

    @property
    def _points(self) -> int:
        """Length of the FFT: `size` rounded up to a power of two, times 2, so that narrow bands contain a frequency."""
        return 2 ** (math.ceil(math.log2(self.size)) + 1)

    @property
    def top(self) -> float:
        """Highest frequency in Hz."""
        return self.rate / 2 if self.highest is None else self.highest

    def encode(self, wave: Any, rate: int) -> Tensor:
        """Returns the steps ``(T, bands, 1)`` of a recording.

        Args:
            wave: tensor or array ``(samples,)`` of one channel. Floats must have the scale of -1 to 1, as those of
                :func:`convrnn_zoo.data.read_sound`; peaks up to 10 are accepted. Integers must have the usual scale of
                8-bit (unsigned), 16-bit or 32-bit audio, as those of SciPy.
            rate: sample rate in Hz.

        Raises:
            ValueError: `rate` is not the sample rate of the front end. Or `wave` is empty, contains NaN or Inf, or has
                several channels or another scale.
        """
        wave = self._check(wave, rate)
        return self._steps(F.pad(wave, (0, max(0, self.size - len(wave)))))

    def encode_piece(self, wave: Any, rate: int) -> tuple[Tensor, Tensor]:
        """Returns the steps ``(T, bands, 1)`` of all complete windows, and the samples to prepend to the next piece.

        These samples are floats from -1 to 1, and so must all pieces but the first be.

        Example:
            >>> front_end, wave, steps, rest = LogMel(rate=8000), torch.rand(4000), [], torch.zeros(0)
            >>> for piece in wave.split(1000):
            ...     new, rest = front_end.encode_piece(torch.cat([rest, piece]), 8000)
            ...     steps.append(new)
            >>> torch.allclose(torch.cat(steps), front_end.encode(wave, 8000), atol=1e-4)
            True
        """
        wave = self._check(wave, rate)
        count = max(0, (len(wave) - self.size) // self.hop_length + 1)
        return (self._steps(wave) if count else wave.new_zeros(0, self.bands, 1)), wave[count * self.hop_length :]

    def _check(self, wave: Any, rate: int) -> Tensor:
        if rate != self.rate:
            raise ValueError(
                f"expected {self.rate} samples per second, got {rate}; resample the sound, for example with "
                f"convrnn_zoo.data.read_sound(file, rate={self.rate})"
            )
        wave = to_tensor("the recording", wave)
        if wave.dim() != 1:
            raise ValueError(f"expected one channel (samples,), got {tuple(wave.shape)}; average several channels")
        if not len(wave):
            raise ValueError("the recording is empty; expected at least one sample")
        wave = as_float_samples(wave)
        if not bool(torch.isfinite(wave).all()):
            raise ValueError("the recording contains NaN or Inf; remove those samples")
        if (peak := float(wave.abs().max())) > MAX_PEAK:
            raise ValueError(f"expected samples from -1 to 1, got a peak of {peak:g}; divide 16-bit samples by 32,768")
        return wave

    def _steps(self, wave: Tensor) -> Tensor:
        hann = torch.hann_window(self.size, dtype=wave.dtype, device=wave.device)
        weights = self._triangles().to(wave)
        filters = (weights / weights.sum(1, keepdim=True)).T
        steps = []
        for windows in wave.unfold(0, self.size, self.hop_length).split(max(1, MAX_SPECTRA // self._points)):
            power = torch.fft.rfft(windows * hann, self._points).abs().square()
            steps.append((power @ filters).clamp_min(self.floor).log())
        return torch.cat(steps).unsqueeze(-1)

    def frequencies(self, position: Tensor) -> Tensor:
        """Converts positions on the axis of bands to frequencies in Hz; position 0 is the middle of the lowest band."""
        low, width = self._mel_scale()
        return 700 * (10 ** ((low + width * (position + 1)) / 2595) - 1)

    def positions(self, frequency: Tensor) -> Tensor:
        """Converts frequencies in Hz to positions on the axis of bands; the inverse of :meth:`frequencies`.

        Example:
            >>> front_end = LogMel(rate=8000)
            >>> round(front_end.positions(torch.tensor(440.0)).item(), 1)
            8.1
        """
        low, width = self._mel_scale()
        return (2595 * (1 + frequency / 700).log10() - low) / width - 1

    def _mel_scale(self) -> tuple[float, float]:
        """Returns `lowest` in mel, and the distance in mel from one band to the next."""
        low, high = (2595 * math.log10(1 + f / 700) for f in (self.lowest, self.top))
        return low, (high - low) / (self.bands + 1)

    def _triangles(self) -> Tensor:
        """Returns the triangular filters of the bands, ``(bands, frequencies of the FFT)``."""
        edges = self.frequencies(torch.arange(-1, self.bands + 1, dtype=torch.float64))
        f = torch.arange(self._points // 2 + 1) * self.rate / self._points
        left, middle, right = (edges[i : i + self.bands, None] for i in range(3))
        return torch.minimum((f - left) / (middle - left), (right - f) / (right - middle)).clamp_min(0)


def as_float_samples(wave: Tensor) -> Tensor:
    """Converts audio samples to floats and scales integers to [-1, 1]; raises ValueError if the scale is unknown."""
    if wave.is_floating_point():
        return wave if wave.dtype == torch.float64 else wave.float()
    if wave.dtype == torch.uint8:
        return (wave.float() - 128) / 128
    if wave.dtype == torch.int16:
        return wave.float() / 2**15
    # 24-bit audio is shifted to the left: its lowest byte is 0. Small numbers with a low byte are 16-bit samples.
    if wave.dtype == torch.int32 and (int(wave.long().abs().max()) >= 2**15 or not bool((wave & 255).any())):
        return (wave.double() / 2**31).float()
    raise ValueError(f"the scale of {wave.dtype} samples is unknown; pass int16, int32, uint8, or floats from -1 to 1")
