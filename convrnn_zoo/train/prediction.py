"""Predictions of trained models for files: forecasts of frames, and classes of recordings."""

import contextlib
import dataclasses
import importlib.util
import inspect
import itertools
import json
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._atomic import check_suffix, write_text
from .._hints import warn
from ..data import ReadOptions, VideoFolder, read_sound
from ..data.datasets.variables import ROLES, variable_options
from ..data.forecasts import COORDINATE_SUFFIXES, drop_unstorable_attrs, to_dataset, write_dataset, write_numpy
from ..data.readers import ARRAY_READERS, COARSEN, FileError, Frames, list_files, open_files
from ..data.readers.audio import AUDIO
from ..data.readers.sequences import RECORDING_SUFFIXES, Recording, read_recordings
from ..models import EnsembleForecaster, Forecaster, VideoModel, ZooModel, from_pretrained
from ..pretrained.metadata import WeightsMetadata
from ..values.labels.axes import NAMES, restore_direction
from ..values.labels.forecast import describe_conversions
from ..values.preprocessing import Preprocessing
from ..values.steps import Step, describe_step, is_next, is_same, next_dates
from ..values.units import format_lead_time, is_rain, plural
from ._values import finite
from .baselines import extrapolation
from .figures import Panels, animate, ensemble_strip, probability_strip, save_images, strip
from .losses import find_loss
from .metrics import ensemble_scores, split_known
from .recipe import ClassifierRecipe, ForecasterRecipe, Recipe, find_recipe
from .streaming import draw_probabilities

NUMBERS = (".npy", ".npz", ".json", *COORDINATE_SUFFIXES)
SUFFIXES = (*NUMBERS, ".png", ".gif", ".mp4")
"""Suffixes of files that a forecast can be written to."""
NAMED = tuple(suffix for suffix in ARRAY_READERS if suffix != ".npy")
"""Suffixes of files that may hold several arrays, by name."""


