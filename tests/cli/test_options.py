"""Options that commands share mean the same in all of them."""

import click
import pytest
import torch

from convrnn_zoo.cli._options import Choice, Device
from convrnn_zoo_command.group import COMMANDS, cli

OPTIONS = [
    (name, option)
    for name in COMMANDS
    for option in cli.get_command(None, name).params
    if isinstance(option, click.Option)
]


@pytest.mark.parametrize(("name", "option"), OPTIONS, ids=[f"{name} {option.opts[-1]}" for name, option in OPTIONS])
def test_options_have_help_and_one_spelling(name, option):
    assert option.help
    if {"-o", "--output"} & {*option.opts}:
        assert option.opts == ["-o", "--output"]


def test_a_misspelt_choice_is_answered_with_a_suggestion():
    with pytest.raises(click.BadParameter, match="sequence"):
        Choice(["sequence", "step"]).convert("sequnce", None, None)


def test_a_device_is_one_of_this_machine():
    assert Device().convert("cpu", None, None) == torch.device("cpu")
    for value in ("meta", "cuda:77", "gpu"):
        with pytest.raises(click.BadParameter, match=value):
            Device().convert(value, None, None)
