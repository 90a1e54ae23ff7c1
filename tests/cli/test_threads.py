"""The number of threads of a command: an option, or selected by timing the first steps."""

import dataclasses
import time
from pathlib import Path

import click
import pytest
import torch

import convrnn_zoo
from convrnn_zoo.cli import _options
from convrnn_zoo.cli._threads import Threads
from convrnn_zoo.data.datasets.moving_mnist import MovingDigits
from convrnn_zoo.train import forecaster
from convrnn_zoo.train.launch import Processes
from tests.train.runs import interrupted, same
from tests.train.tiny_recipes import PLAIN


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


class Slow(torch.nn.Module):
    """Takes longer with one number of threads."""

    def __init__(self, slow):
        super().__init__()
        self.slow, self.threads = slow, []

    def forward(self, x):
        self.threads.append(torch.get_num_threads())
        time.sleep(0.03 if torch.get_num_threads() == self.slow else 0.0)
        return x


@pytest.mark.parametrize(("slow", "expected"), [(2, 1), (1, 2)])
def test_the_faster_number_of_threads_is_used_and_reported(slow, expected, capsys):
    model = Slow(slow)
    Threads(None).start_training(None, lambda: model(None))
    assert torch.get_num_threads() == expected
    assert f"threads: {expected}" in capsys.readouterr().err
    torch.set_num_threads(2)
    called = Slow(slow)
    Threads(None, torch.device("cpu"), quiet=True).watch(called)
    for _ in range(5):
        called(torch.ones(2))
    assert called.threads == [2, 1, 2, expected, expected]
    assert capsys.readouterr().err == ""


def test_the_number_of_an_option_or_a_resumed_run_does_not_change():
    def fail():
        raise AssertionError

    Threads(None).start_training(1, fail)
    assert torch.get_num_threads() == 1
    Threads(2).start_training(1, fail)
    assert torch.get_num_threads() == 2


def test_a_trial_of_steps_does_not_change_training_and_a_resumed_run_makes_none(tmp_path):
    clips = MovingDigits(torch.full((3, 8, 8), 255, dtype=torch.uint8), 6, size=16)
    calls = []

    def choose(saved, step):
        calls.append(saved)
        if saved is None:
            step()
            step()

    recipe = dataclasses.replace(PLAIN, ema=0.9)
    expected, _ = forecaster.train_model(recipe, clips, progress=False)

    def run(**kwargs):
        return forecaster.train_model(
            recipe, clips, progress=False, processes=Processes(choose_threads=choose), **kwargs
        )[0]

    assert same(run(), expected)
    interrupted(lambda: run(out=tmp_path), saves=1)
    assert same(run(out=tmp_path), expected)
    assert calls == [None, None, 2]


def test_only_the_command_line_sets_the_number():
    package = Path(convrnn_zoo.__file__).parent
    files = [f for f in package.rglob("*.py") if "set_num_threads" in f.read_text(encoding="utf-8")]
    assert [str(f.relative_to(package)) for f in files] == ["cli/_threads.py"]


def test_the_default_device_is_an_accelerator_that_is_reported(monkeypatch, capsys):
    assert _options.choose_device(None, None, torch.device("cpu")) == torch.device("cpu")
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    assert _options.choose_device(None, None, None) == torch.device("cuda")
    assert "cuda" in capsys.readouterr().err
    context = click.Context(click.Command("predict"))
    context.params = {"quiet": True}
    assert _options.choose_device(context, None, None) == torch.device("cuda")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert _options.choose_device(None, None, None) == torch.device("cpu")
    assert capsys.readouterr().err == ""