class Forecast(NamedTuple):
    """Forecast for the frames of a file, ``(T, H, W)``, or ``(T, C, H, W)`` for several channels.

    The forecast of an ensemble has a first axis of members. Probabilities have an axis of thresholds before H and W.
    They are the `forecast` if it has no members, and otherwise `probabilities`.
    """

    model: str
    file: str
    preprocessing: Preprocessing
    frames: Frames
    """The frames that the model read, with their times and coordinates."""
    first: int
    """Number of the first input frame in the file."""
    total: int
    """Number of frames in the file."""
    inputs: Tensor
    forecast: Tensor
    observed: Tensor | None
    step: Step | None
    members: int
    """Number of ensemble members; 0 for a single forecast."""
    thresholds: tuple[float, ...]
    are_quantiles: bool = False
    """Whether the members are quantiles at each pixel, and not random."""
    probabilities: Tensor | None = None
    notes: tuple[str, ...] = ()
    """What was assumed or left out when the file was read."""

    @property
    def horizon(self) -> int:
        """Number of forecast frames."""
        return self.forecast.shape[1 if self.members else 0]

    @property
    def unit(self) -> str:
        """Unit of the forecast; ``""`` for targets of several units."""
        units = {v.unit for v in self.preprocessing.target_variables}
        return units.pop() if len(units) == 1 else ""

    @property
    def times(self) -> list[Any]:
        """Times of the input and the forecast frames; empty if the frames have no dates or no time step."""
        times, step = self.frames.dates, self.step
        if not times or not step:
            return []
        if isinstance(step, str):
            return times + next_dates(times, self.horizon, step)
        return times + [times[-1] + timedelta(minutes=(i + 1) * step) for i in range(self.horizon)]

    @property
    def labels(self) -> list[str]:
        """Titles of the input and the forecast frames; without a time step, only the titles that the file has."""
        count = len(self.inputs)
        labels = title_times(self.frames.dates) or list(self.frames.labels)
        if not self.step:
            return labels
        lead_times = [format_lead_time(i + 1 - count, self.step) for i in range(count + self.horizon)]
        return (labels[:count] or lead_times[:count]) + lead_times[count:]

    def by_target(self, *frames: Tensor) -> Iterator[tuple[Any, ...]]:
        """Yields the encoding of each target, followed by the channel ``(…, H, W)`` of the target in each of `frames`.

        `frames` are ``(…, H, W)`` for one target, and ``(…, C, H, W)`` for several targets.
        """
        targets = self.preprocessing.target_variables
        return zip(targets, *(x.unbind(-3) if len(targets) > 1 else [x] for x in frames), strict=True)

    def errors(self) -> dict[str, dict[str, float]]:
        """Returns the mean squared errors of the forecast and of repeating the last input frame, for each target.

        The outer keys are those of the JSON output, and the inner keys are the names of the targets. The dictionary is
        empty if there are no observations.
        """
        if self.observed is None:
            return {}
        forecast = self.forecast.mean(0) if self.members else self.forecast
        methods = {
            "mean_squared_error": forecast[: len(self.observed)], "mean_squared_error_of_last_frame": self.inputs[-1],
        }  # fmt: skip
        return {
            key: {getattr(t, "name", ""): x.nanmean().item() for t, x in self.by_target((y - self.observed).square())}
            for key, y in methods.items()
        }

    def crps(self) -> Iterator[tuple[Any, dict[str, list[float]]]]:
        """Yields the encoding of each target, and the CRPS of each method at the observed lead times.

        The methods are the ensemble and the last frame. A third method is the extrapolation by pysteps. It requires
        rain data, at least two input frames, pysteps and OpenCV.
        """
        observed: Any = self.observed
        count, has_pysteps = len(observed), all(map(importlib.util.find_spec, ("pysteps", "cv2")))
        for target, inputs, members, truth in self.by_target(self.inputs, self.forecast[:, :count], observed):
            methods = {"ensemble": members, "last frame": inputs[-1].expand(1, count, *inputs.shape[1:])}
            if is_rain(target.unit) and len(inputs) > 1 and has_pysteps:
                methods["extrapolation"] = extrapolation(inputs.nan_to_num(0)[None, :, None], count)[:, :, 0]
            yield (
                target,
                {
                    method: ensemble_scores(frames, truth, self.are_quantiles)["CRPS"]
                    for method, frames in methods.items()
                },
            )

    def describe(self) -> dict[str, Any]:
        """Returns a description for JSON, without the forecast values; errors of several targets are given by name."""
        count, times = len(self.inputs), [t.isoformat() for t in self.times]
        read: dict[str, Any] = {"first": self.first, "last": self.first + count - 1, "frames_in_file": self.total}
        if times:
            read |= {"first_time": times[0], "last_time": times[count - 1]}
        return {
            "file": self.file, "model": self.model, "unit": self.unit, "step": self.step, "inputs": count,
            "read": read, "horizon": self.horizon, "shape": list(self.forecast.shape),
            **({"times": times[count:]} if times else {}),
            **({"thresholds": list(self.thresholds)} if self.thresholds else {}),
            **({"notes": list(self.notes)} if self.notes else {}),
            "observed": 0 if self.observed is None else len(self.observed),
            **{k: finite(e if len(e) > 1 else next(iter(e.values()))) for k, e in self.errors().items()},
        }  # fmt: skip

    def to_json(self) -> str:
        """Returns the description and the values of the forecast as JSON; unknown values are null."""
        arrays = {k: finite(x.tolist()) for k, x in self._arrays().items()}
        return json.dumps({**self.describe(), **arrays}, ensure_ascii=False)

    def _arrays(self) -> dict[str, Any]:
        """Returns the forecast, and the probabilities next to members, with rows and columns as in the file."""
        arrays = {"forecast": self.forecast, "probabilities": self.probabilities}
        return {k: restore_direction(x.numpy(), self.frames.dataset) for k, x in arrays.items() if x is not None}

    def write(self, output: Path, threshold: float = 1.0) -> None:
        """Writes the forecast atomically: as values in the unit of its data, as an image or as an animation.

        An image of an ensemble shows the probability that `threshold` is reached, if the forecast has no thresholds.

        Raises:
            ValueError: the suffix of the file is not supported.
        """
        check_suffix(output, SUFFIXES)
        values, count = self.preprocessing, len(self.inputs)
        if output.suffix == ".json":
            write_text(output, self.to_json() + "\n")
        elif output.suffix in COORDINATE_SUFFIXES:
            options: Any = {"step": self.step, "model": self.model}
            thresholds = () if self.members else self.thresholds
            dataset = to_dataset(
                self.forecast, self.frames, values, thresholds=thresholds, members=self.members, **options
            )
            if self.probabilities is not None:
                dataset.update(
                    to_dataset(self.probabilities, self.frames, values, thresholds=self.thresholds, **options)
                )
            write_dataset(dataset, output)
        elif output.suffix in NUMBERS:
            optional = {"labels": self.labels[count : count + self.horizon], "thresholds": self.thresholds}
            arrays = self._arrays() | {"unit": self.unit, "step": self.step or math.nan}
            write_numpy(output, arrays | {k: v for k, v in optional.items() if v})
        else:
            save_images(self._plot(output.suffix, threshold), output)

    def _plot(self, suffix: str, threshold: float) -> list[Any]:
        """Returns one image of all frames, or the images of an animation."""
        values, count, heading = self.preprocessing, len(self.inputs), f"{self.model}: {self.file}"
        if self.members:
            truth = self.observed if self.observed is not None and len(self.observed) == self.horizon else None
            options: Any = {"truth": truth, "labels": self.labels[count:]}
            heading = f"{heading}, {plural(self.members, 'member')}"
            thresholds = self.thresholds or (threshold,)
            return [ensemble_strip(self.forecast, values, heading=heading, threshold=thresholds, **options)]
        if self.thresholds:
            return [probability_strip(self.forecast, values, self.thresholds, self.labels[count:], heading)]
        frames: Any = (self.inputs, self.forecast, self.observed)
        inputs, forecast, truth = (x[:, None] if x is not None and x.dim() == 3 else x for x in frames)
        panels = Panels(inputs, forecast, truth, self.labels)
        if suffix == ".png":
            return [strip(panels, values, heading)]
        images = animate(panels, values, heading)
        # A GIF starts again at its end, and its first frame is what readers see before it plays.
        return images[count:] + images[:count] if suffix == ".gif" else images


