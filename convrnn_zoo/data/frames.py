"""Frames of one source: :func:`labelled_frames` returns them with their labels, :class:`Frames` as tensors."""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .. import _checks as check
from .._extras import need
from .._hints import check_names, warn
from .._stores import Place, Store, find_place
from .._typed import check_fields, field
from ..values.labels.axes import CHANNEL, MEMBER, Layout, axis_coordinate, find_pixel_km
from ..values.labels.form import align, choose_variable, in_unit, is_labelled, normal_form, stack, to_units
from ..values.labels.times import PERIOD, find_gaps, find_step, get_times, is_dated, list_dates, list_steps, to_minutes
from ..values.steps import Step, describe_step
from ..values.units import MARSHALL_PALMER
from .files import FileError, find_dates, list_files, naming, reading
from .formats import SUFFIXES, find_labelled, open_labelled
from .formats.gridded import NETCDF, STORE, Array
from .formats.radar import complete_gridded, find_composites, find_format, open_composites

if TYPE_CHECKING:
    import xarray as xr


FLOOR, TOP = 0.1, 100.0
"""Constants of the encoding ``log``, in the unit of the data."""
ENCODINGS = ("none", "log", "standardize")
ROLES = ("variables", "future", "static")
"""Keys of ``[data]`` that list variables, in the order of the channels."""


@dataclass(frozen=True, kw_only=True)
class ValueFields:
    """Fields of ``[data]`` for the values of a variable."""

    unit: str | None = field(
        None, description="unit to convert values to; by default the unit in the file whose name sorts first."
    )
    encoding: str = field(
        "standardize",
        choices=ENCODINGS,
        description='``"none"``, ``"log"`` or ``"standardize"``; see :class:`~convrnn_zoo.Preprocessing`.',
    )
    floor: float = field(FLOOR, gt=0, description='lowest value at which the encoding ``"log"`` is logarithmic.')
    top: float = field(TOP, gt=0, description='value that the encoding ``"log"`` maps to 1.')
    valid_min: float | None = field(None, description="lowest valid value.")
    valid_max: float | None = field(None, description="highest valid value.")


@dataclass(frozen=True, kw_only=True)
class DataVariable(ValueFields):
    """A variable of ``[data]``. In a recipe, a name in place of a table means a variable with default settings."""

    name: str = field(nonempty=True, description="name of the variable in the files.")
    fill_value: float | None = field(
        None,
        description="number that marks missing values, in addition to NaN and the fill values that the file states.",
    )

    def __post_init__(self) -> None:
        check_fields(self, "data.variables.")


@dataclass(frozen=True, kw_only=True)
class SelectionFields:
    """Fields of ``[data]`` that select variables and parts of files."""

    variable: str = field(
        "",
        description="name of the array to read, for files with several arrays; ``group/name`` for an array in a group.",
    )
    variables: tuple[str | DataVariable, ...] = field(
        (),
        description="several variables ``(T, H, W)`` that the model reads, as names or tables of "
        ":class:`DataVariable`. A ``.npy`` file has one channel for each of `variables`, `future` and "
        "`static`, in this order.",
    )
    static: tuple[str | DataVariable, ...] = field(
        (), description="maps ``(H, W)`` without time that the model also reads, such as elevation."
    )
    future: tuple[str | DataVariable, ...] = field(
        (), description="variables ``(T, H, W)``, ``(H, W)`` or ``(T,)`` that are known at the times to forecast."
    )
    sel: Mapping[str, Any] = field(
        factory=dict,
        description="part to read of each named dimension: a value of its coordinate, or ``[first, last]``, such as "
        '``{level = 850, time = ["2020-06", "2020-08"]}``. For a dimension without a coordinate, pass '
        "indices. `predict` ignores a selection of times.",
    )
    dims: Mapping[str, str] = field(
        factory=dict,
        description="names of the dimensions `time`, `y` and `x`. By default they are recognised by attributes, by "
        "dates and by usual names such as ``lat`` and ``lon``; dimensions without names are in the order time, y, x.",
    )
    fill_value: float | None = field(
        None,
        description="number that marks missing values, in addition to NaN and the fill values that the file states.",
    )
    coarsen: int = field(
        1,
        ge=1,
        description="edge in pixels of the blocks that are averaged in radar composites, such as 2 for pixels of 2 km "
        "from pixels of 1 km. The composites below a directory are one series for each of their formats.",
    )


