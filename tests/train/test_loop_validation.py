"""Averaged weights, accumulated gradients, and the selection of weights by a validation part."""

import dataclasses

import numpy as np
import pytest
import torch

from convrnn_zoo.data import Labelled
from convrnn_zoo.data.datasets.moving_mnist import MovingDigits
from convrnn_zoo.recipes import Recipe
from convrnn_zoo.train import classifier, forecaster, loop, train
from convrnn_zoo.train.launch import Processes
from tests.helpers.data.own_data import RADAR, blobs
from tests.helpers.train import runs
from tests.helpers.train.runs import interrupted, same
from tests.helpers.train.tiny_recipes import PLAIN, TINY
from tests.train.test_loop import CLASSIFIER, Weight, ramps


def moving(seed=0):
    images = torch.randint(256, (3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    return MovingDigits(images, 6, size=16, seed=seed)


ALL = dataclasses.replace(PLAIN, ema=0.9, grad_accum_steps=2, patience=5, validation_sequences=3, max_steps=8)


# ---- averaging -------------------------------------------------------------------------------------------------
def steps_down(steps, validate=lambda model: {}, see=lambda model: None, **fields):
    """Trains one weight by gradients of 1 with a rate of 1, from 1 down."""
    model = Weight()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    scheduler = torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
    trainer = loop.Trainer(
        recipe=dataclasses.replace(PLAIN, clip_grad_norm=1e9, **fields),
        model=model,
        optimizer=optimizer,
        scheduler=scheduler,
        max_steps=steps,
        fingerprint="{}",
        progress=False,
    )
    trainer.batches, trainer.compute_loss = lambda done, skip: [[(1.0, None)]], lambda part: model.w
    trainer.validate, trainer.after_round = validate, see
    history = trainer.fit()
    return model.w.item(), history


def test_the_average_follows_the_weights_with_a_decay_that_rises_to_that_of_the_recipe():
    expected, weight = 1.0, 1.0
    for update in range(1, 7):
        weight -= 1
        decay = min(0.5, 1 - update ** (-2 / 3)) if update > 1 else 0.0
        expected += (1 - decay) * (weight - expected)
    assert steps_down(6, ema=0.5)[0] == pytest.approx(expected)
    assert steps_down(6)[0] == -5


def validate_with(losses):
    """Returns a validation function whose loss depends on the number of updates."""
    return lambda model: {"loss": losses[-int(model.w)]}


# ---- validation ------------------------------------------------------------------------------------------------
def test_the_weights_of_the_lowest_validation_loss_are_saved():
    losses = [3.0, 1.0, 2.0, 1.0]
    assert steps_down(4, validate=validate_with(losses))[0] == -1  # the first of two lowest
    assert steps_down(4, validate=validate_with(losses), keep_best=False)[0] == -3


def test_training_stops_when_the_validation_loss_has_not_fallen_for_as_many_rounds():
    losses = [3.0, 1.0, 2.0, 1.5, 0.0]
    weight, history = steps_down(5, validate=validate_with(losses), patience=2)
    assert (len(history), weight) == (4, -1)
    assert len(steps_down(5, validate=validate_with(losses), patience=3)[1]) == 5


def test_a_validation_loss_that_is_not_finite_stops_the_run():
    with pytest.raises(FloatingPointError, match="validation loss"):
        steps_down(1, validate=lambda model: {"loss": float("nan")})


def test_processes_may_outnumber_the_validation_sequences():
    recipe = dataclasses.replace(PLAIN, validation_sequences=2)
    trainer = forecaster.ForecasterTrainer(recipe, moving(), moving(1), progress=False)
    loss_of_one = trainer.validate(trainer.model)["loss"]
    totals = []

    class Group:
        def reduce(self, values, reduction):
            totals.append(values)
            return torch.ones(2)

    for rank in range(3):
        trainer.processes = Processes(Group(), count=3, rank=rank)
        trainer.validate(trainer.model)
    count, loss = sum(totals).tolist()
    assert totals[2].tolist() == [0, 0]
    assert loss / count == pytest.approx(loss_of_one)


@pytest.mark.slow
def test_validation_does_not_change_training():
    recipe = dataclasses.replace(TINY, keep_best=False)
    without, _ = runs.train_model(recipe, moving(), progress=False)
    validated, _ = runs.train_model(recipe, moving(), moving(1), progress=False)
    assert same(without, validated)


@pytest.mark.parametrize("seed", [0, 5])
def test_the_noise_of_a_validation_has_the_seed_of_the_run(seed, monkeypatch):
    trainer = forecaster.ForecasterTrainer(ALL, moving(), moving(1), seed=seed, progress=False)
    seeds, manual_seed = [], torch.manual_seed
    monkeypatch.setattr(torch, "manual_seed", lambda number: seeds.append(number) or manual_seed(number))
    trainer.validate(trainer.model)
    assert seeds == [seed]


# ---- accumulation ----------------------------------------------------------------------------------------------
def test_a_forecaster_learns_the_same_from_two_batches_as_from_one_twice_as_large():
    small = dataclasses.replace(PLAIN, batch_size=2, grad_accum_steps=2)
    a, b = (runs.train_model(r, moving(), progress=False) for r in (small, dataclasses.replace(PLAIN, batch_size=4)))
    assert [r["loss"] for r in a[1]] == pytest.approx([r["loss"] for r in b[1]], rel=1e-5)
    for x, y in zip(a[0].parameters(), b[0].parameters(), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("weights", [(), "balanced", (1.0, 3.0)])
def test_parts_of_unequal_size_have_their_share_of_a_classifiers_loss(weights, tmp_path):
    recipe = dataclasses.replace(
        CLASSIFIER, epochs=1, noise=0.0, augment={}, model={**CLASSIFIER.model, "drop_rate": 0.0}, class_weights=weights
    )
    data = ramps(0).subset([0, 1, 2, 3, 4, 6, 8, 10, 12])
    losses = []
    for size, steps in ((9, 1), (4, 3)):
        r, path = dataclasses.replace(recipe, batch_size=size, grad_accum_steps=steps), tmp_path / f"{size}.ckpt"
        runs.train_one(r, 0, data, ramps(1), checkpoint=path, progress=False)
        losses.append([row["loss"] for row in torch.load(path, weights_only=True)["history"]])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.slow
@pytest.mark.figures
def test_a_recipe_with_validation_trains_from_files(tmp_path):
    (tmp_path / "radar").mkdir()
    for i in range(2):
        np.save(tmp_path / "radar" / f"{i}.npy", blobs(40, seed=i))
    table = Recipe.read(write(tmp_path / "r.toml", RADAR)).to_table()
    recipe = Recipe.of(
        {
            **table,
            "kind": "forecaster",
            "ema": 0.9,
            "patience": 3,
            "grad_accum_steps": 2,
            "loss": "mse+mae",
            "data": {**table["data"], "validation": 0.3},
        }
    )
    record = train(recipe, data=tmp_path / "radar", out=tmp_path / "run", progress=False)
    assert Recipe.parse(record.recipe) == recipe
    assert len(torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["best"]) > 0
    header, *rows = (tmp_path / "run" / "training.csv").read_text().splitlines()
    assert header == "updates,learning_rate,loss,validation_loss"
    assert [int(row.split(",")[0]) for row in rows] == list(
        range(recipe.checkpoint_every, recipe.max_steps + 1, recipe.checkpoint_every)
    )
    assert (tmp_path / "run" / "training.png").stat().st_size > 1000


def write(path, text):
    path.write_text(text)
    return path


def test_the_validation_part_of_python_data_is_used(tmp_path):
    clips = [torch.rand(6, 1, 8, 8) for _ in range(4)]
    plain = dataclasses.replace(PLAIN, data={"kind": "frames", "name": "noise"})
    for key in ("patience", "validation_sequences"):
        recipe = dataclasses.replace(plain, **{key: 1})
        with pytest.raises(ValueError, match=rf"{key}.*data\.validation.*data\['validation'\]"):
            train(recipe, data={"train": clips, "test": clips}, out=tmp_path / "a", progress=False)
    recipe = dataclasses.replace(plain, patience=1)
    data = {"train": clips, "test": clips, "validation": clips[:2]}
    assert train(recipe, data=data, out=tmp_path / "b", progress=False) is not None


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"ema": 1.0}, "ema"),
        ({"ema": -0.1}, "ema"),
        ({"grad_accum_steps": 0}, "grad_accum_steps"),
        ({"loss": "mse+exceedance"}, "loss"),
        ({"loss": "mse+"}, "loss"),
        ({"loss": "mse+cross_entropy"}, "loss"),
        ({"quantile": 1.0}, "quantile"),
        ({"data": {"kind": "moving_mnist", "validation": 1.0}}, "data.validation"),
    ],
)
def test_invalid_values_are_rejected_by_name(fields, name):
    with pytest.raises(ValueError, match=rf"{name}\b"):
        dataclasses.replace(PLAIN, **fields)


