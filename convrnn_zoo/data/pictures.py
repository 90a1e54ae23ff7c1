"""Videos, GIFs and folders of pictures as brightness."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .._extras import need

VIDEOS = (".mp4", ".avi", ".mkv", ".mov", ".webm")
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
MODES = {1: "L", 3: "RGB"}


def as_frames(pictures: list[Any], path: Path) -> Tensor:
    """Pictures ``(H, W)`` or ``(H, W, C)`` as bytes ``(T, C, H, W)``."""
    if len({p.shape for p in pictures}) > 1:
        raise ValueError(f"{path}: expected pictures of one size, got {sorted({p.shape[:2] for p in pictures})}")
    frames = torch.from_numpy(need("numpy", "cli").stack(pictures))
    return frames[:, None] if frames.dim() == 3 else frames.permute(0, 3, 1, 2).contiguous()


def read_gif(path: Path, channels: int = 1) -> Tensor:
    """The frames of a GIF as bytes ``(T, channels, H, W)``: one channel of grey, or three of colour.

    Raises:
        ValueError: it is no sound GIF.
    """
    image, sequence, numpy = need("PIL.Image", "draw"), need("PIL.ImageSequence", "draw"), need("numpy", "cli")
    try:
        with image.open(path) as file:
            return as_frames([numpy.asarray(f.convert(MODES[channels])) for f in sequence.Iterator(file)], path)
    except FileNotFoundError:
        raise
    except OSError as e:
        raise ValueError(f"{path} is not a sound GIF ({e}); save it anew") from e


def read_video(path: Path, channels: int = 1) -> Tensor:
    """The frames of a video, likewise.

    Raises:
        ValueError: it is no sound video.
    """
    av = need("av", "video")
    try:
        with av.open(str(path)) as file:
            form = "gray" if channels == 1 else "rgb24"
            frames = [f.to_ndarray(format=form) for f in file.decode(video=0)]
        if not frames:
            raise IndexError("it holds no frame")
    except FileNotFoundError:
        raise
    except (av.error.FFmpegError, IndexError) as e:
        raise ValueError(f"{path} is not a sound video ({e}); save it anew") from e
    return as_frames(frames, path)


def read_folder(path: Path, channels: int = 1) -> Tensor:
    """The pictures of a folder in order of their names, likewise.

    Raises:
        ValueError: one of them is broken, or of another size.
    """
    image, numpy = need("PIL.Image", "draw"), need("numpy", "cli")
    pictures = []
    for file in sorted(p for p in path.iterdir() if p.suffix.lower() in PICTURES):
        try:
            with image.open(file) as opened:
                pictures.append(numpy.asarray(opened.convert(MODES[channels])))
        except OSError as e:
            raise ValueError(f"{file} is not a sound picture ({e}); save it anew, or move it away") from e
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
    """Frames ``(T, C, H, W)`` of bytes in another size, by averaging where they shrink."""
    if tuple(frames.shape[-2:]) == size:
        return frames
    return torch.cat([
        F.interpolate(part.float(), size, mode="bilinear", antialias=True).round().clamp(0, 255).byte()
        for part in frames.split(64)
    ])  # fmt: skip
