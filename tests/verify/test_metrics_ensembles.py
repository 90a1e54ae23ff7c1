"""Ensembles: their loss compared with pysteps' score, scores by lead time, figures and training."""

import dataclasses
import math
from functools import partial

import numpy as np
import pytest
import torch

from convrnn_zoo import EnsembleForecaster, Preprocessing
from convrnn_zoo.data.datasets.moving_mnist import MovingDigits
from convrnn_zoo.predict import load_forecaster
from convrnn_zoo.train import forecaster as training
from convrnn_zoo.verify.baselines import extrapolation
from convrnn_zoo.verify.evaluation import evaluate
from convrnn_zoo.verify.figures import ensemble_rows, ensemble_strip
from convrnn_zoo.verify.losses import crps, quantile, quantile_crps
from convrnn_zoo.verify.metrics import BrierScores, Occurrences, ProbabilityScores, ensemble_scores
from tests.helpers.train.runs import interrupted, same
from tests.helpers.train.small_scores import rain
from tests.helpers.train.tiny_recipes import PLAIN

RAIN = Preprocessing(encoding="dbz", unit="mm/h", step=5.0)
RECIPE = dataclasses.replace(PLAIN, weights="convgru_irene.tiny", loss="crps", ensemble_size=3, model={"num_blocks": 2})


@pytest.fixture
def clips():
    return MovingDigits(torch.full((3, 8, 8), 255, dtype=torch.uint8), 6, size=16)


def pairs(members, truth):
    """The fair score, from every pair of members."""
    count = len(members)
    apart = sum((a - b).abs().mean() for a in members for b in members) / (count * (count - 1))
    return (members - truth).abs().mean() - apart / 2


@pytest.mark.parametrize("count", [2, 3, 7])
def test_loss_and_scores_are_the_fair_score_of_every_pair(count):
    members, truth = torch.randn(count, 4, 5, dtype=torch.double), torch.randn(4, 5, dtype=torch.double)
    fair = crps(members, truth, truth)
    torch.testing.assert_close(fair, pairs(members, truth))
    assert ensemble_scores(members[:, None], truth[None])["CRPS"] == pytest.approx([float(fair)])
    scores = ProbabilityScores((), 1)
    scores.add(members[:, None, None, None], truth[None, None, None])
    assert scores.scores("")["CRPS"] == pytest.approx([float(fair)], rel=1e-5)
    members.requires_grad_()
    assert torch.autograd.gradcheck(lambda m: crps(m, truth, truth), members)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_the_score_of_quantiles_is_their_pinball_loss_and_that_of_pysteps(count):
    members, truth = torch.randn(count, 4, 5, dtype=torch.double), torch.randn(4, 5, dtype=torch.double)
    score = quantile_crps(members, truth)
    levels = [(i + 0.5) / count for i in range(count)]
    pinball = [quantile(q, truth, truth, p) for q, p in zip(members.sort(0).values, levels, strict=True)]
    torch.testing.assert_close(score.mean(), 2 * torch.stack(pinball).mean())
    scores = ProbabilityScores((), 1, are_quantiles=True)
    scores.add(members[:, None, None, None], truth[None, None, None])
    assert scores.scores("")["CRPS"] == pytest.approx([float(score.mean())], rel=1e-5)
    probscores = pytest.importorskip("pysteps.verification.probscores", reason="the extra nowcast")
    theirs = probscores.CRPS(members.flatten(1).numpy(), truth.flatten().numpy())
    assert theirs == pytest.approx(float(score.mean()))