@dataclass(frozen=True, kw_only=True)
class ReadOptions(SelectionFields):
    """Options for reading files. A recipe states them; training and `predict` use the same options.

    Args:
        variable, variables, future, static, dims, sel, fill_value: as in :class:`~convrnn_zoo.data.ArrayFrames`.
        channels, size: as in :class:`~convrnn_zoo.data.VideoFrames`.
        maps: whether an array ``(H, W)`` is accepted as one frame, as in files of one time step.
        variable_optional: whether to read the only array of frames in a file that has no array `variable`.
        unit: unit to convert values to; None keeps the unit of the file. ``""`` is brightness from 0 to 1.
        step: minutes over which sums of rain last if the file does not state it.
        rain_relation: constants a and b of ``Z = a R^b``, by which reflectivity in dBZ becomes rain rates.
        coarsen: edge in pixels of the blocks that are averaged in radar composites.
    """

    maps: bool = False
    variable_optional: bool = False
    unit: str | None = None
    step: Step | None = None
    rain_relation: tuple[float, ...] = MARSHALL_PALMER
    channels: int = 1
    size: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        relation = tuple(self.rain_relation)
        if len(relation) != 2 or not all(math.isfinite(c) and c > 0 for c in relation):
            raise ValueError(f"rain_relation (--rain-relation) must be a and b of Z = a R^b, above 0, got {relation}")
        check.positive_int("coarsen", self.coarsen)

    @property
    def all_variables(self) -> tuple[DataVariable, ...]:
        """The variables in the order of the channels; empty if `variables`, `future` and `static` are not set."""
        return tuple(v for role in ROLES for v in getattr(self, role))


# ---- labels ------------------------------------------------------------------------------------------------------
def labelled_frames(
    source: Any,
    *,
    variables: Sequence[str] | None = None,
    sel: Mapping[str, Any] | None = None,
    dims: Mapping[str, str] | None = None,
    fill_values: Mapping[str, float | None] | None = None,
    coarsen: int = 1,
) -> xr.Dataset:
    """Returns frames of any source as an ``xarray.Dataset`` in one form.

    The dimensions of frames are ``time, y, x``, with `realization` first if there are members, and `channel` before y
    if a variable has several channels. Values are float32 with NaN where they are missing, and are read when they are
    used. The first row is the northernmost, and `time` has dates of NumPy or cftime. If the source states bounds of its
    times, `time_period` has their lengths. Other coordinates, the units and the map projection are those of the source.

    Args:
        source: a DataArray or a Dataset of xarray; the path of a NetCDF, Zarr, HDF5 or GRIB file, of a radar composite,
            or of a folder of such files; the address of a Zarr store, or a store of zarr; or a list of these, which are
            joined in the order of their dates. Files of one map without dates have those in their names, such as
            ``rain_202006011210.nc``.
        variables: names of variables, in the order of the channels; by default all on the grid of the first one.
        sel: part of each dimension to select, such as ``{"level": 850, "time": ["2020-06", "2020-08"]}``.
        dims: names of the dimensions `time`, `y` and `x`, if neither attributes nor usual names tell them. Their order
            counts only if they have no names, as in ``DataArray(array)``: it is ``([N,] T, [C,] H, W)``.
        fill_values: stored number that marks missing values, for each variable.
        coarsen: edge in pixels of the blocks that are averaged in radar composites.

    Raises:
        ValueError: a variable is missing or on another grid, two dimensions are times, nothing tells which dimension
            is which, or a selection is invalid.
            The error of a file is a :class:`FileError`, which names it.

    Example:
        >>> import numpy as np, xarray
        >>> rain = xarray.DataArray(np.zeros((4, 6, 3)), dims=("lon", "lat", "time"), name="rain")
        >>> dict(labelled_frames(rain).sizes)
        {'time': 3, 'y': 6, 'x': 4}
    """
    return read_labelled(source, variables, coarsen, sel=sel, dims=dims, fill_values=fill_values)[0]


