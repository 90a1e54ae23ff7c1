"""Robust Video Matting: recorded outputs and states of the authors' network, and its other variants."""

import pytest
import torch

import convrnn_zoo
from convrnn_zoo import WeightsError, interop
from convrnn_zoo.models.rvm import RobustVideoMatting

from . import rvm_states
from .recorded import recorded
from .test_irene import assert_agree


@torch.no_grad()
def test_outputs_and_states_are_those_of_the_original(caplog):
    values, complete = recorded("rvm_mobilenetv3").values, rvm_states.state(complete=True)
    with caplog.at_level("INFO", "convrnn_zoo"):
        model = interop.load("rvm", complete).eval()
    assert "refiner" in caplog.text
    x = values["x.frames"]
    features, state = model.forward_sequence(x)
    y = model.forward_head(features)
    assert_agree(y, values["y.outputs"])
    assert_agree((y[:, :, :3] + x).clamp(0, 1), values["y.foreground"])
    assert_agree(y[:, :, 3:].clamp(0, 1), values["y.alpha"])
    for level, s in zip((4, 3, 2, 1), state, strict=True):
        assert_agree(s.flatten(0, -4), values[f"y.r{level}"])
    first, state = model.forward_sequence(x[:, :2])
    assert_agree(torch.cat([first, model.forward_sequence(x[:, 2:], state)[0]], 1), features)
    unused = ("refiner.", "project_seg.")
    counted = [v.numel() for k, v in complete.items() if v.dim() and "running" not in k and not k.startswith(unused)]
    assert sum(p.numel() for p in model.parameters()) == sum(counted) == 3_747_808


def test_another_kind_of_encoder_is_rejected():
    with pytest.raises(ValueError, match=r"encoder.*resnet18"):
        RobustVideoMatting("resnet18")


def test_the_encoder_differs_from_timms_in_norms_dilation_and_input():
    ours, timms = (
        convrnn_zoo.create_model(name, num_classes=4).eval()
        for name in ("rvm_mobilenetv3", "mobilenetv3_large_100_recurrent_decoder")
    )
    timms.load_state_dict(ours.state_dict())
    x = torch.rand(1, 1, 3, 32, 32)
    assert not torch.allclose(ours(x), timms(x), atol=1e-3)


def test_the_resnet_variant_is_not_converted():
    with pytest.raises(WeightsError, match="resnet50"):
        interop.load("rvm", {**rvm_states.state(), "backbone.layer1.0.conv1.weight": torch.zeros(1)})
