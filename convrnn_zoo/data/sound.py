"""Sound files."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .._extras import need


def read_sound(path: Path, rate: int | None = None) -> tuple[Tensor, int]:
    """The samples ``(samples,)`` of a sound file, from -1 to 1, and their number a second.

    Several channels become their mean. What soundfile reads is read: wav, flac, ogg, mp3 and others.

    Args:
        path: the file.
        rate: samples a second to resample to, by soxr; as they are by default.

    Raises:
        ValueError: it is no sound file that can be read, or holds no sound.
        ImportError: soundfile, or to resample soxr, is missing; with the command that installs them.
    """
    wave, found = _told("read", path, dtype="float32", always_2d=True)
    if not len(wave):
        raise ValueError(f"{path} holds no sound; move it away")
    wave = wave.mean(1)
    if rate is not None and rate != found:
        wave = need("soxr", "sound").resample(wave, found, rate)
        if not len(wave):
            raise ValueError(f"{path} is shorter than a sample at {rate:,} a second; move it away")
    samples = torch.from_numpy(wave)
    if not bool(torch.isfinite(samples).all()):
        raise ValueError(f"{path} holds NaN or Inf; save it anew, or move it away")
    return samples, found if rate is None else rate


def rate_of(path: Path) -> int:
    """The samples a second of a sound file.

    Raises:
        ValueError: it is no sound file that can be read.
    """
    return int(_told("info", path).samplerate)


def _told(how: str, path: Path, **options: Any) -> Any:
    soundfile = need("soundfile", "sound")
    try:
        return getattr(soundfile, how)(str(path), **options)
    except (RuntimeError, OSError) as e:
        raise ValueError(f"{path} is not a sound file that can be read ({e}); save it anew, or move it away") from e
