"""Defines :class:`Frames`, which every reader returns: frames of one source, decoded when they are read."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..._extras import need
from ..._hints import suggest
from ..._steps import SHORTEST_MONTH, Step, describe_step, find_calendar_step, is_next
from ..._units import conversion
from .files import LARGE, FileError, reading
from .times import decode_times

DECODED: dict[str, Any] = {"fill_value": None, "is_bytes": False, "factor": 1.0, "shift": 0.0, "start": 0, "stop": None}
"""Fields of :class:`Frames` for an array of complete, decoded frames: nothing is left to convert or to skip."""


class VariableOptions(NamedTuple):
    """Name of a variable, the unit to convert it to (None for no conversion) and the number for missing values."""

    name: str
    unit: str | None = None
    fill_value: float | None = None


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """Options for reading files. A recipe states them; training and `predict` use the same options.

    Args:
        variable, variables, future, static, dims, sel, fill_value: as in :class:`~convrnn_zoo.data.ArrayFrames`.
        channels, size: as in :class:`~convrnn_zoo.data.VideoFrames`.
        maps: whether an array ``(H, W)`` is accepted as one frame, as in files of one time step.
        variable_optional: whether to read the only array of frames in a file that has no array `variable`.
        unit: unit to convert values to; None keeps the unit of the file. ``""`` is brightness from 0 to 1.
        coarsen: edge in pixels of the blocks that are averaged in radar composites.
    """

    variable: str = ""
    variables: tuple[VariableOptions, ...] = ()
    future: tuple[VariableOptions, ...] = ()
    static: tuple[VariableOptions, ...] = ()
    dims: Mapping[str, str] = field(default_factory=dict)
    sel: Mapping[str, Any] = field(default_factory=dict)
    maps: bool = False
    variable_optional: bool = False
    fill_value: float | None = None
    unit: str | None = None
    channels: int = 1
    size: tuple[int, ...] = ()
    coarsen: int = 1

    @property
    def all_variables(self) -> tuple[VariableOptions, ...]:
        """The variables in the order of the channels; empty if `variables`, `future` and `static` are not set."""
        return (*self.variables, *self.future, *self.static)


@dataclass(frozen=True, kw_only=True, eq=False)
class Frames:
    """Frames ``(T, H, W)`` or ``(T, C, H, W)`` in order of time. :meth:`read` decodes the stored numbers.

    Args:
        path: path of the file, for error messages.
        array: stored numbers, as a NumPy array or as an object that reads the file when it is sliced.
        times: float64 array ``(T,)`` of the times of frames in minutes; None if the file does not state times.
        is_dated: whether `times` count from 1970 (UTC) rather than from an arbitrary time.
        unit: unit of the values; ``""`` for brightness from 0 to 1; None if the file does not state it.
        units: unit of each channel, if the channels are different variables.
        observed: number of leading channels that are observed; the others are static or future inputs. None means all.
        labels: text for each frame, such as the time of day. There may be more or fewer labels than frames, or none.
        fill_value: stored number that marks missing values.
        is_bytes: whether the stored numbers are brightness from 0 to 255.
        factor, shift: conversion from the unit of the file, ``factor * value + shift``.
        name: short name of the file for messages.
        variable: name of the variable in the file.
        coordinates: coordinates of height and width by name, in the format of ``xarray.DataArray``. A coordinate
            without dimensions describes the map projection.
        map_dims: names of the dimensions of height and width.
        start, stop: range of the frames in `array`. If `stop` is None, the range ends with the array.
    """

    path: Path
    array: Any
    times: Any = None
    is_dated: bool = False
    unit: str | None = None
    units: tuple[str | None, ...] = ()
    observed: int | None = None
    labels: tuple[str, ...] = ()
    fill_value: float | None = None
    is_bytes: bool = False
    factor: float = 1.0
    shift: float = 0.0
    name: str = ""
    variable: str = ""
    coordinates: Mapping[str, Any] = field(default_factory=dict)
    map_dims: tuple[str, str] = ("y", "x")
    start: int = 0
    stop: int | None = None

    def __len__(self) -> int:
        return (self.array.shape[0] if self.stop is None else self.stop) - self.start

    @property
    def channels(self) -> int:
        """Number of channels of a frame."""
        return 1 if len(self.array.shape) == 3 else self.array.shape[1]

    @property
    def grid_mapping(self) -> str:
        """Name of the coordinate that describes the map projection; empty if there is none."""
        return next((name for name, (dims, *_) in self.coordinates.items() if not dims), "")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a frame in pixels."""
        return tuple(self.array.shape[-2:])

    @property
    def is_loaded(self) -> bool:
        """True if the frames are a NumPy array in memory; False for a memory map."""
        return type(self.array) is need("numpy", "cli").ndarray

    @property
    def is_large(self) -> bool:
        """True if the frames need more than 1 GiB of memory as float32."""
        return 4 * len(self) * math.prod(self.array.shape[1:]) > LARGE

    @property
    def datetimes(self) -> list[datetime] | None:
        """Times of the frames as dates in UTC; None if the file states no dates."""
        if self.times is None or not self.is_dated:
            return None
        return [datetime(1970, 1, 1) + timedelta(microseconds=100 * round(t * 6e5)) for t in self.times.tolist()]

    @property
    def step(self) -> Step | None:
        """Most frequent interval between successive frames in minutes, or a calendar step; None without times."""
        if self.times is None or len(self.times) < 2:
            return None
        minutes = most_frequent_step(torch.as_tensor(self.times).diff())
        return (find_calendar_step(self.datetimes or ()) if minutes > SHORTEST_MONTH else None) or minutes

    def between(self, start: int, stop: int | None = None) -> "Frames":
        """Returns the frames from `start` up to, but not including, `stop`, without reading them."""
        start, stop, _ = slice(start, stop).indices(len(self))
        times = None if self.times is None else self.times[start:stop]
        return dataclasses.replace(
            self, times=times, labels=self.labels[start:], start=self.start + start, stop=self.start + stop
        )

    def read(
        self, start: int = 0, stop: int | None = None, rows: slice = slice(None), columns: slice = slice(None)
    ) -> Tensor:
        """Reads frames as a new float32 tensor ``(T, C, H, W)`` in `unit`, NaN where values are missing."""
        start, stop, _ = slice(start, stop).indices(len(self))
        time = slice(self.start + start, self.start + stop)
        middle = (slice(None),) if len(self.array.shape) == 4 else ()
        with reading(self.path, "file of frames"):
            raw = self.array[(time, *middle, rows, columns)]
            frames = torch.from_numpy(as_floats(raw, () if self.fill_value is None else (self.fill_value,)))
        if self.is_bytes:
            frames = frames / 255
        if self.factor != 1 or self.shift:
            frames = frames * self.factor + self.shift
        return frames if middle else frames[:, None]

    def load(self) -> "Frames":
        """Reads all frames into memory: bytes (uint8) as they are stored, other numbers decoded."""
        if self.array.dtype != "uint8":
            return dataclasses.replace(self, array=self.read().numpy(), **DECODED)
        if self.is_loaded:
            return self
        with reading(self.path, "file of frames"):
            array = need("numpy", "cli").array(self.array[self.start : self.start + len(self)])
        return dataclasses.replace(self, array=array, start=0, stop=None)

    def to_unit(self, unit: str | None) -> "Frames":
        """Converts the frames to a unit. Frames without a stated unit are assumed to have this unit already."""
        if unit is None or self.unit is None:
            return self
        factors = conversion(self.unit, unit)
        if factors is None:
            name = f"{self.path}: {self.variable}" if self.variable else self.path
            got = f"{self.unit or 'brightness'}, which cannot be converted to {unit or 'brightness'}"
            raise FileError(f"{name} holds {got}; convert the values to floats, or correct data.unit")
        factor, offset = factors
        return dataclasses.replace(self, unit=unit, factor=self.factor * factor, shift=self.shift * factor + offset)


