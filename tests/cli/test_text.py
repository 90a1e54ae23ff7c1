"""Tests of text for the terminal."""

import click
import pytest

from convrnn_zoo.cli._text import spell_options


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