def read_labelled(
    source: Any, variables: Sequence[str] | None = None, coarsen: int = 1, **options: Any
) -> tuple[xr.Dataset, Layout]:
    """Returns the frames of :func:`labelled_frames` and the Layout of the source, which labels a forecast as it is."""
    if is_labelled(source):
        data, layout = normal_form(source, variables, **options)
        return join_datasets([data], ["the frames"]), layout
    sources = source if isinstance(source, list | tuple) else [source]
    paths = [file for path in sources for file in _list(find_place(path))]
    if all(map(find_format, paths)):
        with naming(paths[0]):
            data = open_composites([p for p in paths if isinstance(p, Path)], coarsen)
            notes = {str(n): v.attrs["comment"] for n, v in data.data_vars.items() if "comment" in v.attrs}
            data, layout = normal_form(data, variables, **options)
            return data.assign({n: data[n].assign_attrs(comment=c) for n, c in notes.items() if n in data}), layout
    if len({v.rpartition("/")[0] for v in variables or ()}) > 1:
        listed = ", ".join(variables or ())
        raise FileError(f"{paths[0]}: the variables {listed} are in several groups; name those of one")
    opened = [_open_normal(path, variables, options) for path in paths]
    return join_datasets([data for data, _ in opened], paths), opened[0][1]


def _list(path: Place) -> Sequence[Place]:
    """Returns the files of labelled frames in a folder, or the path of a file or store itself."""
    if isinstance(path, Store) or not path.is_dir() or path.suffix.lower() == STORE:
        return [path]
    composites = find_composites(path)
    files = [file for files in composites for file in files] or list(filter(find_labelled, list_files(path, SUFFIXES)))
    if not files or len(composites) > 1:
        found, expected = f"radar files of {len(composites)} formats" if files else "none", ", ".join(SUFFIXES)
        raise FileError(f"{path}: expected a folder with files of labelled frames, {expected}; got {found}")
    return files


def _open_normal(path: Place, variables: Sequence[str] | None, options: Mapping[str, Any]) -> tuple[xr.Dataset, Layout]:
    """Opens one file of labelled frames in normal form."""
    data = complete_gridded(open_labelled(path, next(iter(variables or ()), "")), path, variables)
    leaves = {n: n if n in data.data_vars else n.rpartition("/")[2] for n in variables or ()}
    leaves = {n: leaf if leaf in data.data_vars else f"{leaf}_frames" for n, leaf in leaves.items()}
    names = None if variables is None else [leaf if leaf in data.data_vars else n for n, leaf in leaves.items()]
    with reading(path, (find_labelled(path) or NETCDF).name), naming(path):
        return normal_form(data, names, **options)


