"""Reads recordings: sequences of any length in ``.npy``, ``.npz``, ``.csv``, ``.ts`` and audio files."""

import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import torch
from torch import Tensor

from ..._extras import need
from ...values.log_mel import LogMel
from ...values.tensors import to_tensor
from ..files import FEW, FileError, check_exists, reading
from .numpy import has_channels_last, load_npy, read_arrays

X, LABELS = ("x", "X"), ("labels", "y", "Y")
"""Names of an array of all sequences (equally long or padded), and of the array of their classes."""
AUDIO = (".wav", ".flac", ".ogg", ".mp3")


class Recording(NamedTuple):
    """A sequence ``(T, C, *S)`` in a file, with its class and its group if they are known."""

    file: str
    key: str
    """Name of the sequence in the file; empty if the file contains only one."""
    values: Any
    """The sequence as a tensor, or the path of a clip that is read later."""
    label: str = ""
    group: str = ""

    @property
    def name(self) -> str:
        """Name for messages: the file, and `key` if the file contains several sequences."""
        return f"{self.file}:{self.key}" if self.key else self.file


def as_sequence(array: Any, name: str) -> Tensor:
    """Converts an array of finite real numbers ``(T, C, …)`` to float32; ``(T,)`` becomes ``(T, 1)``."""
    try:
        x = to_tensor(name, array).float()
    except (TypeError, ValueError) as e:
        raise FileError(str(e)) from e
    if x.dim() == 0 or 0 in x.shape:
        raise FileError(f"{name}: expected a sequence (T, C, …), got {tuple(x.shape)}")
    if has_channels_last(x.shape) and (x.shape[3] == 3 or x.shape[1] == x.shape[2]):
        raise FileError(f"{name}: expected (T, C, H, W), got {tuple(x.shape)}; move axes: numpy.moveaxis(x, -1, 1)")
    if not bool(torch.isfinite(x).all()):
        raise FileError(f"{name}: contains NaN or Inf; fill or remove those steps")
    return x[:, None] if x.dim() == 1 else x


def read_npy(path: Path, **options: Any) -> list[Recording]:
    """Reads a ``.npy`` file as one recording ``(T, C, …)``."""
    return [Recording(str(path), "", as_sequence(load_npy(path), str(path)))]


def read_npz(
    path: Path, layout: str = "", is_batch: Callable[[tuple[int, ...]], bool] | None = None
) -> list[Recording]:
    """Reads a ``.npz`` file that contains one array ``(T, C, …)`` for each recording, or one array of all recordings.

    An array of all recordings is called ``x`` or ``X`` and is ``(N, T, C, …)``, or ``(N, T)`` for one channel. If it
    has three axes, `layout` is their order, ``"NTC"`` or ``"NCT"``. The array ``lengths`` ``(N,)`` states the numbers
    of steps of padded recordings. ``labels`` (or ``y``) are the classes, and ``groups`` the groups, such as speakers.
    Without labels and lengths, ``is_batch(shape)`` decides whether ``x`` contains several recordings.
    """
    arrays = read_arrays(path)
    x = next((k for k in X if k in arrays), "")
    packed = x != "" and ("lengths" in arrays or not arrays.keys() - {x, *LABELS, "groups"})
    count = len(arrays) - 1 - ("groups" in arrays)  # number of recordings, if each is an array
    label_key = next((k for k in LABELS if k in arrays and (packed or k == "labels" or arrays[k].size == count)), "")
    labels, groups = arrays.pop(label_key, None), arrays.pop("groups", None)
    if packed and "lengths" not in arrays:
        shape = arrays[x].shape
        if labels is None:
            packed = is_batch is not None and is_batch(shape)
        else:
            packed = len(shape) > 0 and not labels.size == 1 != shape[0]  # a file of one recording called x
    sequences = split_batch(arrays[x], arrays.get("lengths"), layout, path) if packed else arrays
    values = {k: as_sequence(array, f"{path}:{k}") for k, array in sequences.items()}
    with reading(path, ".npz file of recordings"):  # damaged text is an error of any type
        names = [
            [""] * len(values) if array is None else as_names(array, list(values), f"{path}: {key}")
            for key, array in ((label_key, labels), ("groups", groups))
        ]
    return [Recording(str(path), *fields) for fields in zip(values, values.values(), *names, strict=True)]


