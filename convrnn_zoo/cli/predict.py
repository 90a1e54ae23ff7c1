"""``convrnn-zoo predict``."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from .._atomic import check_suffix
from ..models import Forecaster, ZooModel
from ..predict import NUMBERS, SUFFIXES, Forecast, ForecastOptions, classify_files, draw_classes, forecast_files
from ..predict.options import FLAGS
from ..values.units import plural
from ..verify import FIGURES
from ._forecasts import forecast_options
from ._options import WEIGHTS_EPILOG, Choice, only_one, output_path, with_model
from ._text import print_rows, printable

MODEL_DTYPES = ("float32", "bfloat16", "float16")


@click.command(epilog=WEIGHTS_EPILOG)
@output_path(
    "File to write. Forecasts: .nc, .zarr, .npy, .npz, .json, .png, .gif, .mp4. Classes: .json. Classes of one sound "
    "over time: .png, .svg.",
    multiple=True,
    callback=only_one,
    address=True,
)
@click.option("--start", metavar="TIME|NUMBER", help="First frame to read [default: the latest frames are read].")
@click.option("--compare", is_flag=True, help="Compare the forecast with the observed frames of the file.")
@forecast_options
@click.option("--dtype", type=Choice(MODEL_DTYPES), help="Dtype of the model [default: that of its weights].")
@with_model
def predict(
    model: Any,
    weights: str,
    files: tuple[Path, ...],
    output: Path | None,
    as_json: bool,
    quiet: bool,
    start: str | None,
    compare: bool,
    options: dict[str, Any],
    **_: Any,
) -> None:
    """Classify the sequences in FILEs, or forecast the frames that follow those in FILE.

    A classifier reads sequences (T, C, ...). A .npy file holds one sequence. A .npz file holds one sequence per array,
    or all sequences in the arrays `x` (N, T, C, ...) and `lengths` (N). A .csv file holds one sequence, a line per
    step, and a .ts file of aeon holds several. Sequences may differ in length. Weights for sound read .wav, .flac, .ogg
    and .mp3 files and resample them. Weights for video clips read videos, GIFs, folders of images and .npy files.
    `convrnn-zoo spot` finds words in long sounds.

    A folder of such files is read file by file.

    A forecaster reads frames (T, H, W) or (T, C, H, W) in the unit of its data, with NaN where a value is unknown.
    FILE is a .npy, .npz, HDF5, netCDF, GRIB, Zarr or GeoTIFF file, a GIF, a video, a folder of images, or radar
    composites of KNMI, FMI, MeteoSwiss, DWD or OPERA. Several files, or those of a folder, are joined in order of
    their times; each may hold one frame. A .nc or .zarr output has lead times, valid times and the coordinates of
    the frames.

    The model reads the latest frames, as many as in training. --start chooses an earlier first frame, by its time
    (2010-08-26T04:10 or 04:10) or its number from 0 on. --compare compares the forecast with the observed frames that
    follow the input frames. With --compare and without --start, the observed frames are the last frames of the file,
    and the model reads the frames before the observed frames. `convrnn-zoo archive` forecasts from many times.

    --members forecasts an ensemble (members, horizon, H, W) with convgru_advection or an EnsembleForecaster such as
    convgru_irene. A .png then shows the mean, the standard deviation and the probability that 1, or the values of
    --probability, are reached.

    A file with members, levels or runs needs --sel, such as --sel realization=0.

    \b
    convrnn-zoo predict convlstm1d_bi_1layer.japanese_vowels recording.npy
    convrnn-zoo predict audio_convrnn.fsdd *.wav --json
    convrnn-zoo predict convgru_forecaster.rain RAD_NL25_*.h5 -o rain.npy
    convrnn-zoo predict convgru_forecaster.rain radar.nc --start 04:10 --compare -o rain.png
    convrnn-zoo predict convgru_advection.nowcast radar/ --probability 0.5,5 -o rain.nc
    convrnn-zoo predict convgru_advection.nowcast radar/ --members 20 -o ensemble.png
    convrnn-zoo predict runs/gestures clip.mp4 --json
    """
    others = {"--start": start, "--compare": compare or None}
    if not isinstance(model, Forecaster):
        chosen = {**others, **{FLAGS[name]: value for name, value in options.items()}}
        if unused := [name for name, value in chosen.items() if value is not None]:
            raise ValueError(f"{', '.join(unused)}: only valid for forecasters; {weights} is a classifier")
        _classify(model, files, as_json, output, quiet)
        return
    _check_output(weights, output, as_json, compare, ForecastOptions(**options))
    result = forecast_files(model, weights, files, start=start, compare=compare, **options)
    if output is not None:
        result.write(output)
    if as_json:
        written = json.dumps({**result.describe(), "output": str(output)}, indent=2)
        click.echo(result.to_json() if output is None else written)
    elif output is not None and not quiet:
        click.echo(printable(summarize(result, output)))


def _check_output(name: str, output: Path | None, as_json: bool, compare: bool, options: ForecastOptions) -> None:
    """Raises ValueError for an output or an option of one that does not fit the forecast."""
    thresholds, members = options.thresholds, options.members
    if output is None and not as_json:
        raise ValueError(f"{name} forecasts frames: pass -o FILE ({', '.join(SUFFIXES)}) or --json")
    if output is not None:
        check_suffix(output, (*NUMBERS, ".png") if thresholds or members else SUFFIXES)
        if members and thresholds and output.suffix == ".npy":
            raise ValueError(f"{output} holds one array: pass -o FILE.npz for members and probabilities, or one option")
    if thresholds and compare and not members:
        raise ValueError("--probability has no --compare; `convrnn-zoo eval` compares probabilities with observations")


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
    print_rows(rows, table, ("sequence", "prediction", "probability"), as_json, output, summary)


def summarize(result: Forecast, output: Path) -> str:
    """Returns one line about a written forecast: the frames read, the frames forecast, and the errors."""
    first, count, targets = result.first, len(result.inputs), result.targets
    span = f"frame {first}" if count == 1 else f"frames {first} to {first + count - 1}"
    labels = [f"{t:%Y-%m-%d %H:%M}" for t in result.times] or list(result.frames.labels)
    when = f" ({' to '.join(dict.fromkeys((labels[0], labels[count - 1])))})" if labels[count - 1 :] else ""
    members = f" of {plural(result.run.members, 'member')}" if result.run.members else ""
    line = f"{output}: read {span} of {result.total}{when}, forecast {plural(result.run.horizon, 'frame')}{members}"
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
