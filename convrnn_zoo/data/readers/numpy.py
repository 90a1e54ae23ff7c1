"""Reads ``.npy`` and ``.npz`` files of NumPy, whose arrays have no labels: their axes are (T, [C,] H, W)."""

import dataclasses
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy

from ..._hints import warn
from ...values.labels.times import counts_frames, decode_times
from ..files import TIMES, FileError, naming, reading
from ..formats.gridded import Array
from ..frames import Frames, ReadOptions, as_floats, check_numbers, check_roles


def load_npy(path: Path) -> Any:
    """Opens the array of a ``.npy`` file as a memory map."""
    with reading(path, ".npy file of numbers"):
        array = numpy.load(path, allow_pickle=False, mmap_mode="r")
    if not isinstance(array, numpy.ndarray):
        raise FileError(f"{path} is not a .npy file; rename it to .npz")
    return array


def open_npy(path: Path, options: ReadOptions) -> Frames:
    """Opens the frames of a ``.npy`` file. With several variables, these are its channels."""
    array, names = load_npy(path), [v.name for v in options.all_variables]
    choose_array(path, {"": array.shape}, options)
    check_numbers(array, path)
    if names and (array.ndim != 4 or array.shape[1] != len(names)):
        expected = f"{len(names)} channels (T, C, H, W) of {', '.join(names)}"
        raise FileError(f"{path}: expected {expected}, got {array.shape}")
    shape = array.shape if array.ndim > 2 else (1, *array.shape)
    return to_frames(path, Array(partial(_read_npy, path, shape), shape, array.dtype), options)


def _read_npy(path: Path, shape: tuple[int, ...], index: Any) -> Any:
    """Reads a part of an array, whose file is open only meanwhile: a data set may have very many files."""
    return numpy.array(load_npy(path).reshape(shape)[index])


def open_npz(path: Path, options: ReadOptions) -> Frames:
    """Opens the frames in a ``.npz`` file, by default its only array of frames, or ``x`` if it has several.

    The file may also contain the arrays ``time`` (times of the frames) and ``labels`` (text for each frame).
    """
    with open_archive(path) as arrays:
        members = [m for m in arrays.zip.namelist() if m.endswith(".npy")]
        shapes = {m.removesuffix(".npy"): _shape(arrays.zip, m) for m in members}
        if options.variables:
            array = _stack(path, arrays, shapes, options)
        else:
            array = arrays[choose_array(path, shapes, options)]
            check_numbers(array, path)
        frames = to_frames(path, array[None] if array.ndim == 2 else array, options)
        labels = tuple(map(str, arrays["labels"].tolist())) if len(shapes.get("labels", ())) == 1 else ()
        name = next((n for n in TIMES if len(shapes.get(n, ())) == 1), None)
        times = None if name is None else _read_times(path, arrays[name], frames.array.shape)
    return dataclasses.replace(frames, labels=labels, times=times)


def has_channels_last(shape: Sequence[int]) -> bool:
    """Returns whether the axes of frames are probably ``(T, H, W, C)``, as pictures have them."""
    return len(shape) == 4 and shape[3] in (1, 3, 4) and min(shape[1:3]) > 4


def to_frames(path: Path, array: Any, options: ReadOptions) -> Frames:
    """Returns the frames of an array ``(T, [C,] H, W)``; uint8 values of one variable are brightness from 0 to 255."""
    if has_channels_last(array.shape) and not options.all_variables:
        channels, height, width = array.shape[1:]
        warn(
            f"frames (T, C, H, W) of {path.suffix} files have {channels} channels of {height}×{width} pixels; if "
            "channels are last, move them: numpy.moveaxis(x, -1, 1)"
        )
    fields: dict[str, Any] = {"path": path, "array": array, "name": path.name}
    if variables := options.all_variables:
        fills, units = (tuple(getattr(v, key) for v in variables) for key in ("fill_value", "unit"))
        return Frames(fill_value=fills, units=units, observed=len(options.variables), **fields)
    is_bytes = array.dtype == "uint8"
    if is_bytes and options.unit:
        got = f"brightness, which cannot be converted to {options.unit}"
        raise FileError(f"{path} holds {got}; convert the values to floats, or correct data.unit")
    return Frames(unit="" if is_bytes else options.unit, is_bytes=is_bytes, fill_value=options.fill_value, **fields)


