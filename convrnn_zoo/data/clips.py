"""Sequences of frames as a map-style Dataset: cut from longer ones, drawn at random, or the same at every call."""

import itertools
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset


class Clip(NamedTuple):
    """One sequence of frames.

    `frames` are ``(T, C, H, W)`` in the unit of the data, NaN where nothing is known; `time` is that of the first one
    in minutes, since 1970 where the data tell the time and since the beginning of its file where not; `mask` are
    booleans of the shape of the frames, true where something is known.
    """

    frames: Tensor
    time: float
    mask: Tensor


class Clips(Dataset[Clip]):
    """Sequences of one length and size; a kind of data is a subclass.

    Training asks for :meth:`sample` and :meth:`read`, which together are :meth:`draw`: what decides a sequence is
    drawn by every process, and read by the one that needs it.
    """

    length: int
    """Frames of a sequence, those that a forecast reads and those to forecast."""
    slow = False
    """Whether reading takes so long that training should read ahead."""

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} must say how many sequences it has")

    def __getitem__(self, index: int) -> Clip:
        raise NotImplementedError(f"{type(self).__name__} must give its sequences by number")

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self)))

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """What decides `n` random sequences, ``(n, …)``; from torch's global generator by default."""
        return torch.randint(len(self), (n,), generator=generator)

    def read(self, sampled: Tensor) -> Tensor:
        """The sequences of :meth:`sample`: ``(n, T, C, H, W)`` in the unit of the data."""
        return torch.stack([self[int(i)].frames for i in sampled])

    def draw(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """`n` random sequences ``(n, T, C, H, W)``."""
        return self.read(self.sample(n, generator))

    def fixed(self, n: int) -> Tensor:
        """`n` sequences at equal distances through all, or all: the ones that every evaluation sees."""
        return self.read(torch.linspace(0, len(self) - 1, min(n, len(self))).long())


class Given(Clips):
    """The sequences of a map-style Dataset of a user: items are a :class:`Clip`, or frames ``(T, C, H, W)`` alone.

    Example:
        >>> clips = Given([torch.rand(6, 1, 8, 8), torch.rand(6, 1, 8, 8)])
        >>> tuple(clips.draw(3).shape), clips[1].time
        ((3, 6, 1, 8, 8), 0.0)
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset, self.length = dataset, 0
        self.length = len(self[0].frames)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Clip:
        if not 0 <= index < len(self):
            raise IndexError(f"sequence {index} of {len(self)}")
        item = self.dataset[index]
        clip = item if isinstance(item, Clip) else Clip(item, 0.0, torch.isfinite(item))
        if clip.frames.dim() != 4 or self.length not in (0, len(clip.frames)):
            raise ValueError(
                f"sequence {index}: expected frames (T, C, H, W){f', T = {self.length}' if self.length else ''}, got "
                f"{tuple(clip.frames.shape)}"
            )
        return clip._replace(frames=clip.frames.masked_fill(~clip.mask, torch.nan))


class Event(NamedTuple):
    """Frames in order of time, as of one file; :func:`cut_at_gaps` cuts it where time jumps."""

    frames: Tensor
    """``(T, H, W)`` or ``(T, C, H, W)``, NaN where nothing is known; bytes are brightness of 0 to 255."""
    times: Sequence[datetime] | Sequence[float]
    """When each was: a time, or minutes."""
    name: str = ""
    """The file that it comes from."""


def minutes_of(time: datetime | float) -> float:
    """Minutes since 1970 of a time, or the number itself."""
    return (time - datetime(1970, 1, 1)).total_seconds() / 60 if isinstance(time, datetime) else float(time)


def cut_at_gaps(event: Event, step: float | None) -> list[Event]:
    """The parts of an event between which the time does not go on by `step` minutes; by default the commonest step.

    Example:
        >>> [list(e.times) for e in cut_at_gaps(Event(torch.zeros(4, 1, 1), [0.0, 5.0, 20.0, 25.0]), 5)]
        [[0.0, 5.0], [20.0, 25.0]]
    """
    minutes = torch.tensor([minutes_of(t) for t in event.times], dtype=torch.float64)
    steps = minutes.diff()
    if not len(steps):
        return [event]
    step = step or float(steps.mode().values)
    ends = [0, *(((steps - step).abs() > 0.02 * step).nonzero().flatten() + 1).tolist(), len(minutes)]
    return [event._replace(frames=event.frames[a:b], times=event.times[a:b]) for a, b in itertools.pairwise(ends)]


def part_of(event: Event, split: str, inputs: int = 0) -> Event:
    """The first two thirds of an event in time (``"train"``), or the last (``"test"``).

    The last third comes with the `inputs` frames before it: what is forecast lies in it, what is read need not.
    """
    cut = round(len(event.times) * 2 / 3)
    chosen = {"train": slice(cut), "test": slice(max(0, cut - inputs), None)}[split]
    return event._replace(frames=event.frames[chosen], times=event.times[chosen])


class PlacedClips(Clips):
    """Sequences cut at places that were found before.

    Args:
        places: ``(M, …)``, a line a sequence.
        length: frames of a sequence.
        turn: whether :meth:`sample` also mirrors and transposes, for more to learn from little.
    """

    def __init__(self, places: Tensor, length: int, turn: bool = False) -> None:
        self.places, self.length, self.turn = places, length, turn

    def cut(self, place: list[int]) -> Tensor:
        """The frames at a place, ``(T, C, H, W)``."""
        raise NotImplementedError(f"{type(self).__name__} must cut its sequences")

    def time_at(self, place: list[int]) -> float:
        """The time of the first frame at a place, in minutes."""
        raise NotImplementedError(f"{type(self).__name__} must tell the time")

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Clip:
        place: list[int] = self.places[index].tolist()
        frames = self.cut(place)
        return Clip(frames, self.time_at(place), torch.isfinite(frames))

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """The number of the place, and whether to mirror each axis and to transpose."""
        chosen = torch.randint(len(self.places), (n,), generator=generator)
        if not self.turn:
            return chosen
        return torch.cat([chosen[:, None], (torch.rand(n, 3, generator=generator) < 0.5).long()], 1)

    def read(self, sampled: Tensor) -> Tensor:
        """See :meth:`Clips.read`."""
        crops = torch.stack(
            [self.cut(p) for p in self.places[sampled if sampled.dim() == 1 else sampled[:, 0]].tolist()]
        )
        if sampled.dim() == 1:
            return crops
        coins = sampled[:, 1:, None, None, None, None].bool()
        crops = torch.where(coins[:, 0], crops.flip(-1), crops)
        crops = torch.where(coins[:, 1], crops.flip(-2), crops)
        return torch.where(coins[:, 2], crops.mT, crops) if crops.shape[-1] == crops.shape[-2] else crops


class Crops(PlacedClips):
    """Sequences ``(T, C, size, size)`` cut from events in memory, where enough is known and enough happens.

    Args:
        events: what is cut.
        length: frames of a sequence.
        size: height and width of a crop in pixels; None for whole frames.
        stride: a crop begins at multiples of this.
        wet: share of pixels of 0.1 or more that a crop must have, over the whole sequence.
        known: share of pixels that must be known in every frame of it.
        turn: see :class:`PlacedClips`.

    Raises:
        ValueError: no crop has as many known and wet pixels, or as many frames.
    """

    def __init__(
        self, events: Sequence[Event], length: int, size: int | None = 64, stride: int = 8, wet: float = 0.05,
        known: float = 1.0, turn: bool = False,
    ) -> None:  # fmt: skip
        self.events = [e._replace(frames=e.frames[:, None]) if e.frames.dim() == 3 else e for e in events]
        self.size = size
        found = [torch.empty(0, 4, dtype=torch.long)]
        for i, (frames, _, _) in enumerate(self.events):
            kernel = (size, size) if size else tuple(frames.shape[-2:])
            if len(frames) < length or frames.shape[-2] < kernel[0] or frames.shape[-1] < kernel[1]:
                continue
            seen = F.avg_pool2d(torch.isfinite(frames).all(1, keepdim=True).float(), kernel, stride)[:, 0]
            good = seen.unfold(0, length, 1).amin(-1) > known - 1e-6
            if wet > 0:
                threshold = 0.1 * 255 if frames.dtype == torch.uint8 else 0.1
                rainy = F.avg_pool2d((frames >= threshold).any(1, keepdim=True).float(), kernel, stride)[:, 0]
                good &= rainy.unfold(0, length, 1).mean(-1) >= wet
            start, top, left = good.nonzero().unbind(1)
            found.append(torch.stack([torch.full_like(start, i), start, top * stride, left * stride], 1))
        super().__init__(torch.cat(found), length, turn)
        if not len(self.places):
            what = f"{size}×{size} pixels" if size else "whole frames"
            longest = max((len(e.frames) for e in self.events), default=0)
            raise ValueError(
                f"no crop of {length} frames of {what} has {known:g} of its pixels known in every frame and {wet:g} of "
                f"them at 0.1 or more, in {len(self.events)} series of at most {longest} frames; give longer series, "
                "fewer frames, a smaller crop, or a lower `known` or `wet`"
            )

    def cut(self, place: list[int]) -> Tensor:
        """See :class:`PlacedClips`."""
        event, start, top, left = place
        frames = self.events[event].frames[start : start + self.length]
        if self.size:
            frames = frames[..., top : top + self.size, left : left + self.size]
        return frames.float() / 255 if frames.dtype == torch.uint8 else frames

    def time_at(self, place: list[int]) -> float:
        """See :class:`PlacedClips`."""
        return minutes_of(self.events[place[0]].times[place[1]])
