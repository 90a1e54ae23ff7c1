"""Cells of the forecasters: reductions to the core family, and their properties."""

import pytest
import torch
from torch import nn

from convrnn_zoo.layers import Conv2dGRUCell, Conv2dLSTMCell
from convrnn_zoo.layers._norm import resize_weight
from convrnn_zoo.layers.causallstm import CausalLSTMCell, GradientHighwayCell
from convrnn_zoo.layers.e3dlstm import E3DLSTMCell, attend
from convrnn_zoo.layers.mau import MAUCell
from convrnn_zoo.layers.mim import MIMBlockCell, MIMCell
from convrnn_zoo.layers.phycell import PhyCell, moments
from convrnn_zoo.layers.stlstm import STLSTMCell
from convrnn_zoo.layers.trajgru import TrajGRUCell, TrajGRUStateCell
from convrnn_zoo.layers.variants import (
    Conv2dGroupNormGRUCell,
    Conv2dGroupNormLSTMCell,
    Conv2dLeakyGRU,
    Conv2dMapNormLSTMCell,
)
from convrnn_zoo.layers.warp import warp


class TanhTrajGRUCell(TrajGRUCell):
    """The flows of a TrajGRU and the step of a GRU, to compare how the state is gathered."""

    nonlinearity = "tanh"


def still(cell, offsets):
    """Sets the flows to `offsets` (right, down), one per link, for any input and state."""
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


def test_a_state_cell_is_the_cell_on_input_weights_of_zero():
    cell, alone = TrajGRUCell(1, 3, 1, links=4), TrajGRUStateCell(3, links=4)
    alone.load_state_dict({k: v for k, v in cell.state_dict().items() if k in alone.state_dict()})
    for name, p in cell.named_parameters():
        if name not in alone.state_dict():
            nn.init.zeros_(p)
    x, h = torch.randn(2, 1, 5, 4), torch.randn(2, 3, 5, 4)
    torch.testing.assert_close(alone(x, h), cell(x, h))


CELLS = [
    TrajGRUCell(1, 2, bias=False),
    STLSTMCell(1, 2, 3),
    STLSTMCell(1, 2, 3, bias=False),
    STLSTMCell(1, 2, 3, norm_size=(3, 4)),
    Conv2dMapNormLSTMCell(1, 2, 3, norm_size=2),
    CausalLSTMCell(1, 2, 3),
    CausalLSTMCell(1, 2, 3, bias=False),
    GradientHighwayCell(1, 2, 3),
    MIMCell(1, 2, 3, map_size=(3, 4)),
    MIMBlockCell(1, 2, 3, map_size=2),
    MIMBlockCell(1, 2, 3, map_size=2, norm_size=(3, 4), bias=False),
    MAUCell(2, 3, tau=2, map_size=(3, 4)),
    MAUCell(2, 3, tau=1, map_size=2, residual=True),
    PhyCell(2, filters=7, filter_size=3),
    E3DLSTMCell(1, 2, (2, 3, 3), map_size=(3, 4)),
    E3DLSTMCell(1, 2, (2, 3, 3), map_size=2, norm_size=(3, 2)),
    E3DLSTMCell(1, 2, (2, 3, 3), map_size=(3, 4), stride=2),
]


@pytest.mark.parametrize("cell", CELLS, ids=lambda c: type(c).__name__)
def test_cells_have_exact_gradients(cell):
    cell, depth = cell.double(), (2,) * (cell.ndim - 2)
    x = torch.rand(1, cell.in_channels, *depth, 3, 4, dtype=torch.double, requires_grad=True)
    names = cell.state_names((x,) * 3)  # of a cell that recalls all it has had, one memory more
    state = [torch.rand(1, 2, *depth, 3, 4, dtype=torch.double, requires_grad=True) for _ in names]

    def run(x, *state):
        result = cell(x, state if len(state) > 1 else state[0])
        return (result[0], *result[1]) if isinstance(cell, MAUCell) else result

    assert torch.autograd.gradcheck(run, (x, *state), fast_mode=True)


@pytest.mark.parametrize("kind", [MIMBlockCell, STLSTMCell], ids=lambda kind: kind.__name__)
def test_all_parameters_are_reset_also_those_of_a_cell_in_a_cell(kind):
    cell = kind(1, 2, 3, **({"map_size": 2} if kind is MIMBlockCell else {}))
    for p in cell.parameters():
        nn.init.constant_(p, 7)
    cell.reset_parameters()
    assert all((p != 7).all() for p in cell.parameters())


def test_moments_identify_derivatives():
    ramp = torch.arange(7.0).expand(7, 7) - 3  # grows by one a pixel to the right
    down, right = torch.zeros(7, 7), torch.zeros(7, 7)
    down[2:5, 3] = torch.tensor([-0.5, 0.0, 0.5])
    right[3, 2:5] = torch.tensor([-0.5, 0.0, 0.5])
    assert float((right * ramp).sum()) == 1
    assert float(moments(right)[0, 1]) == float(moments(down)[1, 0]) == 1
    assert moments(torch.stack([down, right])).count_nonzero() == 2 + 4  # and those of third and fifth order
    with pytest.raises(ValueError, match=r"filters.*\(2, 4, 4\)"):
        moments(torch.zeros(2, 4, 4))


