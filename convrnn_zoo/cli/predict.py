"""``convrnn-zoo predict``."""

import inspect
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import torch

from .._atomic import check_suffix, write_text
from ..models import Ensemble, Forecaster, ZooModel
from ..predict import NUMBERS, SUFFIXES, Forecast, classify_files, draw_classes, forecast_files, spot_files
from ..values.units import format_lead_time, plural
from ..verify import FIGURES
from ._options import (
    WEIGHTS_EPILOG,
    Choice,
    FilePath,
    FiniteRange,
    NumberList,
    TextList,
    device_option,
    json_option,
    local_path,
    only_one,
    output_path,
    parse_selection,
    quiet_option,
)  # fmt: skip
from ._outputs import check_not_input
from ._text import columns, printable
from ._threads import set_threads, threads_option
from ._weights import load_weights

ARCHIVE_OPTIONS = ("every", "period", "tile", "batch_size", "jobs", "scheduler")
MODEL_DTYPES = ("float32", "bfloat16", "float16")


@click.command(epilog=WEIGHTS_EPILOG)
@click.argument("weights")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=FilePath())
@json_option
@output_path(
    "File to write. Forecasts: .nc, .zarr, .npy, .npz, .json, .png, .gif, .mp4. Classes: .json. Classes of one sound "
    "over time: .png, .svg.",
    multiple=True, callback=only_one,
)  # fmt: skip
@click.option("--inputs", type=click.IntRange(min=1), help="Number of frames to read [default: as in training].")
@click.option("--horizon", type=click.IntRange(min=1), help="Number of frames to forecast [default: as in training].")
@click.option("--start", metavar="TIME|NUMBER", help="First frame to read [default: the latest frames are read].")
@click.option("--compare", is_flag=True, help="Compare the forecast with the observed frames of the file.")
@click.option("--members", type=click.IntRange(min=1), help="Number of ensemble members to forecast.")
@click.option("--seed", type=int, help="Seed of the ensemble members [default: 0].")
@click.option("--probability", "thresholds", type=NumberList(), metavar="VALUE,...",
              help="Forecast the probabilities that these values are reached, with --members as shares.")  # fmt: skip
@click.option("--minutes", type=FiniteRange(min=0, min_open=True),
              help="Minutes between frames, for models of any time step [default: as in training].")  # fmt: skip
@click.option("--pixel-km", type=FiniteRange(min=0, min_open=True),
              help="Edge of a pixel in km, for models that resample maps [default: by coordinates].")  # fmt: skip
@click.option("--coarsen", type=click.IntRange(min=1),
              help="Edge of the blocks that are averaged in radar composites [default: as in training].")  # fmt: skip
@click.option("--rain-relation", type=NumberList(), metavar="A,B",
              help="Constants of Z = A R^B, by which reflectivity in dBZ becomes rain [default: 200,1.6].")  # fmt: skip
@click.option("--threshold", type=float,
              help="Value whose probability an ensemble's figure shows [default: 1]; with --spot, the lowest "
              "probability of a word [default: that of the weights].")  # fmt: skip
@click.option("--spot", is_flag=True, help="List the words in long sounds, with a classifier of words.")
@click.option("--ignore", multiple=True, metavar="LABEL",
              help="With --spot: a class that is no word, such as that of all other words. Repeatable.")  # fmt: skip
@click.option("--every", metavar="TIME|FRAMES",
              help="Forecast a complete archive into a .zarr store: a forecast every 30min, 6h or 1D, or every so many "
              "frames.")  # fmt: skip
@click.option("--period", type=TextList(), metavar="FIRST,LAST",
              help="With --every: first and last issue time, such as 2020-06,2020-08 [default: all].")  # fmt: skip
@click.option("--tile", type=click.IntRange(min=1),
              help="With --every: edge in pixels of the parts in which large maps are forecast [default: complete "
              "maps].")  # fmt: skip
@click.option("--batch-size", type=click.IntRange(min=1),
              help="With --every: issue times of a task [default: 64 MiB of forecasts, at most 16].")  # fmt: skip
@click.option("--jobs", type=click.IntRange(min=1), help="With --every: processes on this machine [default: 1].")
@click.option("--scheduler", metavar="ADDRESS",
              help="With --every: address of a scheduler of Dask, such as tcp://login1:8786, whose workers "
              "forecast.")  # fmt: skip
@click.option("--key", help="Name of the array in a .npz, HDF5, NetCDF, GRIB or Zarr file with several.")
@click.option("--sel", multiple=True, callback=parse_selection, metavar="DIM=VALUE",
              help="Part of a dimension of labelled frames, such as realization=0, level=850 or lat=50,55 for a range; "
              "may be repeated.")  # fmt: skip
