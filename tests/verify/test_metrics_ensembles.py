"""Ensembles: their loss compared with pysteps' score, scores by lead time, figures and training."""

import dataclasses
from functools import partial

import pytest
import torch

from convrnn_zoo import create_model
from convrnn_zoo.data.datasets.moving_mnist import MovingDigits
from convrnn_zoo.recipes import find_recipe
from convrnn_zoo.verify.evaluation import evaluate
from convrnn_zoo.verify.figures import ensemble_rows
from convrnn_zoo.verify.metrics import BrierScores, Occurrences, ProbabilityScores, ensemble_scores
from tests.helpers.train import runs
from tests.helpers.train.small_scores import rain
from tests.helpers.train.tiny_recipes import PLAIN

RECIPE = dataclasses.replace(PLAIN, weights="convgru_irene.tiny", loss="crps", ensemble_size=3, model={"num_blocks": 2})


@pytest.fixture
def clips():
    return MovingDigits(torch.full((3, 8, 8), 255, dtype=torch.uint8), 6, size=16)


def test_frames_of_numpy_are_scored():
    members, truth = torch.rand(3, 2, 4, 5), torch.rand(2, 4, 5)
    assert ensemble_scores(members.numpy(), truth.numpy()) == ensemble_scores(members, truth)


@pytest.mark.linda
def test_a_nowcast_is_compared_with_an_ensemble_of_steps():
    pytest.importorskip("pysteps", reason="the extra nowcast")
    pytest.importorskip("cv2", reason="the extra nowcast")
    model = create_model("convgru_advection.nowcast", pretrained=True)
    recipe = find_recipe(model)
    clips = rain(recipe.inputs + recipe.horizon)
    scores = evaluate(model, recipe, clips, 2, ensemble_size=4).scores
    assert {"S-PROG", "ANVIL", "LINDA", "STEPS"} < set(scores)
    for one in ("extrapolation", "S-PROG", "ANVIL", "LINDA"):
        assert scores[one]["CRPS"] == pytest.approx(scores[one]["MAE"], rel=1e-4)
    assert all(c < e for c, e in zip(scores["STEPS"]["CRPS"], scores["STEPS"]["MAE"], strict=True))
    assert "STEPS" not in evaluate(model, recipe, clips, 1, ensemble_size=0).scores
    chosen = evaluate(model, recipe, clips, 1, ensemble_size=0, baselines=["ANVIL", "last frame"]).scores
    assert set(chosen) == {"forecast", "last frame", "ANVIL"}
    assert "ANVIL" not in evaluate(model, recipe, clips, 1, ensemble_size=0, leave_out=["ANVIL", "LINDA"]).scores
    with pytest.raises(ValueError, match=r"STEPS.*last frame.*S-PROG"):
        evaluate(model, recipe, clips, 1, ensemble_size=0, baselines=["STEPS"])


def test_a_value_at_the_threshold_exceeds_it_in_all_scores():
    members, truth = torch.ones(2, 1, 1, 1, 2, 2), torch.ones(1, 1, 1, 2, 2)
    counter, occurring, missed = Occurrences(1.0, 1), ProbabilityScores((1.0,), 1), ProbabilityScores((1.0,), 1)
    counter.add(members[0], truth)
    occurring.add(members, truth - 1)
    missed.add(members - 1, truth)
    assert counter.scores()["CSI"] == [1.0]
    assert occurring.scores("")["Brier 1"] == missed.scores("")["Brier 1"] == [1.0]
    assert ensemble_rows(members[:, 0, :, 0], (1.0,), None, "mm/h")["P(≥ 1 mm/h)"].unique().tolist() == [1.0]


def test_rows_of_a_figure():
    members = torch.tensor([[0.0, 3.0, float("nan")], [2.0, 5.0, float("nan")]]).reshape(2, 1, 1, 3)
    rows = ensemble_rows(members, (1.0,), members[0], "mm/h")
    assert list(rows) == ["truth", "mean", "std", "P(≥ 1 mm/h)"]
    assert rows["P(≥ 1 mm/h)"].flatten()[:2].tolist() == [0.5, 1.0]
    assert rows["mean"].flatten()[:2].tolist() == [1.0, 4.0]
    assert all(frames.flatten()[2].isnan() for frames in rows.values())


# ---- training -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "entries",
    [{"loss": "mse"}, {"weights": "convgru_forecaster.tiny", "model": {"hidden_channels": [2, 2], "kernel_size": 3}}],
)
def test_members_are_for_the_score_and_for_models_that_read_noise(clips, entries):
    with pytest.raises(ValueError, match=r"ensemble_size=3.*crps.*EnsembleForecaster"):
        runs.train_model(dataclasses.replace(RECIPE, **entries), clips, progress=False)


SMALL = {
    "convgru_irene": {"num_blocks": 2},
    "dgmr": {"context_channels": 16, "latent_channels": 32, "noise_channels": 1, "input_frames": 3},
}


@pytest.mark.slow
@pytest.mark.parametrize("members", [0, 3])
@pytest.mark.parametrize("name", SMALL)
def test_each_learns_by_a_recipe(name, members):
    edge = 64 if name == "dgmr" else 16
    clips = MovingDigits(torch.full((3, edge // 2, edge // 2), 255, dtype=torch.uint8), length=6, size=edge)
    recipe = dataclasses.replace(
        RECIPE,
        weights=f"{name}.tiny",
        model=SMALL[name],
        ensemble_size=members,
        max_steps=300,
        checkpoint_every=100,
        bf16=True,
    )
    model, history = runs.train_model(recipe, clips, progress=False)
    assert history[-1]["loss"] < 0.8 * history[0]["loss"]
    forecast = model.forecast(clips.fixed(2)[:, :3], members=4, seed=0)
    assert forecast.isfinite().all()


@pytest.mark.parametrize(("of_forecast", "of_truth"), [(3, 1), (1, 1), (2, 3)])
def test_frames_of_another_number_than_lead_times_are_errors(of_forecast, of_truth):
    forecast, truth = (torch.rand(1, 3, n, 9, 9)[:, :2] for n in (of_forecast, of_truth))
    for add in (
        Occurrences(0.5, 3).add,
        lambda f, t: ProbabilityScores((0.5,), 3).add(f[None], t),
        partial(BrierScores([0.5], 3).add, 0.5),
    ):
        with pytest.raises(ValueError, match=r"\(N, 3, C, H, W\)"):
            add(forecast, truth)


@pytest.mark.parametrize("window", [0, 4, 2.5])
def test_windows_have_a_middle(window):
    with pytest.raises((ValueError, TypeError), match="window"):
        Occurrences(0.5, 1, window)
