"""``convrnn-zoo predict``."""

import dataclasses
import importlib.util
import inspect
import json
import warnings
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import torch
from torch import Tensor

from .._atomic import check_not_input, check_suffix, write_text
from .._units import format_lead_time
from ..data import read_sound
from ..data.forecasts import LABELLED, to_dataset, write_dataset, write_numpy
from ..data.readers import COARSEN, GRIDDED, Frames, open_files
from ..data.readers.audio import AUDIO
from ..models import EnsembleForecaster, Forecaster, Preprocessing, ZooModel, from_pretrained
from ..train._values import finite
from ..train.classifier import read_inputs
from ..train.forecaster import choose_read_options
from ..train.metrics import split_known
from ..train.recipe import ForecasterRecipe, find_recipe
from ._options import WEIGHTS_EPILOG, Choice, NumberList, device_option, json_option, only_one, quiet_option
from ._text import columns, plural, warnings_to_stderr
from ._threads import Threads, threads_option

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
NUMBERS, ANIMATIONS = (".npy", ".npz", ".json", *LABELLED), (".gif", ".mp4")
SUFFIXES = (*NUMBERS, ".png", *ANIMATIONS)
"""Suffixes of files that a forecast can be written to."""
NAMED = (".npz", *GRIDDED)
"""Suffixes of files that may hold several arrays, by name."""


@click.command(epilog=WEIGHTS_EPILOG)
@click.argument("weights")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@json_option
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), multiple=True, callback=only_one,
    help="File to write. Forecasts: .nc, .zarr, .npy, .npz, .json, .png, .gif, .mp4. Classes: .json. Classes of one "
    "sound over time: .png, .svg.",
)  # fmt: skip
@click.option("--inputs", type=click.IntRange(min=1), help="Number of frames to read [default: as in training].")
@click.option("--horizon", type=click.IntRange(min=1), help="Number of frames to forecast [default: as in training].")
@click.option("--start", metavar="TIME|NUMBER", help="First frame to read [default: the latest frames are read].")
@click.option("--compare", is_flag=True, help="Compare the forecast with the observed frames of the file.")
@click.option("--members", type=click.IntRange(min=1), help="Number of ensemble members to forecast.")
@click.option("--seed", type=int, help="Seed of the ensemble members [default: 0].")
@click.option("--probability", "thresholds", type=NumberList(), metavar="VALUE,...",
              help="Forecast the probabilities that these values are exceeded.")  # fmt: skip
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True),
              help="Minutes between frames, for models of any time step [default: as in training].")  # fmt: skip
