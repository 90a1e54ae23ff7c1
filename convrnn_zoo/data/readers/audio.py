"""Reads audio files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

from ..._extras import need
from ..files import FileError, check_claimed_size, reading

AUDIO = (".wav", ".flac", ".ogg", ".mp3")
BLOCK_SAMPLES, MAX_SAMPLES = 2**20, 2**28
"""Samples per read, and maximum number after resampling, since damaged headers may state any length and rate."""


def read_sound(path: str | Path, rate: int | None = None) -> tuple[Tensor, int]:
    """Reads an audio file. Returns its samples ``(samples,)`` on the scale of -1 to 1, and the sample rate in Hz.

    Files of floats and resampling can exceed this range. Channels are averaged. Supports all formats of the soundfile
    package: wav, flac, ogg, mp3 and others.

    Args:
        path: path of the file.
        rate: sample rate in Hz to which soxr resamples; by default the samples are not resampled.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is damaged, is not an audio file, contains no samples, or is too long to resample.
        ImportError: soundfile (or soxr, for resampling) is not installed. The message contains the install command.
    """
    path, blocks = Path(path), []
    with _open(path) as file:
        while len(block := file.read(BLOCK_SAMPLES, dtype="float32", always_2d=True)):
            blocks.append(block.mean(1))
            check_claimed_size(path, 4 * BLOCK_SAMPLES * len(blocks), path.stat().st_size)
        source_rate = int(file.samplerate)
    if not blocks:
        raise FileError(f"{path} contains no sound; leave it out")
    wave = numpy.concatenate(blocks)
    if rate is not None and rate != source_rate:
        if len(wave) * rate > MAX_SAMPLES * source_rate:
            raise FileError(f"{path}: {len(wave):,} samples at {source_rate} Hz are too long to resample to {rate} Hz")
        with reading(path, "audio file"):
            wave = need("soxr", "sound").resample(wave, source_rate, rate)
        if not len(wave):
            raise FileError(f"{path} is shorter than one sample at {rate:,} Hz; leave it out")
    samples = torch.from_numpy(wave)
    if not bool(torch.isfinite(samples).all()):
        raise FileError(f"{path} contains NaN or Inf; replace these values, or leave it out")
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
