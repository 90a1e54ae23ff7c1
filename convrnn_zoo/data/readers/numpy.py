"""Reads ``.npy`` and ``.npz`` files of NumPy, whose arrays have no labels: their axes are (T, [C,] H, W)."""

import dataclasses
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ..._extras import need
from ..._hints import suggest
from ...values.labels.times import to_utc
from ..files import FileError, check_claimed_size, reading
from ..frames import Frames, LazyArray, ReadOptions, as_floats, check_numbers

TIMES = ("time", "times")
"""Names of the array of times in a ``.npz`` file."""


def load_npy(path: Path) -> Any:
    """Opens the array of a ``.npy`` file as a memory map."""
    numpy = need("numpy", "cli")
    with reading(path, ".npy file of numbers"):
        array = numpy.load(path, allow_pickle=False, mmap_mode="r")
    if not isinstance(array, numpy.ndarray):
        raise FileError(f"{path} is not a .npy file; rename it to .npz")
    return array


def open_npy(path: Path, options: ReadOptions) -> Frames:
    """Opens the frames of a ``.npy`` file. With several variables, these are its channels."""
    array = load_npy(path)
    choose_array(path, {"": array.shape}, options)
    check_numbers(array, path)
    if not options.variables:
        part = (None,) if array.ndim == 2 else ()
        lazy = LazyArray(partial(_read_npy, path, part), array[part].shape, array.dtype)
        return to_frames(path, lazy, options)
    names = [v.name for v in options.all_variables]
    if array.ndim != 4 or array.shape[1] != len(names):
        raise FileError(f"{path}: expected {len(names)} channels (T, C, H, W) of {', '.join(names)}, got {array.shape}")
    lazy = LazyArray(partial(_read_channels, path, [v.fill_value for v in options.all_variables]), array.shape)
    return _with_units(path, lazy, options)


def _read_npy(path: Path, part: tuple[Any, ...], index: Any) -> Any:
    return need("numpy", "cli").array(load_npy(path)[part][index])


def _read_channels(path: Path, fills: Sequence[float | None], index: Any) -> Any:
    values = load_npy(path)[index]
    return need("numpy", "cli").stack([as_floats(values[:, i], fill) for i, fill in enumerate(fills)], axis=1)


def open_npz(path: Path, options: ReadOptions) -> Frames:
    """Opens the frames in a ``.npz`` file, by default its only array of frames, or ``x`` if it has several.

    The file may also contain the arrays ``time`` (times of the frames) and ``labels`` (text for each frame).
    """
    with open_archive(path) as arrays:
        members = [m for m in arrays.zip.namelist() if m.endswith(".npy")]
        shapes = {m.removesuffix(".npy"): _shape(arrays.zip, m) for m in members}
        if options.variables:
            frames = _with_units(path, _stack(path, arrays, shapes, options), options)
        else:
            array = arrays[choose_array(path, shapes, options)]
            check_numbers(array, path)
            frames = to_frames(path, array[None] if array.ndim == 2 else array, options)
        labels = tuple(map(str, arrays["labels"].tolist())) if len(shapes.get("labels", ())) == 1 else ()
        name = next((n for n in TIMES if len(shapes.get(n, ())) == 1), None)
        times = {} if name is None else decode_times(path, arrays[name], frames.array.shape)
    return dataclasses.replace(frames, labels=labels, **times)


def to_frames(path: Path, array: Any, options: ReadOptions) -> Frames:
    """Returns the frames of an array ``(T, [C,] H, W)``; uint8 values are brightness from 0 to 255."""
    is_bytes = array.dtype == "uint8"
    if is_bytes and options.unit:
        got = f"brightness, which cannot be converted to {options.unit}"
        raise FileError(f"{path} holds {got}; convert the values to floats, or correct data.unit")
    fill, unit = options.fill_value, "" if is_bytes else options.unit
    return Frames(path=path, array=array, unit=unit, is_bytes=is_bytes, fill_value=fill, name=path.name)


def _with_units(path: Path, array: Any, options: ReadOptions) -> Frames:
    units, observed = tuple(v.unit for v in options.all_variables), len(options.variables)
    return Frames(path=path, array=array, units=units, observed=observed, name=path.name)


def _stack(path: Path, arrays: Any, shapes: Mapping[str, tuple[int, ...]], options: ReadOptions) -> Any:
    """Returns variables ``(T, H, W)``, ``(H, W)`` or ``(T,)`` as the channels of an array ``(T, C, H, W)``."""
    numpy = need("numpy", "cli")
    if missing := [v.name for v in options.all_variables if v.name not in shapes]:
        raise FileError(f"{path} has no variable {missing[0]}; {suggest(missing[0], shapes)}")
    first = options.variables[0].name
    shape, channels = shapes[first], []
    roles = {
        "variables": ("(T, H, W)", [shape]), "future": ("(T, H, W), (H, W) or (T,)", [shape, shape[:1], shape[1:]]),
        "static": ("(H, W)", [shape[1:]]),
    }  # fmt: skip
    for role, (axes, allowed) in roles.items():
        for variable in getattr(options, role):
            if len(shape) != 3 or 0 in shape or shapes[variable.name] not in allowed:
                expected = f"{variable.name} {axes}, with the sizes of {first} {shape}; got {shapes[variable.name]}"
                raise FileError(f"{path}: expected {expected}; select a part with data.sel, or correct data.{role}")
            array = arrays[variable.name]
            check_numbers(array, f"{path}: {variable.name}")
            array = array[:, None, None] if array.shape == shape[:1] else array
            channels.append(numpy.broadcast_to(as_floats(array, variable.fill_value), shape))
    return numpy.stack(channels, axis=1)


def choose_array(path: Path, shapes: Mapping[str, tuple[int, ...]], options: ReadOptions) -> str:
    """Returns the name of the array of frames: `options.variable`, or the only array, or ``x`` if there are several."""
    variable, axes = options.variable, (2, 3, 4) if options.maps else (3, 4)
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


def decode_times(path: Path, times: Any, shape: tuple[int, ...]) -> dict[str, Any]:
    """Returns the fields `times` and `is_dated` of :class:`Frames` for an array of times.

    `times` are NumPy's ``datetime64`` or ``timedelta64``, text in ISO 8601, or numbers of minutes.
    """
    numpy = need("numpy", "cli")
    if len(times) != shape[0]:
        hint = "put time first: transpose the array" if len(times) in shape else "correct the file"
        raise FileError(f"{path}: {shape[0]} frames and {len(times)} times, in {shape}; {hint}")
    is_dated = times.dtype.kind in "MSU"
    try:
        if times.dtype.kind in "SU":
            times = numpy.array([to_utc(t) for t in times.tolist()], "datetime64[us]")
        if times.dtype.kind in "mM":
            if numpy.isnat(times).any():
                raise ValueError("expected a time for every frame, got NaT")
            minutes = times.astype(f"{times.dtype.kind}8[us]").astype("float64") / 6e7
        else:
            minutes = times.astype("float64")
        if not numpy.isfinite(minutes).all():
            raise ValueError("expected a time for every frame, got NaN")
        if (numpy.diff(minutes) <= 0).any():
            raise ValueError("expected increasing times; sort the frames by time and drop repeated ones")
    except (ValueError, TypeError) as e:
        raise FileError(f"{path}: time: {e}") from e
    return {"times": minutes, "is_dated": is_dated}


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
