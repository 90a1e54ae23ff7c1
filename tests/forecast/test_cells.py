"""The cells that the forecasters add: reductions to the core family, and their own promises."""

import pytest
import torch
from torch import nn

from convrnn_zoo.layers import Conv2dGRUCell, Conv2dLSTMCell, Conv2dPeepholeLSTM
from convrnn_zoo.layers.gru import GRUEquations
from convrnn_zoo.layers.onebias import Conv2dGroupNormGRUCell, Conv2dGroupNormLSTMCell, Conv2dOneBiasPeepholeLSTM
from convrnn_zoo.layers.stlstm import STLSTMCell
from convrnn_zoo.layers.trajgru import Conv2dLeakyGRU, TrajGRUCell, TrajGRUStateCell, warp


class TanhTrajGRUCell(TrajGRUCell):
    """The flows of a TrajGRU and the step of a GRU: what is left to compare is how the state is gathered."""

    step = GRUEquations.step


def still(cell, offsets):
    """Sets the flows to `offsets` (right, down), one a link, whatever the input and the state."""
    with torch.no_grad():
        nn.init.zeros_(cell.weight_f)
        cell.bias_f.copy_(torch.tensor(offsets, dtype=torch.float32).flatten())


def test_trajgru_with_zero_flow_is_a_gru_of_the_summed_links():
    cell, gru = TanhTrajGRUCell(2, 3, 3, links=5), Conv2dGRUCell(2, 3, 3, hidden_kernel_size=1)
    still(cell, [(0, 0)] * 5)
    shared = {k: v for k, v in cell.state_dict().items() if k in gru.state_dict()}
    gru.load_state_dict({**shared, "weight_hh": cell.weight_hh.sum(dim=3, keepdim=True)})
    x, h = torch.randn(2, 2, 5, 7), torch.randn(2, 3, 5, 7)
    torch.testing.assert_close(cell(x, h), gru(x, h), rtol=1e-5, atol=1e-5)


def test_trajgru_with_flows_to_the_taps_of_a_kernel_is_a_gru_with_that_kernel():
    cell, gru = TanhTrajGRUCell(2, 3, 3, links=9), Conv2dGRUCell(2, 3, 3)
    still(cell, [(x, y) for y in (-1, 0, 1) for x in (-1, 0, 1)])
    shared = {k: v for k, v in cell.state_dict().items() if k in gru.state_dict()}
    gru.load_state_dict({**shared, "weight_hh": cell.weight_hh.reshape(9, 3, 3, 3)})
    x, h = torch.randn(2, 2, 5, 7), torch.randn(2, 3, 5, 7)
    torch.testing.assert_close(cell(x, h), gru(x, h), rtol=1e-5, atol=1e-5)


def test_trajgru_is_a_leaky_gru_but_for_its_flows():
    cell, gru = TrajGRUCell(2, 3, 3, links=1), Conv2dLeakyGRU(2, 3, 3, hidden_kernel_size=1)
    still(cell, [(0, 0)])
    gru.load_state_dict({k: getattr(cell, k.removesuffix("_l0")) for k in gru.state_dict()})
    x, h = torch.randn(1, 2, 2, 5, 7), 2 * torch.randn(2, 3, 5, 7)
    torch.testing.assert_close(cell(x[0], h), gru(x, h.unsqueeze(0))[0][0], rtol=1e-5, atol=1e-5)


def test_a_state_cell_is_the_cell_on_input_weights_of_zero():
    cell, alone = TrajGRUCell(1, 3, 1, links=4), TrajGRUStateCell(3, links=4)
    alone.load_state_dict({k: v for k, v in cell.state_dict().items() if k in alone.state_dict()})
    for name, p in cell.named_parameters():
        if name not in alone.state_dict():
            nn.init.zeros_(p)
    x, h = torch.randn(2, 1, 5, 4), torch.randn(2, 3, 5, 4)
    torch.testing.assert_close(alone(x, h), cell(x, h))


@pytest.mark.parametrize("cell", [TrajGRUCell(1, 2, bias=False), STLSTMCell(1, 2, 3), STLSTMCell(1, 2, 3, bias=False)])
def test_cells_have_exact_gradients(cell):
    cell = cell.double()
    x = torch.rand(1, 1, 3, 4, dtype=torch.double, requires_grad=True)
    state = [torch.rand(1, 2, 3, 4, dtype=torch.double, requires_grad=True) for _ in cell.states]

    def run(x, *state):
        return cell(x, state if len(state) > 1 else state[0])

    assert torch.autograd.gradcheck(run, (x, *state))


