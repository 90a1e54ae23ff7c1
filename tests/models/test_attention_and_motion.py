"""SA-ConvLSTM and MotionRNN: outputs and counts of other code, learning, and errors."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import convrnn_zoo
from tests.helpers.models.forecasters import count, tiny

REFERENCE = Path(__file__).parent / "reference"


def recorded(name, **kwargs):
    """A model with recorded weights, the frames, and the outputs that the original computed in float64."""
    tensors = load_file(REFERENCE / f"{name}.safetensors")
    model = convrnn_zoo.create_model(name, num_layers=2, hidden_channels=4, kernel_size=3, **kwargs).double().eval()
    model.load_state_dict({k[2:]: v for k, v in tensors.items() if k.startswith("w.")})
    return model, tensors["x"].double(), tensors["y"].double()


def test_motionrnn_agrees_with_its_authors_code():
    """The original samples its initial states; they were set to zero."""
    model, x, expected = recorded("motionrnn_predrnn", patch_size=2)
    forecast, warmup, _ = model(x[:, :3], horizon=3, return_aux=True)
    error = (torch.cat([warmup, forecast], dim=1) - expected).abs().max()
    assert error / expected.std() < 1e-5


def test_sa_convlstm_agrees_with_a_public_reimplementation():
    """Values are as wide as queries, 1×1 convolutions have no biases, and ``weight_q`` includes the scale."""
    model, x, expected = recorded("sa_convlstm", patch_size=1, attention_channels=4)
    error = (model(x, horizon=3) - expected).abs().max()
    assert error / expected.std() < 1e-5


def test_counts_are_those_of_code_that_was_built():
    # jerrywn121/TianChi_AIEarth with d_attn=64, which has biases in six 1×1 convolutions of 64 channels and in the head
    biases = 4 * 6 * 64 + 1
    same = convrnn_zoo.create_model("sa_convlstm", patch_size=1, attention_channels=64, device="meta")
    assert count(same) == 2_037_313 - biases
    # thuml/MotionRNN, run as its script for Human3.6M does, of which test_published.py has the count for one channel
    assert count(convrnn_zoo.create_model("motionrnn_predrnn", in_chans=3, device="meta")) == 7_214_657


@pytest.mark.parametrize("name", ["sa_convlstm", "motionrnn_predrnn"])
def test_a_layer_sees_all_of_the_map_only_by_attention(name):
    """One changed pixel in a corner changes the opposite corner in one step of one layer with 3×3 kernels."""
    layers = {"num_layers": 1} if name == "sa_convlstm" else {"num_layers": 2}
    model = tiny(name, patch_size=1, kernel_size=3, dtype=torch.float64, **layers).eval()
    x = torch.rand(1, 1, 1, 16, 16, dtype=torch.float64)
    other = x.clone()
    other[..., 0, 0] += 1
    with torch.no_grad():
        changed = (model(other, horizon=1) - model(x, horizon=1)).abs()[..., 14:, 14:].max()
    assert (changed > 0) == (name == "sa_convlstm")


def test_rejects_frames_that_the_encoder_cannot_halve():
    with pytest.raises(ValueError, match=r"8.*\(8, 12\)"):
        tiny("motionrnn_predrnn")(torch.rand(1, 2, 1, 8, 12))
    assert tiny("sa_convlstm")(torch.rand(1, 2, 1, 8, 12), horizon=1).shape == (1, 1, 1, 8, 12)
