"""Forecasts from files, and to files of numbers, images and animations."""

import dataclasses
import json
import warnings
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from .._atomic import atomic_write, check_suffix, write_text
from ..data.readers import COARSEN, Frames, open_files
from ..models import Forecaster, Preprocessing
from ..train._values import finite
from ..train.apply import preprocessing_of, read_options_of
from ..train.pictures import Panels, motion, save, strip
from ..train.recipe import ForecasterRecipe, Recipe
from ._text import plural

NAMED = (".npz", ".h5", ".hdf5", ".nc", ".nc4", ".zarr")
"""Suffixes of files that may hold several arrays, by name."""


class Window(NamedTuple):
    """Numbers of frames: the model reads ``[first, end)``, and ``[end, last)`` are the observations to compare with."""

    first: int
    end: int
    last: int
    total: int


class Forecast(NamedTuple):
    """Forecast of the frames of a file, ``(T, H, W)``, or ``(T, C, H, W)`` for several channels.

    An ensemble's forecast has a first axis of members.
    """

    model: str
    file: str
    window: Window
    inputs: Tensor
    forecast: Tensor
    observed: Tensor | None
    labels: list[str] | None
    times: list[datetime] | None
    preprocessing: Preprocessing

    @property
    def horizon(self) -> int:
        """Number of forecast frames."""
        return self.forecast.shape[-self.inputs.dim()]


def resolve_preprocessing(model: Forecaster, name: str, recipe: str | None = None) -> Preprocessing:
    """Returns the preprocessing of a forecaster, from the model or else from its recipe.

    Raises:
        ValueError: neither specifies it, or they differ.
    """
    if recipe is not None:
        chosen = Recipe.read(recipe)
        if not isinstance(chosen, ForecasterRecipe):
            raise ValueError(f"the recipe {recipe} does not train a forecaster; pass another to --recipe, or omit it")
        if model.preprocessing not in (None, preprocessing_of(chosen)):
            raise ValueError(f"the recipe {recipe} describes other data than {name} was trained on; omit --recipe")
        model.preprocessing = preprocessing_of(chosen)
    if model.preprocessing is None:
        raise ValueError(f"{name} does not specify the unit and scale of its data; pass its recipe with --recipe")
    return model.preprocessing


def check_step(frames: Frames, preprocessing: Preprocessing, file: Path) -> None:
    """Raises ValueError if the time step of the frames changes, or differs from the model's."""
    steps = [] if frames.times is None else sorted(set(np.diff(frames.times).round(3).tolist()))
    if len(steps) > 1:
        listed = ", ".join(f"{step:g}" for step in steps[:4])
        raise ValueError(f"{file}: frames are {listed} minutes apart; choose frames at one step with --start")
    if steps and preprocessing.step is not None and abs(steps[0] - preprocessing.step) > 0.02 * preprocessing.step:
        raise ValueError(
            f"{file} has a frame every {steps[0]:g} minutes, but the model was trained on one every "
            f"{preprocessing.step:g}; pass frames at that step"
        )


# ---- choice of frames ------------------------------------------------------------------------------------------
def find_start(start: str, reader: Frames, file: Path) -> int:
    """Returns the number of the frame that ``--start`` names, by number or by time.

    Raises:
        ValueError: no frame has that number or time, or several have.
    """
    total, times = len(reader), reader.datetimes
    if start.lstrip("-").isdecimal():
        number = int(start) + (total if int(start) < 0 else 0)
        if not 0 <= number < total:
            raise ValueError(
                f"--start must be from {-total} to {total - 1}, since {file} has {total} frames; got {start}"
            )
        return number
    if times is None:
        raise ValueError(f"--start must be the number of a frame, since {file} has no times; got {start}")
    matches = [i for i, t in enumerate(times) if start in (f"{t:%H:%M}", f"{t:%H:%M:%S}")]
    if not matches:
        try:
            time = datetime.fromisoformat(start).replace(tzinfo=None)
        except ValueError:
            time = None
        matches = [i for i, t in enumerate(times) if t == time]
    if len(matches) != 1:
        found = "no frame" if not matches else plural(len(matches), "frame")
        raise ValueError(
            f"--start {start}: {file} has {found} at that time; pass the time of a frame from "
            f"{times[0]:%Y-%m-%dT%H:%M} to {times[-1]:%Y-%m-%dT%H:%M}, or its number"
        )
    return matches[0]


