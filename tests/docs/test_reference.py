"""Tests that the reference lists every public name and describes every choice of a recipe."""

import re
from collections.abc import Callable

import pytest

import convrnn_zoo
from convrnn_zoo.data import ArrayFrames, VideoFrames
from convrnn_zoo.data.datasets.video_folder import CLIP_READERS
from convrnn_zoo.data.formats.radar import FORMATS
from convrnn_zoo.data.readers import FRAME_SUFFIXES
from convrnn_zoo.data.readers.sequences import RECORDING_SUFFIXES
from tests.helpers.docs.pages import ROOT
from tools.docs import reference


def test_the_index_has_every_public_name_once() -> None:
    assert set(reference.public_names()) >= set(convrnn_zoo.__all__)
    text = (ROOT / "docs/reference/index.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| (?:\[)?`(\w+)`", text, re.MULTILINE) == list(reference.public_names())


@pytest.mark.parametrize("table", [reference.losses, reference.schedules, reference.samplings])
def test_every_choice_of_a_recipe_is_described(table: Callable[[str], str]) -> None:
    assert not re.findall(r"^\| `\w+` \|\s*\|.*", table(""), re.MULTILINE)


def test_every_format_is_listed_with_what_reads_it() -> None:
    kinds = {
        "clips": CLIP_READERS,
        "frames": ArrayFrames.suffixes,
        "sequences": RECORDING_SUFFIXES,
        "video": VideoFrames.suffixes,
    }
    jobs = {"forecast": FRAME_SUFFIXES, "classify": (*CLIP_READERS, *RECORDING_SUFFIXES)}
    text = (ROOT / "docs/how-to/files.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in re.findall(r"^\| (.*: `.*) \|$", text, re.MULTILINE)]
    for suffix in {*FRAME_SUFFIXES, *CLIP_READERS, *RECORDING_SUFFIXES}:
        _, predict, train, archive, *_ = (
            " ".join(cells) for cells in zip(*(r for r in rows if f"`{suffix}`" in r[0]), strict=True)
        )
        assert {k for k, known in kinds.items() if suffix in known} <= {*re.findall(r"`(\w+)`", train)}, suffix
        assert {job for job, known in jobs.items() if suffix in known} <= {*predict.replace(",", "").split()}, suffix
        assert ("yes" in archive) >= (suffix in ArrayFrames.suffixes), suffix
    assert all(f"`{form.pattern}`" in text for form in FORMATS)