@pytest.mark.parametrize("count", [3, 20])
@pytest.mark.parametrize("are_quantiles", [False, True])
def test_scores_of_a_calibrated_ensemble_do_not_depend_on_its_size(are_quantiles, count):
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(1, 200, 200, generator=generator)
    if are_quantiles:
        levels = (torch.arange(count) + 0.5) / count
        members = torch.distributions.Normal(0, 1).icdf(levels)[:, None, None, None].expand(-1, *truth.shape)
    else:
        members = torch.randn(count, *truth.shape, generator=generator)
    scores = ensemble_scores(members, truth, are_quantiles)
    assert scores["CRPS"] == pytest.approx([math.pi**-0.5], rel=0.02 if count == 20 or not are_quantiles else 0.1)
    if count == 20 or not are_quantiles:  # a few quantiles have no tails
        assert scores["spread"] == pytest.approx(scores["RMSE of the mean"], rel=0.04)


@pytest.mark.parametrize("count", [2, 20])
def test_brier_scores_of_random_members_do_not_depend_on_their_number(count):
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(100, 1, 1, 40, 40, generator=generator)
    scores = ProbabilityScores((0.5,), 1)
    scores.add(torch.rand(count, *truth.shape, generator=generator), truth)
    assert scores.scores("")["Brier 0.5"] == pytest.approx([0.25], rel=0.02)


def test_frames_of_numpy_are_scored():
    members, truth = torch.rand(3, 2, 4, 5), torch.rand(2, 4, 5)
    assert ensemble_scores(members.numpy(), truth.numpy()) == ensemble_scores(members, truth)


def test_of_one_forecast_the_score_is_the_mean_absolute_error():
    one, truth = torch.rand(1, 3, 4, 5), torch.rand(3, 4, 5)
    torch.testing.assert_close(crps(one, truth, truth), (one[0] - truth).abs().mean())
    torch.testing.assert_close(crps(one[0], truth, truth), (one[0] - truth).abs().mean())
    pytest.importorskip("pysteps", reason="the extra nowcast")
    scores = ensemble_scores(one, truth)
    assert scores["CRPS"] == pytest.approx((one[0] - truth).abs().mean((1, 2)).tolist(), rel=1e-5)
    assert scores["spread"] == [0, 0, 0]


def test_scores_ignore_unknown_pixels_and_rank_the_baselines():
    pytest.importorskip("pysteps", reason="the extra nowcast")
    pytest.importorskip("cv2", reason="the extra nowcast")
    y, x = np.mgrid[:48, :48]
    frames = torch.stack([torch.tensor(20 * np.exp(-((x - 12 - 2 * t) ** 2 + (y - 24) ** 2) / 60)) for t in range(8)])
    truth = frames[4:].float()
    moved = extrapolation(frames[None, :4, None].float(), 4)[0, :, 0]
    still = frames[3].float().expand(4, -1, -1)
    around = moved + 0.1 * torch.randn(6, *moved.shape)
    scores = {name: ensemble_scores(m, truth) for name, m in (("pysteps", moved[None]), ("last frame", still[None]))}
    assert all(a < b for a, b in zip(*(scores[n]["CRPS"] for n in ("pysteps", "last frame")), strict=True))
    assert ensemble_scores(around, truth)["spread"] == pytest.approx([0.1 * (7 / 6) ** 0.5] * 4, rel=0.03)
    unknown = truth.clone()
    unknown[:, :4] = float("nan")
    cut = ensemble_scores(around[:, :, 4:], truth[:, 4:])
    masked = ensemble_scores(around, unknown)
    for name, values in cut.items():
        assert masked[name] == pytest.approx(values, rel=1e-6), name
    with pytest.raises(ValueError, match=r"members \(M, T, H, W\).*truth \(T, H, W\)"):
        ensemble_scores(around, truth[:2])


@pytest.mark.linda
def test_a_nowcast_is_compared_with_an_ensemble_of_steps():
    pytest.importorskip("pysteps", reason="the extra nowcast")
    pytest.importorskip("cv2", reason="the extra nowcast")
    model, recipe, _ = load_forecaster("convgru_advection.nowcast")
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