# ---- several sources -----------------------------------------------------------------------------------------------
def join_datasets(parts: Sequence[xr.Dataset], names: Sequence[Any]) -> xr.Dataset:
    """Joins Datasets in normal form to one, in the order of their dates; frames are read when they are used.

    A time may occur in several parts if their values agree. Parts of one frame without dates have those in `names`, the
    names of the parts in error messages. Without dates, the parts follow each other in the given order, and the result
    has no times. Raises FileError if the parts have other variables, grids, units or calendars, different values at one
    time, or only some of them have dates.
    """
    if len(parts) > 1 and all("time" not in p.coords and p.sizes.get("time") == 1 for p in parts):
        times = find_times(names)
        parts = [p.assign_coords(time=("time", t)) for p, t in zip(parts, times, strict=True)] if times else parts
    first, has_dates = parts[0], have_dates(list(map(is_dated, parts)), names)
    if len(parts) == 1 and not (has_dates and first["time"].to_index().has_duplicates):
        return first
    calendars = {getattr(p["time"].values.flat[0], "calendar", "") for p in parts if has_dates}
    if len(calendars) > 1:
        raise FileError(f"{names[0]}: the files have dates in several calendars, {', '.join(sorted(calendars))}")
    aligned = [_match(part, first, name, names[0]) for part, name in zip(parts, names, strict=True)]
    if not has_dates:
        aligned = [p.drop_vars(["time", PERIOD], errors="ignore") for p in aligned]
    options: Any = {"data_vars": "minimal", "coords": "minimal", "compat": "override", "combine_attrs": "override"}
    data = need("xarray", "netcdf").concat(aligned, "time", join="exact", **options)
    if has_dates:
        numbers = np.repeat(np.arange(len(parts)), [p.sizes["time"] for p in parts])
        order = data["time"].values.argsort(kind="stable")
        if (order[1:] < order[:-1]).any():
            data, numbers = data.isel(time=order), numbers[order]
        times = data["time"].values
        for i in np.flatnonzero(times[1:] == times[:-1]):
            _check_equal(data, int(i), *(names[n] for n in numbers[i : i + 2]))
        data = data.drop_duplicates("time") if (times[1:] == times[:-1]).any() else data
    return data.assign_coords(first.drop_dims("time").coords)


def have_dates(flags: Sequence[bool], names: Sequence[Any]) -> bool:
    """Returns whether all of the named parts have dates, by a flag for each; raises FileError if only some have."""
    if any(flags) and not all(flags):
        dated, undated = names[flags.index(True)], names[flags.index(False)]
        raise FileError(f"{undated}: has no dates, and {dated} has; pass files that all have dates, or none")
    return all(flags)


def find_times(names: Sequence[Any]) -> list[np.ndarray]:
    """Returns the date in the name of each file as an array of one time; warns if there are none, and returns []."""
    dates = [np.array(find_dates(Path(name).name), "datetime64[ns]") for name in names]
    if any(len(d) != 1 for d in dates) or len(np.unique(dates)) < len(dates):
        warn(f"{names[0]}: neither the {len(names)} files nor their names have dates; they are read as equal steps")
        return []
    return dates


def _match(part: xr.Dataset, first: xr.Dataset, name: Any, first_name: Any) -> xr.Dataset:
    """Returns a part without its grid, in the units of the first one; raises FileError if variables or grid differ."""
    if set(part.data_vars) != set(first.data_vars):
        ours, theirs = (", ".join(map(str, p.data_vars)) for p in (part, first))
        raise FileError(f"{name} has the variables {ours}, and {first_name} {theirs}")
    try:
        part = part[list(first.data_vars)]
        for label, expected in first.data_vars.items() if part is not first else ():
            if part[label].dims != expected.dims or part.sizes.get(CHANNEL) != first.sizes.get(CHANNEL):
                raise ValueError(f"{label} has {dict(part[label].sizes)}, expected {dict(expected.sizes)}")
            part = part.assign({label: in_unit(part[label], expected.attrs.get("units"), str(label))})
        align(part, first, "the file", (MEMBER, "y", "x"))
        if (PERIOD in part.coords) != (PERIOD in first.coords):
            raise ValueError("only one of the two states bounds of its times")
        for label in [n for n, v in first.data_vars.items() if "time" not in v.dims]:
            if not np.array_equal(part[label], first[label], equal_nan=True):
                raise ValueError(f"{label} differs")
    except ValueError as e:
        raise FileError(f"{name}: {e}, in comparison with {first_name}") from e
    return part.drop_vars([n for n, c in part.coords.items() if "time" not in c.dims])


