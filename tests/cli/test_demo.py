"""Tests of `convrnn-zoo demo`."""

import importlib

import pytest

from tests.helpers.command_line import run
from tests.helpers.registry import slow_unless

demo = importlib.import_module("convrnn_zoo.cli.demo")  # whose name is also that of the command


@pytest.mark.parametrize("count", slow_unless(lambda _: False, [1, 99]), ids=["nowcast", "all"])
def test_the_demo_prints_truth_prediction_probability_and_accuracy(count, monkeypatch):
    monkeypatch.setattr(demo, "FORECASTERS", demo.FORECASTERS[:count])
    text = run("demo")
    assert all(f"{name}: " in text for name in demo.FORECASTERS)
    assert text.index("convgru_advection.nowcast") == 0  # the nowcast comes first
    rows = [line for line in text.splitlines() if line[:1].isdigit() and "speaker" in line]
    assert len(rows) == 45
    right = sum("wrong" not in r for r in rows)
    assert f"accuracy {right}/45" in text
    assert right >= 42