def title_times(times: Sequence[Any]) -> list[str]:
    """Returns titles of frames: their dates if they differ by days, else their times, and the date where it changes.

    Example:
        >>> title_times([datetime(2020, 5, 1, 23, 50), datetime(2020, 5, 1, 23, 55), datetime(2020, 5, 2)])
        ['2020-05-01 23:50', '23:55', '2020-05-02 00:00']
        >>> title_times([datetime(2020, 5, 1), datetime(2020, 5, 2)])
        ['2020-05-01', '2020-05-02']
    """
    days, hours = [f"{t:%Y-%m-%d}" for t in times], [f"{t:%H:%M}" for t in times]
    if len(set(days)) == len(days) > 1 == len(set(hours)):
        return days
    return [hour if i and days[i - 1] == days[i] else f"{days[i]} {hour}" for i, hour in enumerate(hours)]


# ---- frames ------------------------------------------------------------------------------------------------------
def resolve_preprocessing(model: Forecaster, name: str, recipe: str | None, settings: Recipe | None) -> Preprocessing:
    """Returns the model's preprocessing, else that of ``--recipe``; raises ValueError if they differ or are missing."""
    if recipe is not None:
        if not isinstance(settings, ForecasterRecipe):
            raise ValueError(f"the recipe {recipe} does not train a forecaster; pass another to --recipe, or omit it")
        if model.preprocessing is None:
            model.preprocessing = settings.preprocessing()
        elif not _describes(settings, model.preprocessing):
            raise ValueError(f"the recipe {recipe} describes other data than {name} was trained on; omit --recipe")
    if model.preprocessing is None:
        raise ValueError(f"{name} does not specify the unit and scale of its data; pass its recipe with --recipe")
    return model.preprocessing