def _check_equal(data: xr.Dataset, i: int, name: Any, other: Any) -> None:
    """Raises FileError if frames i and i + 1, which have one time and come from two files, differ."""
    a, b = (data.isel(time=t) for t in (i, i + 1))
    for label in [n for n, v in data.data_vars.items() if "time" in v.dims]:
        if not np.allclose(a[label], b[label], rtol=1e-5, atol=1e-8, equal_nan=True):
            date = str(data["time"].values[i])[:19]
            if name == other:
                raise FileError(f"{name} has two frames of {label} at {date}, which differ; remove one of them")
            raise FileError(f"{name} and {other} have different values of {label} at {date}; pass files of one series")


# ---- variables -----------------------------------------------------------------------------------------------------
def read_variables(source: Any, options: ReadOptions) -> tuple[xr.Dataset, Layout]:
    """Returns the variables in `options` of files, or of xarray, in normal form and in their units, and the Layout."""
    listed = options.all_variables
    names: list[str] | None = [v.name for v in listed] or ([options.variable] if options.variable else None)
    fills = {v.name: v.fill_value for v in listed} or {"": options.fill_value}
    kwargs: Any = {"sel": options.sel, "dims": options.dims, "coarsen": options.coarsen}
    try:
        data, layout = read_labelled(source, names, fill_values=fills, **kwargs)
    except FileError:
        if listed or not options.variable_optional:
            raise
        (data, layout), names = read_labelled(source, fill_values=fills, **kwargs), None
    path = "archive" if is_labelled(source) else source[0]
    with naming(path):
        if listed:
            for name, array in data.data_vars.items():
                if extra := {*array.dims} - {"time", "y", "x"}:
                    got = f"got {dict(array.sizes)}; select a part with data.sel"
                    raise ValueError(f"expected {name} without the dimension {extra.pop()}, {got}")
            check_roles({str(n): v.shape for n, v in data.data_vars.items()}, options)
            units = {v.name: v.unit for v in listed}
        else:
            name = next(iter(data.data_vars)) if names else choose_variable(data, options.unit, layout.rejected)
            units = {str(name): options.unit}
        relation: Any = tuple(options.rain_relation)
        data = to_units(data, units, find_step(get_times(data)) or options.step, relation)
    if data.sizes.get(MEMBER) == 1:
        data = data.isel({MEMBER: 0})
    if MEMBER in data.dims:
        labels = axis_coordinate(data, MEMBER)
        value = 0 if labels is None else labels.values[0]
        dim = layout.dims.get(MEMBER, MEMBER)
        hint = f"select one, such as --sel {dim}={value} (data.sel of a recipe), or pass all to model.forecast"
        raise FileError(f"{path}: it has {data.sizes[MEMBER]} members; {hint}")
    if missing := [n for n, v in data.data_vars.items() if 0 in v.shape]:
        raise FileError(f"{path}: {missing[0]} is empty, {dict(data[missing[0]].sizes)}")
    return data, layout


def check_roles(shapes: Mapping[str, tuple[Any, ...]], options: ReadOptions) -> None:
    """Raises ValueError if a variable of the options is missing, or has not the shape of its role."""
    check_names([v.name for v in options.all_variables], shapes, "no variable {}")
    first = options.all_variables[0].name
    shape = shapes[first]
    roles = {
        "variables": ("(T, H, W)", [shape]),
        "future": ("(T, H, W), (H, W) or (T,)", [shape, shape[:1], shape[1:]]),
        "static": ("(H, W)", [shape[1:]]),
    }
    for role, (axes, allowed) in roles.items():
        for v in getattr(options, role):
            if len(shape) != 3 or 0 in shape or shapes[v.name] not in allowed:
                expected = f"{v.name} {axes}, with the sizes of {first} {shape}"
                raise ValueError(f"expected {expected}; got {shapes[v.name]}; set data.sel, or correct data.{role}")


class _Opened(dict[int, Any]):
    """The Dataset that the process of this number opened; empty after pickling."""

    def __reduce__(self) -> Any:
        return _Opened, ()