def choose_window(
    reader: Frames, file: Path, inputs: int | None, horizon: int, start: str | None, compare: bool
) -> Window:
    """Chooses the frames that a model reads: the latest ones, or those from `start` on.

    With `compare` the frames that follow are observations. Without `start`, the last `horizon` frames are, and the
    model reads the ones before.

    Raises:
        ValueError: `start` names no frame, or no frame is left to compare with.
    """
    total = len(reader)
    if start is not None:
        first = find_start(start, reader, file)
        end = min(first + inputs, total) if inputs else (max(total - horizon, first + 1) if compare else total)
    else:
        held_back = min(horizon, max(total - (inputs or 1), 0)) if compare else 0
        end = total - held_back
        first = max(end - inputs, 0) if inputs else 0
    last = min(end + horizon, total) if compare else end
    if compare and last == end:
        raise ValueError(
            f"--compare: {file} has {plural(total, 'frame')}, and none follows the {plural(end - first, 'frame')} that "
            f"the model reads; omit --compare, or pass {'an earlier --start' if start else 'more frames'}"
        )
    return Window(first, end, last, total)


def make_forecast(
    model: Forecaster,
    name: str,
    files: Sequence[Path],
    *,
    recipe: str | None = None,
    inputs: int | None = None,
    horizon: int | None = None,
    start: str | None = None,
    compare: bool = False,
    coarsen: int = COARSEN,
    key: str = "",
    **options: Any,
) -> Forecast:
    """Forecasts the frames that follow those of a file.

    The model reads the latest frames of the file, as many as in training.

    Args:
        model: the forecaster.
        name: its name in messages.
        files: one file of frames, a folder of images, or radar files.
        recipe: recipe of a model without preprocessing.
        inputs: number of frames to read, if not as in training.
        horizon: number of frames to forecast, if not as in training.
        start: number or time of the first frame to read.
        compare: whether to read the observed frames that the forecast is compared with.
        coarsen: edge of the square of radar pixels that are averaged.
        key: name of the array in a file with several.
        **options: passed to the model's ``forecast``, such as `members`.

    Raises:
        ValueError: the file does not fit the model, or an option the file.
    """
    preprocessing = resolve_preprocessing(model, name, recipe)
    horizon = horizon or model.horizon
    trained = model.input_frames or preprocessing.inputs
    if key and (len(files) > 1 or files[0].suffix.lower() not in NAMED):
        raise ValueError(f"--key names an array of one file of {', '.join(NAMED)}; omit it for {files[0]}")
    read_options = dataclasses.replace(read_options_of(model, recipe), coarsen=coarsen)
    if key:
        read_options = dataclasses.replace(read_options, variable=key, variable_optional=False)
    reader = open_files(files, read_options)
    window = choose_window(reader, files[0], inputs or trained, horizon, start, compare)
    if inputs and window.end - window.first < inputs:
        raise ValueError(
            f"--inputs {inputs}: {files[0]} has {plural(window.end - window.first, 'frame')} to read; pass a "
            "smaller number"
        )
    reader = reader.between(window.first, window.last)
    check_step(reader, preprocessing, files[0])
    frames = reader.read()
    frames = frames[:, 0] if reader.channels == 1 else frames
    count = window.end - window.first
    if trained and count != trained:
        hint = "" if count == inputs else f"; pass {plural(trained, 'frame')}, or --inputs {count} if this is intended"
        warnings.warn(
            f"{files[0]}: the model reads {plural(count, 'frame')}, but was trained to read {trained}{hint}",
            stacklevel=2,
        )
    times = reader.datetimes
    if times:
        step = timedelta(minutes=reader.step or preprocessing.step or 0)
        times = times[:count] + [times[count - 1] + (i + 1) * step for i in range(horizon)] if step else None
    labels = [f"{t:%H:%M}" for t in times] if times else list(reader.labels) or None
    forecast = model.forecast(frames[:count], horizon, inputs="all", **options)
    observed = frames[count:] if compare else None
    title = model.record.name if model.record else name
    return Forecast(title, files[0].name, window, frames[:count], forecast, observed, labels, times, preprocessing)


