"""``convrnn-zoo predict``."""

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import torch

from .._atomic import check_not_input, check_suffix, write_text
from ..data import read_sound
from ..data.readers.audio import AUDIO
from ..models import Forecaster, ZooModel, from_pretrained
from ._options import Choice
from ._sequences import read_inputs
from ._text import columns

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""What a model may work in, by its name."""


@click.command()
@click.argument("name", metavar="NAME|DIR|RECORD.json|hf-hub:OWNER/REPO")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON: the probabilities of all classes, or the forecast.")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path, dir_okay=False),
    help="Of a forecast: .npy, .npz, .json, .png, .gif, .mp4; of classes: .json; of one sound's over time: .png, .svg.",
)  # fmt: skip
@click.option("--inputs", type=click.IntRange(min=1), help="Number of frames to read [default: as in training].")
@click.option("--horizon", type=click.IntRange(min=1), help="Number of frames to forecast [default: as in training].")
@click.option("--start", metavar="TIME|NUMBER", help="First frame to read [default: the latest frames are read].")
@click.option("--compare", is_flag=True, help="Compare the forecast with the observed frames of the file.")
@click.option("--key", help="Name of the array in an HDF5, netCDF or Zarr file with several.")
@click.option("--dtype", type=Choice(list(DTYPES)), help="Dtype of the model [default: that of its weights].")
@click.option("--recipe", help="Recipe of a forecaster whose weights do not specify the unit of the data.")
def predict(
    name: str,
    files: tuple[Path, ...],
    as_json: bool,
    out: Path | None,
    inputs: int | None,
    horizon: int | None,
    start: str | None,
    compare: bool,
    key: str | None,
    dtype: str | None,
    recipe: str | None,
) -> None:
    """Classify the sequences in FILEs, or forecast the frames that follow those in FILE.

    NAME is pretrained weights, the directory of a training run, or a repository of the Hugging Face Hub.

    A classifier reads sequences (T, C, ...). A .npy file holds one sequence. A .npz file holds one per array, or all of
    them in the arrays `x` (N, T, C, ...) and `lengths` (N). Sequences may differ in length. Weights for sound read
    .wav, .flac, .ogg and .mp3 files and resample them. Weights for video clips read videos, GIFs, folders of images
    and .npy files.

    A forecaster reads frames (T, H, W) or (T, C, H, W) in the unit of its data, with NaN where a value is unknown. FILE
    is a .npy, .npz, HDF5, netCDF or Zarr file, a GIF, a video, a folder of images, or the radar composites of KNMI or
    FMI. The model reads the latest frames, as many as in training. --start chooses an earlier first frame, by its time
    (2010-08-26T04:10 or 04:10) or its number from 0 on. With --compare the last frames of the file are held back, or
    the ones that follow those read from --start on, and the forecast is compared with them.

    \b
    convrnn-zoo predict convlstm1d_bi_1layer.japanese_vowels recording.npy
    convrnn-zoo predict convgru1d_bi_2layer.fsdd *.wav --json
    convrnn-zoo predict convgru_forecaster.rain RAD_NL25_*.h5 -o rain.npy
    convrnn-zoo predict convgru_forecaster.rain radar.nc --start 04:10 --compare -o rain.png
    convrnn-zoo predict runs/mine frames.npy -o forecast.mp4
    convrnn-zoo predict runs/gestures clip.mp4 --json
    """
    check_not_input(out, files)
    with words_to_stderr():
        model = from_pretrained(name, dtype=dtype and DTYPES[dtype])
        if isinstance(model, Forecaster):
            _forecast(
                model, name, files, as_json, out, recipe=recipe, inputs=inputs, horizon=horizon, start=start,
                compare=compare, key=key or "",
            )  # fmt: skip
            return
        options = {
            "--inputs": inputs, "--horizon": horizon, "--start": start, "--compare": compare or None, "--key": key,
            "--recipe": recipe,
        }  # fmt: skip
        if wrong := [option for option, value in options.items() if value is not None]:
            raise ValueError(f"{', '.join(wrong)}: only valid for forecasters; {name} is a classifier")
        _classify(model, files, as_json, out)


@contextmanager
def words_to_stderr() -> Iterator[None]:
    """Warnings as one line each on standard error."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            yield
        finally:
            for word in caught:
                click.echo(f"Warning: {word.message}", err=True)


def _forecast(model: Forecaster, name: str, files: Sequence[Path], as_json: bool, out: Path | None, **how: Any) -> None:
    from . import _forecast as forecasts  # what it imports need not be there for classifying

    if out is None and not as_json:
        raise ValueError(f"{name} forecasts frames: pass -o FILE ({', '.join(forecasts.SUFFIXES)}) or --json")
    if out is not None:
        check_suffix(out, forecasts.SUFFIXES)
    made = forecasts.make_forecast(model, name, files, **how)
    if out is not None:
        forecasts.write_forecast(made, out)
    if as_json and out is not None:
        click.echo(json.dumps({**forecasts.metadata(made), "out": str(out)}, indent=2, ensure_ascii=False))
    elif out is None:
        click.echo(forecasts.to_json(made), nl=False)
    else:
        click.echo(forecasts.summary(made, out))


def _draw(model: Any, files: Sequence[Path], out: Path) -> None:
    from ..train.answers import draw_answers

    if len(files) != 1 or files[0].suffix.lower() not in AUDIO:
        raise ValueError(
            f"{out} shows one sound, got {', '.join(map(str, files))}; pass one, or -o a .json file; other "
            "pictures are of forecasts"
        )
    if model.front_end is None:
        model.encode_sound(str(files[0]), torch.zeros(1), 1)  # raises the error about the missing front end
    wave, rate = read_sound(files[0], rate=model.front_end.rate)
    draw_answers(model, wave, rate, out, files[0].name)
    click.echo(f"{out}: the answer over {len(wave) / rate:.2f} s")


def _classify(model: ZooModel, files: Sequence[Path], as_json: bool, out: Path | None) -> None:
    if out is not None and out.suffix in (".png", ".svg"):
        if as_json:
            raise ValueError(f"--json came with {out}, a picture; ask for one of the two")
        _draw(model, files, out)
        return
    if out is not None and out.suffix != ".json":
        raise ValueError(
            f"{out}: classes are written as .json alone; .png and .svg show what is said of one sound over time"
        )
    rows: list[dict[str, Any]] = []
    table = []
    for recordings in read_inputs(files, model):
        named = [recording.name for recording in recordings]
        found = model.classify([recording.values for recording in recordings], names=named)
        rows += [
            {
                "file": recording.file,
                **({"recording": recording.key} if recording.key else {}),
                "prediction": p.label,
                "probability": p.probability,
                "probabilities": p.probabilities,
            }
            for recording, p in zip(recordings, found, strict=True)
        ]
        table += [(n, p.label, f"{p.probability:.3f}") for n, p in zip(named, found, strict=True)]
    text = json.dumps(rows, indent=2, ensure_ascii=False) + "\n"
    if out is not None:
        write_text(out, text)
    if as_json:
        click.echo(text, nl=False)
    elif out is None:
        click.echo(columns(table, header=("sequence", "prediction", "probability")))
    else:
        click.echo(f"{out}: {len(rows)} sequences classified")