@click.option("--threshold", type=float, help="Plot the probability that this value is exceeded [default: 1].")
@click.option("--key", help="Name of the array in an HDF5, netCDF or Zarr file with several.")
@click.option("--dtype", type=Choice(list(DTYPES)), help="Dtype of the model [default: that of its weights].")
@device_option
@threads_option
@quiet_option
@click.option("--recipe", help="Recipe of a forecaster whose weights do not specify the unit of the data.")
def predict(
    weights: str,
    files: tuple[Path, ...],
    as_json: bool,
    output: Path | None,
    dtype: str | None,
    device: torch.device,
    threads: int | None,
    quiet: bool,
    **options: Any,
) -> None:
    """Classify the sequences in FILEs, or forecast the frames that follow those in FILE.

    A classifier reads sequences (T, C, ...). A .npy file holds one sequence. A .npz file holds one per array, or all of
    them in the arrays `x` (N, T, C, ...) and `lengths` (N). Sequences may differ in length. Weights for sound read
    .wav, .flac, .ogg and .mp3 files and resample them. Weights for video clips read videos, GIFs, folders of images
    and .npy files.

    A folder of such files is read file by file.

    A forecaster reads frames (T, H, W) or (T, C, H, W) in the unit of its data, with NaN where a value is unknown. FILE
    is a .npy, .npz, HDF5, netCDF or Zarr file, a GIF, a video, a folder of images, or the radar composites of KNMI or
    FMI. Several files, or those of a folder, are joined in order of their times; each may hold one frame. A .nc or
    .zarr output has lead times, valid times and the coordinates of the frames.

    The model reads the latest frames, as many as in training. --start chooses an earlier first frame, by its time
    (2010-08-26T04:10 or 04:10) or its number from 0 on. With --compare the last frames of the file are held back, or
    the ones that follow those read from --start on, and the forecast is compared with them.

    With --members, a model that reads noise forecasts an ensemble (members, horizon, H, W). A .png then shows its mean,
    its spread and the probability that --threshold is exceeded. --compare prints its CRPS.

    \b
    convrnn-zoo predict convlstm1d_bi_1layer.japanese_vowels recording.npy
    convrnn-zoo predict convgru1d_bi_2layer.fsdd *.wav --json
    convrnn-zoo predict convgru_forecaster.rain RAD_NL25_*.h5 -o rain.npy
    convrnn-zoo predict convgru_forecaster.rain radar.nc --start 04:10 --compare -o rain.png
    convrnn-zoo predict convgru_advection.nowcast radar/ --probability 0.5,5 -o rain.nc
    convrnn-zoo predict irene frames.npy --members 20 -o ensemble.png
    convrnn-zoo predict runs/gestures clip.mp4 --json
    """
    if output is not None:
        check_not_input(output, files, weights)
    with warnings_to_stderr():
        model = from_pretrained(weights, dtype=dtype and DTYPES[dtype]).to(device)
        Threads(threads, device, quiet).watch(model)
        if isinstance(model, Forecaster):
            _forecast(model, weights, files, as_json, output, quiet, **options)
            return
        names = {param.name: param.opts[0] for param in predict.params}
        if unused := [names[option] for option, value in options.items() if value not in (None, False)]:
            raise ValueError(f"{', '.join(unused)}: only valid for forecasters; {weights} is a classifier")
        if output is not None and output.suffix in (".png", ".svg"):
            if as_json:
                raise ValueError(f"--json cannot be combined with a figure; omit --json or -o {output}")
            note = _draw_classes(model, files, output)
        else:
            note = _classify(model, files, as_json, output)
        if note and not quiet:
            click.echo(note)


# ---- classes ---------------------------------------------------------------------------------------------------
def _draw_classes(model: Any, files: Sequence[Path], output: Path) -> str:
    from ..train.streaming import draw_probabilities

    if len(files) != 1 or files[0].suffix.lower() not in AUDIO:
        raise ValueError(
            f"{output} shows the classes of one sound over time, got {', '.join(map(str, files))}; pass one sound, or "
            "-o FILE.json"
        )
    if model.front_end is None:
        raise ValueError(f"{files[0]} is a sound, but the model has no front end for sound; pass sequences")
    wave, rate = read_sound(files[0], rate=model.front_end.rate)
    draw_probabilities(model, wave, rate, output, files[0].name)
    return f"{output}: classes over {len(wave) / rate:.2f} s"


def _classify(model: ZooModel, files: Sequence[Path], as_json: bool, output: Path | None) -> str:
    if output is not None and output.suffix != ".json":
        raise ValueError(
            f"{output}: classes are written to .json; .png and .svg show the classes of one sound over time"
        )
    rows: list[dict[str, Any]] = []
    table = []
    for recordings in read_inputs(files, model):
        names = [recording.name for recording in recordings]
        predictions = model.classify([recording.values for recording in recordings], names=names)
        for recording, p in zip(recordings, predictions, strict=True):
            key = {"recording": recording.key} if recording.key else {}
            answer = {"prediction": p.label, "probability": p.probability, "probabilities": p.probabilities}
            rows.append({"file": recording.file, **key, **answer})
            table.append((recording.name, p.label, f"{p.probability:.3f}"))
    text = json.dumps(rows, indent=2, ensure_ascii=False) + "\n"
    if output is not None:
        write_text(output, text)
    if as_json:
        click.echo(text, nl=False)
    elif output is None:
        click.echo(columns(table, header=("sequence", "prediction", "probability")))
    return "" if as_json or output is None else f"{output}: {plural(len(rows), 'sequence')} classified"