def test_warp_interpolates_and_knows_the_edges():
    h = torch.arange(12.0).reshape(1, 1, 3, 4)
    flow = torch.tensor([0.5, 1.0]).reshape(1, 1, 2, 1, 1).expand(1, 1, 2, 3, 4)
    expected = torch.zeros(3, 4)
    expected[:2, :3] = h[0, 0, 1:, :3] + 0.5
    expected[:2, 3] = h[0, 0, 1:, 3] / 2  # half of what it reads lies beyond the edge
    torch.testing.assert_close(warp(h, flow)[0, 0, 0], expected)
    assert warp(h[..., :1, :1], flow[..., :1, :1] * 0).flatten().tolist() == [0.0]
    assert warp(h.bfloat16(), flow).dtype == torch.bfloat16


def test_leaky_gru_refuses_a_reset_that_it_has_not():
    with pytest.raises(ValueError, match="reset_after must be one of True"):
        Conv2dLeakyGRU(1, 2, 3, reset_after=False)


def test_one_bias_is_two_of_which_one_is_zero():
    one, two = (kind(2, [3, 2], 3, num_layers=2) for kind in (Conv2dOneBiasPeepholeLSTM, Conv2dPeepholeLSTM))
    zeros = {k: torch.zeros_like(v) for k, v in two.state_dict().items() if k.startswith("bias_hh")}
    two.load_state_dict({**one.state_dict(), **zeros})
    assert not zeros.keys() & one.state_dict().keys()
    x = torch.randn(3, 2, 2, 4, 5)
    torch.testing.assert_close(one(x)[0], two(x)[0])
    one.reset_parameters()
    assert not torch.equal(one.weight_ih_l1, two.weight_ih_l1)


@pytest.mark.parametrize(
    ("kind", "plain", "options"),
    [(Conv2dGroupNormLSTMCell, Conv2dLSTMCell, {}), (Conv2dGroupNormGRUCell, Conv2dGRUCell, {"reset_after": False})],
)
@pytest.mark.parametrize("bias", [True, False])
def test_a_group_norm_that_undoes_itself_leaves_the_plain_cell(kind, plain, options, bias, monkeypatch):
    normed, cell = kind(2, 3, 3, bias=bias), plain(2, 3, 3, bias=bias, **options)
    zeros = {k: torch.zeros_like(v) for k, v in cell.state_dict().items() if k == "bias_hh"}
    cell.load_state_dict({**{k: v for k, v in normed.state_dict().items() if "norm" not in k}, **zeros})
    x, h = torch.randn(2, 2, 4, 5), torch.randn(2, 3, 4, 5)
    state = (h, h + 1)[: len(cell.states)] if len(cell.states) > 1 else h
    a, b = normed(x, state), cell(x, state)
    assert not torch.allclose(a[0], b[0], atol=1e-3)
    monkeypatch.setattr(kind, "normed", lambda self, gates, weight, bias: gates * weight.mean() + bias.mean())
    torch.testing.assert_close(normed(x, state), b)


def test_group_norms_are_as_those_of_torch_nn():
    cell = Conv2dGroupNormLSTMCell(2, 64, 3)
    norm, gates = nn.GroupNorm(8, 256), torch.randn(2, 256, 4, 5)
    torch.testing.assert_close(cell.normed(gates, cell.weight_norm, cell.bias_norm), norm(gates))
    with pytest.raises(ValueError, match="multiple of 32"):
        Conv2dGroupNormLSTMCell(2, 40, 3)


def test_st_lstm_passes_one_memory_up_and_shows_what_it_adds():
    cell = STLSTMCell(2, 3, 3)
    x, zeros = torch.randn(1, 2, 4, 4), torch.zeros(1, 3, 4, 4)
    h, c, m, to_c, to_m = cell(x, return_deltas=True)
    torch.testing.assert_close([c, m], [to_c, to_m])  # all there is, from memories of zero
    above = cell(x, (zeros, zeros, m + 1))
    assert torch.equal(above[1], c)
    assert not torch.allclose(above[2], m)
    assert not torch.allclose(above[0], h)
