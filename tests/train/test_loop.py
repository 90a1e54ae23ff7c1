"""The training loop: values that are not finite, interruptions, and files that must not be overwritten."""

import dataclasses
import functools
import os
import shlex
import signal
import subprocess
import sys
import time

import pytest
import torch
from torch import nn

from convrnn_zoo import create_model, save_pretrained
from convrnn_zoo.data import Labelled
from convrnn_zoo.recipes import ClassifierRecipe, Recipe
from convrnn_zoo.train import classifier, loop
from convrnn_zoo.train.writing import check_writable
from tests.helpers.command_line import run
from tests.helpers.data.own_data import FRAMES
from tests.helpers.registry import slow_unless
from tests.helpers.train import runs
from tests.helpers.train.runs import same, sha256
from tests.helpers.train.tiny_recipes import TINY


# ---- values that are not finite --------------------------------------------------------------------------------
class Weight(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(()))


def fitted(losses, checkpoint, lr=0.1):
    """Trains one weight by a loss for each round."""
    model, left = Weight(), list(losses)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    scheduler = torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
    trainer = loop.Trainer(
        recipe=TINY,
        model=model,
        optimizer=optimizer,
        scheduler=scheduler,
        max_steps=len(losses),
        fingerprint="{}",
        checkpoint=checkpoint,
        progress=False,
    )
    trainer.batches, trainer.compute_loss = lambda done, skip: [[(1.0, None)]], lambda part: left.pop(0)(model.w)
    trainer.fit()
    return model


def smooth(w):
    return w.square()


def without_gradient(w):
    return (w * 0).sqrt()  # 0, with a derivative that is NaN


@pytest.mark.parametrize("bad_round", [0, 1])
def test_a_gradient_that_is_not_finite_never_reaches_the_checkpoint(bad_round, tmp_path):
    losses, path = [smooth, smooth], tmp_path / "last.ckpt"
    losses[bad_round] = without_gradient
    with pytest.raises(FloatingPointError, match="gradient"):
        fitted(losses, path)
    assert path.exists() == bool(bad_round)
    if bad_round:
        assert torch.load(path, weights_only=True)["model"]["w"].isfinite()


def test_weights_that_are_not_finite_never_replace_a_checkpoint(tmp_path):
    with pytest.raises(FloatingPointError, match=r"weights .*w"):
        fitted([smooth], tmp_path / "last.ckpt", lr=float("inf"))
    assert not (tmp_path / "last.ckpt").exists()


# ---- interruptions ---------------------------------------------------------------------------------------------
def ramps(split):
    generator = torch.Generator().manual_seed(split)
    lengths = torch.randint(3, 9, (24,), generator=generator).tolist()
    signs = [1 if i % 2 else -1 for i in range(24)]
    sequences = [s * torch.linspace(-1, 1, n).reshape(-1, 1, 1).repeat(1, 3, 1) for s, n in zip(signs, lengths)]  # noqa: B905
    return Labelled(sequences, torch.arange(24) % 2, ("down", "up"))


CLASSIFIER = ClassifierRecipe(
    weights="convgru1d_1layer.tiny",
    data={"kind": "sequences", "name": "ramps"},
    description="d",
    license="mit",
    epochs=2,
    batch_size=4,
    lr=0.02,
    noise=0.1,
    augment={"stretch": 0.2, "steps": 1},
    model={"hidden_channels": 4, "kernel_size": 1, "drop_rate": 0.2, "global_pool": "last"},
)


def pressing_ctrl_c(function, call):
    """Wraps a function so that the call of this number receives SIGINT, as from Ctrl-C."""
    calls = []

    def wrapped(*args, **kwargs):
        calls.append(None)
        if len(calls) == call:
            signal.raise_signal(signal.SIGINT)
        return function(*args, **kwargs)

    return wrapped


@functools.cache
def classified(bucket, workers):
    """A recipe with averaged weights, accumulation and validation, and the model without an interruption."""
    recipe = dataclasses.replace(CLASSIFIER, bucket_batches=bucket, workers=workers, ema=0.9, patience=3)
    recipe = dataclasses.replace(recipe, grad_accum_steps=2 if bucket else 1)
    return recipe, runs.train_one(recipe, 0, ramps(0), ramps(1), ramps(2), progress=False).model


@pytest.mark.parametrize(
    ("bucket", "workers", "call"),  # processes take seconds to start
    slow_unless(
        lambda v: v in {(0, 0, 1), (0, 0, 6), (2, 0, 4), (2, 0, 9), (2, 2, 4)},
        [(b, w, c) for b, w in ((0, 0), (2, 0), (2, 2)) for c in (1, 4, 6, 9)],
    ),
)
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_classifier_interrupted_within_an_epoch_resumes_to_the_same_weights(
    bucket, workers, call, tmp_path, monkeypatch
):
    recipe, expected = classified(bucket, workers)
    path = tmp_path / "seed0.ckpt"
    with monkeypatch.context() as patched:
        patched.setattr(classifier.F, "cross_entropy", pressing_ctrl_c(classifier.F.cross_entropy, call))
        with pytest.raises(KeyboardInterrupt):
            runs.train_one(recipe, 0, ramps(0), ramps(1), ramps(2), checkpoint=path, progress=False)
    assert path.exists()
    torch.manual_seed(77)
    resumed = runs.train_one(recipe, 0, ramps(0), ramps(1), ramps(2), checkpoint=path, progress=False)
    assert same(resumed.model, expected)


