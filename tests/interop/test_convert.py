"""Conversion of foreign checkpoints: every loader reads the directory, and a failed conversion leaves no files."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import convrnn_zoo
from convrnn_zoo import WeightsError, interop, layers
from tests.helpers.interop.examples import STATES
from tests.helpers.interop.recorded import KERAS, assert_identical, recorded_layer


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "PeepholeLSTM", "GRU"])
@pytest.mark.parametrize("case", ["plain", "even_strided_dilated", "grouped"])
@pytest.mark.parametrize("cell", ["", "Cell"])
def test_the_model_around_a_layer_is_the_layer(kind: str, case: str, cell: str, tmp_path: Path) -> None:
    """Every option survives the directory: outputs equal those of the layer."""
    known, _ = recorded_layer(f"Conv2d{kind}{cell}", case)
    options = {k: v for k, v in known.kwargs.items() if k in ("stride", "dilation", "groups", "nonlinearity")}
    if kind == "RNN":
        options.setdefault("nonlinearity", "relu")
    converted = interop.convert("pytorch_convolutional_rnn", known.state, tmp_path / "out", **options)
    assert converted.parameters == sum(v.numel() for v in known.state.values())
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


NDRPLZ = STATES["ndrplz"].state
NOTHING: dict[str, tuple[tuple[str, Any], dict[str, Any], type[Exception], str]] = {
    "another model": (("kimmel", NDRPLZ), {}, WeightsError, "ndrplz"),
    "valid padding": (("keras", KERAS / "valid3d.keras"), {}, ValueError, "ResizingConvLSTM"),
    "other gates": (("keras", KERAS / "hard1d.keras"), {}, ValueError, "ActivatedConv1dLSTM"),
    "an unknown option": (("ndrplz", NDRPLZ), {"bias": 1}, TypeError, "bias"),
}


@pytest.mark.parametrize("case", NOTHING)
def test_a_failed_conversion_leaves_no_files(case: str, tmp_path: Path) -> None:
    args, options, error, message = NOTHING[case]
    with pytest.raises(error, match=message):
        interop.convert(*args, tmp_path / "new" / "out", **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "step", ["convrnn_zoo.interop._conversion.save_pretrained", "pathlib.Path.write_text", "os.replace"]
)
def test_a_disk_that_fails_on_the_way_leaves_nothing(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError("full")

    monkeypatch.setattr(step, full)
    with pytest.raises(OSError, match="full"):
        interop.convert("ndrplz", NDRPLZ, tmp_path / "out")
    monkeypatch.undo()
    assert not list(tmp_path.iterdir())


def test_a_directory_that_is_there_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="out"):
        interop.convert("ndrplz", NDRPLZ, tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["mine.txt"]
    (tmp_path / "out" / "mine.txt").unlink()
    interop.convert("ndrplz", NDRPLZ, tmp_path / "out")
    assert (tmp_path / "out" / "config.json").is_file()


def test_a_custom_layer_becomes_a_model() -> None:
    layer = layers.Conv2dGRU(
        2,
        [3, 4],
        [(3, 3), (5, 5)],
        2,
        hidden_kernel_size=1,
        padding_mode="circular",
        reset_after=False,
        bias=False,
        bidirectional=True,
    )
    model = interop.to_model(layer).eval()
    assert model.model_args["hidden_channels"] == [3, 4]
    x = torch.randn(5, 2, 2, 6, 6)
    torch.testing.assert_close(model(x.transpose(0, 1)).transpose(0, 1), layer(x)[0])
    assert interop.to_model(model) is model


@pytest.mark.parametrize("widths", [[6, 5, 4, 3], [4] * 7])
@pytest.mark.parametrize("has_prefix", [False, True])
def test_a_stack_of_any_depth_becomes_a_model(widths: list[int], has_prefix: bool, tmp_path: Path) -> None:
    """Four cells of several widths, as in weather2land: the directory gives the layer's outputs and the same file."""
    state: dict[str, torch.Tensor] = {}
    for i, (in_channels, width) in enumerate(pairwise([5, *widths])):
        state[f"cell_list.{i}.conv.weight"] = torch.randn(4 * width, in_channels + width, 3, 3) / 10
        state[f"cell_list.{i}.conv.bias"] = torch.randn(4 * width)
    prefix = "net.lstm." * has_prefix
    converted = interop.convert("ndrplz", {prefix + k: v for k, v in state.items()}, tmp_path / "out", prefix=prefix)
    assert converted.architecture == "recurrent_stack"
    assert converted.parameters == sum(v.numel() for v in state.values()) + 4 * sum(widths)  # the second bias
    model = convrnn_zoo.from_pretrained(tmp_path / "out").eval()
    assert type(model.rnn).__name__ == "Conv2dLSTM"
    assert model.rnn.widths == widths
    x, frames, maps = torch.rand(2, 3, 5, 6, 7), [], [(torch.zeros(2, w, 6, 7),) * 2 for w in widths]
    for frame in x.unbind(1):
        for i, (h, c) in enumerate(maps):
            weight, bias = state[f"cell_list.{i}.conv.weight"], state[f"cell_list.{i}.conv.bias"]
            gates = torch.conv2d(torch.cat([frame, h], 1), weight, bias, padding=1)
            i_gate, f_gate, o_gate, g = gates.chunk(4, 1)
            c = f_gate.sigmoid() * c + i_gate.sigmoid() * g.tanh()
            maps[i] = (frame := o_gate.sigmoid() * c.tanh(), c)
        frames.append(frame)
    torch.testing.assert_close(model(x), torch.stack(frames, 1), rtol=1e-5, atol=1e-6)
    assert_identical(interop.export(model, "ndrplz"), state)


def test_modules_that_are_no_layers_are_named() -> None:
    with pytest.raises(ValueError, match=r"expected a layer.*LSTM"):
        interop.to_model(nn.LSTM(2, 3))