# ---- forecasts -------------------------------------------------------------------------------------------------
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
    labels: list[str]
    times: list[datetime]
    preprocessing: Preprocessing
    frames: Frames
    """The frames that the model read, with their times and coordinates."""
    step: float | None
    members: int
    """Number of ensemble members; 0 for a single forecast."""
    thresholds: tuple[float, ...]
    """Thresholds of probabilities, which are the axis before height and width."""

    @property
    def horizon(self) -> int:
        """Number of forecast frames."""
        return self.forecast.shape[1 if self.members else 0]

    @property
    def unit(self) -> str:
        """Unit of the forecast; ``""`` for targets of several units."""
        units = {v.unit for v in self.preprocessing.target_variables}
        return units.pop() if len(units) == 1 else ""

    def errors(self) -> dict[str, tuple[float, ...]]:
        """Returns by target the mean squared error of the forecast and that of the last frame read, if observed."""
        if self.observed is None:
            return {}
        forecast = self.forecast.mean(0) if self.members else self.forecast
        squares = [(x - self.observed).square() for x in (forecast[: len(self.observed)], self.inputs[-1])]
        return {
            getattr(target, "name", ""): tuple(x.nanmean().item() for x in pair)
            for target, *pair in self.by_target(*squares)
        }

    def by_target(self, *frames: Tensor) -> Iterator[tuple[Any, ...]]:
        """Yields the encoding of each target and its part of frames ``(…, [C,] H, W)``."""
        targets = self.preprocessing.target_variables
        return zip(targets, *(x.unbind(-3) if len(targets) > 1 else [x] for x in frames), strict=True)

    def describe(self) -> dict[str, Any]:
        """Returns a description for JSON, without the numbers; errors of several targets are by their names."""
        window, count = self.window, len(self.inputs)
        read: dict[str, Any] = {"first": window.first, "last": window.end - 1, "frames_in_file": window.total}
        times = [t.isoformat() for t in self.times]
        if times:
            read |= {"first_time": times[0], "last_time": times[count - 1]}
        errors, by_target = {}, self.errors()
        for i, key in enumerate(("mean_squared_error", "mean_squared_error_of_last_frame")):
            values = {name: pair[i] for name, pair in by_target.items()}
            if values:
                errors[key] = finite(values if len(values) > 1 else values.popitem()[1])
        return {
            "file": self.file, "model": self.model, "unit": self.unit, "step": self.preprocessing.step, "inputs": count,
            "read": read, "horizon": self.horizon, "shape": list(self.forecast.shape),
            **({"times": times[count:]} if times else {}),
            **({"thresholds": list(self.thresholds)} if self.thresholds else {}),
            "observed": 0 if self.observed is None else len(self.observed), **errors,
        }  # fmt: skip

    def to_json(self) -> str:
        """Returns the forecast with its numbers as JSON; unknown values are null."""
        return json.dumps({**self.describe(), "forecast": finite(self.forecast.tolist())}, ensure_ascii=False)

    def summarize(self, output: Path) -> str:
        """Returns one line about the written forecast: the frames read, the frames forecast, and the errors."""
        window, count = self.window, len(self.inputs)
        span = f"frame {window.first}" if count == 1 else f"frames {window.first} to {window.end - 1}"
        labels = [f"{t:%Y-%m-%d %H:%M}" for t in self.times] or list(self.frames.labels)
        when = f" ({' to '.join(dict.fromkeys((labels[0], labels[count - 1])))})" if labels[count - 1 :] else ""
        members = f" of {plural(self.members, 'member')}" if self.members else ""
        line = f"{output}: read {span} of {window.total}{when}, forecast {plural(self.horizon, 'frame')}{members}"
        parts = []
        for target, (name, (error, last)) in zip(
            self.preprocessing.target_variables, self.errors().items(), strict=False
        ):
            label = f" of {name}" if len(self.preprocessing.target_variables) > 1 else ""
            unit = f" ({target.unit})²" if target.unit else ""
            parts.append(f"mean squared error{label} {error:.3g}, of the last frame {last:.3g}{unit}")
        compared = f", compared with {len(self.observed)} observed; " if self.observed is not None else ""
        return line + compared + "; ".join(parts)


