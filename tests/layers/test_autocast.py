"""Mixed precision on the CPU: inputs and states of any floating type, near the full-precision result."""

from typing import Any

import pytest
import torch
from oracles import CELLS, CLASSES, SEQUENCES, assert_close, case_id, example, mapped, over_variants, tensors
from torch.nn.utils.rnn import pack_padded_sequence


def bf16() -> torch.autocast:
    return torch.autocast("cpu", dtype=torch.bfloat16)


@pytest.mark.parametrize(("cls", "options"), over_variants(CLASSES), ids=case_id)
def test_a_state_can_be_fed_back(cls: type, options: dict) -> None:
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


@pytest.mark.parametrize(("cls", "options"), over_variants(SEQUENCES), ids=case_id)
def test_packed_both_ways_and_backward(cls: type, options: dict) -> None:
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
