"""Tests that the reference lists every public name and describes every choice of a recipe."""

import re
from collections.abc import Callable

import pytest

import convrnn_zoo
from tests.helpers.docs.pages import ROOT
from tools import reference


def test_the_index_has_every_public_name_once() -> None:
    assert set(reference.public_names()) >= set(convrnn_zoo.__all__)
    text = (ROOT / "docs/reference/index.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| (?:\[)?`(\w+)`", text, re.MULTILINE) == list(reference.public_names())


@pytest.mark.parametrize("table", [reference.losses, reference.schedules, reference.samplings])
def test_every_choice_of_a_recipe_is_described(table: Callable[[str], str]) -> None:
    assert not re.findall(r"^\| `\w+` \|\s*\|.*", table(""), re.MULTILINE)
