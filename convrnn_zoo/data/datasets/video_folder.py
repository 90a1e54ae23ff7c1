"""Labelled clips in one folder per class: videos, GIFs, folders of images and arrays."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from ..._typed import field
from ...values.clips import ClipSampling, resize_and_crop
from ...values.log_mel import LogMel
from ..files import FileError, check_exists, list_dir, list_files, natural_key
from ..readers.images import VIDEO_READERS, find_clips, list_images, read_images
from ..readers.numpy import has_channels_last, load_npy
from ..readers.sequences import Recording
from .labelled_sequences import LabelledSequences, LazySequences, list_class_folders


def read_array(path: Path, channels: int, part: slice) -> Tensor:
    """Reads the frames ``(T, C, H, W)`` of a ``.npy`` file as bytes or floats from 0 to 1; ignores `channels`."""
    array = load_npy(path)
    if array.ndim != 4 or 0 in array.shape or array.dtype.kind not in "fiub":
        raise FileError(f"{path}: expected a clip (T, C, H, W) of numbers, got {array.shape} of {array.dtype}")
    if has_channels_last(array.shape):
        raise FileError(f"{path}: expected a clip (T, C, H, W), got {array.shape}; move axes: numpy.moveaxis(x, -1, 1)")
    frames = array[part]
    clip = torch.from_numpy(frames.copy() if frames.dtype == "uint8" else frames.astype("float32"))
    if clip.is_floating_point() and not bool(((clip >= 0) & (clip <= 1)).all()):
        got = f"values from {clip.min():g} to {clip.max():g}"
        raise FileError(f"{path}: expected brightness from 0 to 1, or bytes (uint8), got {got}; rescale them")
    return clip


CLIP_READERS = {**VIDEO_READERS, ".npy": read_array}
"""Readers of clips by the suffix of the file."""


def list_examples(folder: Path) -> list[Path]:
    """Lists the files of clips and the folders of images in a folder."""
    return [p for p in list_dir(folder) if p.suffix.lower() in CLIP_READERS or (p.is_dir() and list_images(p))]


@dataclass(frozen=True, kw_only=True)
class VideoFolder(ClipSampling, LabelledSequences):
    """Fields of ``[data]`` with ``kind = "clips"``.

    The data are one folder per class with videos, GIFs, ``.npy`` files ``(T, C, H, W)`` or folders of images. A folder
    of images is one clip. The folders of the classes may be in folders of the parts, such as ``train`` and ``test``,
    which `split` then names. Frames are RGB from 0 to 1; arrays keep their channels, and their bytes are divided by
    255. Clips may differ in length, and are read when indexed. Hidden files and folders are ignored.

    The other fields of :class:`LabelledSequences` also apply, except `front_end` and `layout`.

    Example:
        >>> clips = VideoFolder(name="gestures", size=112, frame_stride=2, max_frames=64)
        >>> clips.split_words, clips.frames
        ('a third of every class', slice(None, 128, 2))
    """

    excluded: ClassVar = ("front_end", "layout")
    list_examples = staticmethod(list_examples)
    task: str = field("video classification", nonempty=True)
    split: str | tuple[str, ...] = field(
        "random",
        choices=("random", "file", "group"),
        description='rule for the test split. ``"random"``, ``"group"`` or a list: as in :class:`LabelledSequences`. '
        '``"file"``: the last third of the clips of each class, in the order of their names.',
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if extra := [key for key in self.excluded if getattr(self, key)]:
            raise ValueError(f"the recipe's data.{extra[0]} does not apply to clips; remove it")

    @property
    def split_words(self) -> str:  # type: ignore[override]
        """Description of the test split."""
        return "the last third of the files of every class" if self.split == "file" else super().split_words

    @property
    def sampling(self) -> ClipSampling:
        """Selection and size of the frames that are read from each clip."""
        return ClipSampling(**{f.name: getattr(self, f.name) for f in dataclasses.fields(ClipSampling)})

    def read(self, path: Path) -> Tensor:
        """Reads the clip of a file or of a folder of images: ``(T, C, H, W)`` from 0 to 1.

        Raises:
            FileNotFoundError: `path` does not exist.
            ValueError: the clip is damaged, has no frames, or is of an unknown format.
        """
        check_exists(path)
        read = read_images if path.is_dir() else CLIP_READERS.get(path.suffix.lower())
        if read is None:
            raise FileError(f"{path}: expected a clip: a folder of images, or a file of {', '.join(CLIP_READERS)}")
        frames = read(path, 3, self.frames)
        frames = frames if self.size is None else resize_and_crop(frames, self.size)
        return frames.float() / 255 if frames.dtype == torch.uint8 else frames

    def list_clips(self, path: Path) -> list[Path]:
        """Returns the path itself if it is a clip, or else the clips below it."""
        if path.suffix.lower() in CLIP_READERS or not path.is_dir():
            return [path]
        clips = {*find_clips(path), *list_files(path, [*CLIP_READERS])}
        if not clips:
            raise FileError(f"{path} contains no clip; pass a folder of images, or files of {', '.join(CLIP_READERS)}")
        return sorted(clips, key=natural_key)

    def create_front_end(self, path: Path) -> None:
        """Returns None, because the audio of clips is not read."""

    def recordings(self, path: Path, front_end: LogMel | None = None) -> list[Recording]:
        """Returns a recording for each clip in the class folders; its `values` is the path of the clip."""
        recordings = []
        for folder in list_class_folders(path, self.list_examples):
            inside = list_dir(folder)
            if list_images(folder):
                raise FileError(f"{folder} contains images; move those of each clip into a folder within it")
            clips = [p for p in inside if p.is_dir() or p.suffix.lower() in CLIP_READERS]
            if not clips:
                raise FileError(f"{folder} contains no clip; add clips, or remove the folder")
            recordings += [Recording(str(clip), "", clip, folder.name) for clip in clips]
        if not recordings:
            expected = f"one folder for each class, with {', '.join(CLIP_READERS)} files or folders of images"
            raise FileNotFoundError(f"{path} contains no clips; expected {expected}")
        return recordings

    def values(self, recordings: Sequence[Recording]) -> LazySequences:
        """Returns lazily read clips. Reads one frame of each now, so that a damaged clip is found before training."""
        first_frame = dataclasses.replace(self, max_frames=1)
        shapes = {r.file: tuple(first_frame.read(r.values).shape[1:]) for r in recordings}
        (file, shape), *others = shapes.items()
        if other := next(((f, s) for f, s in others if s != shape), None):
            hint = "set data.size in the recipe" if self.size is None else "convert them to one number of channels"
            raise FileError(f"clips differ in size (C, H, W): {file} {shape} and {other[0]} {other[1]}; {hint}")
        return LazySequences([r.values for r in recordings], self.read)
