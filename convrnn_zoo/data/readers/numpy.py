"""NumPy's ``.npy`` and ``.npz`` files."""

import dataclasses
import zipfile
from pathlib import Path
from typing import Any

from ..._extras import need
from .base import Frames, ReadOptions, check_times, choose_array, find_times, frames_from, stack
from .files import FileError, check_size, reading


def open_npy(path: Path, options: ReadOptions) -> Frames:
    """Opens the frames of a ``.npy`` file, which are read when they are sliced."""
    numpy = need("numpy", "cli")
    with reading(path, ".npy file of numbers"):
        array = numpy.load(path, allow_pickle=False, mmap_mode="r")
        if not isinstance(array, numpy.ndarray):
            raise FileError(f"{path} is not a .npy file; rename it to .npz")
        choose_array(path, {"": array.shape}, options)
    if names := [v.name for v in options.all_variables]:
        if array.ndim != 4 or array.shape[1] != len(names):
            raise FileError(
                f"{path}: expected {len(names)} channels (T, C, H, W) of {', '.join(names)}, got {array.shape}"
            )
        count = len(options.variables) + len(options.future)
        channels = {n: (array[:, i] if i < count else array[0, i], None) for i, n in enumerate(names)}
        return stack(path, channels, options, is_decoded=False)
    return frames_from(path, array, None, options)


def open_npz(path: Path, options: ReadOptions) -> Frames:
    """Opens a ``.npz`` file with one array of frames, or one called ``x``; other arrays are not read.

    ``time`` holds the times of the frames and ``labels`` text for them.
    """
    numpy = need("numpy", "cli")
    with reading(path, ".npz file of numbers"):
        with zipfile.ZipFile(path) as file:
            for member in file.infolist():
                check_size(path, member.file_size, member.compress_size)
            shapes = {m.removesuffix(".npy"): _shape(file, m) for m in file.namelist() if m.endswith(".npy")}
        names = {v.name for v in options.all_variables} & set(shapes)
        name = "" if options.variables else choose_array(path, shapes, options)
        times_name = find_times(name, shapes)
        with numpy.load(path, allow_pickle=False) as arrays:
            variables = {n: (arrays[n] if n in names else None, None) for n in shapes}
            array = None if options.variables else arrays[name]
            times = None if times_name is None else arrays[times_name]
            labels = tuple(map(str, arrays["labels"].tolist())) if len(shapes.get("labels", ())) == 1 else ()
    if options.variables:
        frames = stack(path, variables, options, is_decoded=False, labels=labels)
        times, is_dated = (None, False) if times is None else check_times(path, times, {}, frames.array.shape)
        return dataclasses.replace(frames, times=times, is_dated=is_dated)
    return frames_from(path, array, times, options, labels=labels)


def _shape(file: zipfile.ZipFile, member: str) -> tuple[int, ...]:
    """Reads the shape of an array from its header alone."""
    form: Any = need("numpy.lib.format", "cli")
    with file.open(member) as content:
        version = form.read_magic(content)
        read = form.read_array_header_1_0 if version == (1, 0) else form.read_array_header_2_0
        return tuple(read(content)[0])


def read_arrays(path: Path) -> dict[str, Any]:
    """Reads the arrays of a ``.npz`` file by name, or that of a ``.npy`` file under the empty name.

    Raises:
        FileNotFoundError: the file does not exist.
        FileError: the file is damaged, or an array holds Python objects.
    """
    numpy = need("numpy", "cli")
    with reading(path, f"{path.suffix} file of numbers"), path.open("rb") as file:
        content: Any = numpy.load(file, allow_pickle=False)
        if isinstance(content, numpy.ndarray):
            return {"": content}
        for member in content.zip.infolist():
            check_size(path, member.file_size, member.compress_size)
        arrays = {}
        for name in content.files:
            try:
                arrays[name] = numpy.asarray(content[name])
            except ValueError as e:
                if "pickle" not in str(e):
                    raise
                raise FileError(
                    f"{path}: {name} holds Python objects, which are not read; save one array of numbers for each "
                    "recording"
                ) from e
        return arrays
