"""Datasets of frames in files, arrays or videos, which the table ``[data]`` of a recipe describes."""

import bisect
import dataclasses
import itertools
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy

from ..._hints import check_names
from ..._stores import Place, find_place
from ..._typed import field
from ...values.labels.axes import axis_coordinate, find_maps
from ...values.labels.form import align
from ...values.units import MARSHALL_PALMER, is_rain, plural
from ..formats.gridded import STORE
from ..formats.radar import find_format
from ..frames import ENCODINGS, ROLES, DataVariable, SelectionFields, ValueFields, split_at_gaps
from ..readers import ARRAY_READERS, FileError, Frames, ReadOptions, find_sources, join_frames, open_sources
from ..readers.images import IMAGES, MAX_EDGE, VIDEO_READERS, find_clips
from .frame_dataset import RAIN_THRESHOLDS, WET, FrameDataset, check_files, check_steps
from .frame_sequences import CroppedSequences, FrameSequences, Window, shared_time_bounds, split_in_time
from .splits import GroupedFiles, assign_parts, relative_name, resolve_path

logger = logging.getLogger(__name__)
LARGE = 2**30
"""Bytes of the frames of a dataset beyond which they are read from the files whenever they are used."""
MAX_WINDOWS = 2_000_000
"""Maximum number of windows that are searched for in a Zarr store or in data larger than 1 GiB."""


