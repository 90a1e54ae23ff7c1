"""For any layer and lengths, a packed sequence gives the outputs of its individual sequences."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tests.helpers.layers.comparison import built
from tests.helpers.layers.oracles import SEQUENCES, assert_close, case_id, mapped, space, tensors
from tests.helpers.registry import two_dimensions_first


def random_state(rnn: nn.Module, batch: int) -> Any:
    """Returns a state for `rnn` in its nesting: by states, and by layers if the widths are a list."""
    directions, size = rnn.num_directions, space(rnn, 3)

    def one() -> Any:
        if isinstance(rnn.out_channels, int):
            return torch.randn(rnn.num_layers * directions, batch, rnn.out_channels, *size, dtype=torch.float64)
        return tuple(torch.randn(directions, batch, w, *size, dtype=torch.float64) for w in rnn.out_channels)

    parts = tuple(one() for _ in rnn.states)
    return parts if len(parts) > 1 else parts[0]


@pytest.mark.parametrize("examples", [12, pytest.param(60, marks=pytest.mark.slow)])
@pytest.mark.parametrize("cls", two_dimensions_first(SEQUENCES), ids=case_id)
def test_packed_equals_separate_runs(cls: type, examples: int) -> None:
    @settings(max_examples=examples, deadline=None, derandomize=True)
    @given(built(cls, by_layer=True), st.lists(st.integers(1, 4), min_size=2, max_size=4), st.booleans())
    def holds(rnn: nn.Module, lengths: list[int], with_state: bool) -> None:
        x = torch.randn(max(lengths), len(lengths), rnn.in_channels, *space(rnn, 3), dtype=torch.float64)
        for n, length in enumerate(lengths):
            x[length:, n] = torch.nan  # which would propagate to every output that reads it
        x.requires_grad_()
        hx = random_state(rnn, len(lengths)) if with_state else None
        output, state = rnn(pack_padded_sequence(x, lengths, enforce_sorted=False), hx)
        output, _ = pad_packed_sequence(output)
        loss = output.square().sum() + sum(h.sum() for h in tensors(state))
        gradients = torch.autograd.grad(loss, [x, *rnn.parameters()])

        expected_loss = torch.zeros((), dtype=torch.float64)
        for n, length in enumerate(lengths):
            y, h = rnn(x[:length, n], None if hx is None else mapped(lambda h, n=n: h[:, n], hx))
            assert_close(output[:length, n], y, 1e-12)
            assert_close(mapped(lambda s, n=n: s[:, n], state), h, 1e-12)
            assert not output[length:, n].any()
            expected_loss = expected_loss + y.square().sum() + sum(s.sum() for s in tensors(h))
        assert_close(gradients, torch.autograd.grad(expected_loss, [x, *rnn.parameters()]), 1e-10)

    holds()
