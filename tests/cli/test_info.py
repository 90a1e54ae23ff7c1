"""Tests of `convrnn-zoo info`."""

import json
import re

import pytest
import torch

import convrnn_zoo
from convrnn_zoo import WEIGHTS, create_model, save_pretrained
from convrnn_zoo.cli.demo import CLASSIFIER as NAME
from convrnn_zoo.pretrained import registry
from convrnn_zoo.pretrained.builder import build_model
from convrnn_zoo.pretrained.published import PUBLISHED
from tests.helpers.command_line import run

WEIGHTS_METADATA = convrnn_zoo.WEIGHTS[NAME]


@pytest.mark.parametrize("name", [*convrnn_zoo.list_models(), *convrnn_zoo.WEIGHTS])
def test_info_of_every_name(name):
    metadata = json.loads(run("info", name, "--json"))
    model = convrnn_zoo.create_model(name, device="meta")
    assert metadata["parameters"] == sum(p.numel() for p in model.parameters())
    assert metadata["licence"] == "mit"


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


def test_info_of_a_network_that_takes_no_device(monkeypatch):
    class Tiny(torch.nn.Module):
        def __init__(self, in_chans=3, num_classes=2):
            super().__init__()
            self.feature_info, self.head = [], torch.nn.Linear(in_chans, 2)

    def tiny_network(pretrained=False, **kwargs):
        return build_model(Tiny, "tiny_network", pretrained, **kwargs)

    registry.register_model(cfg={"input_size": (3, 8, 8)})(tiny_network)
    try:
        metadata = json.loads(run("info", "tiny_network", "--json"))
    finally:
        registry._FUNCTIONS.pop("tiny_network")
    assert metadata["parameters"] == 8
    assert metadata["input"] == ["N", "T", 3, "H", "W"]


def test_info_of_a_directory_without_metadata(tmp_path):
    model = create_model("convgru_forecaster", hidden_channels=2, kernel_size=3)
    model.preprocessing = convrnn_zoo.Preprocessing(unit="K")
    save_pretrained(model, tmp_path / "run")
    metadata = json.loads(run("info", tmp_path / "run", "--json"))
    assert metadata["architecture"] == "convgru_forecaster"
    assert metadata["values"]["unit"] == "K"
    assert "trained on" not in metadata
    text = run("info", "convgru_forecaster")
    assert "convgru_forecaster.rain" in text
    (default,) = (n for n, w in WEIGHTS.items() if w.default and w.architecture == "convgru_forecaster")
    assert re.search(rf"default weights +{re.escape(default)}", text)


def test_terminal_escapes_are_rejected_and_not_printed(tmp_path):
    save_pretrained(create_model("convgru1d_1layer", hidden_channels=2, num_classes=2), tmp_path)
    raw = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**raw, "label_names": ["\x1b[31mred", "b"]}))
    assert "\x1b" not in run("info", tmp_path, code=1)