def _describes(recipe: ForecasterRecipe, values: Preprocessing) -> bool:
    """Returns whether a recipe's data and a preprocessing agree in step, variables, encodings and known units."""
    data = recipe.data
    stated: dict[str, Any] = {v.name: v for v in data.all_variables} or {"": data}
    trained: dict[str, Any] = {v.name: v for role in ROLES for v in getattr(values, role)} or {"": values}
    if list(stated) != list(trained) or data.step != values.step:
        return False

    def encoding(variable: Any) -> tuple[Any, ...]:
        constants = (variable.floor, variable.top) if variable.encoding == "log" else ()
        return variable.encoding, *constants

    is_ignored = find_loss(recipe.loss).is_probabilistic
    return all(
        s.unit in (None, t.unit) and (is_ignored or encoding(s) == encoding(t))
        for s, t in zip(stated.values(), trained.values(), strict=True)
    )


def choose_read_options(
    model: Forecaster,
    name: str,
    recipe: Recipe | None,
    key: str | None,
    pixel_km: float | None = None,
    minutes: float | None = None,
    coarsen: int | None = None,
) -> ReadOptions:
    """Returns the options for reading the files of a forecaster, from its preprocessing and its recipe.

    Radar composites are averaged over blocks of `coarsen` pixels, by default as in the recipe. Without a recipe, blocks
    have 2×2 pixels, unless `pixel_km` is passed or the model reads noise.
    """
    values: Any = model.preprocessing
    options = ReadOptions(unit=values.unit)
    if isinstance(recipe, ForecasterRecipe):
        options = recipe.data.read_options()
        sel = {d: v for d, v in options.sel.items() if not _is_period(d, v, options)}
        options = dataclasses.replace(options, unit=values.unit, variable_optional=True, sel=sel)
    if values.variables:
        options = dataclasses.replace(options, unit=None, **variable_options(values, options))
    if key and options.variables:
        variables = ", ".join(v.name for v in options.variables)
        raise ValueError(f"--key: {name} reads the variables {variables} by their names; omit the option")
    if key:
        options = dataclasses.replace(options, variable=key, variable_optional=False)
    if coarsen is None and isinstance(recipe, ForecasterRecipe):
        coarsen = 1 if pixel_km else options.coarsen
    elif coarsen is None:
        coarsen = 1 if pixel_km or isinstance(model, EnsembleForecaster) else COARSEN
    return dataclasses.replace(
        options, channels=3 if model.in_chans == 3 else 1, coarsen=coarsen, step=minutes or values.step
    )


def _is_period(dim: str, value: Any, options: ReadOptions) -> bool:
    """Returns whether a key of ``data.sel`` selects times of the training data, which other files do not have."""
    is_time = dim.lower() in NAMES["time"] or dim == options.dims.get("time")
    first = value[0] if isinstance(value, list | tuple) else value
    is_date = isinstance(first, str) and re.match(r"\d{4}-\d", first) is not None
    return is_date or (is_time and isinstance(value, list | tuple))


def check_step(frames: Frames, expected: Step | None, file: Path) -> None:
    """Raises ValueError if the time step of the frames is not constant, or not the expected one."""
    dates, step = frames.dates, expected or frames.step
    if isinstance(step, str):
        if wrong := [b for a, b in itertools.pairwise(dates) if not is_next(a, b, step)]:
            raise ValueError(
                f"{file}: the frame of {wrong[0]:%Y-%m-%d} is not a {step} after the one before; pass others"
            )
        return
    steps = [] if frames.times is None else sorted(set((frames.times[1:] - frames.times[:-1]).round(3).tolist()))
    if not steps:
        return
    if steps[-1] - steps[0] > 0.04 * steps[0]:
        listed = ", ".join(f"{step:g}" for step in (*steps[:3], *steps[3:][-1:]))
        raise ValueError(f"{file}: frames are {listed} minutes apart; choose frames at one step with --start")
    if expected is not None and not all(is_same(s, expected) for s in steps):
        raise ValueError(
            f"{file} has a frame every {describe_step(steps[0])}, and one every {describe_step(expected)} is expected; "
            "pass frames at the step of the training, or --minutes if the model supports any"
        )


