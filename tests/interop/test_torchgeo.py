"""TorchGeo's ConvLSTM and Conv3dLSTM: recorded outputs, export, and its trainer with a model of the zoo."""

import pytest
import torch

import convrnn_zoo
from convrnn_zoo import WeightsError, interop
from convrnn_zoo.layers import Conv2dLSTM
from tests.helpers.command_line import run
from tests.helpers.interop.recorded import assert_close, assert_identical, recorded


def test_a_convlstm_of_torchgeo_0_8_is_a_layer():
    known = recorded("torchgeo_convlstm")
    layer = interop.load("torchgeo", known.state)
    assert type(layer) is Conv2dLSTM
    assert layer.batch_first
    outputs, (h, c) = layer.forward_layers(known.values["x"])
    for i, y in enumerate(outputs):
        assert_close(y, known.values[f"y.{i}"])
        assert_close(h[i][0], known.values[f"h.{i}"])
        assert_close(c[i][0], known.values[f"c.{i}"])
    assert_identical(interop.export(layer, "torchgeo"), known.state)


def with_pixel_head():
    """The recorded ConvLSTM with a head of 1×1, TorchGeo's default."""
    state = recorded("torchgeo_convlstm_head").state
    return {**state, "head.weight": state["head.weight"][..., :1, :1].clone()}


@pytest.mark.parametrize("bias", [True, False])
def test_a_convlstm_with_its_head_is_converted_and_goes_back_bit_for_bit(bias, tmp_path):
    state = {k: v for k, v in with_pixel_head().items() if bias or k.startswith("head") or "bias" not in k}
    torch.save(state, tmp_path / "series.pth")
    run("convert", "torchgeo", tmp_path / "series.pth", "-o", tmp_path / "mine")
    model, theirs = convrnn_zoo.from_pretrained(tmp_path / "mine").eval(), interop.load("torchgeo", state)
    assert model.pretrained_cfg["architecture"] == f"convlstm2d_{model.rnn.num_layers}layer"
    x, lengths = recorded("torchgeo_convlstm_head").values["x"], torch.tensor([2, 3])
    logits = model(x)
    assert logits.shape[:3] == (*x.shape[:2], len(state["head.bias"]))
    assert_close(logits[:, -1], theirs(x))
    assert_close(model(x, lengths=lengths)[[0, 1], lengths - 1], theirs(x, lengths))
    assert_identical(interop.export(model, "torchgeo"), state)
    assert "outputs for the last date are those of the original" in (tmp_path / "mine" / "README.md").read_text()
    model.global_pool = "avg"
    with pytest.raises(ValueError, match=r"torchgeo.*classifier.* 3 classes"):
        interop.export(model, "torchgeo")


@pytest.mark.parametrize("name", ["torchgeo_convlstm_head", "torchgeo_conv3dlstm"])
def test_models_with_a_head(name):
    known = recorded(name)
    model = interop.load("auto", known.state)
    x = known.values["x"]
    assert_close(model(x), known.values["y"])
    assert_close(model(x, known.values["lengths"]), known.values["y.lengths"])
    assert_identical(interop.export(model, "torchgeo"), known.state)


@pytest.mark.parametrize("pooling", ["avg", "max"])
@pytest.mark.parametrize("sequence", [False, True])
@pytest.mark.parametrize("mode", ["pixel", "chip"])
def test_output_modes_of_a_conv3dlstm(mode, sequence, pooling):
    known = recorded("torchgeo_conv3dlstm")
    options = {"output_mode": mode, "return_sequence": sequence, "pooling": pooling}
    y = interop.load("torchgeo", known.state, **options)(known.values["x"])
    assert_close(y, known.values[f"y.{mode}.{int(sequence)}.{pooling}"])


def test_wrong_options_and_sizes_are_named(tmp_path):
    plain, deep = recorded("torchgeo_convlstm_head").state, recorded("torchgeo_conv3dlstm").state
    with pytest.raises(ValueError, match="output_mode"):
        interop.load("torchgeo", plain, output_mode="chip")
    with pytest.raises(ValueError, match="output_mode"):
        interop.load("torchgeo", deep, output_mode="image")
    with pytest.raises(WeightsError, match=r"head\.weight \(2, 6, 1, 1\) for \(2, 5,"):
        interop.load("torchgeo", {**deep, "head.weight": torch.zeros(2, 6, 1, 1)})
    wider = {"input_projection.weight": torch.zeros(5, 3, 3, 1, 3), "input_projection.bias": torch.zeros(5)}
    with pytest.raises(WeightsError, match=r"input_projection\.weight \(5, 3, 3, 1, 3\) for \(4, "):
        interop.load("torchgeo", {**deep, **wider})
    with pytest.raises(ValueError, match=r"TorchGeoConvLSTM.*model\.rnn"):
        interop.convert("torchgeo", deep, tmp_path / "out")
    with pytest.raises(ValueError, match=r"head.*\(3, 3\)"):
        interop.convert("torchgeo", plain, tmp_path / "out")
    with pytest.raises(ValueError, match=r"torchgeo.*groups"):
        interop.export(Conv2dLSTM(2, 2, 3, groups=2), "torchgeo")