def _forecast(
    model: Forecaster,
    name: str,
    files: Sequence[Path],
    as_json: bool,
    output: Path | None,
    quiet: bool,
    *,
    members: int | None,
    seed: int | None,
    threshold: float | None,
    thresholds: tuple[float, ...] | None,
    **options: Any,
) -> None:
    if output is None and not as_json:
        raise ValueError(f"{name} forecasts frames: pass -o FILE ({', '.join(SUFFIXES)}) or --json")
    if output is not None:
        check_suffix(output, NUMBERS if thresholds else (*NUMBERS, ".png") if members else SUFFIXES)
    if members and not isinstance(model, EnsembleForecaster):
        raise ValueError(f"--members: {name} reads no noise and makes one forecast; omit the option")
    if not members and (seed, threshold) != (None, None):
        raise ValueError("--seed and --threshold are options of an ensemble; pass --members as well")
    if options["minutes"] and "minutes" not in inspect.signature(model.forecast).parameters:
        raise ValueError(f"--minutes: {name} forecasts at the time step of its training; omit the option")
    if thresholds and options["compare"]:
        raise ValueError("--probability has no --compare; `convrnn-zoo eval` compares probabilities with observations")
    if thresholds and not (hasattr(model, "probabilities") or members):
        raise ValueError(
            f"--probability: {name} forecasts no probabilities; pass weights of convgru_advection, or --members with a "
            "model that reads noise"
        )
    if members:
        options |= {"members": members, "seed": seed or 0}
    result = make_forecast(model, name, files, thresholds=thresholds or (), **options)
    if output is not None:
        write_forecast(result, output, 1.0 if threshold is None else threshold)
    if as_json:
        written = json.dumps({**result.describe(), "output": str(output)}, indent=2)
        click.echo(result.to_json() if output is None else written)
    elif output is not None and not quiet:
        click.echo(result.summarize(output))
        if members and result.observed is not None:
            click.echo(crps_tables(result, result.observed))


def resolve_preprocessing(model: Forecaster, name: str, recipe: str | None = None) -> Preprocessing:
    """Returns the preprocessing of a forecaster, from the model or else from its recipe.

    Raises:
        ValueError: neither specifies it, or they differ.
    """
    if recipe is not None:
        settings = find_recipe(model, recipe)
        if not isinstance(settings, ForecasterRecipe):
            raise ValueError(f"the recipe {recipe} does not train a forecaster; pass another to --recipe, or omit it")
        if model.preprocessing not in (None, settings.preprocessing()):
            raise ValueError(f"the recipe {recipe} describes other data than {name} was trained on; omit --recipe")
        model.preprocessing = settings.preprocessing()
    if model.preprocessing is None:
        raise ValueError(f"{name} does not specify the unit and scale of its data; pass its recipe with --recipe")
    return model.preprocessing


def check_step(frames: Frames, expected: float | None, file: Path) -> None:
    """Raises ValueError if the time step of the frames changes, or differs from the expected minutes."""
    steps = [] if frames.times is None else sorted(set(np.diff(frames.times).round(3).tolist()))
    if len(steps) > 1:
        listed = ", ".join(f"{step:g}" for step in steps[:4])
        raise ValueError(f"{file}: frames are {listed} minutes apart; choose frames at one step with --start")
    if steps and expected is not None and abs(steps[0] - expected) > 0.02 * expected:
        raise ValueError(
            f"{file} has a frame every {steps[0]:g} minutes, and one every {expected:g} is expected; pass frames at "
            "the step of the training, or --minutes if the model supports any"
        )


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
        count = "no frame" if not matches else plural(len(matches), "frame")
        raise ValueError(
            f"--start {start}: {file} has {count} at that time; pass the time of a frame from "
            f"{times[0]:%Y-%m-%dT%H:%M} to {times[-1]:%Y-%m-%dT%H:%M}, or its number"
        )
    return matches[0]