def most_frequent_step(steps: Tensor) -> float:
    """Returns the most frequent of intervals in minutes, each rounded to a tenth of a millisecond."""
    return float((steps * 6e5).round().mode().values) / 6e5


def split_at_gaps(frames: Frames, step: Step | None = None) -> list[Frames]:
    """Splits frames where successive times do not differ by `step`, by default the most frequent step.

    A step is a number of minutes, ``"month"`` or ``"year"``.

    Example:
        >>> import numpy as np
        >>> frames = Frames(path=Path("a"), array=np.zeros((4, 1, 1)), times=np.array([0.0, 5, 20, 25]))
        >>> [part.times.tolist() for part in split_at_gaps(frames)]
        [[0.0, 5.0], [20.0, 25.0]]
    """
    if frames.times is None or len(frames) < 2:
        return [frames]
    steps, step = torch.as_tensor(frames.times).diff(), step or frames.step or 0.0
    if isinstance(step, str):
        if (dates := frames.datetimes) is None:
            raise FileError(f'{frames.path} states no dates, which data.step = "{step}" needs; state minutes')
        is_gap = torch.tensor([not is_next(a, b, step) for a, b in itertools.pairwise(dates)])
    else:
        is_gap = (steps - step).abs() > 0.02 * step
    ends = [0, *(is_gap.nonzero().flatten() + 1).tolist(), len(frames)]
    if len(ends) - 1 == len(frames) > 2:  # a pair of frames may be two parts of a longer series
        listed = ", ".join(f"{s:g}" for s in sorted({round(s, 3) for s in steps.tolist()})[:3])
        expected = describe_step(step)
        raise FileError(f"{frames.path}: frames are {listed} minutes apart, and data.step is {expected}; correct one")
    return [frames.between(a, b) for a, b in itertools.pairwise(ends)]


