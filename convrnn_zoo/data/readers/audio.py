"""Reads audio files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..._extras import need
from .files import FileError, reading

AUDIO = (".wav", ".flac", ".ogg", ".mp3")
BLOCK, MAX_SAMPLES = 2**20, 2**28
"""Samples that are read at once, and the most after resampling: damaged headers may claim any number and rate."""


def read_sound(path: str | Path, rate: int | None = None) -> tuple[Tensor, int]:
    """Reads the samples ``(samples,)`` of an audio file, between -1 and 1, and the sample rate.

    Several channels are averaged. All formats of soundfile are read: wav, flac, ogg, mp3 and others.

    Args:
        path: path of the file.
        rate: sample rate in Hz to resample to, with soxr; that of the file by default.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is damaged, is not an audio file, or contains no sound.
        ImportError: soundfile is not installed, or soxr, which resamples; with the command that installs them.
    """
    path, blocks = Path(path), []
    with _open(path) as file:
        while len(block := file.read(BLOCK, dtype="float32", always_2d=True)):
            blocks.append(block.mean(1))
        source_rate = int(file.samplerate)
    if not blocks:
        raise FileError(f"{path} contains no sound; remove it")
    wave = need("numpy", "cli").concatenate(blocks)
    if rate is not None and rate != source_rate:
        if len(wave) * rate > MAX_SAMPLES * source_rate:
            raise FileError(f"{path}: {len(wave):,} samples at {source_rate} Hz are too long to resample to {rate} Hz")
        with reading(path, "audio file"):
            wave = need("soxr", "sound").resample(wave, source_rate, rate)
        if not len(wave):
            raise FileError(f"{path} is shorter than one sample at {rate:,} Hz; remove it")
    samples = torch.from_numpy(wave)
    if not bool(torch.isfinite(samples).all()):
        raise FileError(f"{path} contains NaN or Inf; replace or remove the file")
    return samples, source_rate if rate is None else rate


def sample_rate(path: Path) -> int:
    """Returns the sample rate of an audio file in Hz."""
    with _open(path) as file:
        return int(file.samplerate)


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    with reading(path, "audio file"), need("soundfile", "sound").SoundFile(str(path)) as file:
        yield file
