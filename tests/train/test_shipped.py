"""Scores in the metadata of the shipped forecasters, checked on the small data sets of the repository."""

import json

import pytest
import torch

from convrnn_zoo import WEIGHTS, create_model
from convrnn_zoo.recipes import RECIPES
from convrnn_zoo.verify import average
from tests.helpers.registry import slow_unless
from tests.helpers.train.small_scores import FORECASTERS, SCORES, small_scores


@pytest.fixture(scope="module", params=slow_unless("convgru_pyramid.moving_fashion_mnist".__eq__, FORECASTERS))
def scored(request):
    return request.param, small_scores(request.param)


def test_scores_match_the_recorded_ones(scored):
    name, scores = scored
    for metric, values in json.loads(SCORES.read_text())[name].items():
        assert scores["forecast"][metric] == pytest.approx(values, rel=0.01, nan_ok=True), metric


def test_metadata_describe_the_same_model(scored):
    """Other sequences of the same type: the scores are close, and not off by the size of a frame."""
    name, scores = scored
    claimed = {m.name: m.value for m in WEIGHTS[name].metrics}
    if WEIGHTS[name].recipe not in ("rain", "nowcast"):  # one hour of rain is like no other
        assert average(scores["forecast"]["MSE"]).value == pytest.approx(claimed["MSE"], rel=0.4)
    if "SSIM" in claimed:
        assert average(scores["forecast"]["SSIM"]).value == pytest.approx(claimed["SSIM"], abs=0.1)
    else:  # whole events are scored by group of lead times
        near = [v for k, v in claimed.items() if k.startswith("CSI 0.5") and k.endswith("35–60 min")]
        assert min(near) < average(scores["forecast"]["CSI 0.5 mm/h"][6:]).value


def test_it_is_better_than_the_last_frame_at_every_lead_time_from_the_second_frame_on(scored):
    _, scores = scored
    ours, still = scores["forecast"], scores["last frame"]
    assert all(a < b for a, b in zip(ours["MSE"][1:], still["MSE"][1:], strict=True))
    for metric in (m for m in ours if m.startswith("CSI 0.5")):  # then rain comes from outside
        assert all(a > b for a, b in zip(ours[metric][1:10], still[metric][1:10], strict=True))


@pytest.mark.parametrize("name", FORECASTERS)
def test_files_are_small_and_come_from_a_recipe_of_the_package(name):
    assert WEIGHTS[name].file.stat().st_size <= 6_000_000
    assert WEIGHTS[name].recipe in RECIPES


@pytest.mark.parametrize("name", FORECASTERS)
def test_any_size_and_horizon(name):
    model = create_model(name, pretrained=True)
    assert model.forecast(torch.rand(1, 10, 1, 37, 50), horizon=2).shape == (1, 2, 1, 37, 50)
