"""Sequences of frames as a map-style Dataset: cut from longer ones, drawn at random, or the same at every call."""

from typing import Any, NamedTuple

import torch
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
        """Returns `n` equally spaced sequences, or all of them: those that every evaluation uses."""
        return self.read(self.fixed_samples(n))

    def fixed_samples(self, n: int) -> Tensor:
        """Returns the parameters of :meth:`fixed`, of which a part at a time can be read."""
        return torch.linspace(0, len(self) - 1, min(n, len(self))).long()


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
