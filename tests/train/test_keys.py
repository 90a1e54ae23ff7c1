"""Keys of recipes that classifiers and forecasters share: each has its effect in both."""

import dataclasses
import logging
import re

import pytest
import torch
from torch import nn

import convrnn_zoo
from convrnn_zoo.data import CustomSequences
from convrnn_zoo.recipes import Recipe
from convrnn_zoo.recipes.recipe import SCHEDULE_ARGS
from convrnn_zoo.train import classifier, train
from convrnn_zoo.train import forecaster as training
from convrnn_zoo.train.launch import Processes
from convrnn_zoo.train.optim import create_optimizer, create_schedule
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
    "schedule of timm": {"schedule": "poly"},
    "schedule_args": {"schedule": "cosine", "schedule_args": {"warmup_steps": 2}},
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
def rates(schedule, max_steps, **args):
    """Returns the learning rates of a run."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    recipe = dataclasses.replace(FORECASTER, schedule=schedule, schedule_args=args)
    scheduler, values = create_schedule(recipe, optimizer, max_steps), []
    for _ in range(max_steps):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return values


def test_timm_builds_every_schedule_in_updates():
    actual = rates("multistep", 6, decay_milestones=[3, 5], decay_rate=0.5, warmup_steps=1)
    assert actual == [1e-5, 1.0, 0.5, 0.5, 0.25, 0.25]  # the third update is number 2, counted from 0, as in timm


ARGS = {
    "min_lr": 0.1,
    "k_decay": 2.0,
    "decay_steps": 3,
    "decay_rate": 0.5,
    "decay_milestones": [7],
    "decay_fn": "cosine",
    "stable_timescale": 9,
    "warmup_steps": 3,
    "warmup_lr": 0.2,
    "warmup_prefix": True,
    "noise": 0.2,
    "noise_pct": 0.3,
    "noise_std": 0.2,
    "noise_seed": 1,
}


@pytest.mark.parametrize(("schedule", "key"), [(name, key) for name, keys in SCHEDULE_ARGS.items() for key in keys])
def test_every_argument_of_a_schedule_has_an_effect(schedule, key):
    others = {"warmup_steps": 2, "noise": 0.5, "decay_steps": 4, "decay_milestones": [6]}
    others = {name: value for name, value in others.items() if name in SCHEDULE_ARGS[schedule]}
    assert rates(schedule, 12, **{**others, key: ARGS[key]}) != rates(schedule, 12, **others)


@pytest.mark.parametrize("schedule", ["cosine", "tanh", "poly"])
def test_a_warmup_before_a_schedule_is_a_part_of_the_run(schedule):
    warmed_up = rates(schedule, 12, warmup_steps=4, warmup_prefix=True)
    assert warmed_up[4:] == pytest.approx(rates(schedule, 8, min_lr=0.0))
    with pytest.raises(ValueError, match="warmup_steps"):
        rates(schedule, 4, warmup_steps=4, warmup_prefix=True)


@pytest.mark.parametrize(
    ("schedule", "args", "words"),
    [
        ("rsqrt", {}, ("stable_timescale", "warmup_steps")),
        ("wsd", {"warmup_steps": 9}, ("decay_steps", "warmup_steps")),
    ],
)
def test_errors_of_timm_name_the_keys_of_recipes(schedule, args, words):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    recipe = dataclasses.replace(FORECASTER, schedule=schedule, schedule_args=args)
    with pytest.raises(ValueError, match=f"schedule_args of {schedule}: .*{words[0]}") as error:
        create_schedule(recipe, optimizer, 6)
    assert words[1] in str(error.value)
    assert not re.search(r"_t\b|_epochs", str(error.value))


def test_a_schedule_of_timm_continues_where_it_was():
    recipe = dataclasses.replace(FORECASTER, schedule="poly", max_steps=8)
    rates, state = [], {}
    for resumed in (False, True):
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
        schedule = create_schedule(recipe, optimizer, 8)
        for _ in range(0 if resumed else 3):
            optimizer.step()
            schedule.step()
        if resumed:
            schedule.load_state_dict(state)
        state = schedule.state_dict()
        rates.append((schedule.last_epoch, schedule.get_last_lr(), optimizer.param_groups[0]["lr"]))
    assert rates[0] == rates[1]


@KINDS
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedule": "cosine", "cycles": (2, 2)}, "cycles is of the schedule one_cycle"),
        ({"schedule": "cosine", "warmup": 0.5}, "warmup is of the schedule one_cycle"),
        ({"schedule": "one_cycle_momentum", "cycles": (2, 2)}, "cycles is of the schedule one_cycle"),
        ({"schedule": "one_cycle", "schedule_args": {"warmup_steps": 1}}, "schedule_args is of cosine"),
        ({"schedule": "cosine", "schedule_args": {"warmup_step": 3}}, "warmup_step; did you mean warmup_steps"),
        ({"schedule": "cosine", "schedule_args": {"decay_steps": 3}}, "cosine has an unknown key decay_steps"),
        ({"schedule": "cosine", "schedule_args": {"cycle_limit": 2}}, "cosine has an unknown key cycle_limit"),
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
