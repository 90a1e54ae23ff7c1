"""Tests of `convrnn-zoo demo`."""

import pytest

from convrnn_zoo.cli.demo import FORECASTERS
from tests.helpers.command_line import run


@pytest.mark.slow
def test_the_demo_prints_truth_prediction_probability_and_accuracy():
    text = run("demo")
    assert all(f"{name}: " in text for name in FORECASTERS)
    assert text.index("convgru_advection.nowcast") == 0  # the nowcast comes first
    rows = [line for line in text.splitlines() if line[:1].isdigit() and "speaker" in line]
    assert len(rows) == 45
    right = sum("wrong" not in r for r in rows)
    assert f"accuracy {right}/45" in text
    assert right >= 42
