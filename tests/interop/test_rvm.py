"""Robust Video Matting: recorded outputs and states of the authors' network, and its other variants."""

import pytest
import torch

import convrnn_zoo
from convrnn_zoo import interop
from convrnn_zoo.models.rvm import RecurrentDecoderModel, RobustVideoMatting
from tests.helpers.interop import rvm_states
from tests.helpers.interop.recorded import assert_agree, recorded


@pytest.mark.parametrize(
    ("name", "count"),
    [("rvm_mobilenetv3", 3_747_808), pytest.param("rvm_resnet50", 26_889_636, marks=pytest.mark.slow)],
)
@torch.no_grad()
def test_outputs_and_states_are_those_of_the_original(name, count, caplog):
    values = {k: v.double() for k, v in recorded(name).values.items()}
    complete = {k: v.double() if v.dim() else v for k, v in rvm_states.state(True, name).items()}
    with caplog.at_level("INFO", "convrnn_zoo"):
        model = interop.load("rvm", complete).eval()
    assert model.pretrained_cfg["architecture"] == name
    assert "left out, the head for segmentation: project_seg" in caplog.text
    x = values["x.frames"]
    features, state = model.forward_sequence(x)
    y = model.forward_head(features)
    assert_agree(y, values["y.outputs"])
    for level, s in zip((4, 3, 2, 1), state, strict=True):
        assert_agree(s.flatten(0, -4), values[f"y.r{level}"])
    foreground, alpha, _ = model.matte(x)
    assert torch.equal(foreground, (y[:, :, :3] + x).clamp(0, 1))
    assert torch.equal(alpha, y[:, :, 3:].clamp(0, 1))
    first, state = model.forward_sequence(x[:, :1])
    assert_agree(torch.cat([first, model.forward_sequence(x[:, 1:], state)[0]], 1), features)
    refined = []
    hook = model.refiner.register_forward_hook(lambda *args: refined.append(args[-1]))
    foreground, alpha, state = model.matte(x, downsample_ratio=0.5)
    hook.remove()
    assert_agree(refined[0], values["y.refined"][0])
    assert torch.equal(foreground, (refined[0][None, :, :3] + x).clamp(0, 1))
    assert torch.equal(alpha, refined[0][None, :, 3:].clamp(0, 1))
    assert_agree(state[3].flatten(0, -4), values["y.refined.r1"])
    counted = {k: v.numel() for k, v in complete.items() if v.dim() and "running" not in k and "project_seg" not in k}
    assert sum(p.numel() for p in model.parameters()) == sum(counted.values())
    assert sum(n for k, n in counted.items() if not k.startswith("refiner.")) == count
    assert sum(p.numel() for p in convrnn_zoo.create_model(name, device="meta").parameters()) == count


@pytest.mark.slow
@torch.no_grad()
def test_large_frames_are_matted_in_chunks_and_one_by_one():
    torch.manual_seed(0)
    model = interop.load("rvm", rvm_states.state(True)).eval()
    x, lengths = torch.rand(2, 3, 3, 48, 64), torch.tensor([3, 2])
    foreground, alpha, state = model.matte(x, downsample_ratio=0.5)
    assert alpha.shape == (2, 3, 1, 48, 64)
    first, _, carried = model.matte(x[:, :2], downsample_ratio=0.5)
    third, _, _ = model.matte(x[:, 2], carried, downsample_ratio=0.5)
    assert_agree(torch.cat([first, third.unsqueeze(1)], 1), foreground)
    short, _, ends = model.matte(x, lengths=lengths, downsample_ratio=0.5)
    assert_agree(short[1, :2], foreground[1, :2])
    assert_agree(ends[0][:, 1], carried[0][:, 1])
    assert_agree(ends[0][:, 0], state[0][:, 0])


def test_matte_names_invalid_arguments():
    model = convrnn_zoo.create_model("rvm_mobilenetv3", device="meta")
    x = torch.rand(1, 1, 3, 64, 64, device="meta")
    with pytest.raises(ValueError, match="refiner=True"):
        model.matte(x, downsample_ratio=0.5)
    with pytest.raises(ValueError, match="downsample_ratio"):
        model.matte(x, downsample_ratio=1.5)
    with pytest.raises(ValueError, match="num_classes=4"):
        convrnn_zoo.create_model("rvm_mobilenetv3", num_classes=1, device="meta").matte(x)
    with pytest.raises(TypeError, match="refiner"):
        convrnn_zoo.create_model("rvm_mobilenetv3", refiner="deep", device="meta")


def test_another_kind_of_encoder_is_rejected():
    with pytest.raises(ValueError, match=r"encoder.*resnet18"):
        RobustVideoMatting("resnet18")


def test_the_encoder_differs_from_timms_in_norms_dilation_and_input():
    ours = convrnn_zoo.create_model("rvm_mobilenetv3").eval()
    timms = RecurrentDecoderModel("mobilenetv3_large_100", num_classes=4).eval()
    timms.load_state_dict(ours.state_dict())
    x = torch.rand(1, 1, 3, 32, 32)
    assert not torch.allclose(ours(x), timms(x), atol=1e-3)
