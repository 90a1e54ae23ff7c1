"""Tests of text for the terminal."""

import dataclasses

import click
import pytest

from convrnn_zoo import WEIGHTS
from convrnn_zoo.cli._text import columns, format_metric, spell_options
from convrnn_zoo.cli.demo import CLASSIFIER

WEIGHTS_METADATA = WEIGHTS[CLASSIFIER]


def test_a_single_run_has_no_spread():
    metric = dataclasses.replace(WEIGHTS_METADATA.metrics[0], mean=97.0, std=0.0, runs=1)
    assert "±" in format_metric(dataclasses.replace(metric, runs=3))
    assert "±" not in format_metric(metric)


def test_columns_without_rows():
    assert columns([]) == ""


@pytest.mark.parametrize(
    ("message", "spelled"),
    [
        ("pass seed=1", "pass --seed 1"),
        ("pass seed='a/b', or none", "pass --seed a/b, or none"),
        ("runs/seed=1/x.npy is damaged", None),
        ("seed=1/x.npy is damaged", None),
        ("runs\\seed=1.npy is damaged", None),
        ("seed=1\\x.npy is damaged", None),
    ],
)
def test_arguments_are_spelled_as_options_and_paths_are_kept(message, spelled):
    command = click.Command("train", params=[click.Option(["--seed"])])
    assert spell_options(message, command) == (spelled or message)