def find_start(start: str, reader: Frames, file: Path) -> int:
    """Returns the number of the frame that ``--start`` specifies by number or time, or raises ValueError."""
    total, times = len(reader), reader.dates
    if re.fullmatch(r"-?\d+", start):
        number = int(start) + (total if int(start) < 0 else 0)
        if 0 <= number < total:
            return number
        raise ValueError(f"--start must be from {-total} to {total - 1}, since {file} has {total} frames; got {start}")
    if not times:
        raise ValueError(f"--start must be the number of a frame, since {file} has no times; got {start}")
    matches = [i for i, t in enumerate(times) if start in (f"{t:%H:%M}", f"{t:%H:%M:%S}")]
    if not matches:
        with contextlib.suppress(ValueError):
            time = datetime.fromisoformat(start)
            time = time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time
            matches = [i for i, t in enumerate(times) if t.isoformat() == time.isoformat()]
    if len(matches) != 1:
        count = "no frame" if not matches else plural(len(matches), "frame")
        raise ValueError(
            f"--start {start}: {file} has {count} at that time; pass the time of a frame from "
            f"{times[0]:%Y-%m-%dT%H:%M} to {times[-1]:%Y-%m-%dT%H:%M}, or its number"
        )
    return matches[0]


def count_observed(reader: Frames) -> int:
    """Returns the number of frames up to the last one that has a value; all if none has one."""
    total = len(reader)
    values = (reader.read(t, t + 1)[:, : reader.observed] for t in range(total - 1, -1, -1))
    return next((total - i for i, frame in enumerate(values) if frame.isfinite().any()), total)


def choose_window(
    reader: Frames,
    file: Path,
    inputs: int | None,
    horizon: int,
    start: str | None,
    compare: bool,
    has_future: bool,
    observed: int | None = None,
) -> tuple[int, int, int]:
    """Returns first, end and last: ``[first, end)`` are input frames, and ``[end, last)`` are frames to forecast.

    With `compare` (observations) or `has_future` (known inputs), the file must also contain frames to forecast;
    otherwise ``last == end``. Without `start`, the model reads the latest of the first `observed` frames. If the file
    must contain frames to forecast, the input ends `horizon` frames before the end of the file where possible.
    """
    total, ahead = len(reader), compare or has_future
    observed = total if observed is None else observed
    total = total if has_future and not compare else observed
    first = 0 if start is None else find_start(start, reader, file)
    end = max(total - horizon, min(first + (inputs or 1), total)) if ahead else total
    end = min(end, observed)
    if inputs and start is None:
        first = max(end - inputs, 0)
    elif inputs:
        end = min(first + inputs, total)
    last = min(end + horizon, total) if ahead else end
    if has_future and last - end < horizon:
        raise ValueError(
            f"{file}: the model reads known inputs of the {plural(horizon, 'frame')} to forecast, and the file has "
            f"{last - end} after those that it reads; pass more frames, an earlier --start or a lower --horizon"
        )
    if compare and last == end:
        raise ValueError(
            f"--compare: {file} has {plural(total, 'frame')}, and none follows the {plural(end - first, 'frame')} that "
            f"the model reads; omit --compare, or pass {'an earlier --start' if start else 'more frames'}"
        )
    return first, end, last


def warn_of_missing(frames: Tensor, reader: Frames, file: Path) -> None:
    """Warns of input frames without a value of a variable, by their times or numbers."""
    known = frames.isfinite().flatten(-2).any(-1).view(len(frames), -1)
    missing = (~known.all(1)).nonzero().flatten().tolist()
    if missing and known.any():
        labels = [f"{d:%Y-%m-%d %H:%M}" for d in reader.dates] or [str(t + reader.start) for t in range(len(frames))]
        warn(f"{file}: frames without a value are among those that are read: {', '.join(labels[t] for t in missing)}")


