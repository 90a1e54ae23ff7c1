"""``convrnn-zoo convert``."""

import json
from pathlib import Path

import pytest
import timm
from safetensors.torch import save_file

import convrnn_zoo
from convrnn_zoo import interop
from tests.helpers.command_line import run
from tests.helpers.interop.examples import STATES
from tests.helpers.interop.recorded import assert_identical

ARCHITECTURES = {
    "pytorch_convolutional_rnn": "convlstm2d_bi_2layer",
    "ndrplz": "convlstm2d_2layer",
    "kimmel": "convgru2d_2layer",
    "keras": "convlstm2d_bi_1layer",
    "openstl": "predrnn",
    "irene": "convgru_irene",
    "dgmr": "dgmr",
    "rvm": "rvm_mobilenetv3",
    "weather2land": "convlstm_weather2land",
    "sg_convlstm": "sg_convlstm",
    "greenearthnet": "predrnn_greenearthnet",
    "firenet": "firenet",
    "e2vid": "e2vid",
    "digital_typhoon": "convlstm_digital_typhoon",
    "torch": "convgru1d_bi_2layer",
}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """The example of each source as a safetensors file."""
    for source, example in STATES.items():
        save_file({k: v.contiguous() for k, v in example.state.items()}, tmp_path / f"{source}.safetensors")
    return {source: tmp_path / f"{source}.safetensors" for source in STATES}


def settings(source: str) -> list[str]:
    return [part for k, v in STATES[source].options.items() for part in ("--set", f"{k}={v}")]


@pytest.mark.sampled("source")
@pytest.mark.parametrize("asked", ["named", "auto"])
@pytest.mark.parametrize("source", ARCHITECTURES)
def test_the_command_writes_a_directory_that_every_loader_reads(
    source: str, asked: str, files: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "new" / "mine"
    name = source if asked == "named" else "auto"
    text = run("convert", name, files[source], "-o", out, "--name", "My model", *settings(source))
    architecture = ARCHITECTURES[source]
    assert architecture in text
    assert f"source: {source}" in text
    assert sorted(p.name for p in out.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert [p.name for p in out.parent.iterdir()] == ["mine"]

    config = json.loads((out / "config.json").read_text())
    assert config["architecture"] == architecture
    assert "license" not in config["pretrained_cfg"]
    card = (out / "README.md").read_text()
    assert "# My model" in card
    assert interop.SOURCES[source].title in card

    loaded = interop.load(source, files[source], **STATES[source].options)
    expected = {f"rnn.{k}": v for k, v in loaded.state_dict().items()} if hasattr(loaded, "num_layers") else None
    for model in (
        convrnn_zoo.from_pretrained(out),
        timm.create_model(f"local-dir:{out}", pretrained=True),
        convrnn_zoo.create_model(f"local-dir:{out}", pretrained=True),
    ):
        assert_identical(model.state_dict(), expected or loaded.state_dict())


def test_the_command_reports_errors_in_one_line(files: dict[str, Path], tmp_path: Path) -> None:
    out = ("-o", tmp_path / "out")
    assert "ndrplz" in run("convert", "kimmel", files["ndrplz"], *out, code=1)
    assert "patch_size" in run("convert", "openstl", files["openstl"], *out, code=1)
    assert "stride" in run("convert", "ndrplz", files["ndrplz"], *out, "--set", "stride=2", code=1)
    assert "KEY=VALUE" in run("convert", "ndrplz", files["ndrplz"], *out, "--set", "batch_first", code=2)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("options", [["name=x"], ["directory=x"], ["batch_first=true", "batch_first=false"]])
def test_options_that_are_arguments_or_set_twice_are_errors(
    options: list[str], files: dict[str, Path], tmp_path: Path
) -> None:
    arguments = [part for option in options for part in ("--set", option)]
    text = run("convert", "torch", files["torch"], "-o", tmp_path / "out", *arguments, code=2)
    assert options[0].partition("=")[0] in text
    assert not (tmp_path / "out").exists()
