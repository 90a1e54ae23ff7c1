"""Layers with one bias per gate and with a ReLU, against recorded outputs of RAFT and against simpler layers."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from convrnn_zoo.layers.variants import Conv2dOneBiasGRU, Conv2dReLUGRU

PUBLISHED = Path(__file__).parent / "published"


def recorded(name):
    tensors = load_file(PUBLISHED / f"{name}.safetensors")
    return {k[2:]: v for k, v in tensors.items() if k.startswith("w.")}, tensors


def assert_agree(actual, expected):
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() <= 1e-5 * expected.std()


def test_rafts_small_gru():
    """Its rows z, r, q on (h, x), z being the new part, are our r, z, n on x and h, z being the old."""
    w, values = recorded("raft_convgru_small")
    r, z, n = (w[f"convgru1.conv{gate}.weight"] for gate in "rzq")
    weight, width = torch.cat([r, -z, n]), len(r)
    bias = torch.cat([w["convgru1.convr.bias"], -w["convgru1.convz.bias"], w["convgru1.convq.bias"]])
    rnn = Conv2dOneBiasGRU(5, 4, 3)
    rnn.load_state_dict({"weight_ih_l0": weight[:, width:], "weight_hh_l0": weight[:, :width], "bias_ih_l0": bias})
    assert_agree(rnn(values["x.input"], values["x.h0"][None])[0], values["y.h"])


# ---- one bias, and a ReLU -------------------------------------------------------------------------------------------


class ByAutograd(Conv2dReLUGRU):
    in_place = None


@pytest.mark.parametrize("recompute", [False, True])
def test_the_relu_gru_in_place_agrees_with_its_equations(recompute):
    fast, plain = Conv2dReLUGRU(2, 3, 3, dtype=torch.float64), ByAutograd(2, 3, 3, dtype=torch.float64)
    assert fast.in_place is not None
    plain.load_state_dict(fast.state_dict())
    fast.grad_checkpointing = plain.grad_checkpointing = recompute
    x = torch.randn(5, 2, 2, 5, 6, dtype=torch.float64)
    h = torch.randn(1, 2, 3, 5, 6, dtype=torch.float64)
    for layer in (fast, plain):
        layer(x, h)[0].square().sum().backward()
    torch.testing.assert_close(fast(x, h)[0], plain(x, h)[0])
    for a, b in zip(fast.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_the_relu_gru_has_no_other_reset():
    with pytest.raises(ValueError, match=r"reset_after.* True"):
        Conv2dReLUGRU(1, 2, 3, reset_after=True)
