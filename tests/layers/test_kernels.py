"""Layers by torch's kernels of a step on a GPU, here with the kernels' equations in their place."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from convrnn_zoo.layers import Conv2dGRU, Conv2dLSTM, _fused, _in_place, _kernels
from tests.helpers.layers.comparison import assert_same, outcomes
from tests.helpers.layers.oracles import SEQUENCES, case_id
from tests.helpers.registry import two_dimensions_first

WITH_KERNEL = [cls for cls in SEQUENCES if cls.__name__.endswith(("dLSTM", "dGRU"))]


def check(*tensors: Tensor | None) -> None:
    """The kernels accept matrices of one dtype only."""
    given = [t for t in tensors if t is not None]
    assert all(t.dim() in (1, 2) for t in given)
    assert len({t.dtype for t in given}) == 1


def lstm(of_x: Tensor, of_h: Tensor, c: Tensor, b_ih: Any = None, b_hh: Any = None) -> tuple[Tensor, Tensor, Tensor]:
    check(of_x, of_h, c, b_ih, b_hh)
    i, f, g, o = (of_x + of_h + (0 if b_ih is None else b_ih + b_hh)).chunk(4, 1)
    i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
    new = f * c + i * g
    return o * new.tanh(), new, torch.cat([i, f, g, o], 1)


def lstm_backward(dh: Tensor, dc: Tensor, c: Tensor, new: Tensor, workspace: Tensor, has_bias: bool) -> tuple:
    check(dh, dc, c, new, workspace)
    i, f, g, o = workspace.chunk(4, 1)
    dc = dc + dh * o * (1 - new.tanh() ** 2)
    gates = [dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g**2), dh * new.tanh() * o * (1 - o)]
    return torch.cat(gates, 1), dc * f, None


def gru(of_x: Tensor, of_h: Tensor, h: Tensor, b_ih: Any = None, b_hh: Any = None) -> tuple[Tensor, Tensor]:
    check(of_x, of_h, h, b_ih, b_hh)
    (r, z, n), (hr, hz, hn) = ((g if b is None else g + b).chunk(3, 1) for g, b in ((of_x, b_ih), (of_h, b_hh)))
    r, z = (r + hr).sigmoid(), (z + hz).sigmoid()
    n = (n + r * hn).tanh()
    return n + z * (h - n), torch.cat([r, z, n, h, hn], 1)


def gru_backward(dh: Tensor, workspace: Tensor, has_bias: bool) -> tuple:
    check(dh, workspace)
    r, z, n, h, hn = workspace.chunk(5, 1)
    dz, dn = dh * (h - n) * z * (1 - z), dh * (1 - z) * (1 - n**2)
    dr = dn * hn * r * (1 - r)
    return torch.cat([dr, dz, dn], 1), torch.cat([dr, dz, dn * r], 1), dh * z, None, None


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernels run on the CPU, by their equations."""
    operations = {
        "_thnn_fused_lstm_cell": lstm,
        "_thnn_fused_lstm_cell_backward_impl": lstm_backward,
        "_thnn_fused_gru_cell": gru,
        "_thnn_fused_gru_cell_backward": gru_backward,
    }
    monkeypatch.setattr(_kernels, "ops", SimpleNamespace(**operations))
    monkeypatch.setattr(_kernels, "has_operations", lambda device: device == "cpu")


@pytest.mark.parametrize("cls", WITH_KERNEL, ids=case_id)
def test_the_equations_are_those_of_torch(cls: type) -> None:
    """The order of the gates, the form of the GRU and the gradients are those of nn.LSTMCell and nn.GRUCell."""
    is_lstm = "LSTM" in cls.__name__
    cell = (torch.nn.LSTMCell if is_lstm else torch.nn.GRUCell)(3, 4, dtype=torch.float64)
    x = torch.randn(5, 3, dtype=torch.float64)
    h, c = torch.randn(2, 5, 4, dtype=torch.float64, requires_grad=True)
    gates = [y.detach().requires_grad_() for y in (x @ cell.weight_ih.T, h @ cell.weight_hh.T)]
    expected = cell(x, (h, c)) if is_lstm else (cell(x, h),)
    ours = lstm(*gates, c, cell.bias_ih, cell.bias_hh) if is_lstm else gru(*gates, h, cell.bias_ih, cell.bias_hh)
    for got, want in zip(ours, expected, strict=False):
        torch.testing.assert_close(got, want)
    grads = tuple(torch.randn_like(e) for e in expected)
    wanted = torch.autograd.grad(ours[: len(expected)], (*gates, c if is_lstm else h), grads, allow_unused=True)
    workspace = ours[-1].detach()
    if is_lstm:
        d_gates, dc, _ = lstm_backward(*grads, c, ours[1], workspace, False)
        got_grads = (d_gates, d_gates, dc)
    else:
        got_grads = gru_backward(*grads, workspace, False)[:3]
    for got, want in zip(got_grads, wanted, strict=True):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("recompute", [False, True], ids=["stored", "recomputed"])
