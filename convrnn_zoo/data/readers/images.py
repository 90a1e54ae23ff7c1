"""Reads frames of videos, GIFs, TIFF files and folders of images as brightness from 0 to 1."""

import re
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

from ..._extras import need
from ...values.clips import resize
from ..files import FileError, is_run, list_dir, reading
from ..formats.geotiff import TIFF
from ..frames import Frames, ReadOptions

VIDEOS = (".mp4", ".avi", ".mkv", ".mov", ".webm")
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", *TIFF)
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "GIF")
"""Formats that Pillow may read, whatever the name of a file says. It has others that start programs, such as EPS."""
CONTAINERS = {"format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,avi,matroska,webm", "protocol_whitelist": "file"}
"""Options of FFmpeg that allow the formats of :data:`VIDEOS`. It has others that open files and addresses by name."""
MAX_EDGE = 4096
"""Largest height or width to which frames are resized."""
ALL = slice(None)
"""Slice of all frames. Readers take a slice of frames, and decode no frame after its end."""


def _stack_pages(images: list[Any], path: Path) -> Tensor:
    """Stacks images ``(H, W)`` or ``(H, W, C)`` to ``(T, C, H, W)``: uint8, or float32 if any image is float32."""
    if not images:
        raise FileError(f"{path} holds no frame; add frames, or leave it out")
    if len({i.shape for i in images}) > 1:
        sizes = sorted({i.shape[:2] for i in images})
        raise FileError(f"{path}: expected images of one size, got {sizes}; resize or remove some")
    if len({i.dtype for i in images}) > 1:
        images = [i.astype("float32") / 255 if i.dtype == "uint8" else i for i in images]
    frames = torch.from_numpy(numpy.stack(images))
    return frames[:, None] if frames.dim() == 3 else frames.permute(0, 3, 1, 2).contiguous()


def _pixels(image: Any, channels: int, path: Path) -> Any:
    """Returns an image's pixels, rotated by EXIF tag: uint8 for 8 bits, float32 in [0, 1] for 16 bits and floats."""
    ops = need("PIL.ImageOps", "draw")
    if image.mode == "I" and image.format == "TIFF":
        raise FileError(f'{path} has whole numbers of no known range; save them as .npy, for kind = "frames"')
    image = ops.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        pixels = numpy.asarray(image, dtype="float32")
        pixels = pixels / 65535 if image.mode != "F" else pixels
        if not (pixels.min() >= 0 and pixels.max() <= 1):
            expected = "16 bits" if image.mode != "F" else "floats from 0 to 1"
            raise FileError(f'{path}: expected bytes, {expected}; save other values as .npy, for kind = "frames"')
        return pixels if channels == 1 else numpy.repeat(pixels[..., None], channels, -1)
    return numpy.asarray(image.convert("L" if channels == 1 else "RGB"))


def _open_pages(files: list[Path]) -> Iterator[tuple[Path, Any]]:
    """Yields the path and the open image of each page of image files, before its pixels are decoded."""
    image = need("PIL.Image", "draw")
    for path in files:
        with reading(path, f"{path.suffix[1:].upper()} file"), image.open(path, formats=FORMATS) as file:
            for page in range(1 if file.format == "MPO" else getattr(file, "n_frames", 1)):
                file.seek(page)
                yield path, file


def read_images(path: Path, channels: int = 1, part: slice = ALL) -> Tensor:
    """Reads the pages of a GIF or TIFF file, or the images of a folder.

    Returns ``(T, channels, H, W)`` of bytes (uint8), or of floats from 0 to 1.
    """
    frames = []
    pages = _open_pages(list_images(path) if path.is_dir() else [path])
    for image_path, file in islice(pages, part.start, part.stop, part.step):
        with reading(image_path, f"{image_path.suffix[1:].upper()} file"):
            frames.append(_pixels(file, channels, image_path))
    return _stack_pages(frames, path)


def read_video(path: Path, channels: int = 1, part: slice = ALL) -> Tensor:
    """Reads the frames of a video as bytes ``(T, channels, H, W)``, rotated as the file specifies."""
    av = need("av", "video")
    frames: list[Any] = []
    with reading(path, "video"), av.open(str(path.absolute()), options=CONTAINERS) as file:
        if not file.streams.video:
            raise FileError(f"{path} holds no video; leave it out")
        for frame in islice(file.decode(video=0), part.start, part.stop, part.step):
            pixels = frame.to_ndarray(format="gray" if channels == 1 else "rgb24")
            frames.append(numpy.rot90(pixels, round(getattr(frame, "rotation", 0) / 90)))
        return _stack_pages(frames, path)


def list_images(folder: Path) -> list[Path]:
    """Returns the images of a folder in natural order, without figures that a training run saved there."""
    images = [p for p in list_dir(folder) if p.suffix.lower() in IMAGES and p.is_file()]
    return [p for p in images if not re.fullmatch(r"update\d{7}", p.stem)] if is_run(folder) else images


VIDEO_READERS: dict[str, Callable[..., Tensor]] = {".gif": read_images, **dict.fromkeys(VIDEOS, read_video)}


def find_reader(path: Path) -> Callable[..., Tensor] | None:
    """Returns the reader of a video, a GIF, a TIFF file or a folder of images; None for other paths."""
    if path.is_dir():
        return read_images if list_images(path) else None
    return {**VIDEO_READERS, **dict.fromkeys(TIFF, read_images)}.get(path.suffix.lower())


def find_clips(path: Path) -> list[Path]:
    """Returns every video, GIF and folder of images at or below a path, in natural order.

    A TIFF file is only a clip if `path` is that file. Hidden files and output directories of training runs are ignored.
    """
    children = [p for p in list_dir(path) if p.is_dir() or p.suffix.lower() in VIDEO_READERS] if path.is_dir() else []
    return [path] * bool(find_reader(path)) + [clip for child in children for clip in find_clips(child)]


def open_clip(path: Path, options: ReadOptions) -> Frames:
    """Reads a video, a GIF, a TIFF file or a folder of images, resized to `options.size`."""
    read: Any = find_reader(path)
    frames = read(path, options.channels)
    frames = resize(frames, options.size) if options.size else frames
    is_bytes = frames.dtype == torch.uint8
    if options.unit:
        raise FileError(f"{path} holds brightness, which cannot be converted to {options.unit}; correct data.unit")
    return Frames(path=path, array=frames.numpy(), unit="", is_bytes=is_bytes, name=path.name)
