"""Losses and schedules follow the definitions of their papers."""

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F

from convrnn_zoo import Preprocessing
from convrnn_zoo.recipes.sampling import SAMPLINGS, FreeRunning, ReverseScheduled, Scheduled
from convrnn_zoo.train.forecaster import _known_loss, check_loss
from convrnn_zoo.values.preprocessing import ACTIVATIONS
from convrnn_zoo.verify.losses import LOSSES, decoupling
from tests.helpers.train.tiny_recipes import PLAIN, SAMPLING_ARGS


@pytest.mark.parametrize("name", sorted(LOSSES.keys() - {"exceedance"}))
def test_a_loss_is_least_where_the_activated_output_is_the_truth(name):
    loss = LOSSES[name]
    truth = torch.rand(2, 3) * 0.8 + 0.1
    amount = truth * 40
    output = torch.zeros(2, 3, requires_grad=True)
    optimizer = torch.optim.Adam([output], lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        loss.of(output, truth, amount).backward()
        optimizer.step()
        optimizer.param_groups[0]["lr"] *= 0.985
    torch.testing.assert_close(ACTIVATIONS[loss.activation](output.detach()), truth, atol=0.02, rtol=0)


def test_the_balanced_loss_counts_heavy_rain_thirty_times():
    amount = torch.tensor([0.0, 1.9, 2, 4.9, 5, 9.9, 10, 29.9, 30, 90])
    weights = torch.tensor([1.0, 1, 2, 2, 5, 5, 10, 10, 30, 30])
    truth = torch.zeros(10)
    for i in range(10):
        assert LOSSES["balanced"].of(truth + 2.0 * F.one_hot(torch.tensor(i), 10), truth, amount) == pytest.approx(
            float(weights[i]) * 6 / 10
        )


def test_decoupling_is_the_mean_cosine_of_channels():
    c, m = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    each = [
        abs(float((c[n, k] * m[n, k]).sum() / (c[n, k].norm() * m[n, k].norm()))) for n in range(2) for k in range(3)
    ]
    assert float(decoupling([(c, m), (c, -c)])) == pytest.approx((sum(each) / 6 + 1) / 2, rel=1e-5)


@pytest.mark.parametrize("name", SAMPLINGS)
def test_masks_are_sampled_with_their_probabilities(name):
    sampling = SAMPLINGS[name](**SAMPLING_ARGS[name])
    for update in (0, 30, 200):
        mask = sampling.mask(update, 4000, inputs=4, horizon=3)
        warmup, ahead = sampling.chances(update)
        assert mask.shape == (4000, 5)
        assert mask.dtype == torch.bool
        assert mask[:, :3].float().mean() == pytest.approx(warmup, abs=0.02)
        assert mask[:, 3:].float().mean() == pytest.approx(ahead, abs=0.03)
    assert sampling.chances(10**6) == FreeRunning().chances(0) == (1, 0)


def test_schedules_of_the_published_codes():
    openstl = Scheduled(until=50_000)
    assert openstl.chances(10_000)[1] == pytest.approx(1 - 2e-5 * 10_000)
    predrnn = ReverseScheduled(begin=25_000, end=50_000, decay=5_000)
    assert predrnn.chances(24_999) == (0.5, 0.5)
    assert predrnn.chances(30_000) == pytest.approx((1 - 0.5 * math.exp(-1), 0.5 - 0.5 / 25_000 * 5_000))


@pytest.mark.parametrize("name", ["ssim", "crps"])
def test_a_loss_under_autocast_is_that_of_float32(name):
    recipe = dataclasses.replace(PLAIN, loss=name)
    truth = 0.8 + 0.2 * F.avg_pool2d(torch.rand(2, 1, 20, 20, generator=torch.Generator().manual_seed(0)), 3, 1, 1)
    output = truth + 0.01 * torch.rand(truth.shape, generator=torch.Generator().manual_seed(1))
    output = torch.stack([output, output + 0.01, truth]) if name == "crps" else output
    with torch.autocast("cpu", torch.bfloat16):
        mixed = _known_loss(recipe, output, truth, truth)
    torch.testing.assert_close(mixed, _known_loss(recipe, output, truth, truth))


def test_losses_are_only_for_the_values_that_they_are_defined_for():
    values = Preprocessing(encoding="standardize", unit="K", mean=(280.0,), std=(10.0,))
    for name in ("cross_entropy", "ssim"):
        recipe = dataclasses.replace(PLAIN, loss=name)
        with pytest.raises(ValueError, match=name):
            check_loss(recipe, values, torch.full((1, 6, 1, 8, 8), 260.0))
        check_loss(recipe, Preprocessing(), torch.rand(1, 6, 1, 8, 8))
    recipe = dataclasses.replace(PLAIN, loss="limited_mse")
    check_loss(recipe, Preprocessing(lowest=0.0, highest=1.0), torch.rand(1, 6, 1, 8, 8))
    with pytest.raises(ValueError, match=r"limited_mse.*valid_max"):
        check_loss(recipe, Preprocessing(lowest=0.0), torch.rand(1, 6, 1, 8, 8))
    recipe = dataclasses.replace(PLAIN, loss="balanced")
    check_loss(recipe, Preprocessing(unit="mm h-1"), torch.rand(1, 6, 1, 8, 8))
    with pytest.raises(ValueError, match=r"balanced.*'K'"):
        check_loss(recipe, Preprocessing(unit="K"), torch.rand(1, 6, 1, 8, 8))
