"""``convrnn-zoo ensemble``."""

import importlib.util
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor

from .._atomic import atomic_write, check_not_input, check_suffix
from ..models import EnsembleForecaster, from_pretrained
from ._text import columns, plural
from .predict import words_to_stderr

ENDS = (".npy", ".png")


@click.command()
@click.argument("name", metavar="NAME|DIR|RECORD.json|hf-hub:OWNER/REPO")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="File to write: .png or .npy.")
@click.option("--members", default=20, show_default=True, type=click.IntRange(min=1), help="How many.")
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same members.")
@click.option("--threshold", default=1.0, show_default=True, help="Draw the probability of more than this value.")
@click.option("--inputs", type=click.IntRange(min=1), help="Frames to read [default: as it was trained].")
@click.option("--horizon", type=click.IntRange(min=1), help="Frames to forecast [default: as it was trained].")
@click.option("--start", metavar="TIME|NUMBER", help="First frame to read [default: the latest frames are read].")
@click.option("--compare", is_flag=True, help="Compare the forecast with the observed frames of the file.")
@click.option("--key", default="", help="Name of the array, where an HDF5, netCDF or Zarr file has several.")
def ensemble(
    name: str,
    files: tuple[Path, ...],
    out: Path,
    members: int,
    seed: int,
    threshold: float,
    inputs: int | None,
    horizon: int | None,
    start: str | None,
    compare: bool,
    key: str,
) -> None:
    """Forecast what follows the frames in FILE as an ensemble, and draw its mean, spread and probabilities.

    NAME is a model that reads noise, such as converted weights of IRENE. FILE is as for predict; radar files are read
    at their own resolution. A .npy holds the members, (members, horizon, H, W) in the unit of the data. With --compare
    the ensemble is scored by the CRPS of pysteps, compared with the last frame and, for rain, pysteps' extrapolation:
    less is better.

    \b
    convrnn-zoo ensemble irene frames.npy -o ensemble.png
    convrnn-zoo ensemble irene frames.npy -o members.npy --members 50 --seed 1
    """
    from ..train.ensembles import ensemble_strip
    from ..train.pictures import save
    from ._forecast import make_forecast, summary

    check_suffix(out, ENDS)
    check_not_input(out, files)
    with words_to_stderr():
        model = from_pretrained(name)
        if not isinstance(model, EnsembleForecaster):
            raise ValueError(f"{name} reads no noise and makes one forecast; `convrnn-zoo predict` gives it")
        made = make_forecast(
            model, name, files, inputs=inputs, horizon=horizon, start=start, compare=compare, key=key, coarsen=1,
            members=members, seed=seed,
        )  # fmt: skip
    if out.suffix == ".npy":
        with atomic_write(out) as temporary, temporary.open("wb") as file:
            np.save(file, made.forecast.numpy())
    else:
        complete = made.observed is not None and len(made.observed) == made.horizon
        shown = made.observed if complete else None
        heading = f"{name}: {files[0].name}, {members} members"
        drawn = ensemble_strip(made.forecast, made.preprocessing, threshold=threshold, truth=shown, heading=heading)
        save([drawn], out)
    click.echo(f"{summary(made, out)}; {plural(members, 'member')}")
    if made.observed is not None and importlib.util.find_spec("pysteps"):
        click.echo(scores_text(made.forecast, made.inputs, made.observed, made.preprocessing.unit))


def scores_text(made: Tensor, inputs: Tensor, truth: Tensor, unit: str) -> str:
    """A row a lead time: the CRPS of the ensemble, of the last frame and, of rain, of pysteps' extrapolation."""
    from ..train.baselines import extrapolation
    from ..train.ensembles import ensemble_scores

    known = len(truth)
    methods = {"ensemble": made[:, :known], "last frame": inputs[-1].expand(1, known, *inputs.shape[1:])}
    if unit == "mm/h" and len(inputs) > 1 and importlib.util.find_spec("cv2"):
        methods["extrapolation"] = extrapolation(inputs.nan_to_num(0)[None, :, None], known)[:, :, 0]
    scores = {method: ensemble_scores(frames, truth)["CRPS"] for method, frames in methods.items()}
    rows = [(f"+{t + 1}", *(f"{values[t]:.4g}" for values in scores.values())) for t in range(known)]
    means = [f"{torch.tensor(values).mean():.4g}" for values in scores.values()]
    return columns([*rows, ("mean", *means)], header=(f"CRPS {unit}".strip(), *scores))