def check_numbers(array: Any, name: object) -> None:
    """Raises FileError if the dtype of an array is not a real number or boolean."""
    if array.dtype.kind not in "fiub":
        raise FileError(f"{name}: expected real numbers, got {array.dtype}")


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


def find_times(name: str, names: Mapping[str, tuple[int, ...]]) -> str | None:
    """Returns the name of the array of times for the array `name`, or None. Searches the group of `name` first."""
    group = name.rpartition("/")[0]
    known = [f"{group}/{n}".lstrip("/") for n in ("time", "times")] + ["time", "times"]
    return next((n for n in known if n in names and len(names[n]) == 1), None)


def check_times(path: Path, times: Any, attrs: Mapping[str, Any], shape: tuple[int, ...]) -> dict[str, Any]:
    """Decodes stored times. Returns the fields `times` and `is_dated` of :class:`Frames`, or ``{}`` without times."""
    if times is None:
        return {}
    if len(times) != shape[0]:
        hint = "put time first: transpose the array" if len(times) in shape else "correct the file"
        raise FileError(f"{path}: {shape[0]} frames and {len(times)} times, in {shape}; {hint}")
    try:
        minutes, is_dated = decode_times(times, attrs)
    except ValueError as e:
        raise FileError(f"{path}: time: {e}") from e
    return {"times": minutes, "is_dated": is_dated}


def as_floats(raw: Any, fills: Sequence[float] = (), valid: tuple[float, float] | None = None) -> Any:
    """Returns a new float32 array, with NaN for numbers that are in `fills` or outside of the range `valid`."""
    numpy = need("numpy", "cli")
    raw = numpy.asarray(raw)
    with numpy.errstate(over="ignore", invalid="ignore"):
        values = raw.astype("float32", order="C")
        for fill in fills:
            values[values == numpy.float32(fill) if raw.dtype.kind == "f" else raw == fill] = numpy.nan
        if valid is not None:
            values[(raw < valid[0]) | (raw > valid[1])] = numpy.nan
    return values


@dataclass(frozen=True)
class LazyArray:
    """Array that calls ``read(index)`` when it is sliced."""

    read: Callable[[Any], Any]
    shape: tuple[int, ...]
    dtype: Any = "float32"

    def __getitem__(self, index: Any) -> Any:
        return self.read(index)


