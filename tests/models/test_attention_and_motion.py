"""SA-ConvLSTM and MotionRNN: outputs and counts of other code, learning, and errors."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import convrnn_zoo
from tests.helpers.models.forecasters import count, tiny
from tests.helpers.registry import slow_unless

REFERENCE = Path(__file__).parent / "reference"
NAMES = ("sa_convlstm", "motionrnn_predrnn")
EVERY = pytest.mark.parametrize("name", NAMES)


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


def moving_squares(count):
    """Sequences ``(N, 6, 1, 16, 16)`` of a square of 4 pixels that moves by one or two pixels a step."""
    generator = torch.Generator().manual_seed(0)
    x = torch.zeros(count, 6, 1, 16, 16)
    for n in range(count):
        row, column = (int(v) for v in torch.randint(0, 12, (2,), generator=generator))
        down, right = (int(v) for v in torch.randint(-2, 3, (2,), generator=generator))
        for t in range(6):
            r, c = (row + t * down) % 13, (column + t * right) % 13
            x[n, t, 0, r : r + 4, c : c + 4] = 1
    return x


@pytest.mark.parametrize("name", slow_unless(NAMES[0].__eq__, NAMES))
def test_small_model_learns_a_moving_square(name):
    torch.manual_seed(0)
    model = tiny(name, 4, kernel_size=3, patch_size=2, num_layers=2)
    optimizer, losses, x = torch.optim.Adam(model.parameters(), 0.02), [], moving_squares(2)
    for _ in range(30):
        loss = (model(x[:, :3], horizon=3) - x[:, 3:]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    assert losses[-1] < 0.6 * losses[0]


@EVERY
def test_steps_with_a_passed_state_are_the_sequence(name):
    model, x = tiny(name, dtype=torch.float64).eval(), torch.rand(2, 5, 1, 16, 8, dtype=torch.float64)
    state = None
    for frame in x.unbind(1):
        state = model.encode(frame[:, None], state)
    torch.testing.assert_close(model.decode(state, 3), model(x, horizon=3), rtol=0, atol=1e-12)
    assert len(state) == 1 + len(model.state_names())


@EVERY
def test_every_parameter_is_trained(name):
    model = tiny(name, num_layers=3)
    for p in model.parameters():  # the weights of offsets start at zero, so the gates after them have no gradient
        torch.nn.init.normal_(p, std=0.3)
    model(torch.rand(2, 3, 1, 16, 16), horizon=2).square().mean().backward()
    assert not [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]


@EVERY
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


def test_norms_are_those_of_the_layers():
    model = tiny("motionrnn_predrnn", layer_norm=True, img_size=16)
    norms = {k for k, p in model.named_parameters() if "_norm_" in k and p.shape[1:] == (4, 4)}
    assert norms == {k for k in model.state_dict() if "_norm_" in k}
    assert {k.split(".")[0] for k in norms} == {"layers"}
    assert model(torch.rand(1, 3, 1, 8, 8), horizon=2).shape == (1, 2, 1, 8, 8)


@pytest.mark.parametrize(
    ("name", "kwargs", "message"),
    [
        ("sa_convlstm", {"attention_channels": 0}, "attention_channels.* 0"),
        ("sa_convlstm", {"layer_norm": True}, "layer_norm"),
        *(
            (name, *case)
            for name in NAMES[1:]
            for case in (
                ({"hidden_channels": [4, 8]}, r"hidden_channels.*\[4, 8\]"),
                ({"hidden_channels": 6}, "hidden_channels.* 6"),
                ({"num_layers": 1}, "num_layers.* 1"),
                ({"kernel_size": 4}, "kernel_size.* 4"),
            )
        ),
    ],
)
def test_rejects_invalid_sizes(name, kwargs, message):
    with pytest.raises(ValueError, match=message):
        convrnn_zoo.create_model(name, **kwargs)


def test_rejects_frames_that_the_encoder_cannot_halve():
    with pytest.raises(ValueError, match=r"8.*\(8, 12\)"):
        tiny("motionrnn_predrnn")(torch.rand(1, 2, 1, 8, 12))
    assert tiny("sa_convlstm")(torch.rand(1, 2, 1, 8, 12), horizon=1).shape == (1, 1, 1, 8, 12)
