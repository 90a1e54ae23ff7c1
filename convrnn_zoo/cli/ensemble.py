"""``convrnn-zoo ensemble``."""

import importlib.util
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor

from .._whole import check_end, whole
from ..models import EnsembleForecaster, from_pretrained
from ._text import columns
from .predict import words_to_stderr

ENDS = (".npy", ".png")


@click.command()
@click.argument("name", metavar="NAME|DIR|RECORD.json|hf-hub:OWNER/REPO")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="File to write: .png or .npy.")
@click.option("--members", default=20, show_default=True, type=click.IntRange(min=1), help="How many.")
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same members.")
@click.option("--threshold", default=1.0, show_default=True, help="Draw the probability of more, in the data's unit.")
@click.option("--inputs", type=click.IntRange(min=1), help="Frames to read [default: as it was trained].")
@click.option("--horizon", type=click.IntRange(min=1), help="Frames to forecast [default: as it was trained].")
def ensemble(
    name: str,
    files: tuple[Path, ...],
    out: Path,
    members: int,
    seed: int,
    threshold: float,
    inputs: int | None,
    horizon: int | None,
) -> None:
    """Forecast what follows the frames in FILE as an ensemble, and draw its mean, spread and probabilities.

    NAME is a model that reads noise, such as converted weights of IRENE. FILE is as for predict; radar files are read
    at their own resolution. A .npy holds the members, (members, horizon, H, W) in the unit of the data. Where FILE goes
    on behind the frames that are read, the ensemble is scored by the CRPS of pysteps, beside the last frame and, of
    rain, pysteps' extrapolation: less is better.

    \b
    convrnn-zoo ensemble irene frames.npy -o ensemble.png
    convrnn-zoo ensemble irene frames.npy -o members.npy --members 50 --seed 1
    """
    from ..train.ensembles import ensemble_strip
    from ..train.pictures import save
    from ._forecast import check_kind, values_of
    from ._frames import read_frames

    check_end(out, ENDS)
    with words_to_stderr():
        model = from_pretrained(name)
        if not isinstance(model, EnsembleForecaster):
            raise ValueError(f"{name} reads no noise and makes one forecast; `convrnn-zoo predict` gives it")
        values, ahead = values_of(model, name), horizon or model.horizon
        frames = read_frames(files, add=ahead)
        check_kind(frames, values, files[0])
        read = min(inputs or values.inputs or len(frames.frames), len(frames.frames))
        made = model.forecast(frames.frames[:read], ahead, members=members, seed=seed)
    truth = frames.frames[read : read + ahead]
    if out.suffix == ".npy":
        with whole(out) as temporary, temporary.open("wb") as file:
            np.save(file, made.numpy())
    else:
        shown = truth if len(truth) == ahead else None
        heading = f"{name}: {files[0].name}, {members} members"
        save([ensemble_strip(made, values, threshold=threshold, truth=shown, heading=heading)], out)
    click.echo(f"{out}: {read} frames read, {members} members of {ahead} frames, {len(truth)} of them known")
    if len(truth) and importlib.util.find_spec("pysteps"):
        click.echo(scores_text(made, frames.frames[:read], truth, values.unit))


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
