"""For any layer and lengths, a packed sequence gives the outputs of its individual sequences."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from tests.helpers.layers.oracles import SEQUENCES, assert_close, case_id, mapped, space, tensors
from tests.helpers.registry import two_dimensions_first


@st.composite
def built(draw: st.DrawFn, cls: type) -> nn.Module:
    """A layer of this class with any of its options."""
    torch.manual_seed(0)  # only the example determines the numbers, so that a failure can be shrunk
    groups, num_layers, padding_mode = draw(
        st.tuples(
            st.integers(1, 2),
            st.integers(1, 3),
            st.sampled_from(["zeros", "reflect", "replicate", "circular"]),
        )
    )
    width = st.integers(1, 2).map(lambda n: n * groups)
    kernel = st.tuples(*[st.integers(1, 3)] * cls.ndim)
    kernels = st.integers(1, 3) | kernel | st.lists(kernel, min_size=num_layers, max_size=num_layers)
    per_axis = st.integers(1, 2) | st.tuples(*[st.integers(1, 2)] * cls.ndim)
    return cls(
        in_channels=draw(width),
        out_channels=draw(width | st.lists(width, min_size=num_layers, max_size=num_layers)),
        kernel_size=draw(kernels),
        num_layers=num_layers,
        bias=draw(st.booleans()),
        batch_first=draw(st.booleans()),
        bidirectional=draw(st.booleans()),
        stride=draw(per_axis) if padding_mode == "zeros" else 1,
        dilation=draw(per_axis),
        groups=groups,
        hidden_kernel_size=None if cls.is_linear else draw(st.none() | kernels),
        padding_mode=padding_mode,
        dtype=torch.float64,
        **{option: draw(st.sampled_from(values)) for option, values in cls.options.items()},
    )


lengths_of_sequences = st.lists(st.integers(1, 4), min_size=2, max_size=4)


def padded(rnn: nn.Module, lengths: list[int], filler: float = torch.nan) -> Tensor:
    """Random sequences ``(T, N, C, *S)`` with `filler` after their ends."""
    x = torch.randn(max(lengths), len(lengths), rnn.in_channels, *space(rnn, 3), dtype=torch.float64)
    for n, length in enumerate(lengths):
        x[length:, n] = filler
    return x


def packed(rnn: nn.Module, x: Tensor, lengths: list[int]) -> PackedSequence:
    return pack_padded_sequence(x, lengths, enforce_sorted=False)


def random_state(rnn: nn.Module, batch: int) -> Any:
    """Returns a state for `rnn` in its nesting: by states, and by layers if the widths are a list."""
    directions, size = rnn.num_directions, space(rnn, 3)

    def one() -> Any:
        if isinstance(rnn.out_channels, int):
            return torch.randn(rnn.num_layers * directions, batch, rnn.out_channels, *size, dtype=torch.float64)
        return tuple(torch.randn(directions, batch, w, *size, dtype=torch.float64) for w in rnn.out_channels)

    parts = tuple(one() for _ in rnn.states)
    return parts if len(parts) > 1 else parts[0]


def alone(rnn: nn.Module, x: Tensor, hx: Any, lengths: list[int]) -> Iterator[tuple[Tensor, Any]]:
    """Each sequence by itself, without a batch axis."""
    for n, length in enumerate(lengths):
        yield rnn(x[:length, n], None if hx is None else mapped(lambda h, n=n: h[:, n], hx))


@pytest.mark.parametrize("examples", [12, pytest.param(60, marks=pytest.mark.slow)])
@pytest.mark.parametrize("cls", two_dimensions_first(SEQUENCES), ids=case_id)
def test_packed_equals_separate_runs(cls: type, examples: int) -> None:
    @settings(max_examples=examples, deadline=None, derandomize=True)
    @given(built(cls), lengths_of_sequences, st.booleans())
    def holds(rnn: nn.Module, lengths: list[int], with_state: bool) -> None:
        x = padded(rnn, lengths).requires_grad_()  # NaN in the padding would propagate to every output that reads it
        hx = random_state(rnn, len(lengths)) if with_state else None
        output, state = rnn(packed(rnn, x, lengths), hx)
        output, _ = pad_packed_sequence(output)
        loss = output.square().sum() + sum(h.sum() for h in tensors(state))
        gradients = torch.autograd.grad(loss, [x, *rnn.parameters()])

        expected_loss = torch.zeros((), dtype=torch.float64)
        for n, (y, h) in enumerate(alone(rnn, x, hx, lengths)):
            assert_close(output[: lengths[n], n], y, 1e-12)
            assert_close(mapped(lambda s, n=n: s[:, n], state), h, 1e-12)
            assert not output[lengths[n] :, n].any()
            expected_loss = expected_loss + y.square().sum() + sum(s.sum() for s in tensors(h))
        assert_close(gradients, torch.autograd.grad(expected_loss, [x, *rnn.parameters()]), 1e-10)

    holds()
