"""Map-style Datasets of frame sequences: cut from files, generated, or converted from a Dataset of the user."""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from ...values.tensors import to_tensor
from ..readers import Frames
from .splits import train_count


class FrameSequences(Dataset[Tensor]):
    """Base class of sequences ``(T, C, H, W)`` of one shape, in the unit of the data, NaN where values are missing.

    A subclass implements ``__len__`` and ``__getitem__``.

    Training calls :meth:`sample`, then :meth:`read`; :meth:`draw` does both. In distributed training, every process
    samples the same batch and reads only its own part of the batch.
    """

    length: int
    """Number of frames of a sequence: input frames and frames to forecast."""
    is_generated: ClassVar[bool] = False
    """Whether sequences are generated, so that no files limit their number."""
    reopen: "Callable[[], FrameSequences] | None" = None
    """Function that opens the same sequences again. If it is set, they are pickled as this function, without values."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        return super().__reduce_ex__(protocol) if self.reopen is None else (self.reopen, ())

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} must implement __len__")

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self)))

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Samples parameters ``(n, …)`` of `n` random sequences, by default with torch's global generator."""
        return torch.randint(len(self), (n,), generator=generator)

    def read(self, sampled: Tensor) -> Tensor:
        """Returns the sequences with the sampled parameters: ``(n, T, C, H, W)`` in the unit of the data."""
        return torch.stack([self[int(i)] for i in sampled])

    def draw(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Returns `n` random sequences ``(n, T, C, H, W)``."""
        return self.read(self.sample(n, generator))

    def fixed(self, n: int) -> Tensor:
        """Returns the `n` sequences ``(n, T, C, H, W)`` that every evaluation uses; all if there are fewer."""
        return self.read(self.fixed_samples(n))

    def fixed_samples(self, n: int) -> Tensor:
        """Returns the parameters of `n` equally spaced sequences, which :meth:`read` can read in small batches."""
        return torch.linspace(0, len(self) - 1, min(n, len(self)), dtype=torch.float64).long()


class CustomSequences(FrameSequences):
    """Sequences from a map-style Dataset, a list or an array.

    Each item is frames ``(T, C, H, W)``: tensors or NumPy arrays, all of one shape. Real numbers are converted to
    float32, but bytes (uint8) are rejected. NaN marks missing values; Inf is an error.

    Example:
        >>> sequences = CustomSequences([torch.rand(6, 1, 8, 8), torch.rand(6, 1, 8, 8)])
        >>> tuple(sequences.draw(3).shape)
        (3, 6, 1, 8, 8)
    """

    def __init__(self, dataset: Any, name: str = "data") -> None:
        if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
            got = f"got {type(dataset).__name__}; list(...) makes a list of an iterable"
            raise ValueError(f"{name} must be a map-style Dataset, a list or an array of sequences, {got}")
        if not len(dataset):
            raise ValueError(f"{name} is empty; pass at least one sequence of frames (T, C, H, W)")
        self.dataset, self.name, self.shape = dataset, name, torch.Size()
        self.shape = self[0].shape
        self.length = self.shape[0]
        self.is_in_memory = isinstance(dataset, list | tuple) or hasattr(dataset, "shape")
        if self.is_in_memory:  # all are checked now
            known = [not bool(x.isnan().all()) for x in self]
            if not any(known):
                raise ValueError(f"{name} has no value that is not NaN; pass frames with values")

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Tensor:
        item, which = self.dataset[index], f"{self.name}[{index}]"
        try:
            frames = to_tensor(which, item)
            if frames.dtype == torch.uint8:
                raise ValueError("bytes: divide brightness by 255, or convert other values to float")
            frames = frames.float()
        except (TypeError, ValueError, RuntimeError) as e:
            raise ValueError(f"{which} must be frames (T, C, H, W) of numbers, got {type(item).__name__} ({e})") from e
        shape = tuple(frames.shape)
        if len(shape) != 4 or 0 in shape:
            raise ValueError(f"{which} must be frames (T, C, H, W), got {shape}")
        if bool(frames.isinf().any()):
            raise ValueError(f"{which} contains Inf; replace infinite values by NaN, which marks missing ones")
        if tuple(self.shape) not in ((), shape):
            raise ValueError(f"{which} is {shape}, and {self.name}[0] {tuple(self.shape)}; cut or pad all to one shape")
        return frames


def time_bounds(count: int, validation: float = 0.0) -> tuple[int, int]:
    """Returns the indices of the first validation frame and the first test frame; see :func:`split_in_time`."""
    cut = round(count * 2 / 3)
    return train_count(cut, validation), cut


def shared_time_bounds(files: Sequence[Frames], validation: float = 0.0) -> list[tuple[int, int]]:
    """Returns the :func:`time_bounds` of each file; all files with dates are cut at the same two dates.

    The dates are those of the bounds of all their frames in order of time, each time counted once.
    """
    dated = [f.minutes for f in files if f.is_dated]
    if len(dated) < 2:
        return [time_bounds(len(f), validation) for f in files]
    times = numpy.unique(numpy.concatenate(dated))
    dates = [times[min(i, len(times) - 1)] for i in time_bounds(len(times), validation)]
    return [
        time_bounds(len(f), validation) if not f.is_dated else tuple(numpy.searchsorted(f.minutes, dates).tolist())
        for f in files
    ]


def split_in_time(
    frames: Frames, split: str, inputs: int = 0, validation: float = 0.0, bounds: tuple[int, int] | None = None
) -> Frames:
    """Returns the frames of one split: ``"train"``, ``"validation"`` or ``"test"``.

    The test split is the last third in time. The validation split is the end of the other two thirds: a fraction
    `validation` of their frames. The validation and test splits also include the `inputs` frames before them, as the
    inputs of their first forecast. `bounds` replace the :func:`time_bounds` of the frames.
    """
    begin, cut = bounds or time_bounds(len(frames), validation)
    first, end = {"train": (0, begin), "validation": (begin - inputs, cut), "test": (cut - inputs, len(frames))}[split]
    return frames.between(max(0, first), end)


class Window(NamedTuple):
    """Size of windows, and conditions that they must meet.

    Args:
        length: number of frames.
        height, width: number of pixels.
        stride: distance in pixels between corners of neighbouring windows.
        min_valid: minimum fraction of pixels without a missing value, in every frame.
        min_wet: minimum fraction of wet pixels, over all frames.
        threshold: lowest value of a wet pixel.
    """

    length: int
    height: int
    width: int
    stride: int
    min_valid: float = 0.5
    min_wet: float = 0.0
    threshold: float = 0.1


def find_windows(frames: Frames, window: Window) -> Iterator[Tensor]:
    """Yields a tensor ``(M, 3)`` for each possible first frame t. Its rows ``(t, y, x)`` are the kept windows."""
    kernel = (window.height, window.width)
    if len(frames) < window.length or frames.size[0] < kernel[0] or frames.size[1] < kernel[1]:
        return
    recent: deque[list[Tensor]] = deque(maxlen=window.length)
    for t in range(len(frames)):
        frame = frames.read(t, t + 1)[0]
        maps = [torch.isfinite(frame[: frames.observed]).all(0), (frame >= window.threshold).any(0)]
        pooled = F.avg_pool2d(torch.stack([m.float() for m in maps])[:, None], kernel, window.stride)[:, 0]
        recent.append(list(pooled))
        if len(recent) < window.length:
            continue
        known, wet = (torch.stack(m, -1) for m in zip(*recent, strict=True))
        keep = (known.amin(-1) > window.min_valid - 1e-6) & (wet.mean(-1) >= window.min_wet)
        corners = keep.nonzero() * window.stride
        yield torch.cat([torch.full((len(corners), 1), frames.start + t - window.length + 1), corners], 1)


class CroppedSequences(FrameSequences):
    """Sequences ``(T, C, height, width)`` that are cut from files at the specified places.

    Args:
        files: the frames of each file.
        window: size of the sequences.
        places: ``(M, 4)``, a row for each sequence: index of the file, first frame, top row and left column.
        flip: whether :meth:`draw` mirrors and transposes sequences at random.
    """

    def __init__(self, files: Sequence[Frames], window: Window, places: Tensor, flip: bool = False) -> None:
        self.files, self.window, self.places, self.flip = list(files), window, places, flip
        self.length = window.length

    @classmethod
    def search(
        cls, files: Sequence[Frames], window: Window, max_windows: float = math.inf, flip: bool = False
    ) -> "CroppedSequences":
        """Finds all windows that meet the conditions; raises ValueError for none or for more than `max_windows`."""
        rows, count = [torch.empty(0, 4, dtype=torch.long)], 0
        for i, frames in enumerate(files):
            for places in find_windows(frames, window):
                rows.append(torch.cat([torch.full((len(places), 1), i), places], 1))
                count += len(places)
                if count > max_windows:
                    hint = "raise data.stride or data.min_wet_fraction"
                    raise ValueError(f"{frames.path} has more than {max_windows:,} windows; {hint}")
        if not count:
            longest = max((len(f) for f in files), default=0)
            if longest < window.length:
                hint = f"the longest has {longest}; lower them, or choose a data.split that does not cut series in time"
                raise ValueError(f"no series has {window.length} frames, inputs + horizon: {hint}")
            raise ValueError(
                f"no crop of {window.length} frames of {window.height}×{window.width} pixels has {window.min_valid:g} "
                f"of them present in each frame and {window.min_wet:g} at {window.threshold:g} or more; reduce the "
                "frames, data.crop, data.min_valid_fraction or data.min_wet_fraction"
            )
        return cls(files, window, torch.cat(rows), flip)

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

    def __getitem__(self, index: int) -> Tensor:
        return self.cut(self.places[index].tolist())

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Samples indices of places and, with `flip`, whether to mirror each axis and to transpose."""
        numbers = torch.randint(len(self.places), (n,), generator=generator)
        if not self.flip:
            return numbers
        return torch.cat([numbers[:, None], (torch.rand(n, 3, generator=generator) < 0.5).long()], 1)

    def read(self, sampled: Tensor) -> Tensor:
        """Returns the sequences ``(n, T, C, H, W)`` at the sampled places, mirrored and (if square) transposed."""
        places = self.places[sampled if sampled.dim() == 1 else sampled[:, 0]].tolist()
        crops = torch.stack([self.cut(place) for place in places])
        if sampled.dim() == 1:
            return crops
        coins = sampled[:, 1:, None, None, None, None].bool()
        crops = torch.where(coins[:, 0], crops.flip(-1), crops)
        crops = torch.where(coins[:, 1], crops.flip(-2), crops)
        return torch.where(coins[:, 2], crops.mT, crops) if crops.shape[-1] == crops.shape[-2] else crops