def forecast_files(
    model: Forecaster,
    name: str,
    files: Sequence[Path],
    *,
    recipe: str | None = None,
    inputs: int | None = None,
    horizon: int | None = None,
    start: str | None = None,
    compare: bool = False,
    key: str | None = None,
    minutes: float | None = None,
    pixel_km: float | None = None,
    coarsen: int | None = None,
    rain_relation: Sequence[float] | None = None,
    thresholds: Sequence[float] = (),
    output: Path | None = None,
    **options: Any,
) -> Forecast:
    """Reads frames from files and forecasts the next frames, with the options of ``convrnn-zoo predict``.

    Args:
        model, name: the forecaster, and its name in messages.
        files: one file or folder of frames, or several files that are joined in time.
        recipe, inputs, horizon, start, compare, key, minutes, pixel_km, coarsen, rain_relation: options of
            that name of the command.
        thresholds: values; the probabilities of reaching them are forecast. Without thresholds, frames are forecast.
        output: file that the forecast will be written to. A warning lists attributes that NetCDF cannot hold.
        **options: passed to the model's ``forecast``, such as `members`.

    Raises:
        ValueError: the files do not fit the model, or an option does not fit the files or the model.
    """
    file, settings = files[0], find_recipe(model, recipe)
    values = resolve_preprocessing(model, name, recipe, settings)
    horizon, trained = horizon or model.horizon, model.input_frames or values.inputs
    if key and (len(files) > 1 or file.suffix.lower() not in NAMED):
        raise ValueError(f"--key names an array of one file of {', '.join(NAMED)}; omit it for {file}")
    read_options = choose_read_options(model, name, settings, key, pixel_km, minutes, coarsen)
    if rain_relation:
        read_options = dataclasses.replace(read_options, rain_relation=tuple(rain_relation))
    reader = open_files(files, read_options)
    total = len(reader)
    observed = total if start else count_observed(reader)
    observed = total if compare and observed <= (inputs or trained or 1) else observed
    first, end, last = choose_window(
        reader, file, inputs or trained, horizon, start, compare, bool(model.future_chans), observed
    )
    count = end - first
    if inputs and count < inputs:
        raise ValueError(f"--inputs {inputs}: {file} has {plural(count, 'frame')} to read; pass a smaller number")
    pixel = pixel_km or reader.pixel_km
    has_pixels = "pixel_km" in inspect.signature(model.forecast).parameters
    notes = [describe_conversions(reader.dataset)] if reader.dataset is not None else []
    notes += [f"pixels of {pixel:.3g} km"] if pixel and has_pixels else []
    notes += [f"left out {plural(total - observed, 'later frame')} without a value"] if observed < total else []
    reader = reader.between(first, last)
    check_step(reader, minutes or values.step, file)
    if output is not None and output.suffix == ".nc" and reader.dataset is not None:
        dataset, dropped = drop_unstorable_attrs(reader.dataset)
        reader = dataclasses.replace(reader, dataset=dataset)
        if dropped:
            warn(f"{output}: NetCDF cannot hold the attributes {', '.join(dropped)}; they are left out")
    if trained and count != trained:
        hint = "" if count == inputs else f"; pass {plural(trained, 'frame')}, or --inputs {count} if this is intended"
        warn(f"{file}: the model reads {plural(count, 'frame')}, but was trained to read {trained}{hint}")
    frames, known = split_known(reader.read(), values)
    frames = frames[:, 0] if frames.shape[1] == 1 else frames
    radar = {key: value for key, value in (("minutes", minutes), ("pixel_km", pixel if has_pixels else None)) if value}
    if pixel and not has_pixels and values.pixel_km and not 0.9 < pixel / values.pixel_km < 1.1:
        warn(f"{file} has pixels of {pixel:.3g} km, and the model was trained on {values.pixel_km:.3g} km; resample it")
    warn_of_missing(frames[:count], reader, file)
    options = {"inputs": "all", **known, **radar, **options}
    probabilities, members = None, options.get("members", 0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "frames without a value")  # of which warn_of_missing names the times
        if thresholds and not members:
            forecast: Any = model.probabilities(frames[:count], thresholds, horizon, **options)
        else:
            forecast = model.forecast(frames[:count], horizon, **options)
        if thresholds and members:
            exceeded = [(forecast >= t).float().masked_fill(forecast.isnan(), torch.nan) for t in thresholds]
            probabilities = torch.stack([x.mean(0) for x in exceeded], dim=-3)
    frames = frames if values.target_channels is None or frames.dim() == 3 else frames[:, values.target_channels]
    return Forecast(
        model.metadata.name if model.metadata else name, file.name, values, reader.between(0, count), first, total,
        frames[:count], forecast, frames[count:] if compare else None, reader.step or minutes or values.step,
        members, tuple(thresholds), not isinstance(model, EnsembleForecaster),
        probabilities, tuple(filter(None, notes)),
    )  # fmt: skip