def _read_part(open_dataset: Callable[[], tuple[xr.Dataset, Layout]], opened: _Opened, index: Any) -> np.ndarray:
    """Reads a part of a Dataset, which each process opens again, since handles of HDF5 do not survive a fork."""
    data = opened.get(os.getpid())
    if data is None:
        opened.clear()
        data = opened[os.getpid()] = open_dataset()[0]
    time, _, *place = index
    return stack(data, data.data_vars, (time, *place))


# ---- frames ------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True, eq=False)
class Frames:
    """Frames ``(T, H, W)`` or ``(T, C, H, W)`` in order of time. :meth:`read` returns them as a tensor.

    Args:
        path: path of the file, for error messages.
        array: numbers, as a NumPy array or as an Array that reads the file when it is sliced.
        times: array ``(T,)`` of dates (UTC) of NumPy or cftime, or of ``timedelta64`` since an arbitrary time; None if
            the file does not state times.
        unit: unit of the values; ``""`` for brightness from 0 to 1; None if the file does not state it.
        units: unit of each channel, if the channels are different variables.
        observed: number of leading channels that are observed; the others are static or future inputs. None means all.
        labels: text for each frame, such as the time of day. There may be more or fewer labels than frames, or none.
        fill_value: number that marks missing values, of all channels or of each.
        is_bytes: whether the numbers are brightness from 0 to 255.
        name: short name of the file for messages.
        open_dataset: opens the frames with their labels, in each process that reads them; None for files without.
        dataset: the frames with their labels, in the form of :func:`labelled_frames`; None for files without labels.
        layout: names and directions of the axes in the file.
        start, stop: range of the frames in `array`. If `stop` is None, the range ends with the array.
    """

    path: Place
    array: Any
    times: Any = None
    unit: str | None = None
    units: tuple[str | None, ...] = ()
    observed: int | None = None
    labels: tuple[str, ...] = ()
    fill_value: float | tuple[float | None, ...] | None = None
    is_bytes: bool = False
    name: str = ""
    open_dataset: Callable[[], tuple[xr.Dataset, Layout]] | None = None
    dataset: xr.Dataset | None = None
    layout: Layout = dataclasses.field(default_factory=Layout)
    start: int = 0
    stop: int | None = None

    @classmethod
    def from_files(cls, paths: Sequence[Place], options: ReadOptions) -> Frames:
        """Opens labelled frames in files; see :func:`read_variables`."""
        return cls.from_dataset(partial(read_variables, paths, options), paths[0], len(options.variables) or None)

    @classmethod
    def from_dataset(
        cls, open_dataset: Callable[[], tuple[xr.Dataset, Layout]], path: Place, observed: int | None = None
    ) -> Frames:
        """Returns the frames of a Dataset in normal form that `open_dataset` opens, in each process that reads it."""
        data, layout = open_dataset()
        if "time" not in data.dims or "y" not in data.dims:
            raise FileError(f"{path}: expected frames (T, H, W), got {dict(data.sizes)}")
        units = tuple(v.attrs.get("units") for v in data.data_vars.values())
        channels = sum(v.sizes.get(CHANNEL, 1) for v in data.data_vars.values())
        shape = (data.sizes["time"], channels, data.sizes["y"], data.sizes["x"])
        return cls(
            path=path,
            array=Array(partial(_read_part, open_dataset, _Opened({os.getpid(): data})), shape, np.dtype("float32")),
            times=get_times(data),
            unit=units[0] if observed is None else None,
            units=units if observed else (),
            observed=observed,
            name=path.name,
            open_dataset=open_dataset,
            dataset=data,
            layout=layout,
        )

    def __len__(self) -> int:
        return (self.array.shape[0] if self.stop is None else self.stop) - self.start

    @property
    def channels(self) -> int:
        """Number of channels of a frame."""
        return 1 if len(self.array.shape) == 3 else self.array.shape[1]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a frame in pixels."""
        return tuple(self.array.shape[-2:])

    @property
    def pixel_km(self) -> float | None:
        """Edge of a pixel in km; None if the file states no coordinates."""
        return None if self.dataset is None else find_pixel_km(self.dataset)

    @property
    def is_loaded(self) -> bool:
        """True if the frames are a NumPy array in memory; False for a memory map."""
        return type(self.array) is np.ndarray

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the frames need after :meth:`load`."""
        return (1 if self.array.dtype == "uint8" else 4) * len(self) * math.prod(self.array.shape[1:])

    @property
    def is_dated(self) -> bool:
        """True if `times` are dates."""
        return self.times is not None and self.times.dtype.kind != "m"

    @property
    def minutes(self) -> Any:
        """Times as a float64 array of minutes: since 1970 (UTC) for dates, else since an arbitrary time; or None."""
        return None if self.times is None else to_minutes(self.times)

    @property
    def dates(self) -> list[Any]:
        """Dates of the frames in UTC, of datetime or cftime; empty if the file states none."""
        return [] if self.times is None else list_dates(self.times)

    @property
    def step(self) -> Step | None:
        """Most frequent interval between successive frames in minutes, or a calendar step; None without times."""
        return find_step(self.times)

    def between(self, start: int, stop: int | None = None) -> Frames:
        """Returns the frames from `start` up to, but not including, `stop`, without reading them."""
        start, stop, _ = slice(start, stop).indices(len(self))
        return dataclasses.replace(
            self,
            times=None if self.times is None else self.times[start:stop],
            labels=self.labels[start:],
            start=self.start + start,
            stop=self.start + stop,
            dataset=None if self.dataset is None else self.dataset.isel(time=slice(start, stop)),
        )

    def read(
        self, start: int = 0, stop: int | None = None, rows: slice = slice(None), columns: slice = slice(None)
    ) -> Tensor:
        """Reads frames as a new float32 tensor ``(T, C, H, W)`` in `unit`, NaN where values are missing."""
        start, stop, _ = slice(start, stop).indices(len(self))
        time = slice(self.start + start, self.start + stop)
        middle = (slice(None),) if len(self.array.shape) == 4 else ()
        with reading(self.path, "file of frames"):
            frames = torch.from_numpy(as_floats(self.array[(time, *middle, rows, columns)], self.fill_value))
        frames = frames / 255 if self.is_bytes else frames
        return frames if middle else frames[:, None]

    def load(self) -> Frames:
        """Reads all frames into memory: bytes (uint8) as they are stored, other numbers decoded."""
        if self.array.dtype != "uint8":
            return dataclasses.replace(
                self, array=self.read().numpy(), fill_value=None, is_bytes=False, start=0, stop=None
            )
        if self.is_loaded:
            return self
        with reading(self.path, "file of frames"):
            array = np.array(self.array[self.start : self.start + len(self)])
        return dataclasses.replace(self, array=array, start=0, stop=None)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "dataset": None}  # worker processes read the array only