def choose_window(
    reader: Frames, file: Path, inputs: int | None, horizon: int, start: str | None, compare: bool, has_future: bool
) -> Window:
    """Chooses the frames that a model reads: the latest ones, or those from `start` on.

    With `compare` the frames that follow are observations, and with `has_future` their known inputs are read. Without
    `start`, the last `horizon` frames are held back for that, and the model reads the ones before.

    Raises:
        ValueError: `start` names no frame, or no frame is left to compare with, or too few to read known inputs of.
    """
    total, ahead = len(reader), compare or has_future
    if start is not None:
        first = find_start(start, reader, file)
        end = min(first + inputs, total) if inputs else (max(total - horizon, first + 1) if ahead else total)
    else:
        end = total - (min(horizon, max(total - (inputs or 1), 0)) if ahead else 0)
        first = max(end - inputs, 0) if inputs else 0
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
    key: str | None = None,
    minutes: float | None = None,
    thresholds: Sequence[float] = (),
    **options: Any,
) -> Forecast:
    """Forecasts the frames that follow those of files, with the options of the command.

    Args:
        model, name: the forecaster, and its name in messages.
        files: one file or folder of frames, or several files that are joined in time.
        recipe, inputs, horizon, start, compare, key, minutes: as the options of ``convrnn-zoo predict``.
        thresholds: values whose probability of exceedance is forecast, in place of values.
        **options: passed to the model's ``forecast``, such as `members`.

    Raises:
        ValueError: the file does not fit the model, or an option the file.
    """
    values = resolve_preprocessing(model, name, recipe)
    horizon = horizon or model.horizon
    trained = model.input_frames or values.inputs
    if key and (len(files) > 1 or files[0].suffix.lower() not in NAMED):
        raise ValueError(f"--key names an array of one file of {', '.join(NAMED)}; omit it for {files[0]}")
    read_options = choose_read_options(model, find_recipe(model, recipe))
    if key and read_options.variables:
        read = ", ".join(v.name for v in read_options.variables)
        raise ValueError(f"--key: {name} reads the variables {read} by their names; omit the option")
    read_options = dataclasses.replace(read_options, coarsen=1 if isinstance(model, EnsembleForecaster) else COARSEN)
    if key:
        read_options = dataclasses.replace(read_options, variable=key, variable_optional=False)
    reader = open_files(files, read_options)
    window = choose_window(reader, files[0], inputs or trained, horizon, start, compare, bool(model.future_chans))
    count = window.end - window.first
    if inputs and count < inputs:
        raise ValueError(f"--inputs {inputs}: {files[0]} has {plural(count, 'frame')} to read; pass a smaller number")
    reader = reader.between(window.first, window.last)
    check_step(reader, minutes or values.step, files[0])
    if trained and count != trained:
        hint = "" if count == inputs else f"; pass {plural(trained, 'frame')}, or --inputs {count} if this is intended"
        warnings.warn(
            f"{files[0]}: the model reads {plural(count, 'frame')}, but was trained to read {trained}{hint}",
            stacklevel=2,
        )
    frames, known = split_known(reader.read(), values)
    frames = frames[:, 0] if frames.shape[1] == 1 else frames
    options = {"inputs": "all", **known, **({"minutes": minutes} if minutes else {}), **options}
    if thresholds and hasattr(model, "probabilities"):
        forecast = model.probabilities(frames[:count], thresholds, horizon, **options)
    else:
        forecast = model.forecast(frames[:count], horizon, **options)
        if thresholds:
            exceeded = [(forecast >= t).float().masked_fill(forecast.isnan(), torch.nan) for t in thresholds]
            forecast = torch.stack([x.mean(0) for x in exceeded], dim=-3)
    frames = frames if values.target_channels is None or frames.dim() == 3 else frames[:, values.target_channels]
    step, times = reader.step or minutes or values.step, reader.datetimes or []
    labels = [f"{t:%H:%M}" for t in times] or list(reader.labels)
    if step:
        relative = [format_lead_time(i + 1 - count, step) for i in range(count + horizon)]
        labels = (labels[:count] or relative[:count]) + relative[count:]
    last = times[count - 1 : count] if step else []
    times = times[:count] + [t + timedelta(minutes=(i + 1) * step) for t in last for i in range(horizon)]  # type: ignore[operator]
    return Forecast(
        model.record.name if model.record else name, files[0].name, window, frames[:count], forecast,
        frames[count:] if compare else None, labels, times if step else [], values, reader.between(0, count), step,
        0 if thresholds else options.get("members", 0), tuple(thresholds),
    )  # fmt: skip