@click.option("--dtype", type=Choice(MODEL_DTYPES), help="Dtype of the model [default: that of its weights].")
@device_option
@threads_option
@quiet_option
@click.option("--recipe", help="Recipe of a forecaster whose weights do not specify the unit of the data.")
def predict(
    weights: str, files: tuple[Path, ...], as_json: bool, output: Path | None, dtype: str | None, device: torch.device,
    threads: int | None, quiet: bool, spot: bool, ignore: tuple[str, ...], **options: Any,
) -> None:  # fmt: skip
    """Classify the sequences in FILEs, or forecast the frames that follow those in FILE.

    A classifier reads sequences (T, C, ...). A .npy file holds one sequence. A .npz file holds one sequence per array,
    or all sequences in the arrays `x` (N, T, C, ...) and `lengths` (N). A .csv file holds one sequence, a line per
    step, and a .ts file of aeon holds several. Sequences may differ in length. Weights for sound read .wav, .flac, .ogg
    and .mp3 files and resample them. Weights for video clips read videos, GIFs, folders of images and .npy files.

    A folder of such files is read file by file.

    --spot finds the words in sounds of any length, each with the time at which it ends. The classifier must have one
    direction, and have been trained on recordings of one second. A figure shows one sound.

    A forecaster reads frames (T, H, W) or (T, C, H, W) in the unit of its data, with NaN where a value is unknown. FILE
    is a .npy, .npz, HDF5, netCDF, GRIB or Zarr file, a GIF, a video, a folder of images, or radar composites of KNMI,
    FMI, MeteoSwiss, DWD or OPERA. Several files, or those of a folder, are joined in order of their times; each may
    hold one frame. A .nc or .zarr output has lead times, valid times and the coordinates of the frames.

    The model reads the latest frames, as many as in training. --start chooses an earlier first frame, by its time
    (2010-08-26T04:10 or 04:10) or its number from 0 on. --compare compares the forecast with the observed frames that
    follow the input frames. With --compare and without --start, the observed frames are the last frames of the file,
    and the model reads the frames before the observed frames.

    --members forecasts an ensemble (members, horizon, H, W) with convgru_advection or an EnsembleForecaster such as
    convgru_irene. A .png then shows the mean, the standard deviation and the probability that --threshold is reached.
    --compare prints the CRPS.

    A file with members, levels or runs needs --sel, such as --sel realization=0.

    --every forecasts from many issue times of an archive into one .zarr store, which a later run completes if this one
    is interrupted. --jobs and --scheduler distribute the issue times.

    \b
    convrnn-zoo predict convlstm1d_bi_1layer.japanese_vowels recording.npy
    convrnn-zoo predict audio_convrnn.fsdd *.wav --json
    convrnn-zoo predict audio_convrnn.arabic_commands meeting.wav --spot -o words.png
    convrnn-zoo predict convgru_forecaster.rain RAD_NL25_*.h5 -o rain.npy
    convrnn-zoo predict convgru_forecaster.rain radar.nc --start 04:10 --compare -o rain.png
    convrnn-zoo predict convgru_advection.nowcast radar/ --probability 0.5,5 -o rain.nc
    convrnn-zoo predict convgru_advection.nowcast radar/ --members 20 -o ensemble.png
    convrnn-zoo predict convgru_advection.nowcast archive.zarr --every 30min --jobs 4 -o forecasts.zarr
    convrnn-zoo predict runs/gestures clip.mp4 --json
    """
    if output is not None:
        check_not_input(output, files, local_path(weights))
    model = load_weights(weights, quiet, dtype=getattr(torch, dtype) if dtype else None).to(device)
    set_threads(threads)
    if ignore and not spot:
        raise ValueError("--ignore is an option of --spot; pass --spot as well")
    if spot and isinstance(model, Forecaster):
        raise ValueError(f"--spot: {weights} forecasts frames; omit the option")
    if isinstance(model, Forecaster) and options["every"] is not None:
        _forecast_archive(model, files, as_json, output, quiet, threads, **options)
    elif isinstance(model, Forecaster):
        if others := [name for name in ARCHIVE_OPTIONS if options.pop(name) is not None and name != "every"]:
            raise ValueError(f"--{others[0].replace('_', '-')}: an option of an archive; pass --every as well")
        _forecast(model, weights, files, as_json, output, quiet, **options)
    else:
        threshold = options.pop("threshold") if spot else None
        names = {param.name: param.opts[0] for param in predict.params}
        if unused := [names[key] for key, value in options.items() if value is not None and value is not False]:
            hint = "; --threshold is also valid with --spot" if "--threshold" in unused else ""
            raise ValueError(f"{', '.join(unused)}: only valid for forecasters; {weights} is a classifier{hint}")
        if spot:
            _spot(model, files, as_json, output, quiet, threshold=threshold, ignore=ignore)
        else:
            _classify(model, files, as_json, output, quiet)