@pytest.mark.needs("signals")
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_the_first_checkpoint_saves_and_the_run_is_reported_as_unfinished(number, radar, tmp_path):
    file, out = tmp_path / "r.toml", tmp_path / "run"
    file.write_text(
        "workers = 2\n"
        + FRAMES.replace("checkpoint_every = 3", "checkpoint_every = 100000").replace("= 3\nb", "= 100000\nb")
    )
    arguments = ["train", str(file), "--data", str(radar), "-o", str(out), "--quiet"]
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "convrnn_zoo", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not (out / ".last.ckpt.lock").exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    time.sleep(2)
    os.killpg(process.pid, number)  # workload managers signal the workers as well
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert (out / "last.ckpt").exists()
    first, command = errors.strip().splitlines()
    assert "last checkpoint" in first
    assert shlex.split(command) == ["convrnn-zoo", *arguments]
    for command in (["eval", out, "--data", radar], ["predict", out, radar / "0.npy", "-o", tmp_path / "a.npy"]):
        message = run(*command, code=1)
        assert "unfinished" in message
        assert str(out) in message


@pytest.mark.parametrize("error", [KeyboardInterrupt, loop.Terminated])
def test_a_signal_before_training_began_does_not_promise_a_checkpoint(error, radar, tmp_path, monkeypatch):
    import importlib

    module = importlib.import_module("convrnn_zoo.cli.train")

    def press(*args, **kwargs):
        raise error

    codes = []
    monkeypatch.setattr(module, "train_recipe", press)
    monkeypatch.setattr(module.os, "_exit", codes.append)
    (tmp_path / "r.toml").write_text(FRAMES)
    messages = run("train", tmp_path / "r.toml", "--data", radar, "-o", tmp_path / "run", code=1)
    assert codes == [143 if error is loop.Terminated else 130]
    assert "last checkpoint" not in messages


# ---- files that must not be overwritten --------------------------------------------------------------------------
def test_a_recipe_inside_the_output_directory_is_left_as_it_is(radar, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    text = "# chosen after long thought\n" + FRAMES
    (out / "recipe.toml").write_text(text)
    run("train", out / "recipe.toml", "--data", radar, "-o", out, "--quiet")
    assert (out / "recipe.toml").read_text() == text
    weights = sha256(out / "model.safetensors")
    run("train", out / "recipe.toml", "--data", radar, "-o", out, "--quiet")
    assert sha256(out / "model.safetensors") == weights


@pytest.mark.parametrize("text", ["= 1", FRAMES.replace("lr = 0.01", "lr = 0.02")], ids=["no recipe", "another"])
def test_another_recipe_in_the_output_directory_is_never_overwritten(text, radar, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    (out / "recipe.toml").write_text(text)
    (tmp_path / "r.toml").write_text(FRAMES)
    message = run("train", tmp_path / "r.toml", "--data", radar, "-o", out, "--quiet", code=1)
    assert str(out / "recipe.toml") in message
    assert ("lr (0.02 there, 0.01 here)" in message) == ("lr" in text)
    assert (out / "recipe.toml").read_text() == text
    assert sorted(p.name for p in out.iterdir()) == ["recipe.toml"]


def test_weights_of_another_model_are_never_overwritten(radar, tmp_path):
    model = create_model("convgru_forecaster", hidden_channels=2, num_layers=1)
    save_pretrained(model, tmp_path / "mine")
    weights = sha256(tmp_path / "mine" / "model.safetensors")
    (tmp_path / "r.toml").write_text(FRAMES)
    message = run("train", tmp_path / "r.toml", "--data", radar, "-o", tmp_path / "mine", "--quiet", code=1)
    assert str(tmp_path / "mine") in message
    assert sha256(tmp_path / "mine" / "model.safetensors") == weights


def test_a_resumed_run_may_divide_its_updates_otherwise(tmp_path):
    (tmp_path / "recipe.toml").write_text(FRAMES)
    (tmp_path / "train.ckpt").touch()
    recipe = Recipe.parse(FRAMES)
    halves = dataclasses.replace(recipe, batch_size=1, grad_accum_steps=recipe.batch_size)
    check_writable(tmp_path, None, dataclasses.replace(recipe, batch_size=2 * recipe.batch_size))  # of two processes
    check_writable(tmp_path, None, halves)
    with pytest.raises(ValueError, match=r"with lr \(0.01 there, 0.5 here\), and"):
        check_writable(tmp_path, None, dataclasses.replace(halves, lr=0.5))