def split_at_gaps(frames: Frames, step: Step | None = None) -> list[Frames]:
    """Splits frames where successive times do not differ by `step`, by default the most frequent step.

    A step is a number of minutes, ``"month"`` or ``"year"``.

    Example:
        >>> import numpy as np
        >>> times = np.array([0, 5, 20, 25], "timedelta64[m]")
        >>> frames = Frames(path=Path("a"), array=np.zeros((4, 1, 1)), times=times)
        >>> [part.minutes.tolist() for part in split_at_gaps(frames)]
        [[0.0, 5.0], [20.0, 25.0]]
    """
    if frames.times is None or len(frames) < 2:
        return [frames]
    step = step or frames.step or 0.0
    if isinstance(step, str) and not frames.is_dated:
        raise FileError(f'{frames.path} states no dates, which data.step = "{step}" needs; state minutes')
    ends = [0, *(find_gaps(frames.times, step).nonzero()[0] + 1).tolist(), len(frames)]
    if len(ends) - 1 == len(frames) > 2:  # a pair of frames may be two parts of a longer series
        apart, expected = list_steps(frames.times), describe_step(step)
        raise FileError(f"{frames.path}: frames are {apart} minutes apart, and data.step is {expected}; correct one")
    return [frames.between(a, b) for a, b in itertools.pairwise(ends)]