@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("cls", two_dimensions_first(WITH_KERNEL), ids=case_id)
def test_layers_by_kernels_equal_the_reference(
    cls: type, bias: bool, packed: bool, recompute: bool, kernels: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = []
    forward = _kernels.KernelDirection.forward
    monkeypatch.setattr(_kernels.KernelDirection, "forward", lambda *args: runs.append(1) or forward(*args))
    for block in (0, 1 << 30):
        monkeypatch.setattr(_kernels, "BLOCK_BYTES", block)
        rnn = cls(2, 3, 3, num_layers=2, bidirectional=True, bias=bias, padding_mode="circular", dtype=torch.float64)
        rnn.grad_checkpointing = recompute
        for with_state in (False, True):
            assert_same(*outcomes(rnn, [5, 4, 2, 2], packed, with_state), tolerance=1e-10)
    assert runs


@pytest.mark.parametrize("cls", [Conv2dLSTM, Conv2dGRU])
def test_under_autocast(cls: type, kernels: None) -> None:
    rnn, x = cls(3, 8, 3, bidirectional=True), torch.randn(6, 2, 3, 9, 7)
    expected = torch.autograd.grad(rnn(x)[0].square().mean(), list(rnn.parameters()))
    with torch.autocast("cpu", torch.bfloat16):
        y, _ = rnn(x)
    grads = torch.autograd.grad(y.square().mean(), list(rnn.parameters()))
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, rnn(x)[0], atol=0.02, rtol=0.02)
    for got, want in zip(grads, expected, strict=True):
        assert (got - want).norm() < 0.03 * want.norm()


@pytest.mark.parametrize(
    ("cls", "options", "path"),
    [
        (Conv2dLSTM, {}, _kernels.KernelDirection),
        (Conv2dGRU, {}, _kernels.KernelDirection),
        (Conv2dGRU, {"reset_after": False}, _in_place.Direction),
        (Conv2dLSTM, {"variational_dropout": 0.5}, _in_place.Direction),
        (Conv2dLSTM, {"norm": "layer"}, None),
        (Conv2dLSTM, {"zoneout": 0.5}, None),
        (Conv2dLSTM, {"padding_mode": "reflect"}, None),
    ],
)
def test_a_layer_takes_the_path_that_its_equations_allow(
    cls: type, options: dict, path: Any, kernels: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = []
    find_path = _fused.find_path
    monkeypatch.setattr(_fused, "find_path", lambda *args: paths.append(find_path(*args)) or paths[-1])
    cls(2, 3, 3, **options)(torch.randn(2, 1, 2, 5, 5))
    assert paths == [path]


def test_without_the_operations_of_torch_layers_run_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not _kernels.has_operations("cpu")
    monkeypatch.setattr(torch._C, "_dispatch_has_kernel_for_dispatch_key", lambda name, key: "gru" not in name)
    _kernels.has_operations.cache_clear()
    try:
        assert not _kernels.has_operations("cuda")
        monkeypatch.setattr(torch._C, "_dispatch_has_kernel_for_dispatch_key", lambda name, key: True)
        _kernels.has_operations.cache_clear()
        assert _kernels.has_operations("cuda")
        assert not _kernels.has_operations("mps")
    finally:
        _kernels.has_operations.cache_clear()


def test_second_derivatives_and_transforms(kernels: None) -> None:
    rnn, x = (
        Conv2dLSTM(1, 2, 3, dtype=torch.float64),
        torch.randn(2, 1, 1, 3, 3, dtype=torch.float64, requires_grad=True),
    )
    assert torch.autograd.gradgradcheck(lambda x: rnn(x)[0], x)
    batch = torch.randn(3, *x.shape, dtype=torch.float64)
    torch.testing.assert_close(torch.vmap(lambda x: rnn(x)[0])(batch), torch.stack([rnn(x)[0] for x in batch]))
