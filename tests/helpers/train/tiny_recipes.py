"""Recipes of forecasters so small that a run takes a second."""

import dataclasses
import sys

from convrnn_zoo.recipes import ForecasterRecipe

TINY = ForecasterRecipe(
    weights="predrnn_v2.tiny",
    data="moving_mnist",
    description="Forecasts squares.",
    license="mit",
    inputs=3,
    horizon=3,
    max_steps=6,
    batch_size=2,
    lr=0.01,
    loss="mse",
    checkpoint_every=2,
    test_sequences=4,
    decoupling=0.1,
    model={"hidden_channels": 2, "num_layers": 2, "kernel_size": 3},
    sampling={"name": "scheduled", "until": 4},
)
PLAIN = dataclasses.replace(
    TINY,
    weights="convgru_forecaster.tiny",
    model={"hidden_channels": [2, 2], "kernel_size": 3},
    sampling={},
    decoupling=0.0,
)
SAMPLING_ARGS = {"own": {}, "scheduled": {"until": 100}, "reverse_scheduled": {"begin": 20, "end": 60, "decay": 10}}
"""Arguments of every kind of scheduled sampling."""
FILE = """
kind = "forecaster"
weights = "convlstm_openstl_s.tiny"
data = "moving_mnist"
description = "Forecasts squares."
license = "mit"
inputs = 3
horizon = 3
max_steps = 8
batch_size = {batch}
lr = 0.01
loss = "mse"
checkpoint_every = 1
test_sequences = 4
[model]
hidden_channels = [2, 2]
kernel_size = 3
[sampling]
name = "scheduled"
until = 4
"""


def train_command(recipe, data, out, *launcher):
    """The command line that trains a recipe file, with a launcher's arguments in front if there is one."""
    return [
        sys.executable,
        *launcher,
        "-m",
        "convrnn_zoo",
        "train",
        str(recipe),
        "--data",
        str(data),
        "-o",
        str(out),
        "--quiet",
    ]