def _spot(
    model: ZooModel, files: Sequence[Path], as_json: bool, output: Path | None, quiet: bool, **options: Any
) -> None:
    if output is not None and output.suffix not in (*FIGURES, ".json"):
        raise ValueError(f"{output}: words are written to .json; .png and .svg show the words of one sound")
    figure = output if output is not None and output.suffix in FIGURES else None
    rows = [{"file": str(file), **spot._asdict()} for file, spot in spot_files(model, files, figure, **options)]
    table = [(r["file"], f"{r['seconds']:.1f}", r["label"], f"{r['probability']:.3f}") for r in rows]
    header = ("file", "seconds", "word", "probability")
    _print_rows(rows, table, header, as_json, output, "" if quiet else plural(len(rows), "word"))


def _print_rows(
    rows: Sequence[Any], table: Sequence[Sequence[str]], header: Sequence[str], as_json: bool, output: Path | None,
    summary: str,
) -> None:  # fmt: skip
    """Writes `rows` to a .json file, and prints them as JSON, as a table or, if they were written, as a summary."""
    text = json.dumps(rows, indent=2, ensure_ascii=False) + "\n"
    if output is not None and output.suffix == ".json":
        write_text(output, text)
    if as_json:
        click.echo(text, nl=False)
    elif output is None:
        click.echo(columns(table, header=header))
    elif summary:
        click.echo(f"{output}: {summary}")


def _classify(model: ZooModel, files: Sequence[Path], as_json: bool, output: Path | None, quiet: bool) -> None:
    if output is not None and output.suffix in FIGURES:
        if as_json:
            raise ValueError(f"--json cannot be combined with a figure; omit --json or -o {output}")
        seconds = draw_classes(model, files, output)
        if not quiet:
            click.echo(f"{output}: classes over {seconds:.2f} s")
        return
    if output is not None and output.suffix != ".json":
        raise ValueError(
            f"{output}: classes are written to .json; .png and .svg show the classes of one sound over time"
        )
    rows: list[dict[str, Any]] = []
    table = []
    for recording, p in classify_files(model, files):
        key = {"recording": recording.key} if recording.key else {}
        answer = {"prediction": p.label, "probability": p.probability, "probabilities": p.probabilities}
        rows.append({"file": recording.file, **key, **answer})
        table.append((recording.name, p.label, f"{p.probability:.3f}"))
    summary = "" if quiet else f"{plural(len(rows), 'sequence')} classified"
    _print_rows(rows, table, ("sequence", "prediction", "probability"), as_json, output, summary)


def _forecast_archive(
    model: Forecaster, files: Sequence[Path], as_json: bool, output: Path | None, quiet: bool, threads: int | None,
    **options: Any,
) -> None:  # fmt: skip
    """Forecasts an archive and prints how many issue times the store has."""
    from ..predict.archive import forecast_archive

    if output is None:
        raise ValueError("--every forecasts an archive: pass -o FILE.zarr")
    unused = {"start": "--period", "compare": "convrnn-zoo eval", "threshold": "--probability"}
    for name, other in unused.items():
        if options.pop(name) not in (None, False):
            raise ValueError(f"--{name} cannot be combined with --every; use {other}")
    period = options.pop("period") or (None, None)
    if len(period) != 2:
        raise ValueError(f"--period takes two dates, FIRST,LAST; got {','.join(map(str, period))}")
    options |= {"jobs": options["jobs"] or 1, "thresholds": options["thresholds"] or ()}
    archive = files[0] if len(files) == 1 else list(files)
    data = forecast_archive(model, archive, output, period=period, threads=threads, progress=not quiet, **options)
    times, failed = data["forecast_reference_time"].values, int((data["missing_inputs"] > 0).sum())
    if as_json:
        summary = {"output": str(output), "issue_times": len(times), "first": str(times[0]), "last": str(times[-1])}
        click.echo(json.dumps({**summary, "issue_times_with_missing_inputs": failed}, indent=2))
    elif not quiet:
        line = f"{output}: {plural(len(times), 'issue time')}, {str(times[0])[:16]} to {str(times[-1])[:16]}"
        click.echo(line + (f"; {failed} with input frames without a value" if failed else ""))


