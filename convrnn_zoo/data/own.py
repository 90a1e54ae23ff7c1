"""Kinds of frames of one's own: arrays and videos, as a recipe's table ``[data]`` tells of them."""

import fnmatch
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import _entries
from ._entries import entry
from ._set import LOG, RAIN_THRESHOLDS, FrameSource, is_rain
from .arrays import KINDS as ARRAYS
from .arrays import STORE, read_event
from .clips import Clips, Crops, Event, cut_at_gaps, part_of
from .pictures import PICTURES, VIDEO_READERS, clips_below, resized
from .stores import load_store

log = logging.getLogger(__name__)


def given(path: Path | None, name: str) -> Path:
    """The path of some data of one's own.

    Raises:
        FileNotFoundError: none is given, or there is nothing.
    """
    if path is None:
        raise FileNotFoundError(f"no data given for {name}; pass --data FILE or DIR")
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there; --data takes the file or the directory of {name}")
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
    task: str = entry("video prediction", filled=True)
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
        if is_rain(self.unit) and not self.thresholds:
            object.__setattr__(self, "thresholds", RAIN_THRESHOLDS)
            if self.task == "video prediction":
                object.__setattr__(self, "task", "precipitation nowcasting")

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

    def events(self, path: Path) -> list[Event]:
        """Every file at a path as an event."""
        raise NotImplementedError(f"{type(self).__name__} must read its files")

    def load(self, path: Path | None, split: str, inputs: int, horizon: int) -> Clips:
        """See :class:`FrameSource`.

        Raises:
            FileNotFoundError: there is no such path, or no file of the kind.
            ValueError: a file is broken, sizes differ, or no sequence is long enough.
        """
        path = given(path, self.name)
        events = self.events(path)
        sizes = {tuple(e.frames.shape[2:] if self.crop is None else ()) for e in events}
        if len(sizes) > 1 or len({e.frames.shape[1] for e in events}) > 1:
            listed = ", ".join(f"{e.name} {'×'.join(map(str, e.frames.shape[1:]))}" for e in events[:6])
            raise ValueError(
                f"{path}: expected frames of one size (C×H×W), got {listed}; give data.crop in the recipe, or files of "
                "one size"
            )
        if self.crop and (small := [e for e in events if min(e.frames.shape[-2:]) < self.crop]):
            raise ValueError(
                f"{path}: frames of {small[0].name} are {'×'.join(map(str, small[0].frames.shape[-2:]))}, smaller than "
                f"data.crop = {self.crop}; make the crop smaller, or move the file away"
            )
        if self.split != "time":
            names = [e.name for e in events]
            try:
                events = [events[i] for i in in_parts(names, self.split, split)]
            except ValueError as e:
                raise ValueError(f"{path}: {e}") from e
        parts = [p for e in events for p in self.whole_parts(e)]
        if self.split == "time":
            parts = [part_of(p, split, inputs) for p in parts]
        turn = self.turn and split == "train"
        try:
            return Crops(parts, inputs + horizon, self.crop, self.distance, self.wet, self.known, turn)
        except ValueError as e:
            raise ValueError(f"{path}: the {split} part: {e}") from e

    def whole_parts(self, event: Event) -> list[Event]:
        """The parts of an event without a gap in time; the log tells of gaps.

        Raises:
            ValueError: its step is another than the recipe's.
        """
        parts = cut_at_gaps(event, self.step)
        if self.step and 1 < len(parts) == len(event.frames):
            steps = sorted({round(b - a, 3) for a, b in zip(event.times, event.times[1:], strict=False)})  # type: ignore[operator]
            raise ValueError(
                f"{event.name}: frames are {', '.join(f'{s:g}' for s in steps[:3])} minutes apart and the recipe's "
                f"data.step is {self.step:g}; correct one of them"
            )
        if len(parts) > 1:
            log.warning("%s: time has %d gaps; no sequence reaches over one", event.name, len(parts) - 1)
        return parts


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

    def load(self, path: Path | None, split: str, inputs: int, horizon: int) -> Clips:
        """See :class:`OwnFrames`; a ``.zarr`` store is read lazily."""
        if path is not None and path.suffix == STORE and path.exists():
            return load_store(self, path, split, inputs, horizon)
        if self.windows:
            raise ValueError(f"{path}: the recipe's data.windows is for a {STORE} store; leave it out for other files")
        return super().load(path, split, inputs, horizon)

    def events(self, path: Path) -> list[Event]:
        """See :class:`OwnFrames`."""
        files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.suffix in ARRAYS)
        if not files:
            raise FileNotFoundError(f"{path} holds no file of {', '.join(ARRAYS)}")
        events = []
        for file in files:
            event = read_event(file, self.key, self.missing, self.step)
            name = file.name if path.is_file() else str(file.relative_to(path))
            frames = event.frames if event.frames.dim() == 4 else event.frames[:, None]
            events.append(event._replace(frames=frames.float(), name=name))
        return events


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

    def events(self, path: Path) -> list[Event]:
        """See :class:`OwnFrames`."""
        found = clips_below(path)
        if not found:
            raise FileNotFoundError(f"{path} holds no {', '.join((*VIDEO_READERS, *PICTURES))}")
        events = []
        for file, read in found.items():
            frames = read(file, self.channels)
            if self.size:
                frames = resized(frames, (self.size[0], self.size[1]))
            name = file.name if file == path else str(file.relative_to(path))
            events.append(Event(frames, [i * (self.step or 1.0) for i in range(len(frames))], name))
        return events


OWN_FRAMES: dict[str, type[OwnFrames]] = {"frames": ArrayFrames, "video": VideoFrames}
"""By what stands as ``kind`` in the recipe."""