@dataclass(frozen=True, kw_only=True)
class FrameFiles(ValueFields, GroupedFiles, FrameDataset):
    """Base class of datasets of frames in files. Its fields are keys of ``[data]``."""

    suffixes: ClassVar[tuple[str, ...]]
    """Suffixes of the files."""
    task: str = field(
        "", description="task in the metadata; by default precipitation nowcasting for rain, else video prediction."
    )
    path: str = field(
        "",
        repr=False,
        description="file or directory of the data, or the address of a Zarr store, such as "
        "``simplecache::s3://bucket/rain.zarr``, if none is passed. Weights do not state it.",
    )
    storage_options: Mapping[str, Any] = field(
        factory=dict, repr=False, description="options of fsspec for the address in `path`. Weights do not state them."
    )
    unit: str = field(
        "", description='unit of the values, such as ``"mm/h"``. Values of files in another known unit are converted.'
    )
    step: float | Literal["month", "year"] | None = field(
        None, gt=0, description='minutes between frames, or ``"month"`` or ``"year"`` for frames months or years apart.'
    )
    pixel_km: float | None = field(
        None, gt=0, description="edge of a pixel in km; by default that of the coordinates in the files."
    )
    rain_relation: tuple[float, float] = field(
        MARSHALL_PALMER,
        gt=0,
        description="constants a and b of ``Z = a R^b``, by which reflectivity in dBZ becomes rain rates; by default "
        "those of Marshall and Palmer.",
    )
    encoding: str = field("none", choices=ENCODINGS)
    crop: int | None = field(
        None, ge=1, le=2**16, description="edge in pixels of the square crops that are used; by default whole frames."
    )
    stride: int | None = field(
        None, ge=1, le=2**16, description="distance of neighbouring crops in pixels; by default an eighth of `crop`."
    )
    min_valid_fraction: float = field(
        0.5, ge=0, le=1, description="minimum fraction of pixels without a missing value, in each frame of a crop."
    )
    min_wet_fraction: float = field(
        0.0,
        ge=0,
        le=1,
        description="minimum fraction of wet pixels in a crop, over all its frames. A wet pixel has at least 0.1 for "
        "rain in mm/h and for data without `thresholds`. For other data, it has the lowest threshold or more.",
    )
    flip: bool = field(False, description="whether training crops are mirrored and transposed at random.")
    split: str | tuple[str, ...] = field(
        "time",
        choices=("time", "file", "group"),
        description='rule for the test split. ``"time"``: the last third in time, from one date for all files that '
        'have dates; otherwise the last third of each file. ``"file"``: the last third of the files in the order of '
        'their names. ``"group"``: the last third of the groups. A list: patterns of test file names relative to the '
        'data directory, such as ``["test/*"]``, or names of CSV files in it whose column `file` lists them.',
    )
    validation: float | tuple[str, ...] = field(  # type: ignore[assignment]
        0.0,
        ge=0,
        lt=1,
        description="fraction of the training split that is set aside for validation: the last frames in time, or "
        "the last files or groups, depending on `split`. If `split` is a list, it may be a list of the "
        'validation files as well, such as ``["val/*"]``.',
    )
    thresholds: tuple[float, ...] = field(
        (), gt=0, description="thresholds of CSI, POD and FAR; for rain in mm/h, 0.5, 2, 5 and 10 by default."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.group_pattern or self.group_file) != (self.split == "group"):
            raise ValueError('split = "group" needs data.group_pattern or data.group_file, and they need that split')
        rain = is_rain(self.unit)
        if rain and not self.thresholds:
            object.__setattr__(self, "thresholds", RAIN_THRESHOLDS)
        if not self.task:
            object.__setattr__(self, "task", "precipitation nowcasting" if rain else "video prediction")
        if self.min_wet_fraction and not (rain or self.thresholds or not self.unit):
            raise ValueError(f"the recipe's data.min_wet_fraction needs data.thresholds for the unit {self.unit!r}")

    def find_data(self, path: Any = None) -> Any:
        """Returns the place of the data: `path`, or that of the recipe."""
        return find_place(self.path, self.storage_options) if path is None and self.path else path

    @property
    def split_words(self) -> str:  # type: ignore[override]
        """Description of the test split."""
        words = {
            "time": "the last third in time",
            "file": "the last third of the files in order of their names",
            "group": "the last third of the groups of files",
        }
        where = f"crops of {self.crop}×{self.crop} pixels" if self.crop else "whole frames"
        files = words[self.split] if isinstance(self.split, str) else f"the files {', '.join(self.split)}"
        return f"{where} of {files}"

    def find_sources(self, path: Place) -> Sequence[Sequence[Place]]:
        """Returns the files of the dataset at or below a path; each list is opened as one sequence of frames."""
        return find_sources(path, self.suffixes)

    def open(self, path: Place, **changes: Any) -> list[Frames]:
        """Opens the files at a path, without reading their frames; `changes` replace fields of the read options."""
        sources = self.find_sources(path)
        if not sources:
            raise FileNotFoundError(f"{path} holds no file of {', '.join(self.suffixes)}")
        if getattr(self, "coarsen", 1) > 1 and not find_format(sources[0][0]):
            raise FileError(f"{sources[0][0]} is no radar composite, whose pixels data.coarsen averages; leave it out")
        options = dataclasses.replace(self.read_options(), **changes)
        (first,) = open_sources(sources[:1], dataclasses.replace(options, maps=len(sources) > 1))
        units = dict(zip((v.name for v in options.all_variables), first.units, strict=bool(first.units)))

        def with_unit(v: DataVariable) -> DataVariable:  # without a stated unit, the one in the first file
            return dataclasses.replace(v, unit=units[v.name] if v.unit is None else v.unit)

        stated: Any = {role: tuple(map(with_unit, getattr(options, role))) for role in ROLES}
        options = dataclasses.replace(options, maps=len(first) == 1, **stated)
        opened = zip((first, *open_sources(sources[1:], options)), sources, strict=True)
        return [dataclasses.replace(f, name=relative_name(source[0], path)) for f, source in opened]

    def select(self, files: Sequence[Frames], path: Place, split: str) -> list[Frames]:
        """Returns the files of a split, or all files if they are split in time, without reading their frames.

        The selected files are joined to one sequence (one per group), as in `predict`, if all contain one frame, or if
        all have dates and labels. It is cut where a frame of another part lies between two of its frames.
        """
        names, parts = [f.name for f in files], [split] * len(files)
        groups = self.find_groups(names, path) if self.split == "group" else names
        if self.split != "time":
            parts = assign_parts(groups, *self.read_lists(path))
            check_shared_frames(files, parts)
        selected = [f for f, part in zip(files, parts, strict=True) if part == split]
        is_series = all(len(f) == 1 for f in files) or all(f.is_dated and f.dataset is not None for f in files)
        if len(files) > 1 and is_series:
            series = groups if self.split == "group" else [path.name] * len(files)
            selected = join_runs(files, series, [part == split for part in parts])
        return selected

    def window(self, path: Place, files: Sequence[Frames], length: int) -> Window:
        """Returns the windows to cut from files. Without `crop`, all files must have one frame size."""
        if len({f.size if self.crop is None else () for f in files}) > 1 or len({f.channels for f in files}) > 1:
            listed = ", ".join(f"{f.name} {'×'.join(map(str, (f.channels, *f.size)))}" for f in files[:6])
            raise ValueError(f"{path}: expected frames of one size (C×H×W), got {listed}; set data.crop in the recipe")
        if self.crop and (small := [f for f in files if min(f.size) < self.crop]):
            size = "×".join(map(str, small[0].size))
            raise ValueError(f"{path}: {small[0].name} is {size}, smaller than data.crop = {self.crop}; reduce it")
        height, width = (self.crop, self.crop) if self.crop else files[0].size
        wet = WET if is_rain(self.unit) or not self.thresholds else min(self.thresholds)
        stride = self.stride or max(1, (self.crop or 8) // 8)
        return Window(length, height, width, stride, self.min_valid_fraction, self.min_wet_fraction, wet)

    def load_splits(
        self, path: Place | None, splits: Sequence[str], inputs: int, horizon: int
    ) -> Sequence[FrameSequences]:
        """Returns the sequences of several splits, which share the frames of the files.

        The frames are read into memory, unless all files together need more than 1 GiB. Frames of larger data and of
        Zarr stores are read from the files whenever they are used.
        """
        path = resolve_path(self.find_data(path), self.name)
        opened = self.open(path)
        check_steps(opened, self.step)
        window = self.window(path, opened, inputs + horizon)
        is_lazy = sum(f.nbytes for f in opened) > LARGE
        shared: dict[str, list[Frames]] = {}
        sequences = []
        for split in splits:
            try:
                key = "" if self.split == "time" else split  # in a split by time, all parts have the same files
                if key not in shared:
                    selected = self.select(opened, path, split)
                    if not selected:
                        entry = "validation" if split == "validation" else "split"
                        raise ValueError(f"it has no file; list some in data.{entry}")
                    shared[key] = [f if is_lazy or f.path.suffix.lower() == STORE else f.load() for f in selected]
                    check_files(shared[key], self.ranges(shared[key][0].units))
                sequences.append(self.cut(shared[key], window, split, inputs))
            except FileError:
                raise
            except ValueError as e:
                is_fraction = split == "validation" and isinstance(self.validation, float)
                hint = f"; or set aside more than data.validation = {self.validation:g}" if is_fraction else ""
                raise ValueError(f"{path}: the {split} part: {e}{hint}") from e
        return sequences

    def cut(self, files: Sequence[Frames], window: Window, split: str, inputs: int) -> CroppedSequences:
        """Finds the sequences of a split in its files, or in all files if they are split in time."""
        is_archive = any(f.nbytes > LARGE or f.path.suffix.lower() == STORE for f in files)
        if self.split == "time":
            bounds = shared_time_bounds(files, self.validation)  # type: ignore[arg-type]
            files = [split_in_time(f, split, inputs, bounds=b) for f, b in zip(files, bounds, strict=True)]
        series = []
        for frames in files:
            series += (parts := split_at_gaps(frames, self.step))
            if len(parts) > 1:
                gaps = plural(len(parts) - 1, "gap")
                logger.warning("%s: time has %s; no sequence reaches over one", frames.name, gaps)
        limit = MAX_WINDOWS if is_archive else math.inf
        return CroppedSequences.search(series, window, limit, flip=self.flip and split == "train")


def check_shared_frames(files: Sequence[Frames], parts: Sequence[str]) -> None:
    """Raises FileError if files in different parts of a split have equal frames at the same dates, as overlaps do.

    Two files are compared at the first date that both have and at which values differ from pixel to pixel, unless they
    state different coordinates.
    """
    dated = [(f, part, _place(f)) for f, part in zip(files, parts, strict=True) if f.is_dated]
    by_time: dict[float, list[tuple[int, int]]] = {}
    for number, (f, *_) in enumerate(dated):
        for i, minute in enumerate(f.minutes.tolist()):
            by_time.setdefault(minute, []).append((number, i))
    compared: set[tuple[int, int]] = set()
    for at_time in by_time.values():
        for (a, i), (b, j) in itertools.combinations(at_time, 2):
            (f, part, place), (other, other_part, other_place) = dated[a], dated[b]
            if part == other_part or place != other_place or (a, b) in compared:
                continue
            frame = f.read(i, i + 1).numpy()
            if len(numpy.unique(frame[numpy.isfinite(frame)])) < 2:
                continue
            compared.add((a, b))
            if numpy.allclose(frame, other.read(j, j + 1).numpy(), rtol=1e-3, equal_nan=True):
                raise FileError(
                    f"{f.path} ({part} part) and {other.path} ({other_part} part) have the same frame at "
                    f'{f.dates[i]:%Y-%m-%d %H:%M}; use data.split = "time"'
                )


def _place(frames: Frames) -> tuple[Any, ...]:
    """Returns the shape and the coordinates of frames; files with equal ones are on one grid, or state none."""
    axes = () if frames.dataset is None else (axis_coordinate(frames.dataset, axis) for axis in ("y", "x"))
    return (frames.channels, *frames.size, *(None if c is None else c.values.astype("float32").tobytes() for c in axes))


def join_runs(files: Sequence[Frames], series: Sequence[str], is_selected: Sequence[bool]) -> list[Frames]:
    """Joins the selected files to a sequence for each of `series`, in the order of their dates, or else of their names.

    A sequence is cut at a file of another part of the split that lies between two of its files, and without dates also
    at a file of another series. Files of several frames on different grids, and those that overlap and state no grid,
    are not joined. Raises FileError if without dates, no two files of a series follow each other.
    """
    is_dated = all(f.is_dated for f in files)
    keys = [float(f.minutes[0]) if is_dated else float(i) for i, f in enumerate(files)]
    runs: list[list[Frames]] = []
    for name in dict.fromkeys(series):
        is_inside = [use and s == name for s, use in zip(series, is_selected, strict=True)]
        others = sorted(k for k, use in zip(keys, is_selected if is_dated else is_inside, strict=True) if not use)
        inside = list(itertools.compress(zip(keys, files, strict=True), is_inside))
        first, previous = len(runs), -math.inf
        for key, file in sorted(inside, key=lambda pair: pair[0]):
            is_cut = previous == -math.inf or bisect.bisect_left(others, key) > bisect.bisect_right(others, previous)
            if is_cut or (len(file) > 1 and not _continues(runs[-1][-1], file)):
                runs.append([])
            runs[-1].append(file)
            previous = key
        if not is_dated and 1 < len(inside) == len(runs) - first and all(len(f) == 1 for _, f in inside):
            raise FileError(
                f"{inside[0][1].path}: no two frames of {name} follow each other in the order of the names, and the "
                "files state no dates; write dates into the files, or name the files in the order of their groups"
            )
    return [join_frames(run) for run in runs]


def _continues(before: Frames, after: Frames) -> bool:
    """Returns whether a file of several frames is on the grid of the file before, and states it if both overlap."""
    one: Any = before.dataset
    other: Any = after.dataset
    grids = [[axis_coordinate(data, axis) is not None for axis in ("y", "x")] for data in (one, other)]
    if before.size != after.size or grids[0] != grids[1]:
        return False
    try:
        align(other, one, after.name, ("y", "x"))
    except ValueError:
        return False
    return any(grids[0]) or bool(find_maps(one)) or after.minutes[0] > before.minutes[-1]


def _plain_dates(value: Any) -> Any:
    """Converts dates of TOML to text, which JSON can store; returns other values unchanged."""
    if isinstance(value, list | tuple):
        return [_plain_dates(v) for v in value]
    return value.isoformat() if hasattr(value, "isoformat") else value


@dataclass(frozen=True, kw_only=True)
class ArrayFrames(SelectionFields, FrameFiles):
    """``kind = "frames"``: arrays ``(T, H, W)`` or ``(T, C, H, W)`` in NumPy, HDF5, NetCDF, GRIB, Zarr and GeoTIFF.

    Example:
        >>> ArrayFrames(name="drifting blobs", unit="mm/h", step=5, encoding="log", crop=64).thresholds
        (0.5, 2.0, 5.0, 10.0)
    """

    suffixes: ClassVar[tuple[str, ...]] = tuple(ARRAY_READERS)
    targets: tuple[str, ...] = field(
        (), description="names of the `variables` that the model forecasts; by default all."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_names(self.dims, ("time", "y", "x"), "the recipe's data.dims has an unknown key {}")
        dates = {k: _plain_dates(v) for k, v in self.sel.items()}
        object.__setattr__(self, "sel", dates)
        for name, value in dates.items():
            ends = value if isinstance(value, list) and len(value) == 2 else [value]
            if not all(isinstance(v, str | int | float) for v in ends):
                raise ValueError(f"the recipe's data.sel.{name} must be a value or [from, to], got {value!r}")
        for role in ROLES:
            variables = [DataVariable(name=v) if isinstance(v, str) else v for v in getattr(self, role)]
            object.__setattr__(self, role, tuple(variables))
        self._check_variables()

    def _check_variables(self) -> None:
        """Raises ValueError if the keys of variables contradict each other."""
        names = [v.name for v in self.all_variables]
        if repeated := sorted({n for n in names if names.count(n) > 1}):
            raise ValueError(f"the recipe's data.variables, static and future name {', '.join(repeated)} twice")
        if (self.static or self.future or self.targets) and not self.variables:
            raise ValueError("the recipe's data.static, future and targets need data.variables")
        observed = [v.name for v in self.variables]  # type: ignore[union-attr]
        check_names(self.targets, observed, "the recipe's data.targets has {!r}")
        single = ("variable", *(f.name for f in dataclasses.fields(ValueFields)), "fill_value", "min_wet_fraction")
        defaults = {f.name: f.default for f in dataclasses.fields(self)}
        if self.variables and (extra := [key for key in single if getattr(self, key) != defaults[key]]):
            raise ValueError(f"the recipe's data.{extra[0]} is for one variable; set it in data.variables")
        if self.thresholds and len(self.targets or self.variables) > 1:
            raise ValueError("the recipe's data.thresholds are values of one variable; name it alone in data.targets")

    def read_options(self) -> ReadOptions:
        """Returns the options for reading files: dimensions, selection, variables and unit."""
        selected: dict[str, Any] = {f.name: getattr(self, f.name) for f in dataclasses.fields(SelectionFields)}
        selected |= {"unit": None if self.variables else self.unit, "rain_relation": self.rain_relation}
        return ReadOptions(step=self.step if isinstance(self.step, float) else None, **selected)


@dataclass(frozen=True, kw_only=True)
class VideoFrames(FrameFiles):
    """``kind = "video"``: videos, GIFs and folders of images, as brightness from 0 to 1.

    Example:
        >>> VideoFrames(name="street", size=(64, 96)).read_options().size
        (64, 96)
    """

    suffixes: ClassVar[tuple[str, ...]] = (*VIDEO_READERS, *IMAGES)
    valid_min: float | None = field(0.0)
    valid_max: float | None = field(1.0)
    channels: int = field(1, ge=1, le=3, description="1 for grey, 3 for RGB.")
    size: tuple[int, int] | None = field(
        None,
        ge=1,
        le=MAX_EDGE,
        description="height and width in pixels to which frames are resized before cropping; by default not resized.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.channels == 2:
            raise ValueError("the recipe's data.channels must be 1 for grey or 3 for colour, got 2")

    def read_options(self) -> ReadOptions:
        """Returns the options for reading files: channels, size and unit."""
        return ReadOptions(unit=self.unit, channels=self.channels, size=self.size or ())

    def find_sources(self, path: Any) -> Sequence[Sequence[Place]]:
        """Returns the videos, GIFs and folders of images at or below a path."""
        return [[clip] for clip in find_clips(path)]
