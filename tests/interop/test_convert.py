"""A foreign checkpoint as a directory of the zoo: loadable by every road, whole or not at all."""

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from click.testing import CliRunner
from torch import nn

import convrnn_zoo
from convrnn_zoo import WeightsError, interop, layers
from convrnn_zoo.cli._group import cli

from .examples import STATES
from .recorded import KERAS, assert_identical, recorded_layer

ARCHITECTURES = {
    "pytorch_convolutional_rnn": "convlstm2d_bi_2layer",
    "ndrplz": "convlstm2d_2layer",
    "kimmel": "convgru2d_2layer",
    "keras": "convlstm2d_bi_1layer",
    "openstl": "predrnn",
    "irene": "convgru_irene",
    "dgmr": "dgmr",
    "torch": "convgru1d_bi_2layer",
}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """The example of each source as a .pth."""
    for source, example in STATES.items():
        torch.save(example.state, tmp_path / f"{source}.pth")
    return {source: tmp_path / f"{source}.pth" for source in STATES}


def run(*args: object) -> Any:
    return CliRunner().invoke(cli, [str(a) for a in args])


def settings(source: str) -> list[str]:
    return [part for k, v in STATES[source].options.items() for part in ("--set", f"{k}={v}")]


@pytest.mark.parametrize("asked", ["named", "auto"])
@pytest.mark.parametrize("source", ARCHITECTURES)
def test_the_command_writes_what_every_road_loads(
    source: str, asked: str, files: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "new" / "mine"
    name = source if asked == "named" else "auto"
    result = run("convert", name, files[source], "-o", out, "--name", "My model", *settings(source))
    assert result.exit_code == 0, result.output
    architecture = ARCHITECTURES[source]
    assert architecture in result.output
    assert f"source: {source}, because " in result.output
    assert "was named" not in result.output
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


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "PeepholeLSTM", "GRU"])
@pytest.mark.parametrize("case", ["plain", "even_strided_dilated", "grouped"])
@pytest.mark.parametrize("cell", ["", "Cell"])
def test_the_model_around_a_layer_is_the_layer(kind: str, case: str, cell: str, tmp_path: Path) -> None:
    """Every option survives the directory: outputs are those of the layer alone."""
    known, _ = recorded_layer(f"Conv2d{kind}{cell}", case)
    options = {k: v for k, v in known.kwargs.items() if k in ("stride", "dilation", "groups", "nonlinearity")}
    if kind == "RNN":
        options.setdefault("nonlinearity", "relu")
    made = interop.convert("pytorch_convolutional_rnn", known.state, tmp_path / "out", **options)
    assert made.parameters == sum(v.numel() for v in known.state.values())
    model = convrnn_zoo.from_pretrained(tmp_path / "out").eval()
    layer = interop.load("pytorch_convolutional_rnn", known.state, **options)
    x = torch.randn(2, 3, layer.in_channels, 6, 7)
    if cell:
        hx = None
        for frame in x.unbind(1):
            hx = layer(frame, hx)
        last = hx[0] if isinstance(hx, tuple) else hx
    else:
        last = layer(x.transpose(0, 1))[0][-1]
    torch.testing.assert_close(model(x)[:, -1], last)


def test_half_precision_is_kept(tmp_path: Path) -> None:
    state = {k: v.half() for k, v in STATES["ndrplz"].state.items()}
    interop.convert("ndrplz", state, tmp_path / "out")
    loaded = convrnn_zoo.from_pretrained(tmp_path / "out")
    assert {p.dtype for p in loaded.parameters()} == {torch.float16}
    assert_identical(interop.export(loaded, "ndrplz"), state)