def check_numbers(array: Any, name: object) -> None:
    """Raises FileError if the dtype of an array is not a real number or boolean."""
    if array.dtype.kind not in "fiub":
        raise FileError(f"{name}: expected real numbers, got {array.dtype}")


def as_floats(raw: Any, fill: float | tuple[float | None, ...] | None = None) -> Any:
    """Returns a new float32 array, with NaN for numbers that equal `fill`, one for all or one for each channel."""
    raw = np.asarray(raw)
    with np.errstate(over="ignore", invalid="ignore"):
        values = raw.astype("float32", order="C")
        for i, number in enumerate(fill) if isinstance(fill, tuple) else [(slice(None), fill)]:
            if number is not None:
                part, stored = values[:, i], raw[:, i]
                part[part == np.float32(number) if raw.dtype.kind == "f" else stored == number] = np.nan
    return values


# ---- several files of arrays ---------------------------------------------------------------------------------------
def _read_joined(parts: Sequence[Frames], index: Any) -> np.ndarray:
    """Reads frames from several parts that follow each other in time."""
    time, _, rows, columns = index
    start, stop, _ = time.indices(sum(map(len, parts)))
    begins = itertools.accumulate(map(len, parts), initial=0)
    inside = [(p, b) for p, b in zip(parts, begins, strict=False) if b < stop and b + len(p) > start]
    empty = torch.empty(0, parts[0].channels, *parts[0].size)[..., rows, columns]
    return torch.cat([empty, *(p.read(max(start - b, 0), stop - b, rows, columns) for p, b in inside)]).numpy()


def _open_joined(parts: Sequence[Frames]) -> tuple[xr.Dataset, Layout]:
    opened = [p.open_dataset() for p in parts if p.open_dataset]
    return join_datasets([data for data, _ in opened], [p.path for p in parts]), opened[0][1]


def join_frames(parts: Sequence[Frames]) -> Frames:
    """Joins the frames of files to one series, in the order of their dates if all files state dates.

    Files of one frame without dates have those in their names. Raises FileError if the files differ in grid, unit or
    variables, or have different values at one time.
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    if all(p.open_dataset for p in parts):
        return Frames.from_dataset(partial(_open_joined, parts), first.path, first.observed)
    for part in parts:
        if (part.channels, part.size, part.unit, part.units) != (first.channels, first.size, first.unit, first.units):
            expected, got = (f"{p.channels} × {p.size} in {p.units or p.unit or 'no unit'}" for p in (first, part))
            raise FileError(f"{part.path}: expected frames as in {first.path}, {expected}; got {got}")
    times = None
    if all(len(p) == 1 and p.times is None for p in parts) and (found := find_times([p.path for p in parts])):
        parts = [dataclasses.replace(p, times=t) for p, t in zip(parts, found, strict=True)]
    if have_dates([p.is_dated for p in parts], [p.path for p in parts]):
        parts = sorted(parts, key=lambda p: p.times[0])
        for before, part in itertools.pairwise(parts):
            if part.times[0] <= before.times[-1]:
                raise FileError(f"{part.path}: has times of the file before; pass files whose times do not overlap")
        times = np.concatenate([p.times for p in parts])
    shape = (sum(map(len, parts)), first.channels, *first.size)
    array: Any = Array(partial(_read_joined, parts), shape, np.dtype("float32"))
    joined: Any = {"array": array, "times": times, "path": parts[0].path, "name": parts[0].name}
    return Frames(unit=first.unit, units=first.units, observed=first.observed, **joined)
