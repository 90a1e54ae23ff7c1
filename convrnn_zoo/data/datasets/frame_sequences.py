"""Sequences of frames as a map-style Dataset: cut from files, generated, or from a Dataset of the user."""

import itertools
import logging
import math
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..clips import Clip, Clips
from ..readers import Frames

log = logging.getLogger(__name__)


def split_at_gaps(frames: Frames, step: float | None = None) -> list[Frames]:
    """Splits frames where the time does not go on by `step` minutes, by default the most frequent step.

    Raises:
        ValueError: no two frames are `step` minutes apart.

    Example:
        >>> import numpy as np
        >>> from pathlib import Path
        >>> frames = Frames(path=Path("a"), array=np.zeros((4, 1, 1)), times=np.array([0.0, 5, 20, 25]))
        >>> [part.times.tolist() for part in split_at_gaps(frames)]
        [[0.0, 5.0], [20.0, 25.0]]
    """
    if frames.times is None or len(frames) < 2:
        return [frames]
    steps = torch.as_tensor(frames.times).diff()
    step = step or float(steps.round(decimals=6).mode().values)
    ends = [0, *(((steps - step).abs() > 0.02 * step).nonzero().flatten() + 1).tolist(), len(frames)]
    if len(ends) - 1 == len(frames):
        found = ", ".join(f"{s:g}" for s in sorted({round(s, 3) for s in steps.tolist()})[:3])
        raise ValueError(
            f"{frames.path}: frames are {found} minutes apart and the recipe's data.step is {step:g}; correct "
            "one of them"
        )
    return [frames.between(a, b) for a, b in itertools.pairwise(ends)]


def split_in_time(frames: Frames, split: str, inputs: int = 0) -> Frames:
    """Returns the first two thirds of frames in time (``"train"``), or the last (``"test"``).

    The test part includes the `inputs` frames before it, which a forecast of its first frame reads.
    """
    cut = round(len(frames) * 2 / 3)
    return frames.between(0, cut) if split == "train" else frames.between(max(0, cut - inputs))


class Sampling(NamedTuple):
    """How windows are chosen: one of amount a is kept with probability ``least + scale * a``, at most 1.

    Its amount is the mean over its pixels of ``1 - exp(-value / saturation)``, where missing values count as 0: windows
    with much rain are many times as likely as dry ones, and above a few mm/h wet pixels count nearly the same.

    Reference:
        Ravuri, S. et al. (2021). Skilful precipitation nowcasting using deep generative models of radar, methods.
        https://doi.org/10.1038/s41586-021-03854-z
    """

    least: float = 1.0
    scale: float = 0.0
    saturation: float = 1.0
    known: float = 0.5
    """Smallest fraction of present values in every frame."""
    wet: float = 0.0
    """Smallest fraction of pixels at `threshold` or above, over all frames."""
    threshold: float = 0.1


class Window(NamedTuple):
    """Size of windows in frames and pixels, and the distance of their corners in pixels."""

    length: int
    height: int
    width: int
    stride: int


def find_windows(
    frames: Frames, window: Window, sampling: Sampling, generator: torch.Generator | None = None
) -> Iterator[Tensor]:
    """Yields the windows that are chosen, ``(M, 3)`` of t, y, x for each first frame; one frame is in memory at a time.

    `t` is the number of a frame in the file. `generator` is needed if `sampling` is random.
    """
    kernel = (window.height, window.width)
    if len(frames) < window.length or frames.size[0] < kernel[0] or frames.size[1] < kernel[1]:
        return
    recent: deque[list[Tensor]] = deque(maxlen=window.length)
    for t in range(len(frames)):
        frame = frames.read(t, t + 1)[0]
        maps = [torch.isfinite(frame).all(0)]
        if sampling.wet > 0:
            maps.append((frame >= sampling.threshold).any(0))
        if sampling.scale > 0:
            maps.append(1 - (-frame[0].nan_to_num(0).clamp_min(0) / sampling.saturation).exp())
        pooled = F.avg_pool2d(torch.stack([m.float() for m in maps])[:, None], kernel, window.stride)[:, 0]
        recent.append(list(pooled))
        if len(recent) < window.length:
            continue
        known, *others = (torch.stack(m, -1) for m in zip(*recent, strict=True))
        chosen = known.amin(-1) > sampling.known - 1e-6
        if sampling.wet > 0:
            chosen &= others.pop(0).mean(-1) >= sampling.wet
        if sampling.least < 1:
            amount = others[0].mean(-1) if sampling.scale > 0 else torch.zeros_like(chosen, dtype=torch.float32)
            chance = (sampling.least + sampling.scale * amount).clamp_max(1)
            chosen &= torch.rand(chance.shape, generator=generator) < chance
        at = chosen.nonzero() * window.stride
        yield torch.cat([torch.full((len(at), 1), frames.start + t - window.length + 1), at], 1)


