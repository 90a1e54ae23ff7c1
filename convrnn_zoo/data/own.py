"""Kinds of frames of one's own: arrays and videos, as a recipe's table ``[data]`` tells of them."""

import dataclasses
import fnmatch
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from . import _entries
from ._entries import entry
from ._set import LOG, RAIN_THRESHOLDS, FrameSource
from .clips import Clips
from .datasets.checks import check_files
from .datasets.frame_sequences import (
    CroppedSequences,
    Sampling,
    Window,
    split_at_gaps,
    split_in_time,
)
from .datasets.windows import MAX_WINDOWS, read_windows
from .readers import READERS, STORE, Frames, ReadOptions, list_files, open_frames
from .readers.images import IMAGES, VIDEO_READERS, clips_below
from .readers.units import is_rain

log = logging.getLogger(__name__)


def given(path: Path | None, name: str) -> Path:
    """The path of some data of one's own.

    Raises:
        FileNotFoundError: none is given, or there is nothing.
    """
    if path is None:
        raise FileNotFoundError(f"no data given for {name}; pass --data FILE or DIR")
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; --data takes the file or the directory of {name}")
    return path


def in_parts(names: Sequence[str], split: str | tuple[str, ...], part: str, instead: str = "time") -> list[int]:
    """Which of some named things, such as files, are of a part: the last third is the test, or what patterns name.

    Raises:
        ValueError: a part would be empty, or a pattern fits none.

    Example:
        >>> in_parts(["a.npy", "b.npy", "c.npy"], "file", "test"), in_parts(["a.npy", "b.npy"], ("b*",), "train")
        ([2], [0])
    """
    if isinstance(split, tuple):
        test = {i for i, n in enumerate(names) if any(fnmatch.fnmatch(n, p) for p in split)}
        if idle := [p for p in split if not fnmatch.filter(names, p)]:
            raise ValueError(f"the recipe's data.split names {', '.join(idle)}, which is not among {', '.join(names)}")
    else:
        test = set(range(len(names) - max(1, round(len(names) / 3)), len(names)))
    if not test or len(test) >= len(names):
        raise ValueError(
            f"the recipe's data.split leaves no {'test' if not test else 'train'}ing part of {', '.join(names)}; give "
            f'two files or more, or take split = "{instead}"'
        )
    return [i for i in range(len(names)) if (i in test) == (part == "test")]


