"""Suggestions for misspelt names."""

import pytest

from convrnn_zoo import Conv2dGRU, create_model, video_model
from convrnn_zoo._hints import suggest
from convrnn_zoo.recipes import Recipe
from convrnn_zoo.recipes.sampling import read_sampling
from convrnn_zoo.verify.losses import find_loss

NAMES = ["convgru2d_1layer", "convgru2d_2layer", "convlstm2d_1layer", "predrnn_v2"]


@pytest.mark.parametrize("name", ["predrnn_v", "PredRNN_V2", "predrn_v2", "predrnnv2"])
def test_a_similar_name_is_suggested(name):
    assert suggest(name, NAMES) == "did you mean predrnn_v2?"


def test_a_long_list_is_cut():
    text = suggest("zzz", (f"a{i}" for i in range(110)))
    assert "a19" in text
    assert "a20" not in text
    assert "110" in text


@pytest.mark.parametrize(
    ("build", "suggestion"),
    [
        (lambda: find_loss("mes"), "mse"),
        (lambda: find_loss("mse+mea"), "mae"),
        (lambda: read_sampling({"name": "schedule"}), "scheduled"),
        (lambda: Recipe.of({"kind": "forecastr"}), "forecaster"),
        (lambda: Conv2dGRU(1, 2, 3, padding_mode="circularr"), "circular"),
        (lambda: Conv2dGRU(1, 2, 3, norm="grup"), "group"),
        (lambda: create_model("convgru1d_1layer", global_pool="avrg"), "avg"),
        (lambda: video_model("resnet18", "convgu"), "convgru"),
    ],
)
def test_a_misspelt_value_is_answered_with_a_suggestion(build, suggestion):
    with pytest.raises(ValueError, match=f"did you mean .*{suggestion}"):
        build()