NOTHING = [
    ("another model", lambda d: {"source": "kimmel", "checkpoint": STATES["ndrplz"].state}, WeightsError,
     "It looks like ndrplz"),
    ("four layers", lambda d: {"source": "torch", "checkpoint": nn.GRU(2, 3, 4).state_dict()}, ValueError,
     "one to three layers, and this Conv1dGRU has 4"),
    ("valid padding", lambda d: {"source": "keras", "checkpoint": KERAS / "valid3d.keras"}, ValueError,
     "no architecture has a ResizingConvLSTM"),
    ("other gates", lambda d: {"source": "keras", "checkpoint": KERAS / "hard1d.keras"}, ValueError,
     "no architecture has a ActivatedConv1dLSTM"),
    ("an unknown option", lambda d: {"source": "ndrplz", "checkpoint": STATES["ndrplz"].state, "bias": 1}, TypeError,
     "ndrplz has no option bias"),
]  # fmt: skip


@pytest.mark.parametrize(("case", "args", "error", "message"), NOTHING, ids=[c for c, *_ in NOTHING])
def test_what_fails_leaves_nothing(case: str, args: Any, error: type[Exception], message: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=message):
        interop.convert(**args(tmp_path), directory=tmp_path / "new" / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "step", ["convrnn_zoo.interop._conversion.save_pretrained", "pathlib.Path.write_text", "os.replace"]
)
def test_a_disk_that_fails_on_the_way_leaves_nothing(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(step, full)
    with pytest.raises(OSError, match="No space left"):
        interop.convert("ndrplz", STATES["ndrplz"].state, tmp_path / "out")
    monkeypatch.undo()
    assert not list(tmp_path.iterdir())


def test_a_directory_that_is_there_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="out"):
        interop.convert("ndrplz", STATES["ndrplz"].state, tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["mine.txt"]
    (tmp_path / "out" / "mine.txt").unlink()
    interop.convert("ndrplz", STATES["ndrplz"].state, tmp_path / "out")
    assert (tmp_path / "out" / "config.json").is_file()


def test_the_command_tells_errors_in_a_line(files: dict[str, Path], tmp_path: Path) -> None:
    result = run("convert", "kimmel", files["ndrplz"], "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert "It looks like ndrplz" in result.output
    result = run("convert", "openstl", files["openstl"], "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "openstl requires patch_size" in result.output
    result = run("convert", "ndrplz", files["ndrplz"], "-o", tmp_path / "out", "--set", "stride=2")
    assert result.exit_code == 1
    assert "ndrplz has no option stride" in result.output
    result = run("convert", "ndrplz", files["ndrplz"], "-o", tmp_path / "out", "--set", "batch_first")
    assert result.exit_code == 2
    assert "expected KEY=VALUE" in result.output
    assert not (tmp_path / "out").exists()


def test_the_source_may_stand_first_or_be_an_option_or_be_left_out(files: dict[str, Path], tmp_path: Path) -> None:
    file = files["ndrplz"]
    ways = [["ndrplz", file], [file, "--source", "ndrplz"], [file, "--source", "auto"], ["auto", file], [file]]
    for i, way in enumerate(ways):
        result = run("convert", *way, "-o", tmp_path / str(i), *settings("ndrplz"))
        assert "source: ndrplz" in result.output
    weights = {(tmp_path / str(i) / "model.safetensors").read_bytes() for i in range(len(ways))}
    assert len(weights) == 1
    for way in (["ndrplz", file, "--source", "kimmel"], ["ndrplz", "kimmel", file], []):
        assert run("convert", *way, "-o", tmp_path / "no").exit_code == 2
    assert not (tmp_path / "no").exists()


def test_a_layer_of_ones_own_goes_into_a_model() -> None:
    layer = layers.Conv2dGRU(2, [3, 4], [(3, 3), (5, 5)], 2, hidden_kernel_size=1, padding_mode="circular",
                             reset_after=False, bias=False, bidirectional=True)  # fmt: skip
    model = interop.to_model(layer).eval()
    assert model.model_args["hidden_channels"] == [3, 4]
    x = torch.randn(5, 2, 2, 6, 6)
    torch.testing.assert_close(model(x.transpose(0, 1)).transpose(0, 1), layer(x)[0])
    assert interop.to_model(model) is model