def _forecast(
    model: Forecaster, name: str, files: Sequence[Path], as_json: bool, output: Path | None, quiet: bool, *,
    members: int | None, seed: int | None, threshold: float | None, thresholds: tuple[float, ...] | None,
    **options: Any,
) -> None:  # fmt: skip
    if output is None and not as_json:
        raise ValueError(f"{name} forecasts frames: pass -o FILE ({', '.join(SUFFIXES)}) or --json")
    if output is not None:
        check_suffix(output, (*NUMBERS, ".png") if thresholds or members else SUFFIXES)
        if members and thresholds and output.suffix == ".npy":
            raise ValueError(f"{output} holds one array: pass -o FILE.npz for members and probabilities, or one option")
    if members and not isinstance(model, Ensemble):
        raise ValueError(f"--members: {name} makes one forecast; omit the option")
    if not members and (seed, threshold) != (None, None):
        raise ValueError("--seed and --threshold are options of an ensemble; pass --members as well")
    if threshold is not None and not math.isfinite(threshold):
        raise ValueError(f"--threshold must be a finite number, got {threshold:g}")
    if threshold is not None and (output is None or output.suffix != ".png" or thresholds):
        raise ValueError("--threshold is for the figure of an ensemble; pass -o FILE.png, and no --probability")
    for key, option, fixed in (("minutes", "--minutes", "time step"), ("pixel_km", "--pixel-km", "pixel size")):
        if options[key] and key not in inspect.signature(model.forecast).parameters:
            raise ValueError(f"{option}: {name} forecasts at the {fixed} of its training; omit the option")
    if thresholds and options["compare"]:
        raise ValueError("--probability has no --compare; `convrnn-zoo eval` compares probabilities with observations")
    if thresholds and not (hasattr(model, "probabilities") or members):
        raise ValueError(
            f"--probability: {name} forecasts no probabilities; pass weights of convgru_advection, or --members with a "
            "model that forecasts ensembles"
        )
    if members:
        options |= {"members": members, "seed": seed or 0}
    result = forecast_files(model, name, files, thresholds=thresholds or (), output=output, **options)
    if output is not None:
        result.write(output, 1.0 if threshold is None else threshold)
    if as_json:
        written = json.dumps({**result.describe(), "output": str(output)}, indent=2)
        click.echo(result.to_json() if output is None else written)
    elif output is not None and not quiet:
        click.echo(printable(summarize(result, output)))
        if members and result.observed is not None:
            click.echo("\n\n".join(format_crps(result)))


def summarize(result: Forecast, output: Path) -> str:
    """Returns one line about a written forecast: the frames read, the frames forecast, and the errors."""
    first, count, targets = result.first, len(result.inputs), result.preprocessing.target_variables
    span = f"frame {first}" if count == 1 else f"frames {first} to {first + count - 1}"
    labels = [f"{t:%Y-%m-%d %H:%M}" for t in result.times] or list(result.frames.labels)
    when = f" ({' to '.join(dict.fromkeys((labels[0], labels[count - 1])))})" if labels[count - 1 :] else ""
    members = f" of {plural(result.members, 'member')}" if result.members else ""
    line = f"{output}: read {span} of {result.total}{when}, forecast {plural(result.horizon, 'frame')}{members}"
    line = "; ".join((line, *result.notes))
    if result.observed is None:
        return line
    forecast, last_frame = result.errors().values()
    errors = []
    for target, name in zip(targets, forecast, strict=True):
        label = f" of {name}" if len(targets) > 1 else ""
        unit = f" ({target.unit})²" if target.unit else ""
        text = f"mean squared error{label} {forecast[name]:.3g}, of the last frame {last_frame[name]:.3g}{unit}"
        errors.append(text)
    return f"{line}, compared with {len(result.observed)} observed; {'; '.join(errors)}"


def format_crps(result: Forecast) -> list[str]:
    """Returns one table for each target: the CRPS of each method by lead time."""
    tables = []
    for target, scores in result.crps():
        by_time = enumerate(zip(*scores.values(), strict=True), 1)
        rows = [(format_lead_time(t, result.step), *(f"{v:.4g}" for v in values)) for t, values in by_time]
        means = [f"{torch.tensor(values).mean():.4g}" for values in scores.values()]
        title = f"CRPS {f'of {target.name} ' if hasattr(target, 'name') else ''}{target.unit}".strip()
        tables.append(columns([*rows, ("mean", *means)], header=(title, *scores)))
    return tables
