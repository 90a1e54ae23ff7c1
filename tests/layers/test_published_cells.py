"""Cells of RAFT, RVT and DGMR against recorded outputs of the originals, and against simpler cells."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from convrnn_zoo.layers import Conv2dGRU, Conv2dLSTMCell
from convrnn_zoo.layers.depthwise import Conv2dDepthwiseLSTMCell
from convrnn_zoo.layers.onebias import Conv2dOneBiasGRU, Conv2dOneBiasGRUCell
from convrnn_zoo.layers.relugru import Conv2dReLUGRU
from convrnn_zoo.layers.sepgru import Conv2dSeparableGRUCell

PUBLISHED = Path(__file__).parent / "published"


def recorded(name):
    tensors = load_file(PUBLISHED / f"{name}.safetensors")
    return {k[2:]: v for k, v in tensors.items() if k.startswith("w.")}, tensors


def assert_agree(actual, expected):
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() <= 1e-5 * expected.std()


def unrolled(cell, xs, state):
    out = []
    for x in xs:
        state = cell(x, state)
        out.append(state)
    return out


# ---- RAFT -----------------------------------------------------------------------------------------------------------
def raft_gru(w, name):
    """Its rows z, r, q on (h, x), z being the new part, as ours r, z, n on x and h, z being the old."""
    r, z, n = (w[f"{name}.conv{gate}.weight"] for gate in "rzq")
    weight, width = torch.cat([r, -z, n]), len(r)
    bias = torch.cat([w[f"{name}.convr.bias"], -w[f"{name}.convz.bias"], w[f"{name}.convq.bias"]])
    return {"weight_ih": weight[:, width:], "weight_hh": weight[:, :width], "bias_ih": bias}


def test_rafts_separable_gru():
    w, values = recorded("raft_sepconvgru")
    cell = Conv2dSeparableGRUCell(5, 4)
    cell.rows.load_state_dict(raft_gru(w, "convgru1"))
    cell.columns.load_state_dict(raft_gru(w, "convgru2"))
    assert_agree(torch.stack(unrolled(cell, values["x.input"], values["x.h0"])), values["y.h"])


def test_rafts_small_gru():
    w, values = recorded("raft_convgru_small")
    cell = Conv2dOneBiasGRUCell(5, 4, 3)
    cell.load_state_dict(raft_gru(w, "convgru1"))
    assert_agree(torch.stack(unrolled(cell, values["x.input"], values["x.h0"])), values["y.h"])


def test_a_separable_gru_starts_from_zeros_and_knows_its_sizes():
    cell, x = Conv2dSeparableGRUCell(3, 2, kernel_size=3), torch.randn(2, 3, 5, 6)
    torch.testing.assert_close(cell(x), cell(x, torch.zeros(2, 2, 5, 6)))
    with pytest.raises(ValueError, match="expected 3 input channels"):
        cell(x[:, :2])


# ---- RVT ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("name", "edge"), [("rvt_dwsconvlstm_default", 3), ("rvt_dwsconvlstm_1x1", None)])
def test_rvts_lstm(name, edge):
    w, values = recorded(name)
    cell = Conv2dDepthwiseLSTMCell(6, 6, depthwise_kernel_size=edge)

    def rows(x):  # f, i, o, g to i, f, g, o
        f, i, o, g = x.chunk(4)
        return torch.cat([i, f, g, o])

    weight = rows(w["conv1x1.weight"])
    state = {"weight_ih": weight[:, :6], "weight_hh": weight[:, 6:], "bias_ih": rows(w["conv1x1.bias"])}
    if edge:
        state |= {"weight_d": w["conv3x3_dws.weight"], "bias_d": w["conv3x3_dws.bias"]}
    cell.load_state_dict(state)
    result = unrolled(cell, values["x.input"], (values["x.h0"], values["x.c0"]))
    assert_agree(torch.stack([h for h, _ in result]), values["y.h"])
    assert_agree(torch.stack([c for _, c in result]), values["y.c"])
    assert_agree(torch.stack([h for h, _ in unrolled(cell, values["x.input"], None)]), values["y.h_zero_state"])


@pytest.mark.parametrize(("dim", "count"), [(64, 2_789_120), (48, 1_569_600), (32, 698_240)])
def test_rvts_published_sizes(dim, count):
    cells = [Conv2dDepthwiseLSTMCell(dim * n, dim * n, None, device="meta") for n in (1, 2, 4, 8)]
    assert sum(p.numel() for cell in cells for p in cell.parameters()) == count


@pytest.mark.parametrize("bias", [True, False])
def test_a_depthwise_kernel_before_the_products_is_a_kernel_of_its_shape(bias):
    cell, dense = Conv2dDepthwiseLSTMCell(2, 3, 3, bias), Conv2dLSTMCell(2, 3, 1, hidden_kernel_size=3)
    weight = cell.weight_hh * cell.weight_d[:, 0]
    b = torch.zeros(12) if not bias else cell.bias_ih + cell.weight_hh[:, :, 0, 0] @ cell.bias_d
    dense.load_state_dict({
        "weight_ih": cell.weight_ih, "weight_hh": weight, "bias_ih": b.detach(), "bias_hh": torch.zeros(12)
    })  # fmt: skip
    x, state = torch.randn(2, 2, 5, 6), (torch.randn(2, 3, 5, 6), torch.randn(2, 3, 5, 6))
    for a, b in zip(cell(x, state), dense(x, state), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_a_depthwise_kernel_is_odd():
    with pytest.raises(ValueError, match="depthwise_kernel_size must be odd"):
        Conv2dDepthwiseLSTMCell(2, 3, 4)


# ---- one bias, and a ReLU -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("reset_after", [False, True])
def test_a_gru_with_one_bias_is_one_with_two_of_which_one_is_zero(reset_after):
    one, two = Conv2dOneBiasGRU(2, 3, 3, reset_after=reset_after), Conv2dGRU(2, 3, 3, reset_after=reset_after)
    two.load_state_dict({**one.state_dict(), "bias_hh_l0": torch.zeros(9)})
    x = torch.randn(4, 2, 2, 5, 6)
    torch.testing.assert_close(one(x)[0], two(x)[0])


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
    with pytest.raises(ValueError, match="reset_after must be one of False"):
        Conv2dReLUGRU(1, 2, 3, reset_after=True)


@pytest.mark.parametrize("cell", [Conv2dDepthwiseLSTMCell(1, 2), Conv2dSeparableGRUCell(1, 2, 3)])
def test_cells_have_exact_gradients(cell):
    cell = cell.double()
    x = torch.rand(1, 1, 3, 4, dtype=torch.double, requires_grad=True)
    many = len(getattr(cell, "states", "h")) > 1
    state = [torch.rand(1, 2, 3, 4, dtype=torch.double, requires_grad=True) for _ in range(1 + many)]
    assert torch.autograd.gradcheck(lambda x, *state: cell(x, state if many else state[0]), (x, *state))