# ---- recordings --------------------------------------------------------------------------------------------------
def classify_files(model: ZooModel, files: Sequence[Path]) -> Iterator[tuple[Recording, Any]]:
    """Yields each recording of files and folders with its prediction.

    Files are read as the recipe of the classifier specifies. Only one video clip is in memory at a time.

    Raises:
        FileNotFoundError: a file does not exist.
        ValueError: a file is damaged, of an unknown format, or contains no recording.
    """
    for recordings in _read_recordings(model, files):
        names = [recording.name for recording in recordings]
        predictions = model.classify([recording.values for recording in recordings], names=names)
        yield from zip(recordings, predictions, strict=True)


def _read_recordings(model: ZooModel, files: Sequence[Path]) -> Iterator[list[Recording]]:
    recipe = find_recipe(model)
    dataset = recipe.data if isinstance(recipe, ClassifierRecipe) else None
    archives = all(file.suffix.lower() == ".npz" for file in files)
    if recipe is None and isinstance(model, VideoModel) and not archives:
        dataset = VideoFolder(name="clips")
    if isinstance(dataset, VideoFolder):
        for file in files:
            for clip in dataset.list_clips(file):
                yield [Recording(str(clip), "", dataset.read(clip))]
        return
    inside = [f for file in files for f in (list_files(file, RECORDING_SUFFIXES) if file.is_dir() else [file])]
    if not inside:
        raise FileError(f"{files[0]} contains no recording; expected files of {', '.join(RECORDING_SUFFIXES)}")
    layout = getattr(dataset, "layout", "")
    yield [recording for file in inside for recording in read_recordings(file, model, layout)]


def draw_classes(model: Any, files: Sequence[Path], output: Path) -> float:
    """Plots the classes of one audio file over time, and returns its length in seconds."""
    if len(files) != 1 or files[0].suffix.lower() not in AUDIO:
        raise ValueError(
            f"{output} shows the classes of one sound over time, got {', '.join(map(str, files))}; pass one sound, or "
            "-o FILE.json"
        )
    if model.front_end is None:
        raise ValueError(f"{files[0]} is a sound, but the model has no front end for sound; pass sequences")
    wave, rate = read_sound(files[0], rate=model.front_end.rate)
    draw_probabilities(model, wave, rate, output, files[0].name)
    return len(wave) / rate


# ---- trained forecasters -----------------------------------------------------------------------------------------
class Trained(NamedTuple):
    """A trained forecaster with its recipe and its metadata.

    Call it to forecast frames of any size in the unit of its data, as with :meth:`~convrnn_zoo.Forecaster.forecast`.
    """

    model: Forecaster
    recipe: ForecasterRecipe
    record: WeightsMetadata

    def __call__(self, frames: Tensor, horizon: int | None = None, **known: Any) -> Tensor:
        """Forecasts frames ``(N, horizon, C, H, W)`` from ``(N, T, C, H, W)``; by default with the model's horizon.

        `known` are the known inputs `static` and `future`, if the model reads them.
        """
        return self.model.forecast(frames, horizon, **known)


def load_forecaster(name: str, recipe: str | None = None) -> Trained:
    """Loads a trained forecaster with its recipe.

    Args:
        name: weights of the zoo, a directory, a metadata file, or the address of a repository, as for
            :func:`~convrnn_zoo.from_pretrained`.
        recipe: name or file of the recipe; by default the one in the metadata.

    Raises:
        ValueError: the weights do not exist, belong to no forecaster, have no metadata, or belong to another recipe.
        FileNotFoundError: the file or recipe does not exist.
    """
    model = from_pretrained(name)
    if not isinstance(model, Forecaster):
        raise ValueError(f"{name} is not a forecaster; `convrnn-zoo info {name}` describes it")
    settings = find_recipe(model, recipe)
    if model.metadata is None or settings is None:
        raise ValueError(
            f"{name} has no metadata with its data and recipe; forecast with from_pretrained({name!r}).forecast"
        )
    if not isinstance(settings, ForecasterRecipe):
        raise ValueError(f"the recipe of {settings.weights} does not train a forecaster; pass another")
    if settings.weights != model.metadata.name:
        raise ValueError(
            f"the recipe trains {settings.weights}, and these weights are {model.metadata.name}; pass theirs"
        )
    return Trained(model.eval(), settings, model.metadata)
