"""Training of forecasters: resuming, invalid input, two processes, and an end-to-end run from a recipe to metadata."""

import dataclasses
from functools import partial

import pytest
import torch

from convrnn_zoo.data.datasets.moving_mnist import MovingDigits
from convrnn_zoo.recipes import SAMPLINGS
from convrnn_zoo.train import forecaster as training
from convrnn_zoo.train.optim import SCHEDULES
from convrnn_zoo.verify.losses import LOSSES
from tests.helpers.registry import slow_unless
from tests.helpers.train import runs
from tests.helpers.train.tiny_recipes import PLAIN, SAMPLING_ARGS, TINY


@pytest.fixture
def clips():
    images = torch.full((3, 8, 8), 255, dtype=torch.uint8)
    return MovingDigits(images, 6, size=16)


def train(recipe, clips, **kwargs):
    return runs.train_model(recipe, clips, progress=False, **kwargs)


@pytest.mark.parametrize("name", slow_unless("reverse_scheduled".__eq__, SAMPLINGS))
@pytest.mark.parametrize("schedule", slow_unless("cosine".__eq__, SCHEDULES))
def test_every_schedule_and_sampling_learns(name, schedule, clips):
    recipe = dataclasses.replace(
        TINY,
        sampling={"name": name, **SAMPLING_ARGS[name]},
        schedule=schedule,
        max_steps=60,
        checkpoint_every=20,
        lr=0.03,
    )
    known = clips.fixed(8)
    before, after = (
        (model.forecast(known[:, :3]) - known[:, 3:]).square().mean()
        for model in (training.build(recipe, 1), train(recipe, clips)[0])
    )
    assert after < 0.8 * before


@pytest.mark.parametrize("loss", slow_unless("ssim".__eq__, sorted(LOSSES.keys() - {"exceedance"})))
def test_every_loss_learns_in_bf16_too(loss, clips):
    recipe = dataclasses.replace(PLAIN, loss=loss, bf16=True, max_steps=60, checkpoint_every=20)
    if "balanced" in loss:  # which is for rain only
        rain = {"kind": "frames", "name": "squares", "unit": "mm/h", "encoding": "none", "valid_min": 0, "valid_max": 1}
        recipe = dataclasses.replace(recipe, data=rain)
    model, history = train(recipe, clips)
    assert history[-1]["loss"] < 0.9 * history[0]["loss"]
    forecast = model.forecast(clips.fixed(2)[:, :3], horizon=5)
    assert forecast.shape == (2, 5, 1, 16, 16)
    assert 0 <= forecast.min() <= forecast.max() <= 1


@pytest.mark.parametrize("recipe", [TINY, PLAIN], ids=lambda r: r.weights)
def test_unknown_pixels_do_not_count_in_the_loss(recipe, clips):
    recipe = dataclasses.replace(recipe, decoupling=0.0)
    model = training.build(recipe, 1)
    frames, mask = clips.draw(4), torch.ones(4, 4, dtype=torch.bool)
    frames[:, :, :, :5], frames[0, 4:] = torch.nan, torch.nan
    objective = partial(training.training_loss, recipe, model)
    loss = objective(model, (frames, mask))
    halves = [objective(model, (part, mask[:2])) for part in (frames[:2], frames[2:])]
    torch.testing.assert_close(loss, (halves[0] + halves[1]) / 2)
    loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    if not recipe.sampling:
        forecast, truth = model(frames[:, :3].nan_to_num(0), horizon=3), frames[:, 3:]
        known = truth.isfinite()
        torch.testing.assert_close(loss, (forecast - truth)[known].square().sum() / known.numel())
    assert objective(model, (frames[:1] * torch.nan, mask[:1])) == 0


BAD = {
    "loss": ({"loss": "msa"}, "loss.*'msa'"),
    "arguments": ({"sampling": {"name": "scheduled", "to": 3}}, r"(?s)sampling.to.*sampling.until"),
    "network": ({"weights": "convgru2d_1layer.tiny", "model": {}}, "convgru2d_1layer"),
    "entry": ({"model": {"hiden": 2}}, "predrnn_v2.*'hiden'"),
    "twice": ({"model": {"in_chans": 2}}, "model.*in_chans"),
    "type": ({"model": {"kernel_size": "3"}}, "model.*kernel_size.*'3'"),
    "plain": ({"weights": "convgru_forecaster.tiny", "model": {}}, "convgru_forecaster.*sampling and decoupling"),
    "moments": ({"moments": 1.0}, "predrnn_v2.*moments"),
}


@pytest.mark.parametrize("name", BAD)
def test_rejects_invalid_recipes(name, clips):
    entries, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        train(dataclasses.replace(TINY, **entries), clips)
