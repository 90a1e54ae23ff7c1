"""Tests of text for the terminal."""

import dataclasses

from convrnn_zoo import WEIGHTS
from convrnn_zoo.cli._text import columns, format_metric
from convrnn_zoo.cli.demo import CLASSIFIER

WEIGHTS_METADATA = WEIGHTS[CLASSIFIER]


def test_a_single_run_has_no_spread():
    metric = dataclasses.replace(WEIGHTS_METADATA.metrics[0], mean=97.0, std=0.0, runs=1)
    assert "±" in format_metric(dataclasses.replace(metric, runs=3))
    assert "±" not in format_metric(metric)


def test_columns_without_rows():
    assert columns([]) == ""
