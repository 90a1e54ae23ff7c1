"""Mixed precision on the CPU: inputs and states of any floating type, near the full-precision result."""

import pytest
import torch
from oracles import CELLS, CLASSES, SEQUENCES, assert_close, case_id, example, mapped, over_variants, tensors
from torch.nn.utils.rnn import pack_padded_sequence


def bf16() -> torch.autocast:
    return torch.autocast("cpu", dtype=torch.bfloat16)


@pytest.mark.parametrize(("cls", "options"), over_variants(CLASSES), ids=case_id)
def test_a_state_can_be_fed_back(cls: type, options: dict) -> None:
    module, x = cls(2, 3, 3, **options), example(cls, 2)

    def twice(x: torch.Tensor) -> tuple:
        first = module(x)
        second = module(x, first if cls in CELLS else first[1])
        return first, second

    expected = twice(x)
    with bf16():
        assert_close(twice(x), expected, 5e-2)
        assert_close(twice(x.bfloat16()), expected, 5e-2)
        state = expected[0] if cls in CELLS else expected[0][1]
        for_sure_low = mapped(lambda h: h.bfloat16(), state)
        assert_close(module(x, for_sure_low), expected[1], 5e-2)
    assert not all(torch.equal(a, b) for a, b in zip(tensors(_under_bf16(module, x)), tensors(module(x)), strict=True))


def _under_bf16(module: torch.nn.Module, x: torch.Tensor) -> tuple:
    with bf16():
        return module(x)


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
def test_integers_are_refused_under_autocast_too(cls: type) -> None:
    with bf16(), pytest.raises(TypeError, match="works in torch.float32 but input is torch.int64; convert"):
        cls(2, 3, 3)(example(cls, 2).long())
