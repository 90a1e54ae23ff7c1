"""Custom data types that read the shipped data sets give the same sequences and weights, bit for bit."""

import dataclasses
import hashlib

import numpy as np
import pytest
import torch

from convrnn_zoo.data import FRAME_DATASETS
from convrnn_zoo.data.datasets.rain import read_events
from convrnn_zoo.data.formats.radar import COARSEN
from convrnn_zoo.recipes import Recipe
from convrnn_zoo.train import train
from tests.helpers.train.runs import sha256
from tests.helpers.train.tiny_recipes import PLAIN

AS_RAIN = {
    "kind": "frames",
    "name": "rain",
    "unit": "mm/h",
    "step": 5,
    "encoding": "log",
    "crop": 64,
    "stride": 8,
    "min_valid_fraction": 1.0,
    "min_wet_fraction": 0.05,
    "flip": True,
    "split": "time",
    "valid_min": 0.0,
    "valid_max": 300.0,
    "pixel_km": 2.0,
}
DRAWN = {
    "draw": "a7966c3cc959cd9a76ed566f53b28fb28b1b65ad6107147fd710a2e54c074813",
    "fixed": "4c95ee43334ce83b173f0fee47d7c12bb355da618c4e4d74a5e466ea3bd0c4a6",
}
"""Of the bytes of the sequences, as version 0.1.0 drew them."""


def test_digits_move_as_they_did(digits):
    clips = FRAME_DATASETS["moving_mnist"]().load(digits, "train", 4, 3)
    torch.manual_seed(5)
    clips_by_source = {"draw": torch.cat([clips.draw(3), clips.draw(2)]), "fixed": clips.fixed(4)}
    assert {
        k: hashlib.sha256((v * 255).round().byte().numpy().tobytes()).hexdigest() for k, v in clips_by_source.items()
    } == DRAWN


@pytest.mark.slow
def test_rain_from_custom_arrays_equals_rain_from_composites(rain, tmp_path):
    for i, event in enumerate(read_events(rain, COARSEN)):
        np.savez(tmp_path / f"{i}.npz", x=event.read()[:, 0].numpy())  # with dates, one date would cut both events
    recipe = dataclasses.replace(PLAIN, data={"kind": "rain"}, loss="balanced_light", max_steps=2, test_sequences=4)
    shipped = train(recipe, data=rain, out=tmp_path / "shipped", progress=False)
    custom = train(dataclasses.replace(recipe, data=AS_RAIN), data=tmp_path, out=tmp_path / "own", progress=False)
    assert custom.sha256 == shipped.sha256 == sha256(tmp_path / "own" / "model.safetensors")
    assert [m.value for m in custom.metrics] == [m.value for m in shipped.metrics]
    assert custom.preprocessing == shipped.preprocessing


def test_a_recipe_that_names_a_shipped_set_either_way_is_the_same(digits, tmp_path):
    text = PLAIN.to_toml()
    assert '[data]\nkind = "moving_mnist"' in text
    named = 'data = "moving_mnist"\n' + text.replace('[data]\nkind = "moving_mnist"\nvalidation = 0.0\n', "")
    assert Recipe.parse(named) == Recipe.parse(text) == PLAIN
