"""Scores of the shipped forecasters on the small data sets of the repository. Run as a script, it writes them."""

import json
from pathlib import Path

import numpy as np

from convrnn_zoo import WEIGHTS, create_model
from convrnn_zoo.data import CroppedSequences, Frames, Window, to_table
from convrnn_zoo.models import Forecaster
from convrnn_zoo.recipes import find_recipe
from convrnn_zoo.verify import Scores, evaluate

HERE = Path(__file__).parents[2] / "train" / "small"
DEMO = Path(__file__).parents[3] / "convrnn_zoo" / "demo"
SCORES = HERE / "scores.json"
FORECASTERS = [n for n in WEIGHTS if isinstance(create_model(n, device="meta"), Forecaster)]


def rain(length: int) -> CroppedSequences:
    """Returns crops of the demo's rain sample."""
    frames = Frames(path=DEMO / "rain.npz", array=np.load(DEMO / "rain.npz")["x"].astype("float32"))
    return CroppedSequences.search([frames], Window(length, 64, 64, stride=8, min_valid=1.0, min_wet=0.05))


def small_scores(name: str) -> Scores:
    """Returns each metric of the forecast and of the last frame by lead time."""
    model = create_model(name, pretrained=True)
    recipe = find_recipe(model)
    sizes, kind = (recipe.inputs, recipe.horizon), to_table(recipe.data)["kind"]
    clips = rain(sum(sizes)) if kind == "rain" else recipe.data.load(HERE / kind, "test", *sizes)
    return evaluate(model, recipe, clips, 16, ensemble_size=0, baselines=["last frame"]).scores


if __name__ == "__main__":
    SCORES.write_text(json.dumps({n: small_scores(n)["forecast"] for n in FORECASTERS}, indent=1) + "\n")
