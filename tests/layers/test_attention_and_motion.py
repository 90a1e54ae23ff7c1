"""SAConvLSTM, MotionGRU and the cells with a motion highway: their papers' equations in loops, and their properties."""

import pytest
import torch
from torch import nn

from convrnn_zoo import MotionGRUCell, SAConvLSTMCell
from convrnn_zoo.layers.mau import MAUCell
from convrnn_zoo.layers.motiongru import MotionHighwaySTLSTMCell
from convrnn_zoo.layers.stlstm import STLSTMCell
from convrnn_zoo.layers.warp import warp


def at(x, n, row, column):
    """The channels of `x` at a pixel, zeros beyond the edge."""
    inside = 0 <= row < x.shape[2] and 0 <= column < x.shape[3]
    return x[n, :, row, column] if inside else torch.zeros(x.shape[1], dtype=x.dtype)


def conv(x, weight, bias=None):
    """``weight * x + bias``, pixel by pixel."""
    out = torch.zeros(x.shape[0], weight.shape[0], *x.shape[2:], dtype=x.dtype)
    for n in range(x.shape[0]):
        for row in range(x.shape[2]):
            for column in range(x.shape[3]):
                for i in range(weight.shape[2]):
                    for j in range(weight.shape[3]):
                        near = at(x, n, row + i - weight.shape[2] // 2, column + j - weight.shape[3] // 2)
                        out[n, :, row, column] += weight[:, :, i, j] @ near
    return out if bias is None else out + bias[:, None, None]


def attend(query, key, value):
    """The mean of `value` at each position, weighted by the exponentials of the products with the keys."""
    out = torch.zeros_like(value)
    positions = [(row, column) for row in range(value.shape[2]) for column in range(value.shape[3])]
    for n in range(value.shape[0]):
        for p in positions:
            scores = [(query[n, :, *p] * key[n, :, *q]).sum().exp() for q in positions]
            for score, q in zip(scores, positions, strict=True):
                out[n, :, *p] += score / sum(scores) * value[n, :, *q]
    return out


def interpolated(x, n, row, column):
    """The channels between four pixels."""
    top, left = int(row // 1), int(column // 1)
    down, right = row - top, column - left
    upper = (1 - right) * at(x, n, top, left) + right * at(x, n, top, left + 1)
    lower = (1 - right) * at(x, n, top + 1, left) + right * at(x, n, top + 1, left + 1)
    return (1 - down) * upper + down * lower


def random(cell, scale=0.5):
    """The cell in float64 with weights that are nowhere zero."""
    torch.manual_seed(3)
    for p in cell.double().parameters():
        nn.init.normal_(p, std=scale)
    return cell


def maps(*shape):
    return torch.randn(*shape, dtype=torch.double)


CELLS = {
    "SAConvLSTM": (lambda: SAConvLSTMCell(2, 3, 3, attention_channels=2), [(3, 1)] * 3),
    "SAConvLSTM without biases": (lambda: SAConvLSTMCell(2, 3, (1, 3), bias=False, attention_channels=3), [(3, 1)] * 3),
    "MotionGRU": (lambda: MotionGRUCell(2), [(18, 1)] * 2),
    "MotionGRU of one neighbour": (lambda: MotionGRUCell(2, (1, 3), neighborhood=1, alpha=0.25), [(2, 1)] * 2),
    "ST-LSTM with a highway": (lambda: MotionHighwaySTLSTMCell(2, 3, 3, bias=False), [(3, 1)] * 4),
    "ST-LSTM with a highway and norms": (lambda: MotionHighwaySTLSTMCell(2, 3, 3, norm_size=(3, 4)), [(3, 1)] * 4),
}
EVERY = pytest.mark.parametrize("name", CELLS)


def build(name):
    make, states = CELLS[name]
    cell = random(make())
    return cell, maps(2, cell.in_channels, 3, 4), [maps(2, channels, 3, 4) for channels, _ in states]


def flat(result):
    """Returns the tensors of a result in one tuple; a MotionGRU returns its states in a nested tuple."""
    return tuple(t for part in result for t in (part if isinstance(part, tuple) else (part,)))


def test_sa_convlstm_is_its_equations():
    cell, x, (h, c, m) = build("SAConvLSTM")
    w = cell.state_dict()
    i, f, g, o = (conv(x, w["weight_ih"], w["bias_ih"]) + conv(h, w["weight_hh"])).chunk(4, dim=1)
    new_c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    y = torch.sigmoid(o) * torch.tanh(new_c)
    query = conv(y, w["weight_q"])
    of_y = attend(query, conv(y, w["weight_yk"]), conv(y, w["weight_yv"]))
    of_m = attend(query, conv(m, w["weight_mk"]), conv(m, w["weight_mv"]))
    z = conv(torch.cat([of_y, of_m], 1), w["weight_z"])
    on_z, on_y = w["weight_m"].chunk(2, dim=1)
    i, g, o = (conv(z, on_z) + conv(y, on_y, w["bias_m"])).chunk(3, dim=1)
    new_m = (1 - torch.sigmoid(i)) * m + torch.sigmoid(i) * torch.tanh(g)
    torch.testing.assert_close(cell(x, (h, c, m)), (torch.sigmoid(o) * new_m, new_c, new_m), rtol=0, atol=1e-10)


def test_motion_gru_is_its_equations():
    cell, x, (f, d) = build("MotionGRU")
    w = cell.state_dict()
    w_u, w_r, w_n = w["weight_ih"].chunk(3)
    u_u, u_r, u_n = w["weight_hh"].chunk(3)
    b_u, b_r, b_n = w["bias_ih"].chunk(3)
    u = torch.sigmoid(conv(x, w_u, b_u) + conv(f, u_u))
    r = torch.sigmoid(conv(x, w_r, b_r) + conv(f, u_r))
    transient = u * torch.tanh(conv(x, w_n, b_n) + conv(r * f, u_n)) + (1 - u) * f
    trend = d + 0.5 * (f - d)
    offsets = transient + trend
    mask = torch.sigmoid(conv(x, w["weight_m"], w["bias_m"]))
    moved = torch.zeros_like(x)
    for n in range(2):
        for row in range(3):
            for column in range(4):
                for k in range(9):
                    right, down = (float(v) for v in offsets[n, 2 * k : 2 * k + 2, row, column])
                    near = interpolated(x, n, row + k // 3 - 1 + down, column + k % 3 - 1 + right)
                    moved[n, :, row, column] += mask[n, k, row, column] * w["weight_w"][:, :, k // 3, k % 3] @ near
    assert float(offsets.abs().max()) > 1  # some are beyond the edge
    torch.testing.assert_close(flat(cell(x, (f, d))), (moved, offsets, trend), rtol=0, atol=1e-10)


def test_a_highway_of_an_st_lstm_reads_the_gate_of_both_memories():
    cell, x, (h, c, m, v) = build("ST-LSTM with a highway")
    plain = STLSTMCell(2, 3, 3, bias=False).double()
    plain.load_state_dict(cell.state_dict())
    expected, *memories = plain(x, (h, c, m))
    w = cell.state_dict()
    concatenated = torch.cat(memories, dim=1)
    o = conv(x, w["weight_ih"][9:12]) + conv(h, w["weight_hh"][9:12]) + conv(concatenated, w["weight_po"])
    torch.testing.assert_close(
        cell(x, (h, c, m, v)), (expected + (1 - torch.sigmoid(o)) * v, *memories), rtol=0, atol=1e-10
    )


@EVERY
def test_gradients_are_exact(name):
    cell, x, states = build(name)
    inputs = [t[:1].clone().requires_grad_() for t in (x, *states)]
    assert torch.autograd.gradcheck(lambda x, *state: flat(cell(x, state)), inputs, fast_mode=True)
    names, values = zip(*cell.named_parameters(), strict=True)
    arguments = (inputs[0].detach(), tuple(s.detach() for s in inputs[1:]))

    def run(*values):
        return flat(torch.func.functional_call(cell, dict(zip(names, values, strict=True)), arguments))

    assert torch.autograd.gradcheck(run, values, fast_mode=True)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: SAConvLSTMCell(2, 3, 3, attention_channels=0), ValueError, "attention_channels.* 0"),
        (lambda: SAConvLSTMCell(2, 4, 3, groups=2), ValueError, "groups.*SAConvLSTMCell.* 2"),
        (lambda: SAConvLSTMCell(2, 4, 3, norm="layer"), TypeError, "norm"),
        (lambda: MotionGRUCell(2, neighborhood=2), ValueError, "neighborhood.* 2"),
        (lambda: MotionGRUCell(2, neighborhood=0), ValueError, "neighborhood.* 0"),
        (lambda: MotionGRUCell(2, groups=2), TypeError, "groups"),
        (lambda: MotionGRUCell(2, alpha="x"), TypeError, "alpha.* 'x'"),
        (lambda: MotionGRUCell(2, alpha=float("nan")), ValueError, "alpha.* nan"),
        (lambda: SAConvLSTMCell(1, 2, 3)(torch.rand(1, 1, 4, 4), torch.zeros(1, 2, 4, 4)), TypeError, "h_0, c_0, m_0"),
        (lambda: MotionGRUCell(1)(torch.rand(1, 1, 4, 4), (torch.zeros(1, 2, 4, 4),) * 2), ValueError, "18"),
    ],
)
def test_errors_name_the_argument(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_flow_leaves_a_map_of_one_row():
    flows = torch.tensor([0.0, 3.0]).reshape(1, 1, 2, 1, 1).expand(1, 1, 2, 1, 5)
    assert not warp(torch.ones(1, 1, 1, 5), flows).any()
    assert torch.equal(warp(torch.ones(1, 1, 1, 5), flows * 0), torch.ones(1, 1, 1, 1, 5))


def test_a_reused_buffer_does_not_change_the_history_of_mau():
    cell, frames = MAUCell(2, 3, tau=2, map_size=4), torch.randn(4, 1, 2, 4, 4)
    buffer, states = torch.empty_like(frames[0]), {"own": None, "reused": None}
    for frame in frames:
        up, states["own"] = cell(frame, states["own"])
        same, states["reused"] = cell(buffer.copy_(frame), states["reused"])
    assert torch.equal(up, same)


def test_scores_of_mau_stay_in_the_range_of_float16():
    cell = MAUCell(64, 1, tau=2, map_size=64).half()
    with torch.no_grad():
        cell.weight_ih[:64] = torch.eye(64)[..., None, None]
    x, state = torch.randn(1, 64, 64, 64).half(), None
    for _ in range(2):
        up, state = cell(x, state)
    assert up.isfinite().all()


@EVERY
def test_an_empty_batch_is_an_empty_result(name):
    cell, x, states = build(name)
    expected = [t[:0].shape for t in flat(cell(x, tuple(states)))]
    assert [t.shape for t in flat(cell(x[:0], tuple(s[:0] for s in states)))] == expected