def crps_tables(result: Forecast, observed: Tensor) -> str:
    """Returns the CRPS by lead time of an ensemble, of the last frame and, for rain, of pysteps' extrapolation.

    There is a table for each target.
    """
    from ..train.baselines import extrapolation
    from ..train.metrics import ensemble_scores

    count, tables = len(observed), []
    has_pysteps = all(map(importlib.util.find_spec, ("pysteps", "cv2")))
    for target, inputs, members, truth in result.by_target(
        result.inputs, result.forecast[:, : len(observed)], observed
    ):
        methods = {"ensemble": members, "last frame": inputs[-1].expand(1, count, *inputs.shape[1:])}
        if target.unit == "mm/h" and len(inputs) > 1 and has_pysteps:
            methods["extrapolation"] = extrapolation(inputs.nan_to_num(0)[None, :, None], count)[:, :, 0]
        scores = {method: ensemble_scores(frames, truth)["CRPS"] for method, frames in methods.items()}
        rows = [(format_lead_time(t + 1, result.step), *(f"{v[t]:.4g}" for v in scores.values())) for t in range(count)]
        means = [f"{torch.tensor(values).mean():.4g}" for values in scores.values()]
        title = f"CRPS {f'of {target.name} ' if hasattr(target, 'name') else ''}{target.unit}".strip()
        tables.append(columns([*rows, ("mean", *means)], header=(title, *scores)))
    return "\n\n".join(tables)


# ---- files -----------------------------------------------------------------------------------------------------
def write_forecast(result: Forecast, output: Path, threshold: float = 1.0) -> None:
    """Writes a forecast atomically, as numbers in the unit of its data, as an image or as an animation.

    Raises:
        ValueError: the suffix of the file is not supported.
    """
    check_suffix(output, SUFFIXES)
    values, count = result.preprocessing, len(result.inputs)
    if output.suffix == ".json":
        write_text(output, result.to_json() + "\n")
    elif output.suffix in LABELLED:
        dataset = to_dataset(
            result.forecast, result.frames, values, step=result.step, thresholds=result.thresholds,
            members=result.members, model=result.model,
        )  # fmt: skip
        write_dataset(dataset, output)
    elif output.suffix in NUMBERS:
        ahead = result.labels[count : count + result.horizon]
        arrays: dict[str, Any] = {"forecast": result.forecast.numpy(), "unit": result.unit}
        arrays |= {"step": result.step or np.nan, **({"labels": np.array(ahead)} if ahead else {})}
        write_numpy(output, arrays | ({"thresholds": np.array(result.thresholds)} if result.thresholds else {}))
    else:
        _draw_forecast(result, output, threshold)


def _draw_forecast(result: Forecast, output: Path, threshold: float) -> None:
    from ..train.figures import Panels, ensemble_strip, motion, save, strip

    values, heading, observed = result.preprocessing, f"{result.model}: {result.file}", result.observed
    if result.members:
        truth = observed if observed is not None and len(observed) == result.horizon else None
        heading = f"{heading}, {plural(result.members, 'member')}"
        labels = result.labels[len(result.inputs) :]
        options: dict[str, Any] = {"threshold": threshold, "truth": truth, "labels": labels, "heading": heading}
        save([ensemble_strip(result.forecast, values, **options)], output)
        return
    inputs, forecast, truth = (
        x[:, None] if x is not None and x.dim() == 3 else x for x in (result.inputs, result.forecast, observed)
    )
    panels = Panels(inputs, forecast, truth, result.labels)  # type: ignore[arg-type]
    if output.suffix == ".png":
        save([strip(panels, values, heading)], output)
        return
    images, count = motion(panels, values, heading), len(result.inputs)
    if output.suffix == ".gif":  # it starts again at its end, and its first frame is what readers see before it plays
        images = images[count:] + images[:count]
    save(images, output)
