"""Sound as sequences of spectra."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from .._extras import need

WINDOW, HOP, BANDS, FLOOR = 0.025, 0.010, 40, 1e-6
"""Length of a window and distance of windows in seconds, bands of frequency, and the power that counts as silence."""


def spectra(wave: Tensor, rate: int) -> Tensor:
    """The logarithm of the power in equal bands of frequency, ``(T, 1, 40)``, every 10 ms of a wave ``(samples,)``.

    Neighbours are bands of neighbouring frequency, so that a 1-d convolution has something to go over.

    Example:
        >>> tuple(spectra(torch.sin(torch.arange(8000) / 3), rate=8000).shape)
        (98, 1, 40)
    """
    size, hop = round(WINDOW * rate), round(HOP * rate)
    points = max(size, 2 * BANDS)
    wave = F.pad(wave, (0, max(0, points - len(wave))))
    window = torch.hann_window(size)
    power = torch.stft(wave, points, hop, size, window, center=False, return_complex=True).abs().square()
    return F.adaptive_avg_pool1d(power.T[:, None], BANDS).clamp_min(FLOOR).log()


def read_wav(path: Path) -> Tensor:
    """The spectra of a sound file; several channels become their mean.

    Raises:
        ValueError: it is no sound file that can be read.
    """
    soundfile = need("soundfile", "sound")
    try:
        wave, rate = soundfile.read(str(path), dtype="float32", always_2d=True)
    except (RuntimeError, OSError) as e:
        raise ValueError(f"{path} is not a sound file that can be read ({e}); save it anew, or move it away") from e
    if not len(wave):
        raise ValueError(f"{path} holds no sound; move it away")
    return spectra(torch.from_numpy(wave).mean(1), rate)
