"""Tests of `convrnn-zoo info`."""

import json

import pytest

import convrnn_zoo
from convrnn_zoo import create_model, save_pretrained
from convrnn_zoo.cli.demo import CLASSIFIER as NAME
from convrnn_zoo.pretrained.published import PUBLISHED
from tests.helpers.command_line import run
from tests.helpers.hub.examples import representatives
from tests.helpers.registry import slow_unless

WEIGHTS_METADATA = convrnn_zoo.WEIGHTS[NAME]


@pytest.mark.parametrize(
    "name", [*slow_unless(representatives()[::4].__contains__, convrnn_zoo.list_models()), *convrnn_zoo.WEIGHTS]
)
def test_info_of_every_name(name):
    metadata = json.loads(run("info", name, "--json"))
    model = convrnn_zoo.create_model(name, device="meta")
    assert metadata["parameters"] == sum(p.numel() for p in model.parameters())
    of_weights = convrnn_zoo.WEIGHTS.get(name)
    assert metadata["licence"] == (of_weights.license if of_weights else None)


def test_info_describes_weights_that_others_publish():
    text, published = run("info", "firenet.evreal"), PUBLISHED["firenet.evreal"]
    for text_part in (
        published.address,
        published.sha256,
        published.license_source,
        published.command,
        published.unverified,
    ):
        assert text_part in text
    assert json.loads(run("info", "firenet", "--json"))["weights of other projects"] == [
        "firenet.evreal",
        "firenet.evreal_plus",
    ]
    assert json.loads(run("info", "predrnn.openstl_taxibj", "--json"))["input"][2] == 2


def test_info_of_weights_prints_their_metadata():
    text = run("info", NAME)
    assert f"{WEIGHTS_METADATA.num_params:,}" in text
    for field in ("dataset", "dataset_url", "license", "sha256"):
        assert getattr(WEIGHTS_METADATA, field) in text
    assert all(m.name in text for m in WEIGHTS_METADATA.metrics)
    assert "did you mean" in run("info", "convlstm2d_4layer", code=1)


def test_terminal_escapes_are_rejected_and_not_printed(tmp_path):
    save_pretrained(create_model("convgru1d_1layer", hidden_channels=2, num_classes=2), tmp_path)
    raw = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**raw, "label_names": ["\x1b[31mred", "b"]}))
    assert "\x1b" not in run("info", tmp_path, code=1)
