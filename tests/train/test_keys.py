"""Keys of recipes that classifiers and forecasters share: each has its effect in both."""

import dataclasses
import logging

import pytest
import torch
from torch import nn

import convrnn_zoo
from convrnn_zoo.data import CustomSequences
from convrnn_zoo.recipes import Recipe
from convrnn_zoo.train import classifier, train
from convrnn_zoo.train import forecaster as training
from convrnn_zoo.train.launch import Processes
from convrnn_zoo.train.optim import create_optimizer
from tests.helpers.train.runs import interrupted, same
from tests.helpers.train.tiny_recipes import PLAIN
from tests.train.test_loop import CLASSIFIER, ramps

CLIPS = CustomSequences(list(torch.rand(6, 6, 1, 8, 8, generator=torch.Generator().manual_seed(0))))
DATA = {"kind": "frames", "name": "noise"}
FORECASTER = dataclasses.replace(PLAIN, data=DATA, max_steps=4, checkpoint_every=2)
RECIPES = {"classifier": dataclasses.replace(CLASSIFIER, epochs=2), "forecaster": FORECASTER}
KINDS = pytest.mark.parametrize("kind", RECIPES)


def make_trainer(kind, checkpoint=None, **changes):
    recipe = dataclasses.replace(RECIPES[kind], **changes)
    if kind == "classifier":
        return classifier.ClassifierTrainer(recipe, recipe.seed, ramps(0), checkpoint=checkpoint, progress=False)
    return training.ForecasterTrainer(recipe, CLIPS, checkpoint=checkpoint, progress=False)


def fitted(kind, **changes):
    trainer = make_trainer(kind, **changes)
    trainer.fit()
    return trainer


EFFECTS = {
    "optimizer": {"optimizer": "sgd"},
    "optimizer_args": {"optimizer_args": {"eps": 1e-2}},
    "weight_decay": {"optimizer": "adamw", "weight_decay": 0.5},
    "schedule": {"schedule": "cosine"},
    "warmup": {"warmup": 0.6},
    "cycles": {"schedule": "one_cycle", "cycles": (2, 2)},
    "seeds": {"seeds": 3},
    "noise": {"noise": 0.5},
    "scale": {"augment": {"scale": 0.5}},
    "bf16": {"bf16": True},
    "fp16": {"fp16": True},
    "grad_accum_steps": {"grad_accum_steps": 2},
    "freeze_steps": {"freeze_steps": 2},
    "layer_decay": {"layer_decay": 0.3},
}


@pytest.fixture(scope="module")
def plain():
    return {kind: fitted(kind, lr=0.05) for kind in RECIPES}


@KINDS
@pytest.mark.parametrize("key", EFFECTS)
def test_a_key_changes_the_weights(key, kind, plain):
    changes = dict(EFFECTS[key])
    if key == "cycles" and kind == "classifier":
        steps = plain[kind].max_steps
        changes["cycles"] = (steps - 1, 1)
    assert not same(fitted(kind, lr=0.05, **changes).model, plain[kind].model)


class Accelerator:
    def prepare(self, model):
        return nn.ModuleList([model])


def test_batch_norms_of_several_processes_are_synchronized():
    recipe = dataclasses.replace(FORECASTER, sync_bn=True)
    one, two = Processes(), Processes(accelerator=Accelerator(), count=2)
    for processes, is_synchronized in ((one, False), (two, True)):
        network = processes.prepare(nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)), recipe)
        assert any(isinstance(m, nn.SyncBatchNorm) for m in network.modules()) == is_synchronized
    with pytest.raises(ValueError, match=r"sync_bn: convgru_forecaster has no batch norm"):
        training.ForecasterTrainer(recipe, CLIPS, progress=False)


@KINDS
def test_float16_scales_the_loss_and_resumes_with_its_scale(kind, tmp_path):
    recipe = {"fp16": True, "ema": 0.5}
    expected = fitted(kind, **recipe)
    assert expected.scaler.is_enabled()
    checkpoint = tmp_path / "last.ckpt"
    interrupted(lambda: fitted(kind, checkpoint=checkpoint, **recipe), 1)
    resumed = fitted(kind, checkpoint=checkpoint, **recipe)
    assert same(resumed.model, expected.model)
    assert "scaler" in torch.load(checkpoint, weights_only=True)


