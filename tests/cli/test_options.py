"""Options that commands share mean the same in all of them."""

import click
import pytest
import torch

from convrnn_zoo.cli._options import Choice, Device


def test_a_misspelt_choice_is_answered_with_a_suggestion():
    with pytest.raises(click.BadParameter, match="sequence"):
        Choice(["sequence", "step"]).convert("sequnce", None, None)


def test_a_device_is_one_of_this_machine():
    assert Device().convert("cpu", None, None) == torch.device("cpu")
    for value in ("meta", "cuda:77", "gpu"):
        with pytest.raises(click.BadParameter, match=value):
            Device().convert(value, None, None)