# ---- numbers ---------------------------------------------------------------------------------------------------
def metadata(made: Forecast) -> dict[str, Any]:
    """Returns a description of a forecast for JSON, without its numbers."""
    window, count = made.window, len(made.inputs)
    read: dict[str, Any] = {"first": window.first, "last": window.end - 1, "frames_in_file": window.total}
    times = [t.isoformat() for t in made.times or []]
    if times:
        read |= {"first_time": times[0], "last_time": times[count - 1]}
    return {
        "file": made.file, "model": made.model, "unit": made.preprocessing.unit, "step": made.preprocessing.step,
        "inputs": count, "read": read, "horizon": made.horizon, "shape": list(made.forecast.shape),
        **({"times": times[count:]} if times else {}),
        "observed": window.last - window.end, **mean_squared_errors(made),
    }  # fmt: skip


def mean_squared_errors(made: Forecast) -> dict[str, float | None]:
    """Returns the errors of the forecast and of the last frame read, where the frames were observed."""
    if made.observed is None:
        return {}
    members = made.forecast.dim() > made.inputs.dim()
    forecast = made.forecast.mean(0) if members else made.forecast
    error = (forecast[: len(made.observed)] - made.observed).square().nanmean().item()
    persistence = (made.inputs[-1] - made.observed).square().nanmean().item()
    return {"mean_squared_error": finite(error), "mean_squared_error_of_last_frame": finite(persistence)}


def to_json(made: Forecast) -> str:
    """Returns a forecast with its numbers as JSON; unknown values are null."""
    return json.dumps({**metadata(made), "forecast": finite(made.forecast.tolist())}, ensure_ascii=False) + "\n"


def summary(made: Forecast, out: Path) -> str:
    """Returns one line about a written forecast: the frames read, the frames forecast, and the errors."""
    window, count = made.window, len(made.inputs)
    span = f"frame {window.first}" if count == 1 else f"frames {window.first} to {window.end - 1}"
    labels = [f"{t:%Y-%m-%d %H:%M}" for t in made.times] if made.times else made.labels or []
    when = f" ({' to '.join(dict.fromkeys((labels[0], labels[count - 1])))})" if labels[count - 1 :] else ""
    line = f"{out}: read {span} of {window.total}{when}, forecast {plural(made.horizon, 'frame')}"
    if made.observed is None:
        return line
    unit = f" ({made.preprocessing.unit})²" if made.preprocessing.unit else ""
    error, persistence = (float("nan") if v is None else v for v in mean_squared_errors(made).values())
    return (
        f"{line}, compared with {len(made.observed)} observed; mean squared error {error:.3g}, of the last frame "
        f"{persistence:.3g}{unit}"
    )


# ---- files -----------------------------------------------------------------------------------------------------
def _panels(made: Forecast) -> Panels:
    def first_channel(x: Tensor) -> Tensor:
        return x[:, 0] if x.dim() == 4 else x

    observed = None if made.observed is None else first_channel(made.observed)
    return Panels(first_channel(made.inputs), first_channel(made.forecast), observed, made.labels)


def _write_npy(made: Forecast, path: Path) -> None:
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.save(file, made.forecast.numpy())


def _write_npz(made: Forecast, path: Path) -> None:
    ahead = (made.labels or [])[len(made.inputs) : len(made.inputs) + made.horizon]
    arrays: dict[str, Any] = {
        "forecast": made.forecast.numpy(), "unit": made.preprocessing.unit, "step": made.preprocessing.step or np.nan,
        **({"labels": np.array(ahead)} if ahead else {}),
    }  # fmt: skip
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


WRITERS: dict[str, Callable[[Forecast, Path], Any]] = {
    ".npy": _write_npy, ".npz": _write_npz, ".json": lambda made, path: write_text(path, to_json(made)),
}  # fmt: skip
"""Functions that write a forecast as numbers, by the suffix of the file."""
SUFFIXES = (*WRITERS, ".png", ".gif", ".mp4")


def write_forecast(made: Forecast, out: Path) -> None:
    """Writes a forecast atomically, as numbers in the unit of its data, as an image or as an animation.

    Raises:
        ValueError: the suffix of the file is not supported.
    """
    check_suffix(out, SUFFIXES)
    if out.suffix in WRITERS:
        WRITERS[out.suffix](made, out)
        return
    heading = f"{made.model}: {made.file}"
    panels = _panels(made)
    if out.suffix == ".png":
        save([strip(panels, made.preprocessing, heading)], out)
    else:
        save(motion(panels, made.preprocessing, heading), out)
