"""A forecast of the frames of files, as numbers or pictures."""

import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from .._atomic import atomic_write, check_suffix, write_text
from ..data.radar import COARSEN
from ..models import Forecaster, Preprocessing
from ..train._values import finite
from ..train.apply import preprocessing_of
from ..train.pictures import Panels, motion, save, strip
from ..train.recipe import ForecasterRecipe, Recipe
from ._frames import Frames, read_frames


class Forecast(NamedTuple):
    """What a model forecast of the frames of a file: ``(T, H, W)``, or of several channels ``(T, C, H, W)``.

    Of an ensemble the forecast is ``(members, T, H, W)``.
    """

    model: str
    file: str
    inputs: Tensor
    forecast: Tensor
    truth: Tensor | None
    labels: list[str] | None
    values: Preprocessing


def values_of(model: Forecaster, name: str, recipe: str | None = None) -> Preprocessing:
    """What a forecaster's values mean: as it says itself, or else its recipe.

    Raises:
        ValueError: neither says so, or they contradict each other.
    """
    if recipe is not None:
        chosen = Recipe.read(recipe)
        if not isinstance(chosen, ForecasterRecipe):
            raise ValueError(f"the recipe {recipe} is of no forecaster; pass another, or none")
        if model.preprocessing not in (None, preprocessing_of(chosen)):
            raise ValueError(f"the recipe {recipe} is of other data than {name} was trained on; leave it out")
        model.preprocessing = preprocessing_of(chosen)
    if model.preprocessing is None:
        raise ValueError(f"{name} does not say what its values mean; name the recipe that it was trained by: --recipe")
    return model.preprocessing


def check_kind(frames: Frames, values: Preprocessing, file: Path) -> None:
    """Refuses frames of which the file says that they are not what the model was trained on."""
    words = {"": "brightness", None: "values"}
    if frames.unit is not None and frames.unit != values.unit:
        came, wanted = (words.get(unit, unit) for unit in (frames.unit, values.unit))
        raise ValueError(
            f"{file} holds {came}, and the model forecasts {wanted}; convert it and save {wanted} as floats in a .npy, "
            "or take another model: convrnn-zoo list --pretrained"
        )
    if None not in (frames.step, values.step) and frames.step != values.step:
        raise ValueError(
            f"{file} has a frame every {frames.step:g} minutes, and the model was trained on one every "
            f"{values.step:g}; give frames at that step"
        )


def forecast_of(
    model: Forecaster,
    name: str,
    files: Sequence[Path],
    *,
    recipe: str | None = None,
    inputs: int | None = None,
    horizon: int | None = None,
    coarsen: int = COARSEN,
    key: str = "",
    **members: Any,
) -> Forecast:
    """Forecasts what follows the first frames of the files; the frames after those are the truth.

    The files are one array (`key` in a file of several), GIF or video, or radar files, of which `coarsen` pixels a side
    become one. `name` is what the model was called by, `recipe` that of weights that do not say what their values mean,
    `members` what the ``forecast`` of an ensemble takes beside. By default as many frames are read and forecast as in
    training.

    Raises:
        ValueError: files or model will not do.
    """
    values = values_of(model, name, recipe)
    ahead = horizon or model.horizon
    wanted = inputs or values.inputs
    most = wanted + ahead if wanted else None
    frames = read_frames(files, coarsen, add=ahead, channels=3 if model.in_chans == 3 else 1, key=key, most=most)
    check_kind(frames, values, files[0])
    read = min(wanted or len(frames.frames), len(frames.frames))
    if inputs is None and values.inputs and read < values.inputs:
        warnings.warn(
            f"{files[0]} has {read} frames, and the model was trained to read {values.inputs}; give as many, or say by "
            f"--inputs {read} that this is meant",
            stacklevel=2,
        )
    made = model.forecast(frames.frames[:read], ahead, **members)
    truth = frames.frames[read : read + ahead]
    title = model.record.name if model.record else name
    shown = truth if len(truth) else None
    return Forecast(title, files[0].name, frames.frames[:read], made, shown, frames.labels, values)


# ---- numbers ---------------------------------------------------------------------------------------------------
def facts(made: Forecast) -> dict[str, Any]:
    """What a forecast is, as plain JSON without its numbers."""
    known = 0 if made.truth is None else len(made.truth)
    return {
        "file": made.file, "model": made.model, "unit": made.values.unit, "step": made.values.step,
        "inputs": len(made.inputs), "horizon": len(made.forecast), "shape": list(made.forecast.shape), "known": known,
        **errors(made),
    }  # fmt: skip


def errors(made: Forecast) -> dict[str, float | None]:
    """The mean squared error where the truth is known, beside that of the last frame; nothing where it is not."""
    if made.truth is None:
        return {}
    ours = (made.forecast[: len(made.truth)] - made.truth).square().nanmean().item()
    still = (made.inputs[-1] - made.truth).square().nanmean().item()
    return {"mean squared error": finite(ours), "of the last frame": finite(still)}


def as_json(made: Forecast) -> str:
    """A forecast with its numbers as JSON; what is not known is null."""
    return json.dumps({**facts(made), "forecast": finite(made.forecast.tolist())}, ensure_ascii=False) + "\n"


def told(made: Forecast, out: Path) -> str:
    """A line that says what was written."""
    all_facts = facts(made)
    unit = f" ({made.values.unit})²" if made.values.unit else ""
    count = tuple(all_facts[key] for key in ("inputs", "horizon", "known"))
    line = "{}: {} frames read, {} forecast, {} of them known".format(out, *count)
    if made.truth is None:
        return line
    ours, still = (float("nan") if v is None else v for v in errors(made).values())
    return f"{line}; mean squared error {ours:.3g}, the last frame's {still:.3g}{unit}"


# ---- files -----------------------------------------------------------------------------------------------------
def _panels(made: Forecast) -> Panels:
    def first(x: Tensor) -> Tensor:
        return x[:, 0] if x.dim() == 4 else x

    truth = None if made.truth is None else first(made.truth)
    return Panels(first(made.inputs), first(made.forecast), truth, made.labels)


def _write_npy(made: Forecast, path: Path) -> None:
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.save(file, made.forecast.numpy())


def _write_npz(made: Forecast, path: Path) -> None:
    ahead = (made.labels or [])[len(made.inputs) : len(made.inputs) + len(made.forecast)]
    arrays: dict[str, Any] = {
        "forecast": made.forecast.numpy(), "unit": made.values.unit, "step": made.values.step or np.nan,
        **({"labels": np.array(ahead)} if ahead else {}),
    }  # fmt: skip
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


NUMBERS: dict[str, Callable[[Forecast, Path], Any]] = {
    ".npy": _write_npy, ".npz": _write_npz, ".json": lambda made, path: write_text(path, as_json(made)),
}  # fmt: skip
"""How a forecast is written as numbers, by the end of the file's name."""
ENDS = (*NUMBERS, ".png", ".gif", ".mp4")


def write_forecast(made: Forecast, out: Path) -> None:
    """Writes a forecast, in the unit of its data, as numbers or pictures; whole or not at all.

    Raises:
        ValueError: the name ends otherwise.
    """
    check_suffix(out, ENDS)
    if out.suffix in NUMBERS:
        NUMBERS[out.suffix](made, out)
        return
    heading = f"{made.model}: {made.file}"
    panels = _panels(made)
    if out.suffix == ".png":
        save([strip(panels, made.values, heading)], out)
    else:
        save(motion(panels, made.values, heading), out)