class CroppedSequences(Clips):
    """Sequences ``(T, C, height, width)`` cut from files at given places.

    Args:
        files: the frames that are cut.
        window: size of the sequences.
        places: ``(M, 4)``, a row for each sequence: number of the file, first frame, top and left.
        flip: whether :meth:`sample` also mirrors and transposes at random.
        step: minutes between frames, for files without times.
        slow: whether reading takes long, as of files that are not in memory.
    """

    def __init__(
        self, files: Sequence[Frames], window: Window, places: Tensor, flip: bool = False, step: float | None = None,
        slow: bool = False,
    ) -> None:  # fmt: skip
        self.files, self.window, self.places = list(files), window, places
        self.length, self.flip, self.step, self.slow = window.length, flip, step, slow

    @classmethod
    def search(
        cls, files: Sequence[Frames], length: int, size: int | None, stride: int, sampling: Sampling,
        max_windows: float = math.inf, **options: Any,
    ) -> "CroppedSequences":  # fmt: skip
        """Returns all sequences of which enough values are present and enough pixels are wet.

        Raises:
            ValueError: there is none, or there are more than `max_windows`.
        """
        height, width = (size, size) if size else max((f.size for f in files), default=(1, 1))
        window, found, count = Window(length, height, width, stride), [torch.empty(0, 4, dtype=torch.long)], 0
        for i, frames in enumerate(files):
            for places in find_windows(frames, window, sampling):
                found.append(torch.cat([torch.full((len(places), 1), i), places], 1))
                count += len(places)
                if count > max_windows:
                    raise ValueError(
                        f"{frames.path} has more than {max_windows:,} windows; list them once with `convrnn-zoo "
                        "windows RECIPE --data STORE`, and name the file in the recipe: data.windows"
                    )
        if not count:
            what = f"{size}×{size} pixels" if size else "whole frames"
            longest = max((len(f) for f in files), default=0)
            raise ValueError(
                f"no crop of {length} frames of {what} has {sampling.known:g} of its pixels known in every frame and "
                f"{sampling.wet:g} of them at {sampling.threshold:g} or more, in {len(files)} series of at most "
                f"{longest} frames; give longer series, fewer frames, a smaller crop, or a lower `known` or `wet`"
            )
        return cls(files, window, torch.cat(found), **options)

    def cut(self, place: list[int]) -> Tensor:
        """Reads the sequence at a place, ``(T, C, H, W)``."""
        file, start, top, left = place
        frames, window = self.files[file], self.window
        start -= frames.start
        rows, columns = slice(top, top + window.height), slice(left, left + window.width)
        x = frames.read(start, start + self.length, rows, columns)
        return x.masked_fill_(x.isinf(), torch.nan)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Clip:
        place: list[int] = self.places[index].tolist()
        file = self.files[place[0]]
        time = place[1] * (self.step or 1.0) if file.times is None else float(file.times[place[1] - file.start])
        frames = self.cut(place)
        return Clip(frames, time, torch.isfinite(frames))

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Samples the numbers of places, and whether to mirror each axis and to transpose."""
        chosen = torch.randint(len(self.places), (n,), generator=generator)
        if not self.flip:
            return chosen
        return torch.cat([chosen[:, None], (torch.rand(n, 3, generator=generator) < 0.5).long()], 1)

    def read(self, sampled: Tensor) -> Tensor:
        """See :meth:`Clips.read`."""
        places = self.places[sampled if sampled.dim() == 1 else sampled[:, 0]].tolist()
        crops = torch.stack([self.cut(place) for place in places])
        if sampled.dim() == 1:
            return crops
        coins = sampled[:, 1:, None, None, None, None].bool()
        crops = torch.where(coins[:, 0], crops.flip(-1), crops)
        crops = torch.where(coins[:, 1], crops.flip(-2), crops)
        return torch.where(coins[:, 2], crops.mT, crops) if crops.shape[-1] == crops.shape[-2] else crops