@dataclass(frozen=True, kw_only=True)
class OwnFrames(FrameSource):
    """What the kinds of one's own frames have in common: the entries of the table ``[data]``.

    `name`, `license` and `url` are what record and card say of the data. `crop` is the height and width of what is
    trained on, whole frames by default, cut at multiples of `stride` (an eighth of it) where at least the share `known`
    of every frame is known and the share `wet` of the pixels is 0.1 or more; `turn` mirrors and transposes. `split`
    says what the test part is: the last third of every file's time (``"time"``), the last third of the files in order
    of their names (``"file"``), or the files that a list of patterns names. `thresholds` are those of CSI, POD and
    FAR; of rain in mm/h they are there by default. `unit`, `step`, `lowest`, `highest`, `floor` and `top` are those of
    :class:`~convrnn_zoo.Preprocessing`, and `encode` is its `encoding`. `task` is what the record calls the task.
    """

    name: str = entry(filled=True)
    license: str = entry("")
    url: str = entry("")
    task: str = entry("")
    unit: str = entry("")
    step: float | None = entry(None, above=0)
    encode: str = entry("none", one_of=("none", "log", "standardize"))
    floor: float = entry(LOG["floor"], above=0)
    top: float = entry(LOG["top"], above=0)
    lowest: float | None = entry(None)
    highest: float | None = entry(None)
    crop: int | None = entry(None, least=1)
    stride: int | None = entry(None, least=1)
    known: float = entry(0.5, least=0, most=1)
    wet: float = entry(0.0, least=0, most=1)
    turn: bool = entry(False)
    split: str | tuple[str, ...] = entry("time", one_of=("time", "file"))
    thresholds: tuple[float, ...] = entry((), above=0)

    def __post_init__(self) -> None:
        _entries.check(self, "data.")
        rain = is_rain(self.unit)
        if rain and not self.thresholds:
            object.__setattr__(self, "thresholds", RAIN_THRESHOLDS)
        if not self.task:
            object.__setattr__(self, "task", "precipitation nowcasting" if rain else "video prediction")
        if self.wet and not (rain or self.thresholds or not self.unit):
            raise ValueError(
                f"the recipe's data.wet needs data.thresholds for the unit {self.unit!r}: a pixel is wet from the "
                "lowest threshold on"
            )

    @property
    def title(self) -> str:  # type: ignore[override]
        """The name of the data."""
        return self.name

    @property
    def bounds(self) -> tuple[float | None, float | None]:  # type: ignore[override]
        """See :class:`FrameSource`."""
        return self.lowest, self.highest

    @property
    def split_words(self) -> str:  # type: ignore[override]
        """The test split in words."""
        words = {
            "time": "the last third of every file in time",
            "file": "the last third of the files in order of their names",
        }
        where = f"crops of {self.crop}×{self.crop} pixels" if self.crop else "whole frames"
        files = words[self.split] if isinstance(self.split, str) else f"the files {', '.join(self.split)}"
        return f"{where} of {files}"

    @property
    def distance(self) -> int:
        """Pixels from where a crop may begin to where the next may."""
        return self.stride or max(1, (self.crop or 8) // 8)

    @property
    def sampling(self) -> Sampling:
        """Conditions that the windows of this data must meet."""
        dry = is_rain(self.unit) or not self.thresholds
        return Sampling(known=self.known, wet=self.wet, threshold=0.1 if dry else min(self.thresholds))

    def open(self, path: Path) -> list[Frames]:
        """Opens every file at a path, by :meth:`~FrameSource.read_options`."""
        raise NotImplementedError(f"{type(self).__name__} must implement open")

    def window(self, path: Path, files: Sequence[Frames], length: int) -> Window:
        """Returns the size of the sequences that are cut from files.

        Raises:
            ValueError: the files differ in size, or are smaller than the crop.
        """
        if len({f.size if self.crop is None else () for f in files}) > 1 or len({f.channels for f in files}) > 1:
            listed = ", ".join(f"{f.name} {'×'.join(map(str, (f.channels, *f.size)))}" for f in files[:6])
            raise ValueError(
                f"{path}: expected frames of one size (C×H×W), got {listed}; give data.crop in the recipe, or files of "
                "one size"
            )
        if self.crop and (small := [f for f in files if min(f.size) < self.crop]):
            raise ValueError(
                f"{path}: frames of {small[0].name} are {'×'.join(map(str, small[0].size))}, smaller than "
                f"data.crop = {self.crop}; make the crop smaller, or move the file away"
            )
        height, width = (self.crop, self.crop) if self.crop else files[0].size
        return Window(length, height, width, self.distance)

    def load(self, path: Path | None, split: str, inputs: int, horizon: int) -> Clips:
        """See :class:`FrameSource`.

        Raises:
            FileNotFoundError: there is no such path, or no file of the kind.
            ValueError: a file is damaged or of another unit, sizes differ, or no sequence is long enough.
        """
        path = given(path, self.name)
        files = self.open(path)
        length = inputs + horizon
        window = self.window(path, files, length)
        check_files(files, self.unit, self.lowest, self.highest)
        slow = any(f.path.suffix.lower() == STORE for f in files)
        options = {"flip": self.turn and split == "train", "step": self.step, "slow": slow}
        if self.split != "time":
            try:
                files = [files[i] for i in in_parts([f.name for f in files], self.split, split)]
            except ValueError as e:
                raise ValueError(f"{path}: {e}") from e
        elif windows := getattr(self, "windows", ""):
            return self.listed(files, path.parent / windows, window, split, inputs, options)
        else:
            files = [split_in_time(f, split, inputs) for f in files]
        parts = []
        for frames in files:
            found = split_at_gaps(frames, self.step)
            parts += found
            if len(found) > 1:
                log.warning("%s: time has %d gaps; no sequence reaches over one", frames.name, len(found) - 1)
        try:
            return CroppedSequences.search(
                parts, length, self.crop, self.distance, self.sampling, MAX_WINDOWS if slow else math.inf, **options
            )
        except ValueError as e:
            raise ValueError(f"{path}: the {split} part: {e}") from e

    def listed(
        self, files: list[Frames], path: Path, window: Window, split: str, inputs: int, options: dict[str, Any]
    ) -> CroppedSequences:
        """Returns the sequences at the windows of a file, which ``convrnn-zoo windows`` wrote for one Zarr store."""
        if len(files) > 1 or not options["slow"]:
            raise ValueError(f"{files[0].path}: data.windows is for one {STORE} store; leave it out for other files")
        (frames,) = files
        places = read_windows(path)
        top = torch.tensor([len(frames), *frames.size]) - torch.tensor(window[:3])
        if len(places) and not bool(((places >= 0) & (places <= top)).all()):
            raise ValueError(
                f"{path}: windows of {window.length} frames of {window.height}×{window.width} pixels reach "
                f"beyond the store, {tuple(frames.array.shape)}; list them again with this recipe"
            )
        cut, t = round(len(frames) * 2 / 3), places[:, 0]
        chosen = places[t + window.length <= cut] if split == "train" else places[t + inputs >= cut]
        if not len(chosen):
            raise ValueError(
                f"{path}: no window of {window.length} frames is in the {split} part, before or after frame {cut}; "
                "give a longer store, shorter sequences, or more windows"
            )
        return CroppedSequences(files, window, torch.cat([torch.zeros(len(chosen), 1).long(), chosen], 1), **options)


@dataclass(frozen=True, kw_only=True)
class ArrayFrames(OwnFrames):
    """``kind = "frames"``: arrays ``(T, H, W)`` or ``(T, C, H, W)`` of ``.npy``, ``.npz``, ``.h5``, ``.nc``, ``.zarr``.

    Beside the entries of :class:`OwnFrames`: `key` names the array in a file of several, `missing` is a number that
    stands for what is not known (NaN does by itself), and `windows` a file of ``convrnn-zoo windows`` for a Zarr store
    too large to look through at every start.

    Example:
        >>> ArrayFrames(name="drifting blobs", unit="mm/h", step=5, encode="log", crop=64).thresholds
        (0.5, 2.0, 5.0, 10.0)
    """

    key: str = entry("")
    missing: float | None = entry(None)
    windows: str = entry("")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.windows and self.split != "time":
            raise ValueError('the recipe\'s data.windows needs split = "time"')

    def read_options(self) -> ReadOptions:
        """See :class:`FrameSource`."""
        return ReadOptions(variable=self.key, fill_value=self.missing, unit=self.unit)

    def open(self, path: Path) -> list[Frames]:
        """See :class:`OwnFrames`; Zarr stores are read lazily."""
        files = list_files(path, tuple(READERS)) if path.is_dir() else [path]
        if not files:
            raise FileNotFoundError(f"{path} holds no file of {', '.join(READERS)}")
        opened = [open_frames(file, self.read_options()) for file in files]
        names = [file.name if file == path else str(file.relative_to(path)) for file in files]
        lazy = [f if f.path.suffix.lower() == STORE else f.load() for f in opened]
        return [dataclasses.replace(f, name=name) for f, name in zip(lazy, names, strict=True)]


@dataclass(frozen=True, kw_only=True)
class VideoFrames(OwnFrames):
    """``kind = "video"``: mp4 and other videos, GIFs, and folders of pictures, as brightness from 0 to 1.

    Beside the entries of :class:`OwnFrames`: `channels` is 1 for grey or 3 for colour, and `size` the height and width
    that frames are brought to before they are cropped.

    Example:
        >>> VideoFrames(name="street", size=(64, 96)).bounds
        (0.0, 1.0)
    """

    lowest: float | None = entry(0.0)
    highest: float | None = entry(1.0)
    channels: int = entry(1, least=1, most=3)
    size: tuple[int, ...] = entry((), least=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.channels == 2:
            raise ValueError("the recipe's data.channels must be 1 for grey or 3 for colour, got 2")
        if len(self.size) not in (0, 2):
            raise ValueError(f"the recipe's data.size must be a height and a width, got {list(self.size)}")

    def read_options(self) -> ReadOptions:
        """See :class:`FrameSource`."""
        return ReadOptions(unit=self.unit, channels=self.channels, size=self.size)

    def open(self, path: Path) -> list[Frames]:
        """See :class:`OwnFrames`."""
        found = clips_below(path)
        if not found:
            raise FileNotFoundError(f"{path} holds no {', '.join((*VIDEO_READERS, *IMAGES))}")
        names = [file.name if file == path else str(file.relative_to(path)) for file in found]
        opened = [open_frames(file, self.read_options()) for file in found]
        return [dataclasses.replace(f, name=name) for f, name in zip(opened, names, strict=True)]


OWN_FRAMES: dict[str, type[OwnFrames]] = {"frames": ArrayFrames, "video": VideoFrames}
"""By what stands as ``kind`` in the recipe."""