def split_batch(x: Any, lengths: Any, layout: str, path: Path) -> dict[str, Any]:
    """Splits an array ``(N, T, C, …)`` into recordings ``"0"``, ``"1"``, …, cut to `lengths` if there are any."""
    if x.ndim < 2:
        raise FileError(f"{path}: x must be (N, T, C, …), or (N, T) for one channel; got {x.shape}")
    if layout == "NCT":
        if x.ndim != 3:
            raise FileError(f'{path}: data.layout = "NCT" is for arrays of three axes; x is {x.shape}')
        x = x.swapaxes(1, 2)
    if x.ndim == 2:
        x = x[..., None]
    if lengths is None:
        if not layout and x.ndim == 3 and x.shape[1] < x.shape[2]:
            fix = 'state data.layout = "NTC" or "NCT" in the recipe'
            raise FileError(f"{path}: x {x.shape} has fewer steps than channels, or the other order of axes; {fix}")
        return {str(i): sequence for i, sequence in enumerate(x)}
    count, longest = x.shape[:2]
    steps = lengths.reshape(-1).tolist() if lengths.size == count == max(lengths.shape, default=0) else []
    if not steps or any(type(n) not in (int, float) or n != n // 1 or not 1 <= n <= longest for n in steps):
        got = str(steps or lengths.shape)[:200]
        raise FileError(f"{path}: expected lengths ({count},) of whole numbers from 1 to {longest}, got {got}")
    return {str(i): x[i, : int(n)] for i, n in enumerate(steps)}


def as_names(array: Any, keys: list[str], name: str) -> list[str]:
    """Converts classes or groups ``(N,)`` or ``(N, 1)`` to text with :func:`as_name`. Error messages contain `keys`."""
    if array.size != len(keys) or array.size != max(array.shape, default=0):
        raise FileError(f"{name}: expected one value for each of the {len(keys)} recordings, got {array.shape}")
    names = [as_name(value) for value in array.reshape(-1).tolist()]
    if empty := [key for key, text in zip(keys, names, strict=True) if text in ("", "nan", "None")]:
        raise FileError(f"{name}: {', '.join(empty[:FEW])} has no value; add one, or remove the recording")
    return names


def as_name(value: object) -> str:
    """Converts one class or group to text."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    return str(int(value) if isinstance(value, float) and value.is_integer() else value).strip()


def read_csv(path: Path, **options: Any) -> list[Recording]:
    """Reads a ``.csv`` file as one recording, with one line for each step and one column for each channel.

    Columns are separated by commas, semicolons or tabs. A first line of names is skipped, and so is the index that
    pandas writes: a first column without a name. The numbers 0, 1, … of columns, above decimals, are such names.
    """
    with reading(path, "CSV file of numbers"):
        lines = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        separator = next((c for c in ("\t", ";", ",") if lines and c in lines[0]), ",")
        rows = [line.split(separator) for line in lines]
        names = [name.strip(' "') for name in rows[0]] if rows else []
        has_index = len(names) > 1 and names[0] in ("", "Unnamed: 0")
        names = names[has_index:]
        is_counted = names == [str(i) for i in range(len(names))]
        above_decimals = len(names) > 1 and len(rows) > 1 and any("." in field for field in rows[1][has_index:])
        if names and (not any(map(_is_number, names)) or (is_counted and (has_index or above_decimals))):
            rows = [row[has_index:] for row in rows[1:]]
        if not rows:
            raise FileError(f"{path} contains no steps; leave it out")
        table = numpy.array([[float(field) for field in row] for row in rows], "float32")
    return [Recording(str(path), "", as_sequence(table, str(path)))]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def read_ts(path: Path, **options: Any) -> list[Recording]:
    """Reads the recordings of a ``.ts`` file (see https://timeseriesclassification.com) with aeon."""
    load = need("aeon.datasets", "data").load_from_ts_file
    check_exists(path)
    with reading(path, "time series file"), warnings.catch_warnings():
        if re.search(rb"\d{100}", path.read_bytes()):  # aeon's search for numbers takes quadratic time
            raise FileError(f"{path} has a number of over a hundred digits; round it")
        arrays, labels = load(str(path))
        arrays = [as_sequence(array.T, f"{path}:{i}") for i, array in enumerate(arrays)]  # (C, T)
    keys = list(map(str, range(len(arrays))))
    names = as_names(labels, keys, f"{path}: class label")
    return [Recording(str(path), *fields) for fields in zip(keys, arrays, names, strict=True)]


# ---- sound ---------------------------------------------------------------------------------------------------------
def read_sound(path: str | Path, rate: int | None = None) -> tuple[Tensor, int]:
    """Reads an audio file. Returns its samples ``(samples,)`` on the scale of -1 to 1, and the sample rate in Hz.

    Files of floats and resampling can exceed this range. Channels are averaged. Supports all formats of the soundfile
    package: wav, flac, ogg, mp3 and others.

    Args:
        path: path of the file.
        rate: sample rate in Hz to which soxr resamples; by default the samples are not resampled.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is damaged, is not an audio file, or contains no samples.
        ImportError: soundfile (or soxr, for resampling) is not installed. The message contains the install command.
    """
    path = Path(path)
    with _open(path) as file:
        wave, source_rate = file.read(dtype="float32", always_2d=True).mean(1), int(file.samplerate)
    if not len(wave):
        raise FileError(f"{path} contains no sound; leave it out")
    if rate is not None and rate != source_rate:
        with reading(path, "audio file"):
            wave = need("soxr", "sound").resample(wave, source_rate, rate)
        if not len(wave):
            raise FileError(f"{path} is shorter than one sample at {rate:,} Hz; leave it out")
    samples = torch.from_numpy(wave)
    if not bool(torch.isfinite(samples).all()):
        raise FileError(f"{path} contains NaN or Inf; replace these values, or leave it out")
    return samples, source_rate if rate is None else rate


def encode_sound(path: Path, front_end: LogMel | None) -> Tensor:
    """Reads an audio file and returns its features ``(T, bands, 1)``; raises FileError without a front end."""
    if front_end is None:
        hint = "pass sequences (T, C, …) as in training, or use a model that has one (convrnn_zoo.LogMel)"
        raise FileError(f"{path} is sound, and this model has no front end: {hint}")
    with reading(path, "audio file"):
        return front_end.encode(*read_sound(path, rate=front_end.rate))


def sample_rate(path: Path) -> int:
    """Returns the sample rate of an audio file in Hz."""
    with _open(path) as file:
        return int(file.samplerate)


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    check_exists(path)
    with reading(path, "audio file"), need("soundfile", "sound").SoundFile(str(path)) as file:
        yield file


# ---- all formats ---------------------------------------------------------------------------------------------------
RECORDING_READERS: Mapping[str, Callable[..., list[Recording]]] = {
    ".npy": read_npy,
    ".npz": read_npz,
    ".csv": read_csv,
    ".ts": read_ts,
}
"""Readers of recordings by the suffix of the file. Audio files are not listed, since they need a front end."""
RECORDING_SUFFIXES = (*RECORDING_READERS, *AUDIO)


def read_recordings(path: Path, model: Any, layout: str = "") -> list[Recording]:
    """Reads the recordings of a file as inputs of a classifier, whose front end encodes audio."""
    suffix = path.suffix.lower()
    if suffix in AUDIO:
        return [Recording(str(path), "", encode_sound(path, model.front_end))]
    if suffix not in RECORDING_READERS:
        raise FileError(f"{path}: expected {', '.join(RECORDING_SUFFIXES)}; save sequences (T, C, …) with numpy.save")

    def is_batch(shape: tuple[int, ...]) -> bool:  # (N, T, C), (N, C, T), or one axis more than a recording (T, C, *S)
        windows = len(shape) == 3 and (layout == "NCT" or shape[1] != model.in_chans == shape[2])
        return windows or len(shape) == model.ndim + 3

    recordings = RECORDING_READERS[suffix](path, layout=layout or "NTC", is_batch=is_batch)
    if not recordings:
        raise FileError(f"{path}: contains no array; save sequences (T, C, …) with numpy.savez")
    return recordings