def test_attend_is_the_softmax_of_the_rows_as_they_lie():
    query, maps = torch.randn(2, 3, 2, 4, 5), [torch.randn(2, 3, 2, 4, 5) for _ in range(3)]
    rows, memory = query.reshape(2, -1, 3), torch.cat([m.reshape(2, -1, 3) for m in maps], dim=1)
    expected = torch.softmax(rows @ memory.transpose(1, 2), dim=-1) @ memory
    torch.testing.assert_close(attend(query, maps), expected.reshape(query.shape))


def test_eidetic_cell_rejects_maps_of_another_depth():
    with pytest.raises(ValueError, match=r"E3DLSTMCell.*kernel.*\b2\b.*depth.*\b3\b"):
        E3DLSTMCell(1, 2, (2, 3, 3), map_size=4)(torch.zeros(1, 1, 3, 4, 4))


def test_weights_per_pixel_are_resized():
    ramp = torch.arange(4.0).expand(2, 3, 4)
    assert resize_weight(ramp, (3, 4)) is ramp
    larger = resize_weight(ramp, (6, 8))
    assert larger.shape == (2, 6, 8)
    assert torch.equal(larger[0, 0], larger[1, 5])
    torch.testing.assert_close(larger[0, 0, 1:-1], torch.arange(0.25, 3.0, 0.5))


NORMED = {
    Conv2dMapNormLSTMCell: ({"ih": 4, "hh": 4}, {}),
    STLSTMCell: ({"ih": 7, "hh": 4, "hm": 3, "po": 1}, {}),
    MIMCell: ({"ih": 4, "hh": 4}, {"map_size": (3, 4)}),
    MIMBlockCell: ({"ih": 4, "hh": 4, "th": 3}, {"map_size": (3, 4)}),
}
"""Number of gates of each norm, and further arguments of the cell."""


@pytest.mark.parametrize("kind", NORMED)
def test_norms_are_optional_and_start_at_identity(kind):
    gates, kwargs = NORMED[kind]
    plain, normed = kind(1, 2, 3, **kwargs), kind(1, 2, 3, norm_size=(3, 4), **kwargs)
    assert not [key for key in plain.state_dict() if "norm" in key]
    norm_shapes = {key: p.shape for key, p in normed.named_parameters(recurse=False) if "norm" in key}
    assert norm_shapes == {f"{k}_norm_{name}": (2 * n, 3, 4) for name, n in gates.items() for k in ("weight", "bias")}
    assert list(plain.state_dict()) == [key for key in normed.state_dict() if "norm" not in key]
    for _ in range(2):
        norm_params = {key: p for key, p in normed.named_parameters() if "norm" in key}
        assert all(torch.equal(p, torch.full_like(p, "weight" in key)) for key, p in norm_params.items())
        normed.reset_parameters()
    assert ", norm_size=(3, 4)" in repr(normed)
    assert "norm_size" not in repr(plain)
    with pytest.raises(ValueError, match=r"norm_size.* 0"):
        kind(1, 2, 3, norm_size=0, **kwargs)


def test_forget_gate_adds_one_after_its_norm():
    """If the norms return zeros, only the constant of both forget gates remains."""
    cell = STLSTMCell(2, 3, 3, norm_size=4)
    with torch.no_grad():
        for name in ("ih", "hh", "hm", "po"):
            getattr(cell, f"weight_norm_{name}").zero_()
    h, c, m = torch.randn(3, 1, 3, 4, 4)
    _, *memories = cell(torch.randn(1, 2, 4, 4), (h, c, m))
    torch.testing.assert_close(memories, [s * torch.tensor(1.0).sigmoid() for s in (c, m)])


def test_warp_interpolates_with_zeros_beyond_the_edges():
    h = torch.arange(12.0).reshape(1, 1, 3, 4)
    flow = torch.tensor([0.5, 1.0]).reshape(1, 1, 2, 1, 1).expand(1, 1, 2, 3, 4)
    expected = torch.zeros(3, 4)
    expected[:2, :3] = h[0, 0, 1:, :3] + 0.5
    expected[:2, 3] = h[0, 0, 1:, 3] / 2  # half of the sampled area is beyond the edge
    torch.testing.assert_close(warp(h, flow)[0, 0, 0], expected)
    assert warp(h[..., :1, :1], flow[..., :1, :1] * 0).flatten().tolist() == [0.0]
    assert warp(h.bfloat16(), flow).dtype == torch.bfloat16


def test_leaky_gru_rejects_reset_before():
    with pytest.raises(ValueError, match=r"reset_after.* False"):
        Conv2dLeakyGRU(1, 2, 3, reset_after=False)


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
    monkeypatch.setattr(kind, "normalize", lambda self, maps, norm, first=0: maps * norm[0].mean() + norm[1].mean())
    torch.testing.assert_close(normed(x, state), b)


def test_group_norms_are_equal_torch_nn():
    cell = Conv2dGroupNormLSTMCell(2, 64, 3)
    norm, gates = nn.GroupNorm(8, 256), torch.randn(2, 256, 4, 5)
    torch.testing.assert_close(cell.normalize(gates, (cell.weight_norm, cell.bias_norm)), norm(gates))
    with pytest.raises(ValueError, match=r"out_channels.*32.* 40"):
        Conv2dGroupNormLSTMCell(2, 40, 3)


def test_a_mau_cell_adds_its_input_only_if_it_is_residual() -> None:
    cell, residual = (MAUCell(2, 3, tau=1, map_size=2, **options) for options in ({}, {"residual": True}))
    residual.load_state_dict(cell.state_dict())
    x = torch.randn(1, 2, 2, 2)
    torch.testing.assert_close(residual(x)[0], cell(x)[0] + x)