# ---- optimizers and schedules -----------------------------------------------------------------------------------
@KINDS
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedule": "cosine", "cycles": (2, 2)}, "cycles is of the schedule one_cycle"),
        ({"schedule": "cosine", "warmup": 0.5}, "warmup is of the schedule one_cycle"),
        ({"schedule": "one_cycle_momentum", "cycles": (2, 2)}, "cycles is of the schedule one_cycle"),
        ({"schedule": "one_cycle_momentum", "warmup": 1.0}, "warmup must be less than 1 for one_cycle_momentum"),
        ({"optimizer": "adahessian"}, "optimizer must be muon or one of timm.*'adahessian'"),
        ({"optimizer": "muon", "layer_decay": 0.5}, "layer_decay is for optimizers other than muon"),
    ],
)
def test_keys_that_do_not_belong_together_are_an_error(kind, changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(RECIPES[kind], **changes)


def test_arguments_that_an_optimizer_does_not_take_are_named():
    recipe = dataclasses.replace(FORECASTER, optimizer="lion", optimizer_args={"speed": 3})
    with pytest.raises(ValueError, match=r"optimizer = 'lion' with optimizer_args = \{'speed': 3\}: .*speed"):
        create_optimizer(recipe, nn.Linear(2, 2))


# ---- keys of one task, and old keys -----------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [("forecaster", "epochs", 3), ("classifier", "max_steps", 3), ("classifier", "loss", "mse")],
)
def test_a_key_of_the_other_task_is_an_error(kind, key, value):
    other = ({*RECIPES} - {kind}).pop()
    table = {"kind": kind, **RECIPES[kind].to_table(), key: value}
    with pytest.raises(ValueError, match=f"{key} is a key of a {other}, and kind is {kind}: leave it out"):
        Recipe.of(table)


def test_maps_are_mirrored_and_transposed():
    recipe = dataclasses.replace(FORECASTER, augment={"flip": True})
    frames = torch.arange(4.0).reshape(1, 1, 2, 2).expand(6, 1, 2, 2)
    torch.manual_seed(0)
    batch = training.read_batch(
        CustomSequences([frames] * 64), (torch.arange(64), torch.zeros(64)), recipe.augmentation()
    )
    seen = {tuple(x[0].flatten().tolist()) for x in batch[0]}
    assert len(seen) == 8  # the symmetries of a square
    assert all(torch.equal(x, x[:1].expand_as(x)) for x in batch[0])  # all frames alike


# ---- several seeds of a forecaster ------------------------------------------------------------------------------
@pytest.mark.slow
def test_several_forecasters_give_a_mean_and_a_deviation(tmp_path, caplog):
    data = {split: list(torch.rand(4, 6, 1, 8, 8)) for split in ("train", "test")}
    common = {"data": data, "progress": False}
    with caplog.at_level(logging.WARNING):
        single = [train(dataclasses.replace(FORECASTER, seeds=s), out=tmp_path / f"{s}", **common) for s in (1, 2)]
        both = train(dataclasses.replace(FORECASTER, seeds=(1, 2)), out=tmp_path / "both", **common)
    errors = [next(m.value for m in w.metrics if m.name == "MSE") for w in single]
    metric = next(m for m in both.metrics if m.name == "MSE")
    assert errors[0] != errors[1]
    assert (metric.value, metric.runs) == (errors[0], 2)
    assert metric.mean == pytest.approx(sum(errors) / 2, rel=1e-4)
    assert metric.std == pytest.approx(abs(errors[0] - errors[1]) / 2, rel=1e-3)
    assert both.sha256 == single[0].sha256
    assert {p.name for p in (tmp_path / "both").glob("*.ckpt")} == {"last.ckpt", "seed2.ckpt"}
    assert convrnn_zoo.from_pretrained(tmp_path / "both").metadata.sha256 == single[0].sha256
