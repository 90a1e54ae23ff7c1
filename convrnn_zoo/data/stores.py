"""Zarr stores of radar archives, ``(time, y, x)`` with a chunk a step, read lazily at windows listed before."""

import csv
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .._atomic import atomic_write
from .._extras import need
from .arrays import Stack, opened
from .clips import PlacedClips

COLUMNS = ("t", "y", "x")
MOST = 2_000_000
"""Windows of a store that are held without a file."""


class Sampling(NamedTuple):
    """How windows are drawn: a window of amount a is taken with the probability ``least + scale * a``, at most 1.

    Its amount is the mean over its pixels of ``1 - exp(-value / saturation)``, what is not known counting as none:
    windows with much rain are many times as likely as dry ones, and a wet pixel counts about the same from some mm/h
    on.

    Reference:
        Ravuri, S. et al. (2021). Skilful precipitation nowcasting using deep generative models of radar, methods.
        https://doi.org/10.1038/s41586-021-03854-z
    """

    least: float = 2e-4
    scale: float = 0.1
    saturation: float = 1.0
    known: float = 0.5
    """Share of the pixels that must be known in every frame."""


EVERY = Sampling(least=1.0, scale=0.0)
"""Every window of which enough is known."""


class Windows(NamedTuple):
    """Sizes of windows, in frames and pixels, and the distances at which they may begin."""

    length: int
    height: int
    width: int
    step_t: int
    step_yx: int


def frame_sums(frame: Tensor, windows: Windows, saturation: float) -> tuple[Tensor, Tensor]:
    """Of each window of a frame ``(H, W)``: its amount and the share of it that is known."""
    kernel = (windows.height, windows.width)
    amount = 1 - (-frame.nan_to_num(0).clamp_min(0) / saturation).exp()
    both = torch.stack([amount, torch.isfinite(frame).float()])[:, None]
    amount, known = F.avg_pool2d(both, kernel, windows.step_yx)[:, 0]
    return amount, known


def list_windows(
    stack: Stack, windows: Windows, sampling: Sampling, missing: float | None = None, seed: int = 0
) -> Iterator[Tensor]:
    """The windows that are drawn, ``(M, 3)`` of t, y, x for each first step in turn; of the store one step is held."""
    generator = torch.Generator().manual_seed(seed)
    recent: deque[tuple[Tensor, Tensor]] = deque(maxlen=windows.length)
    steps = stack.array.shape[0]
    whole_steps = unbroken(range(steps) if stack.times is None else stack.times, windows.length)
    for t in range(steps):
        frame = stack.values(t, missing)
        recent.append(frame_sums(frame if frame.dim() == 2 else frame[0], windows, sampling.saturation))
        begin = t - windows.length + 1
        if begin < 0 or begin % windows.step_t or not whole_steps[begin]:
            continue
        amount = torch.stack([a for a, _ in recent]).mean(0)
        known = torch.stack([k for _, k in recent]).amin(0)
        chance = (sampling.least + sampling.scale * amount).clamp_max(1)
        taken = (torch.rand(chance.shape, generator=generator) < chance) & (known > sampling.known - 1e-6)
        at = taken.nonzero() * windows.step_yx
        yield torch.cat([torch.full((len(at), 1), begin), at], 1)


def unbroken(times: Any, length: int) -> list[bool]:
    """Of every first step, whether the `length` steps from it on are at equal distances, the commonest of the store."""
    steps = torch.tensor(list(times), dtype=torch.float64).diff()
    if not len(steps):
        return [True]
    even = (steps - steps.mode().values).abs() <= 0.02 * steps.mode().values.abs()
    after = torch.cat([torch.zeros(1), even.cumsum(0)])
    return [bool(after[min(i + length - 1, len(even))] - after[i] == length - 1) for i in range(len(times))]


def write_windows(found: Iterator[Tensor], path: Path) -> int:
    """Writes windows as CSV with the columns t, y, x, whole or not at all; gives how many there are."""
    count = 0
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for part in found:
            writer.writerows(part.tolist())
            count += len(part)
    return count


