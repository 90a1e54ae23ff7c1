"""Tests of `convrnn-zoo demo`."""

import importlib

import pytest
import torch
from torch.nn.modules.module import register_module_forward_pre_hook

from tests.helpers.command_line import run

demo = importlib.import_module("convrnn_zoo.cli.demo")  # whose name is also that of the command


@pytest.mark.parametrize("count", [1, pytest.param(99, marks=pytest.mark.slow)], ids=["nowcast", "all"])
def test_the_demo_prints_truth_prediction_probability_and_accuracy(count, monkeypatch):
    samples = list(demo.list_samples().items())[:count]
    monkeypatch.setattr(demo, "list_samples", lambda: dict(samples))
    text = run("demo")
    assert all(f"{name}: " in text for name, _ in samples)
    assert text.index("convgru_advection.nowcast") == 0  # the nowcast comes first
    rows = [line for line in text.splitlines() if line[:1].isdigit() and "speaker" in line]
    assert len(rows) == 45
    right = sum("wrong" not in r for r in rows)
    assert f"accuracy {right}/45" in text
    assert right >= 42


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 3])
def test_the_models_run_with_the_number_of_threads_of_the_option(count, monkeypatch):
    monkeypatch.setattr(demo, "list_samples", dict)  # the recordings are enough
    monkeypatch.setattr("convrnn_zoo.predict.streaming.save_figure", lambda figure, path: None)
    before, observed = torch.get_num_threads(), set()
    hook = register_module_forward_pre_hook(lambda module, args: observed.add(torch.get_num_threads()))
    try:
        torch.set_num_threads(2)
        run("demo", "--threads", count)
        assert observed == {count}
        observed.clear()
        torch.set_num_threads(2)
        run("demo")
        assert observed == {2}
    finally:
        hook.remove()
        torch.set_num_threads(before)