def test_occurrences_and_reliability_are_those_of_pysteps():
    """The nowcast is verified with pysteps, so that both count the same."""
    probscores = pytest.importorskip("pysteps.verification.probscores", reason="the extra nowcast")
    detcatscores = pytest.importorskip("pysteps.verification.detcatscores", reason="the extra nowcast")
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(3, 1, 1, 20, 20, generator=generator) * 4
    members = (truth + torch.randn(7, *truth.shape, generator=generator)).clamp_min(0)
    counter, scores = Occurrences(2.0, 1), ProbabilityScores((2.0,), 1)
    counter.add(members[0], truth)
    scores.add(members, truth)
    theirs = detcatscores.det_cat_fct(members[0].numpy(), truth.numpy(), 2.0, scores=["CSI", "POD", "FAR"])
    for name, value in theirs.items():
        assert counter.scores()[name] == pytest.approx([value]), name
    probability, occurred = (members >= 2).double().mean(0).flatten().numpy(), truth.flatten().numpy()
    diagram = probscores.reldiag_init(2.0, n_bins=10, min_count=1)
    probscores.reldiag_accum(diagram, probability, occurred)  # sevenths: none is the edge of a bin
    with np.errstate(invalid="ignore"):  # of empty bins
        forecast, observed = probscores.reldiag_compute(diagram)
    ours = scores.reliability("")["2"]
    assert ours["forecast"] == pytest.approx(list(forecast), abs=1e-6, nan_ok=True)
    assert ours["observed"] == pytest.approx(list(observed), nan_ok=True)


@pytest.mark.parametrize("threshold", [-0.5, 0.0, 0.5])
def test_unknown_pixels_do_not_count(threshold):
    forecast, truth = torch.randn(2, 1, 1, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    left = Occurrences(threshold, 1)
    left.add(forecast[..., :7], truth[..., :7])
    for unknown in (truth, forecast):
        whole, part = Occurrences(threshold, 1), unknown.clone()
        part[..., 7:] = torch.nan
        whole.add(*(part if x is unknown else x for x in (forecast, truth)))
        for name in ("CSI", "POD", "FAR"):
            assert whole.scores()[name] == left.scores()[name], name
    brier, known = BrierScores([threshold], 1), BrierScores([threshold], 1)
    known.add(threshold, forecast[..., :7].sigmoid(), truth[..., :7])
    brier.add(threshold, part.sigmoid(), truth)
    (found,), (expected,) = brier.scores("").values(), known.scores("").values()
    assert found == pytest.approx(expected, rel=1e-6)


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


@pytest.mark.slow
def test_an_ensemble_is_plotted():
    pytest.importorskip("matplotlib", reason="the extra draw")
    members = 20 * torch.rand(4, 8, 20, 30)
    plain = ensemble_strip(members, RAIN, threshold=1.0)
    beside = ensemble_strip(members, RAIN, threshold=1.0, truth=members[0], heading="four members")
    assert beside.size[1] > plain.size[1] > 200
    assert len(beside.getcolors(1 << 24)) > 100
    assert ensemble_strip(members[:1, :1], Preprocessing(highest=1.0, lowest=0.0), threshold=0.5).size[0] > 100


# ---- training -------------------------------------------------------------------------------------------------------
def test_members_are_trained_and_a_run_goes_on_where_it_was_interrupted(clips, tmp_path):
    def train(**kwargs):
        return training.train_model(RECIPE, clips, progress=False, **kwargs)

    expected, history = train()
    assert isinstance(expected, EnsembleForecaster)
    interrupted(lambda: train(out=tmp_path), saves=1)
    model, again = train(out=tmp_path)
    assert same(model, expected)
    assert again == history


@pytest.mark.parametrize(
    "entries",
    [{"loss": "mse"}, {"weights": "convgru_forecaster.tiny", "model": {"hidden_channels": [2, 2], "kernel_size": 3}}],
)
def test_members_are_for_the_score_and_for_models_that_read_noise(clips, entries):
    with pytest.raises(ValueError, match=r"ensemble_size=3.*crps.*EnsembleForecaster"):
        training.train_model(dataclasses.replace(RECIPE, **entries), clips, progress=False)


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
    model, history = training.train_model(recipe, clips, progress=False)
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
