"""TorchGeo's ConvLSTM: recorded outputs, and its head as the classifier of a model."""

import pytest
import torch

import convrnn_zoo
from convrnn_zoo import WeightsError, interop
from convrnn_zoo.layers import Conv2dLSTM
from tests.helpers.command_line import run
from tests.helpers.interop.recorded import assert_close, recorded

LAYERS = recorded("torchgeo_convlstm")


def test_a_convlstm_of_torchgeo_0_8_is_a_layer():
    layer = interop.load("torchgeo", LAYERS.state)
    assert type(layer) is Conv2dLSTM
    assert layer.batch_first
    outputs, (h, c) = layer.forward_layers(LAYERS.values["x"])
    for i, y in enumerate(outputs):
        assert_close(y, LAYERS.values[f"y.{i}"])
        assert_close(h[i][0], LAYERS.values[f"h.{i}"])
        assert_close(c[i][0], LAYERS.values[f"c.{i}"])


@pytest.mark.parametrize("bias", [True, False])
def test_a_convlstm_with_its_head_is_a_model(bias, tmp_path):
    """The model has the head's logits for the recorded output of every date."""
    x, *maps = (LAYERS.values[key] for key in ("x", *sorted(k for k in LAYERS.values if k.startswith("y."))))
    width = maps[-1].shape[2]
    head = {"head.weight": torch.randn(3, width, 1, 1), "head.bias": torch.randn(3)}
    state = {k: v for k, v in LAYERS.state.items() if bias or "bias" not in k} | head
    torch.save(state, tmp_path / "series.pth")
    run("convert", "auto", tmp_path / "series.pth", "-o", tmp_path / "mine")
    model = convrnn_zoo.from_pretrained(tmp_path / "mine").eval()
    assert model.pretrained_cfg["architecture"] == f"convlstm2d_{len(maps)}layer"
    features = maps[-1] if bias else model.forward_features(x)
    expected = torch.conv2d(features.flatten(0, 1), head["head.weight"], head["head.bias"])
    assert_close(model(x).flatten(0, 1), expected)


def test_other_heads_and_missing_weights_are_named():
    width = LAYERS.values["y.0"].shape[2]
    head = {"head.weight": torch.zeros(3, width, 3, 3), "head.bias": torch.zeros(3)}
    with pytest.raises(WeightsError, match=r"head\.weight \(3, .*, 3, 3\) for \(any, .*, 1, 1\)"):
        interop.load("torchgeo", {**LAYERS.state, **head})
    with pytest.raises(WeightsError, match=r"missing: head\.bias"):
        interop.load("torchgeo", {**LAYERS.state, "head.weight": torch.zeros(3, width, 1, 1)})
    with pytest.raises(WeightsError, match=r"input_projection\.weight"):
        interop.load("torchgeo", {**LAYERS.state, "input_projection.weight": torch.zeros(4, 3, 3, 1, 3)})
