"""Clips of one's own with their classes, a folder a class: videos, GIFs, folders of pictures and arrays."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .._extras import need
from ..models import LogMel
from ._entries import entry
from .arrays import BROKEN
from .readers.images import ALL, IMAGES, VIDEO_READERS, fitted, read_folder
from .recordings import OwnSequences, Recording

SUFFIXES = (*VIDEO_READERS, ".npy")


def read_array(path: Path, part: slice = ALL) -> Tensor:
    """The frames ``(T, C, H, W)`` of a ``.npy``: bytes, or brightness from 0 to 1.

    Raises:
        ValueError: the file is broken, or holds something else.
    """
    try:
        whole = need("numpy", "cli").load(path, allow_pickle=False, mmap_mode="r")
    except BROKEN as e:
        raise ValueError(f"{path}: not a valid .npy file of numbers ({e}); save it anew, or move it away") from e
    if whole.ndim != 4 or 0 in whole.shape or whole.dtype.kind not in "fiub":
        raise ValueError(f"{path}: expected a clip (T, C, H, W) of numbers, got {whole.shape} of {whole.dtype}")
    frames = whole[part]
    if frames.dtype == "uint8":
        return torch.from_numpy(frames.copy())
    clip = torch.from_numpy(frames.astype("float32"))
    if not bool(((clip >= 0) & (clip <= 1)).all()):
        raise ValueError(
            f"{path}: expected brightness from 0 to 1, or bytes (uint8), got values from {clip.min():g} to "
            f"{clip.max():g}; scale them"
        )
    return clip


class ClipFiles(Sequence[Tensor]):
    """Clips ``(T, C, H, W)`` that are read each time that they are asked for, so that none stays in memory."""

    def __init__(self, kind: "OwnClips", paths: Sequence[Path]) -> None:
        self.kind, self.paths = kind, paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return ClipFiles(self.kind, self.paths[index])
        return self.kind.read(self.paths[index])


@dataclass(frozen=True, kw_only=True)
class OwnClips(OwnSequences):
    """``kind = "clips"``: the entries of the table ``[data]``.

    One folder for each class, with videos, GIFs, ``.npy`` files ``(T, C, H, W)``, or folders of pictures; a folder of
    pictures is one clip, in order of the pictures' names. Frames are RGB from 0 to 1; arrays keep their channels, and
    their bytes become 0 to 1, too. Clips may be of unequal length. They are read when a batch asks for them.

    `name`, `license`, `url` and `label_names` are those of :class:`OwnSequences`. With `size` the shorter side of every
    frame is brought to so many pixels and the square in its middle is taken; without it all clips must be of one size.
    `every` takes every n-th frame, from the first on, and `longest` at most so many of those. `split` is as for
    :class:`OwnSequences`; ``"file"`` is the last third of every class in order of the files' names.

    Example:
        >>> clips = OwnClips(name="gestures", size=112, every=2, longest=64)
        >>> clips.split_words, clips.part_of_frames
        ('a third of every class', slice(None, 128, 2))
    """

    task: str = entry("video classification", filled=True)
    size: int | None = entry(None, least=1)
    every: int = entry(1, least=1)
    longest: int | None = entry(None, least=1)

    @property
    def split_words(self) -> str:
        """The test split in words."""
        return "the last third of the files of every class" if self.split == "file" else super().split_words

    @property
    def part_of_frames(self) -> slice:
        """The frames that are read of a clip, by their numbers."""
        return slice(None, None if self.longest is None else self.longest * self.every, self.every)

    def read(self, path: Path) -> Tensor:
        """The clip of a file or of a folder of pictures: ``(T, C, H, W)`` from 0 to 1.

        Raises:
            ValueError: it is none, is broken, or holds no frame.
            FileNotFoundError: it is not there.
        """
        suffix = path.suffix.lower()
        if not path.exists():
            raise FileNotFoundError(f"{path} is not there")
        if path.is_dir():
            frames = read_folder(path, 3, self.part_of_frames)
        elif suffix == ".npy":
            frames = read_array(path, self.part_of_frames)
        elif suffix in VIDEO_READERS:
            frames = VIDEO_READERS[suffix](path, 3, self.part_of_frames)
        else:
            raise ValueError(f"{path}: expected a clip: a folder of pictures, or a file of {', '.join(SUFFIXES)}")
        frames = frames if self.size is None else fitted(frames, self.size)
        return frames.float() / 255 if frames.dtype == torch.uint8 else frames

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sound:
            raise ValueError("the recipe's data.sound is for sounds, and clips are read without theirs; leave it out")

    def front_end(self, path: Path) -> None:
        """None: the sound of a clip is not read."""

    def recordings(self, path: Path, front_end: LogMel | None = None) -> list[Recording]:
        """Every clip below a directory.

        Raises:
            FileNotFoundError: there is none.
            ValueError: a folder holds none, or pictures that are of no clip.
        """
        found = []
        for folder in sorted(p for p in path.iterdir() if visible_folder(p)) if path.is_dir() else ():
            inside = sorted(folder.iterdir())
            if any(p.suffix.lower() in IMAGES for p in inside):
                raise ValueError(f"{folder} holds pictures; put those of each clip into a folder of its own within it")
            clips = [p for p in inside if visible_folder(p) or p.suffix.lower() in SUFFIXES]
            if not clips:
                raise ValueError(f"{folder} holds no clip; fill it, or move it away")
            names = [str(clip.relative_to(path)) for clip in clips]
            found += [Recording(clip, folder.name, name, name) for clip, name in zip(clips, names, strict=True)]
        if not found:
            raise FileNotFoundError(
                f"{path} holds no clips; expected a folder for each class, with {', '.join(SUFFIXES)} files or folders "
                "of pictures in it"
            )
        return found

    def values(self, chosen: Sequence[Recording]) -> ClipFiles:
        """The clips, of which one frame was read, so that what cannot be is known before training.

        Raises:
            ValueError: one is broken, empty, or of another size than the others.
        """
        first = dataclasses.replace(self, longest=1)
        shapes = {str(clip.values): tuple(first.read(clip.values).shape[1:]) for clip in chosen}
        like, *_ = shapes.items()
        if other := [(name, shape) for name, shape in shapes.items() if shape != like[1]]:
            cure = "give data.size in the recipe" if self.size is None else "bring their channels to the same number"
            raise ValueError(
                f"expected clips of one size (C, H, W), got {like[0]} {like[1]} and {other[0][0]} {other[0][1]}; {cure}"
            )
        return ClipFiles(self, [clip.values for clip in chosen])

    def part(self, found: Sequence[Recording], split: str) -> list[int]:
        """Which clips are of a part of the split."""
        if self.split != "file":
            return super().part(found, split)
        # As of one file, of which the base takes the end of every class: else one class alone would be the test.
        return super().part([clip._replace(file="") for clip in found], split)


def visible_folder(path: Path) -> bool:
    """Whether a path is a folder that its owner made, and not a tool."""
    return path.is_dir() and not path.name.startswith(".")