def _stack(path: Path, arrays: Any, shapes: Mapping[str, tuple[int, ...]], options: ReadOptions) -> Any:
    """Returns variables ``(T, H, W)``, ``(H, W)`` or ``(T,)`` as the channels of an array ``(T, C, H, W)``."""
    channels = []
    with naming(path):
        check_roles(shapes, options)
    for variable in options.all_variables:
        array = arrays[variable.name]
        check_numbers(array, f"{path}: {variable.name}")
        array = array[:, None, None] if array.ndim == 1 else array
        channels.append(numpy.broadcast_to(as_floats(array), shapes[options.all_variables[0].name]))
    return numpy.stack(channels, axis=1)


def choose_array(path: Path, shapes: Mapping[str, tuple[int, ...]], options: ReadOptions) -> str:
    """Returns the name of the array of frames: `options.variable`, or the only array, or ``x`` if there are several."""
    variable, axes = options.variable, (2, 3, 4) if options.maps else (3, 4)
    if variable and list(shapes) == [""] and not options.variable_optional:
        raise FileError(f"{path} names no array, and data.variable is {variable!r}; leave data.variable out")
    names = [name for name, shape in shapes.items() if len(shape) in (3, 4)]
    if options.maps and not names:
        names = [name for name, shape in shapes.items() if len(shape) == 2]
    if variable and list(shapes) != [""]:
        names = [variable] if variable in shapes else names if options.variable_optional and len(names) == 1 else []
    names = ["x"] if len(names) > 1 and "x" in names else names
    if len(names) != 1:
        listed = ", ".join(f"{n or 'the array'} {shape}" for n, shape in shapes.items()) or "none"
        expected = f"an array {variable!r}" if variable else "one array"
        hint = "; name it: data.variable in the recipe, or --key of predict" if len(names) > 1 else ""
        raise FileError(f"{path}: expected {expected} of frames (T, H, W) or (T, C, H, W), got {listed}{hint}")
    shape = shapes[names[0]]
    if len(shape) not in axes or 0 in shape:
        raise FileError(f"{path}: expected frames (T, H, W) or (T, C, H, W), got {shape}")
    return names[0]


def _read_times(path: Path, times: Any, shape: tuple[int, ...]) -> Any:
    """Decodes an array of times: ``datetime64``, ``timedelta64``, text in ISO 8601, or numbers of minutes.

    The result is None if the numbers only count the frames.
    """
    if len(times) != shape[0]:
        hint = "put time first: transpose the array" if len(times) in shape else "correct the file"
        raise FileError(f"{path}: {shape[0]} frames and {len(times)} times, in {shape}; {hint}")
    if counts_frames(times):
        return None
    with naming(path):
        times = decode_times(times)
        if (times[1:] <= times[:-1]).any():
            raise ValueError("time: expected increasing times; sort the frames by time and drop repeated ones")
        return times


@contextmanager
def open_archive(path: Path) -> Iterator[Any]:
    """Opens a ``.npz`` file as a mapping that reads an array when it is indexed."""
    with reading(path, ".npz file of numbers"), path.open("rb") as file, numpy.load(file, allow_pickle=False) as arrays:
        yield arrays


def _shape(file: zipfile.ZipFile, member: str) -> tuple[int, ...]:
    """Reads the shape of an array in a ``.npz`` file from the header, without reading the array."""
    form: Any = numpy.lib.format
    with file.open(member) as content:
        is_first = form.read_magic(content) == (1, 0)
        read = form.read_array_header_1_0 if is_first else form.read_array_header_2_0
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
            if not isinstance(arrays[name], numpy.ndarray):
                raise FileError(f"{path}: {name} is no array of NumPy; save the file again with numpy.savez")
    return arrays
