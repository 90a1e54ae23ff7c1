"""Scores of the shipped forecasters on the little data that lies in the repository; run as a script, writes them."""

import json
from datetime import datetime
from pathlib import Path

import numpy as np
import torch

from convrnn_zoo import WEIGHTS, create_model
from convrnn_zoo.data import Crops, Event, frames_of
from convrnn_zoo.data.radar import STEP
from convrnn_zoo.models import Forecaster
from convrnn_zoo.train import load_forecaster
from convrnn_zoo.train.scores import Scores, evaluate

HERE = Path(__file__).parent / "small"
DEMO = Path(__file__).parents[2] / "convrnn_zoo" / "demo"
SCORES = HERE / "scores.json"
FORECASTERS = [n for n in WEIGHTS if isinstance(create_model(n, device="meta"), Forecaster)]


def rain(length: int) -> Crops:
    """Crops of the sample of rain that the demo carries."""
    frames = torch.from_numpy(np.load(DEMO / "rain.npz")["x"].astype("float32"))
    return Crops([Event(frames, [datetime(2010, 8, 26, 4, 45) + i * STEP for i in range(len(frames))])], length)


def small_scores(name: str) -> Scores:
    """Of every method, each metric by lead time."""
    model, recipe, _ = load_forecaster(name)
    sizes, kind = (recipe.inputs, recipe.horizon), recipe.data["kind"]
    clips = rain(sum(sizes)) if kind == "rain" else frames_of(recipe.data).load(HERE / kind, "test", *sizes)
    return evaluate(model, recipe, clips, 16)


if __name__ == "__main__":
    SCORES.write_text(json.dumps({n: small_scores(n)["forecast"] for n in FORECASTERS}, indent=1) + "\n")