def test_class_weights_are_one_for_each_class():
    data = Labelled([torch.zeros(1, 1, 1)] * 4, torch.tensor([0, 0, 0, 1]), ("a", "b"))
    balanced = dataclasses.replace(CLASSIFIER, class_weights="balanced")
    torch.testing.assert_close(classifier.class_weights(balanced, data), torch.tensor([4 / 6, 2.0]))
    with pytest.raises(ValueError, match=r"class_weights.* 2 classes.* 3"):
        classifier.class_weights(dataclasses.replace(CLASSIFIER, class_weights=(1.0, 1.0, 1.0)), data)
    with pytest.raises(ValueError, match="class_weights"):
        dataclasses.replace(CLASSIFIER, class_weights="even")


@pytest.mark.slow
def test_a_run_resumes_with_the_same_validation_only(tmp_path):
    """Otherwise losses of two data sets would be compared, or be missing in a part of the history."""
    recipe = dataclasses.replace(PLAIN, max_steps=4)
    checkpoints = {}
    for name, first in (("with", moving(1)), ("without", None)):
        out = tmp_path / name
        interrupted(lambda first=first, out=out: runs.train_model(recipe, moving(), first, out=out), saves=1)
        checkpoints[name] = out
    for name, second in (("with", None), ("with", moving(2)), ("without", moving(1))):
        with pytest.raises(ValueError, match="validation"):
            runs.train_model(recipe, moving(), second, out=checkpoints[name], progress=False)
