"""Tests of `convrnn-zoo demo`."""

import re

import pytest

from convrnn_zoo.cli.demo import FORECASTERS
from tests.helpers.command_line import run


@pytest.mark.slow
def test_the_demo_prints_and_runs_commands(tmp_path):
    text = run("demo", "-o", tmp_path / "figures")
    commands = re.findall(r"^\$ convrnn-zoo (\w+ \S+)", text, re.MULTILINE)
    assert commands[0] == "predict convgru_advection.nowcast"  # the nowcast comes first
    assert {f"predict {name}" for name in FORECASTERS} < set(commands)
    assert len(list((tmp_path / "figures").iterdir())) == 2 * len(FORECASTERS) + 2
    rows = [line.split() for line in text.splitlines() if "speaker" in line]
    assert len(rows) == 45
