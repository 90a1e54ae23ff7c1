"""Reads ``.npy`` and ``.npz`` files of NumPy."""

import dataclasses
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ..._extras import need
from .base import Frames, LazyArray, ReadOptions, check_numbers, check_times, choose_array, find_times, stack
from .files import FileError, check_claimed_size, reading


def load_npy(path: Path) -> Any:
    """Opens the array of a ``.npy`` file as a memory map."""
    numpy = need("numpy", "cli")
    with reading(path, ".npy file of numbers"):
        array = numpy.load(path, allow_pickle=False, mmap_mode="r")
    if not isinstance(array, numpy.ndarray):
        raise FileError(f"{path} is not a .npy file; rename it to .npz")
    return array


def open_npy(path: Path, options: ReadOptions) -> Frames:
    """Opens the frames of a ``.npy`` file."""
    array = load_npy(path)
    choose_array(path, {"": array.shape}, options)
    if not options.variables:
        return to_frames(path, _lazy(path, array, (None,) if array.ndim == 2 else ()), options)
    names = [v.name for v in options.all_variables]
    if array.ndim != 4 or array.shape[1] != len(names):
        raise FileError(f"{path}: expected {len(names)} channels (T, C, H, W) of {', '.join(names)}, got {array.shape}")
    moving = len(names) - len(options.static)
    parts = {n: _lazy(path, array, (slice(None) if i < moving else 0, i)) for i, n in enumerate(names)}
    return _variables(path, parts, options)


def _read_npy(path: Path, part: tuple[Any, ...], index: Any) -> Any:
    return need("numpy", "cli").array(load_npy(path)[part][index])


def _lazy(path: Path, array: Any, part: tuple[Any, ...]) -> LazyArray:
    """Returns ``array[part]``, which is read when it is sliced. A memory map would keep the file open."""
    return LazyArray(partial(_read_npy, path, part), array[part].shape, array.dtype)


def open_npz(path: Path, options: ReadOptions) -> Frames:
    """Opens the frames in a ``.npz`` file, by default its only array of frames, or ``x`` if it has several.

    The file may also contain the arrays ``time`` (times of the frames) and ``labels`` (text for each frame).
    """
    with open_archive(path) as arrays:
        members = [m for m in arrays.zip.namelist() if m.endswith(".npy")]
        shapes = {m.removesuffix(".npy"): _shape(arrays.zip, m) for m in members}
        if options.variables:
            name = ""
            variables = {v.name: arrays[v.name] for v in options.all_variables if v.name in shapes}
            frames = _variables(path, variables, options, shapes)
        else:
            name = choose_array(path, shapes, options)
            frames = to_frames(path, arrays[name], options)
        times_name = find_times(name, shapes)
        times = None if times_name is None else arrays[times_name]
        labels = tuple(map(str, arrays["labels"].tolist())) if len(shapes.get("labels", ())) == 1 else ()
    return dataclasses.replace(frames, labels=labels, **check_times(path, times, {}, frames.array.shape))


def to_frames(path: Path, array: Any, options: ReadOptions) -> Frames:
    """Returns the frames of an array; uint8 values are brightness from 0 to 255."""
    check_numbers(array, path)
    is_bytes, array = array.dtype == "uint8", array[None] if len(array.shape) == 2 else array
    return Frames(
        path=path, array=array, unit="" if is_bytes else None, is_bytes=is_bytes, fill_value=options.fill_value,
        name=path.name,
    ).to_unit(options.unit)  # fmt: skip


def _variables(path: Path, arrays: dict[str, Any], options: ReadOptions, names: Iterable[str] = ()) -> Frames:
    """Stacks arrays as the channels of frames. Error messages list `names`, the names of all arrays in the file."""
    fills = {v.name: v.fill_value for v in options.all_variables}
    parts = {n: Frames(path=path, array=array, fill_value=fills[n], variable=n) for n, array in arrays.items()}
    return stack(path, parts, names, options)


@contextmanager
def open_archive(path: Path) -> Iterator[Any]:
    """Opens a ``.npz`` file as a mapping that reads an array when it is indexed."""
    numpy = need("numpy", "cli")
    with reading(path, ".npz file of numbers"), path.open("rb") as file, numpy.load(file, allow_pickle=False) as arrays:
        members = arrays.zip.infolist()
        check_claimed_size(path, sum(m.file_size for m in members), path.stat().st_size)
        yield arrays


def _shape(file: zipfile.ZipFile, member: str) -> tuple[int, ...]:
    """Reads the shape of an array in a ``.npz`` file from the header, without reading the array."""
    form: Any = need("numpy.lib.format", "cli")
    with file.open(member) as content:
        version = form.read_magic(content)
        read = form.read_array_header_1_0 if version == (1, 0) else form.read_array_header_2_0
        return tuple(read(content)[0])


def read_arrays(path: Path) -> dict[str, Any]:
    """Reads all arrays of a ``.npz`` file and returns them by name."""
    arrays: dict[str, Any] = {}
    with open_archive(path) as archive:
        for name in archive.files:
            try:
                arrays[name] = archive[name]
            except ValueError as e:
                if "pickle" not in str(e):
                    raise
                hint = "save an array of numbers for each recording"
                raise FileError(f"{path}: {name} holds Python objects, which are not read; {hint}") from e
    return arrays