def _read_stacked(parts: Sequence[Frames], index: Any) -> Any:
    """Reads variables as channels. Repeats a map ``(H, W)`` in all frames, and a series ``(T,)`` in all pixels."""
    time, _, *place = index
    channels = []
    for part in parts:
        moment = time.indices(len(part))[:2] if len(part) == len(parts[0]) else (0, 1)
        channels.append(part.read(*moment, *(place if part.size == parts[0].size else ())))
    shape = torch.broadcast_shapes(*(c.shape for c in channels))
    return torch.cat([c.expand(shape) for c in channels], dim=1).numpy()


def stack(path: Path, parts: Mapping[str, Frames], names: Iterable[str], options: ReadOptions, **fields: Any) -> Frames:
    """Stacks variables ``(T, H, W)``, ``(H, W)`` or ``(T,)`` of a file as channels in the units of `options`.

    `names` are all variables of the file, for error messages. `fields` are other fields of :class:`Frames`.
    """
    if missing := [v.name for v in options.all_variables if v.name not in parts]:
        raise FileError(f"{path} has no variable {missing[0]}; {suggest(missing[0], names)}")
    first = options.variables[0].name
    shape, channels = tuple(parts[first].array.shape), []
    roles = {
        "variables": ("(T, H, W)", [shape]), "future": ("(T, H, W), (H, W) or (T,)", [shape, shape[:1], shape[1:]]),
        "static": ("(H, W)", [shape[1:]]),
    }  # fmt: skip
    for role, (axes, shapes) in roles.items():
        for variable in getattr(options, role):
            array = parts[variable.name].array
            if len(shape) != 3 or 0 in shape or tuple(array.shape) not in shapes:
                expected = f"{variable.name} {axes}, with the sizes of {first} {shape}; got {tuple(array.shape)}"
                raise FileError(f"{path}: expected {expected}; select a part with data.sel, or correct data.{role}")
            check_numbers(array, f"{path}: {variable.name}")
            if len(array.shape) < 3:  # a map or a series, which is small
                array = array[:][None] if tuple(array.shape) == shape[1:] else array[:][:, None, None]
            channels.append(dataclasses.replace(parts[variable.name], array=array).to_unit(variable.unit))
    array = LazyArray(partial(_read_stacked, channels), (shape[0], len(channels), *shape[1:]))
    units, observed = tuple(c.unit for c in channels), len(options.variables)
    return Frames(path=path, array=array, units=units, observed=observed, name=path.name, **fields)


def _read_joined(parts: Sequence[Frames], index: Any) -> Any:
    """Reads frames from several parts that follow each other in time."""
    time, _, rows, columns = index
    start, stop, _ = time.indices(sum(map(len, parts)))
    frames, begin = [torch.empty(0, parts[0].channels, *parts[0].size)[..., rows, columns]], 0
    for part in parts:
        if begin < stop and begin + len(part) > start:
            frames.append(part.read(max(start - begin, 0), min(stop - begin, len(part)), rows, columns))
        begin += len(part)
    return torch.cat(frames).numpy()


def join(parts: Sequence[Frames]) -> Frames:
    """Joins the frames of files with one size and unit, in the order of their dates if all files state dates."""
    first, numpy = parts[0], need("numpy", "cli")
    for part in parts:
        if (part.channels, part.size, part.unit, part.units) != (first.channels, first.size, first.unit, first.units):
            expected, got = (f"{p.channels} × {p.size} in {p.units or p.unit or 'no unit'}" for p in (first, part))
            raise FileError(f"{part.path}: expected frames as in {first.path}, {expected}; got {got}")
    times = None
    if all(p.times is not None and p.is_dated for p in parts):
        parts = sorted(parts, key=lambda p: float(p.times[0]))
        for before, part in itertools.pairwise(parts):
            if part.times[0] <= before.times[-1]:
                raise FileError(f"{part.path}: has times of the file before; pass files whose times do not overlap")
        times = numpy.concatenate([p.times for p in parts])
    shape = (sum(map(len, parts)), first.channels, *first.size)
    array = LazyArray(partial(_read_joined, parts), shape)
    return dataclasses.replace(parts[0], array=array, times=times, is_dated=times is not None, labels=(), **DECODED)
