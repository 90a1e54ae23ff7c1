"""Readers of frames: :func:`open_frames` opens one file, :func:`open_files` the files that a command receives.

To add a reader, write a module with a function ``(path, options) -> Frames``, and add a line to :data:`ARRAY_READERS`.
A format that states what its values are is a module of ``data/formats``.
"""

import dataclasses
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..._stores import Place, Store
from ..files import FileError, check_exists, list_files, natural_key
from ..formats import SUFFIXES, find_labelled
from ..formats.gridded import is_recognised
from ..formats.radar import find_composites, find_format
from ..frames import Frames, ReadOptions, join_frames
from .images import VIDEO_READERS, find_clips, find_reader, list_images, open_clip
from .numpy import open_npy, open_npz


def open_described(path: Place, options: ReadOptions) -> Frames:
    """Opens the frames of a file that describes them; see :func:`~convrnn_zoo.data.labelled_frames`."""
    return Frames.from_files([path], options)


def is_clip(path: Place) -> bool:
    """Returns whether a path is a video, an image with several pages or a folder of images, but not of GeoTIFFs."""
    if isinstance(path, Store):
        return False
    files = list_images(path)[:1] if path.is_dir() else [path]
    return find_reader(path) is not None and not any(map(find_labelled, files))


ARRAY_READERS: dict[str, Callable[[Any, ReadOptions], Frames]] = {
    ".npy": open_npy,
    ".npz": open_npz,
    **dict.fromkeys(SUFFIXES, open_described),
}
"""Readers of arrays of frames by the suffix of the file."""
FRAME_SUFFIXES = (*ARRAY_READERS, *VIDEO_READERS)
"""Suffixes of files that contain several frames. Radar files, which contain one, are not listed."""


def open_frames(path: Place, options: ReadOptions = ReadOptions()) -> Frames:  # noqa: B008
    """Opens the frames of a file, a Zarr store or a folder of images.

    Raises:
        FileNotFoundError: the file does not exist.
        FileError: the format is unknown, the file is damaged or contains no frames, or its unit cannot be converted.
        ImportError: the package that reads the format is not installed.
    """
    check_exists(path)
    reader = ARRAY_READERS.get(path.suffix.lower())
    if find_format(path) or find_labelled(path):
        reader = open_described
    elif is_clip(path):
        reader = open_clip
    elif (
        reader is None
        and isinstance(path, Path)
        and path.is_file()
        and importlib.util.find_spec("xarray")
        and is_recognised(path)
    ):
        reader = open_described
    if reader is None:
        raise FileError(f"{path}: unknown format; expected {', '.join(FRAME_SUFFIXES)} or a folder of images")
    if reader is not open_described and (options.sel or options.dims):
        key = "sel" if options.sel else "dims"
        raise FileError(f"{path} does not name its dimensions, which data.{key} needs; leave data.{key} out")
    return reader(path, options)


def find_sources(path: Place, suffixes: Sequence[str] = tuple(ARRAY_READERS)) -> Sequence[Sequence[Place]]:
    """Returns the files of frames at or below a path: lists of one file, or the radar composites of each format."""
    if isinstance(path, Store):
        return [[path]]
    composites = find_composites(path)
    files = list_files(path, suffixes) if path.is_dir() else [path]
    if composites and (others := [f for f in files if not find_format(f)]):
        raise FileError(f"{path} has several formats, {composites[0][0]} and {others[0]}; move one to another folder")
    return composites or [[f] for f in files]


def open_sources(sources: Sequence[Sequence[Place]], options: ReadOptions) -> list[Frames]:
    """Opens the files of each source of :func:`find_sources`."""
    return [Frames.from_files(s, options) if find_format(s[0]) else open_frames(s[0], options) for s in sources]


def open_files(paths: Sequence[Place], options: ReadOptions = ReadOptions()) -> Frames:  # noqa: B008
    """Opens one file of frames, or joins several files (or all files of a folder) to one sequence.

    Files are joined in the order of their times, or of their names if times are missing. If several files are joined,
    an array ``(H, W)`` in a NumPy file is one frame. Raises the errors of :func:`open_frames`, and FileError if the
    formats, sizes, units or times of the files do not match.
    """
    for path in paths:
        check_exists(path)
    first: Place = paths[0]
    sources: Sequence[Sequence[Place]] = [[path] for path in sorted(paths, key=natural_key)]
    if (
        len(paths) == 1
        and isinstance(first, Path)
        and first.is_dir()
        and first.suffix.lower() not in ARRAY_READERS
        and not is_clip(first)
    ):
        sources = find_sources(first)
        if not sources and (clips := find_clips(first)):
            raise FileError(f"{first} contains {len(clips)} videos or folders of images; pass one, such as {clips[0]}")
        if not sources:
            raise FileError(f"{first}: unknown format; a folder holds images, or files of {', '.join(FRAME_SUFFIXES)}")
    elif all(map(find_format, paths)):
        sources = [list(paths)]
    if len(sources) == 1:
        return open_sources(sources, options)[0]
    if mixed := [s[0] for s in sources if find_format(s[0]) or s[0].suffix.lower() not in ARRAY_READERS]:
        formats = f"one file, or several of {', '.join(ARRAY_READERS)}, or radar files of one format"
        raise FileError(f"{mixed[0]}: expected {formats}; move the others to another directory")
    return join_frames(open_sources(sources, dataclasses.replace(options, maps=True)))
