"""Mixed precision on the CPU: inputs and states of any floating type, near the full-precision result."""

import copy
from typing import Any

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence

from convrnn_zoo import layers
from convrnn_zoo.layers import Conv2dGRU, Conv2dLSTM, _fused
from tests.helpers.layers.oracles import (
    CELLS,
    CLASSES,
    SEQUENCES,
    assert_close,
    case_id,
    example,
    mapped,
    over_variants,
    tensors,
)


@pytest.fixture(params=[True, False], ids=["fast half", "slow half"])
def half_is_fast(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Simulates a CPU whose convolutions are faster in half precision than in float32, and one where they are not."""
    monkeypatch.setattr(_fused, "half_is_fast", lambda dtype: request.param)
    return request.param


def bf16() -> torch.autocast:
    return torch.autocast("cpu", dtype=torch.bfloat16)


@pytest.mark.parametrize(("cls", "options"), over_variants(CLASSES), ids=case_id)
def test_a_state_can_be_fed_back(cls: type, options: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_fused, "half_is_fast", lambda dtype: True)
    module, x = cls(2, 3, 3, **options), example(cls, 2)

    def carried(out: Any) -> Any:
        return out if cls in CELLS else out[1]

    first = module(x)
    second = module(x, carried(first))
    for dtype in (torch.float32, torch.bfloat16):
        with bf16():
            low = module(x.to(dtype))
            assert_close(low, first, 5e-2)
            assert any(not torch.equal(a, b) for a, b in zip(tensors(low), tensors(first), strict=True))
            assert_close(module(x, carried(low)), second, 5e-2)
            assert_close(module(x, mapped(lambda h, dtype=dtype: h.to(dtype), carried(first))), second, 5e-2)


@pytest.mark.parametrize("cls", CLASSES, ids=case_id)
def test_float64_stays_as_it_is(cls: type, half_is_fast: bool) -> None:
    module, x = cls(2, 3, 3, dtype=torch.float64), example(cls, 2).double()
    expected = module(x)
    with bf16():
        assert all(map(torch.equal, tensors(module(x)), tensors(expected)))


@pytest.mark.parametrize(("cls", "options"), over_variants(SEQUENCES), ids=case_id)
def test_packed_both_ways_and_backward(cls: type, options: dict, half_is_fast: bool) -> None:
    rnn = cls(2, [3, 4], 3, num_layers=2, bidirectional=True, **options)
    x = pack_padded_sequence(example(cls, 2), [2, 3], enforce_sorted=False)
    expected = rnn(x)
    with bf16():
        output, state = rnn(x)
        output, state = rnn(x, mapped(torch.zeros_like, state))
    assert_close((output.data, state), (expected[0].data, expected[1]), 5e-2)
    output.data.float().sum().backward()
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in rnn.parameters())


@pytest.mark.parametrize("cls", CLASSES, ids=case_id)
def test_rejects_integers_under_autocast(cls: type) -> None:
    with bf16(), pytest.raises(TypeError, match=r"torch\.float32.*input.*torch\.int64"):
        cls(2, 3, 3)(example(cls, 2).long())


@pytest.mark.parametrize("cls", [Conv2dLSTM, Conv2dGRU], ids=case_id)
def test_autocast_computes_in_float32_where_that_is_faster(cls: type, half_is_fast: bool) -> None:
    rnn, x = cls(2, 3, 3), example(cls, 2).requires_grad_()
    expected = rnn(x)[0]
    with bf16():
        y = rnn(x)[0]
    gradients = [torch.autograd.grad(out.square().sum(), [x, *rnn.parameters()]) for out in (y, expected)]
    for actual, exact in zip((y, *gradients[0]), (expected, *gradients[1]), strict=True):
        assert torch.equal(actual, exact) != half_is_fast


@pytest.mark.parametrize("cls", [Conv2dLSTM, Conv2dGRU], ids=case_id)
def test_weights_in_half_precision_keep_their_dtype(cls: type, half_is_fast: bool) -> None:
    rnn = cls(2, 3, 3, dtype=torch.bfloat16)
    x = example(cls, 2).bfloat16().requires_grad_()
    y, state = rnn(x)
    gradients = torch.autograd.grad(y.float().square().sum(), [x, *rnn.parameters()])
    assert {t.dtype for t in tensors((y, state))} == {g.dtype for g in gradients} == {torch.bfloat16}
    exact, wide = copy.deepcopy(rnn).double(), x.detach().double().requires_grad_()
    z, _ = exact(wide)
    assert_close((y,), (z.float(),), 2e-2)
    for actual, double in zip(
        gradients, torch.autograd.grad(z.square().sum(), [wide, *exact.parameters()]), strict=True
    ):
        assert (actual.double() - double).norm() <= 0.05 * double.norm()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_cells_accept_any_dtype_and_keep_that_of_their_weights(dtype: torch.dtype) -> None:
    for cell in (
        layers.Conv2dLSTMCell(2, 4, 3),
        layers.Conv2dGRUCell(2, 4, 3, groups=2),
        layers.Conv2dMinGRUCell(2, 4, 3),
    ):
        with torch.autocast("cpu", torch.bfloat16):
            state = cell(torch.randn(1, 2, 4, 4, dtype=dtype))
            state = cell(torch.randn(1, 2, 4, 4), state)
        assert {s.dtype for s in (state if isinstance(state, tuple) else (state,))} == {torch.float32}
