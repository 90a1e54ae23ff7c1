"""Videos, GIFs and folders of pictures as brightness."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .._extras import need

VIDEOS = (".mp4", ".avi", ".mkv", ".mov", ".webm")
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
MODES = {1: "L", 3: "RGB"}
ALL = slice(None)
"""Every frame: a reader takes a slice of those that it shall give, and decodes none behind its stop."""


def as_frames(pictures: list[Any], path: Path) -> Tensor:
    """Pictures ``(H, W)`` or ``(H, W, C)`` as bytes ``(T, C, H, W)``."""
    if not pictures:
        raise ValueError(f"{path} holds no frame; fill it, or move it away")
    if len({p.shape for p in pictures}) > 1:
        raise ValueError(f"{path}: expected pictures of one size, got {sorted({p.shape[:2] for p in pictures})}")
    frames = torch.from_numpy(need("numpy", "cli").stack(pictures))
    return frames[:, None] if frames.dim() == 3 else frames.permute(0, 3, 1, 2).contiguous()


def of(frames: Any, part: slice) -> Any:
    """The frames of a part, none behind it being decoded."""
    return islice(frames, part.start, part.stop, part.step)


def read_gif(path: Path, channels: int = 1, part: slice = ALL) -> Tensor:
    """The frames of a GIF as bytes ``(T, channels, H, W)``: one channel of grey, or three of colour.

    Raises:
        ValueError: it is no valid GIF.
    """
    image, sequence, numpy = need("PIL.Image", "draw"), need("PIL.ImageSequence", "draw"), need("numpy", "cli")
    try:
        with image.open(path) as file:
            frames = of(sequence.Iterator(file), part)
            pictures = [numpy.asarray(f.convert(MODES[channels])) for f in frames]
    except FileNotFoundError:
        raise
    except Exception as e:  # Pillow raises whatever its parser met
        raise ValueError(f"{path} is not a valid GIF ({e}); save it anew") from e
    return as_frames(pictures, path)


def read_video(path: Path, channels: int = 1, part: slice = ALL) -> Tensor:
    """The frames of a video, likewise.

    Raises:
        ValueError: it is no valid video.
    """
    av = need("av", "video")
    try:
        with av.open(str(path)) as file:
            form = "gray" if channels == 1 else "rgb24"
            frames = [f.to_ndarray(format=form) for f in of(file.decode(video=0), part)]
        if not frames:
            raise IndexError("it holds no frame")
    except FileNotFoundError:
        raise
    except (av.error.FFmpegError, IndexError) as e:
        raise ValueError(f"{path} is not a valid video ({e}); save it anew") from e
    return as_frames(frames, path)


def read_folder(path: Path, channels: int = 1, part: slice = ALL) -> Tensor:
    """The pictures of a folder in order of their names, likewise.

    Raises:
        ValueError: one of them is broken, or of another size.
    """
    image, numpy = need("PIL.Image", "draw"), need("numpy", "cli")
    pictures = []
    for file in sorted(p for p in path.iterdir() if p.suffix.lower() in PICTURES)[part]:
        try:
            with image.open(file) as opened:
                pictures.append(numpy.asarray(opened.convert(MODES[channels])))
        except Exception as e:  # likewise
            raise ValueError(f"{file} is not a valid picture ({e}); save it anew, or move it away") from e
    return as_frames(pictures, path)


VIDEO_READERS: dict[str, Callable[..., Tensor]] = {".gif": read_gif, **dict.fromkeys(VIDEOS, read_video)}


def clips_below(path: Path) -> dict[Path, Callable[..., Tensor]]:
    """Every video, GIF and folder of pictures at or below a path, in order of their names, with its reader."""
    if path.is_file():
        return {path: VIDEO_READERS[path.suffix.lower()]} if path.suffix.lower() in VIDEO_READERS else {}
    found: dict[Path, Callable[..., Tensor]] = {}
    for at in sorted([path, *path.rglob("*")]):
        if at.suffix.lower() in VIDEO_READERS and at.is_file():
            found[at] = VIDEO_READERS[at.suffix.lower()]
        elif at.is_dir() and any(p.suffix.lower() in PICTURES for p in at.iterdir()):
            found[at] = read_folder
    return found


def resized(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """Frames ``(T, C, H, W)``, of bytes or of other numbers, in another size, by averaging where they shrink."""
    if tuple(frames.shape[-2:]) == size:
        return frames
    return torch.cat([
        made.round().clamp(0, 255).byte() if frames.dtype == torch.uint8 else made
        for part in frames.split(64)
        for made in [F.interpolate(part.float(), size, mode="bilinear", antialias=True)]
    ])  # fmt: skip


def fitted(frames: Tensor, edge: int) -> Tensor:
    """The square of `edge` pixels in the middle of frames ``(T, C, H, W)`` whose shorter side is brought to `edge`.

    Example:
        >>> tuple(fitted(torch.zeros(2, 3, 60, 90), 30).shape)
        (2, 3, 30, 30)
    """
    height, width = frames.shape[-2:]
    shrunk = [max(edge, round(side * edge / min(height, width))) for side in (height, width)]
    top, left = ((side - edge) // 2 for side in shrunk)
    return resized(frames, (shrunk[0], shrunk[1]))[..., top : top + edge, left : left + edge]