def read_windows(path: Path) -> Tensor:
    """The windows ``(M, 3)`` of a CSV file with the columns t, y, x.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: it is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; `convrnn-zoo windows RECIPE --data STORE` makes it")
    numpy = need("numpy", "cli")
    with path.open(encoding="utf-8") as file:
        head = file.readline().strip()
        if tuple(head.split(",")) != COLUMNS:
            raise ValueError(f"{path}: expected a first line {','.join(COLUMNS)}, got {head[:60]!r}")
        try:
            rows = numpy.loadtxt(file, dtype="int64", delimiter=",", ndmin=2)
        except ValueError as e:
            raise ValueError(f"{path}: expected three whole numbers a line ({e})") from e
    return torch.from_numpy(rows.reshape(-1, 3))


class StoreClips(PlacedClips):
    """Sequences cut from a store, each read when it is asked for; see :class:`~convrnn_zoo.data.clips.PlacedClips`.

    Its places are first step, top and left.
    """

    slow = True

    def __init__(
        self, path: Path, key: str, places: Tensor, windows: Windows, missing: float | None, turn: bool
    ) -> None:
        super().__init__(places, windows.length, turn)
        with opened(path, key) as stack:  # Zarr holds no file open
            self.stack = stack
        self.windows, self.missing = windows, missing

    def cut(self, place: list[int]) -> Tensor:
        """See :class:`~convrnn_zoo.data.clips.PlacedClips`."""
        t, y, x = place
        rows, columns = slice(y, y + self.windows.height), slice(x, x + self.windows.width)
        middle = (slice(None),) * (len(self.stack.array.shape) - 3)
        frames = self.stack.values((slice(t, t + self.length), *middle, rows, columns), self.missing)
        return frames.float() if frames.dim() == 4 else frames.float()[:, None]

    def time_at(self, place: list[int]) -> float:
        """See :class:`~convrnn_zoo.data.clips.PlacedClips`."""
        return float(place[0] if self.stack.times is None else self.stack.times[place[0]])


def sizes_of(kind: Any, stack: Stack, length: int) -> Windows:
    """The sizes of the windows that a recipe's table asks for.

    Raises:
        ValueError: the store's maps are smaller, or its step is another than the recipe's.
    """
    height, width = stack.array.shape[-2:]
    if kind.crop and min(height, width) < kind.crop:
        raise ValueError(f"{stack.name}: maps of {height}×{width} are smaller than data.crop = {kind.crop}")
    if stack.times is not None and kind.step is not None and len(stack.times) > 1:
        step = float(torch.as_tensor(stack.times).diff().mode().values)
        if abs(step - kind.step) > 0.02 * kind.step:
            raise ValueError(
                f"{stack.name}: its steps are {step:g} minutes and the recipe's data.step is {kind.step:g}; correct it"
            )
    return Windows(length, kind.crop or height, kind.crop or width, 1, kind.distance)


def every_window(stack: Stack, windows: Windows, sampling: Sampling, missing: float | None) -> Tensor:
    """All windows of a small store.

    Raises:
        ValueError: there are too many to look at, and to hold, at every start.
    """
    found, count = [torch.empty(0, 3, dtype=torch.long)], 0
    for part in list_windows(stack, windows, sampling, missing):
        found.append(part)
        count += len(part)
        if count > MOST:
            raise ValueError(
                f"{stack.name} has more than {MOST:,} windows; list them once with `convrnn-zoo windows RECIPE --data "
                "STORE`, and name the file in the recipe: data.windows"
            )
    return torch.cat(found)


def load_store(kind: Any, path: Path, split: str, inputs: int, horizon: int) -> StoreClips:
    """The sequences of a store, of the recipe's file of windows or, where it names none, of every window.

    Raises:
        ValueError: the split is not by time, or no window fits.
    """
    if kind.split != "time":
        raise ValueError(f'{path}: a store is split by time; write split = "time" under [data]')
    if kind.wet:
        raise ValueError(
            f"{path}: data.wet is for files in memory; list the windows of a store with convrnn-zoo windows"
        )
    with opened(path, kind.key) as stack:
        windows = sizes_of(kind, stack, inputs + horizon)
        if kind.windows:
            file = path.parent / kind.windows
            places = read_windows(file)
            top = torch.tensor(stack.array.shape)[[0, -2, -1]] - torch.tensor(windows[:3])
            if len(places) and not bool(((places >= 0) & (places <= top)).all()):
                raise ValueError(
                    f"{file}: windows of {windows.length} frames of {windows.height}×{windows.width} pixels reach "
                    f"beyond the store, {tuple(stack.array.shape)}; list them anew with this recipe"
                )
        else:
            places = every_window(stack, windows, EVERY._replace(known=kind.known), kind.missing)
        cut = round(stack.array.shape[0] * 2 / 3)
    t = places[:, 0]
    chosen = places[t + windows.length <= cut] if split == "train" else places[t + inputs >= cut]
    if not len(chosen):
        raise ValueError(
            f"{path}: no window of {windows.length} frames lies in the {split} part, before and after step {cut}; give "
            "a longer store, shorter sequences, or more windows"
        )
    return StoreClips(path, kind.key, chosen, windows, kind.missing, kind.turn and split == "train")
