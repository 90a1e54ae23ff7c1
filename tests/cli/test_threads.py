"""The number of threads of a command is an option; nothing else changes it, however busy the machine is."""

import click
import pytest
import torch

from convrnn_zoo.cli import _options
from convrnn_zoo.train import forecaster
from tests.helpers.command_line import run
from tests.helpers.data.own_data import FRAMES
from tests.train.conftest import radar

__all__ = ["radar"]


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def trained(radar, tmp_path, monkeypatch):
    """Arguments of a training, and the numbers of threads of its updates."""
    numbers, compute_loss = [], forecaster.ForecasterTrainer.compute_loss

    def watch(self, part):
        numbers.append(torch.get_num_threads())
        return compute_loss(self, part)

    monkeypatch.setattr(forecaster.ForecasterTrainer, "compute_loss", watch)
    (tmp_path / "r.toml").write_text(FRAMES)
    return ["train", tmp_path / "r.toml", "--data", radar, "-o", tmp_path / "run"], numbers


def test_the_option_sets_the_number_of_training_and_evaluation(trained, tmp_path, radar):
    arguments, numbers = trained
    assert "threads: 1" in run(*arguments, "--threads", 1)
    assert set(numbers) == {1}
    assert torch.get_num_threads() == 2  # after training
    for command in (
        ["eval", tmp_path / "run", "--data", radar],
        ["predict", tmp_path / "run", radar / "0.npy", "-o", tmp_path / "a.npy"],
    ):
        torch.set_num_threads(2)
        run(*command, "--threads", 1)
        assert torch.get_num_threads() == 1


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
