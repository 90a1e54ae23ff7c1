"""On a map of one pixel with a kernel of one tap, a convolutional RNN is torch.nn's RNN, also of packed sequences."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from tests.helpers.layers.oracles import CELLS, SEQUENCES, assert_close, case_id, tensors
from tests.helpers.registry import two_dimensions_first

TOLERANCE = {torch.float32: (1e-6, 5e-6), torch.float64: (1e-12, 1e-12)}  # of values, of gradients


def in_torch(classes: list[type]) -> list[tuple[type, type]]:
    """Each class that torch.nn has too, and torch.nn's."""
    pairs = [(cls, getattr(nn, cls.__name__[len("Conv1d") :], None)) for cls in classes]
    return [(ours, theirs) for ours, theirs in pairs if theirs is not None]


def results(module: nn.Module, call: Callable[[], Any], leaves: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Outputs and states, and the gradients of one random loss by the leaves and the weights."""
    out = call()
    values = list(tensors((out[0].data, out[1]) if isinstance(out[0], PackedSequence) else out))
    draw = torch.Generator().manual_seed(1)
    weights = [torch.randn(v.numel(), generator=draw, dtype=torch.float64).to(v.dtype) for v in values]
    loss = torch.stack([v.flatten() @ w for v, w in zip(values, weights, strict=True)]).sum()
    return values, list(torch.autograd.grad(loss, [*leaves, *module.parameters()]))


@st.composite
def options(draw: st.DrawFn, cls: type) -> dict[str, Any]:
    """Options that torch.nn has too."""
    chosen = {"bias": draw(st.booleans()), "dtype": draw(st.sampled_from(list(TOLERANCE)))}
    if "nonlinearity" in cls.options:
        chosen["nonlinearity"] = draw(st.sampled_from(cls.options["nonlinearity"]))
    return chosen


def check_equal(ours: nn.Module, theirs: nn.Module, x: Tensor, hx: list[Tensor], arrange: Callable, of_state: Callable):
    """Compares outputs, states and gradients of two modules with the same weights."""
    state = theirs.state_dict()

    def lift(v: Tensor) -> Tensor:
        return v[(...,) + (None,) * ours.ndim]

    ours.load_state_dict({k: lift(v) if k.startswith("weight") else v for k, v in state.items()}, strict=True)

    def run(module: nn.Module, lifted: Callable[[Tensor], Tensor]) -> Any:
        parts = tuple(lifted(of_state(h)) for h in hx)
        states = [parts if len(parts) > 1 else parts[0]] if parts else []
        return results(module, lambda: module(arrange(lifted(x)), *states), [x, *hx])

    found, expected = run(ours, lift), run(theirs, lambda v: v)
    for mine, other, tolerance in zip(found, expected, TOLERANCE[x.dtype], strict=True):
        assert_close([v.flatten() for v in mine], [v.flatten() for v in other], tolerance)


@pytest.mark.parametrize("examples", [25, pytest.param(300, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("ours", "theirs"), two_dimensions_first(in_torch(SEQUENCES)), ids=case_id)
def test_sequence_layers(ours: type, theirs: type, examples: int) -> None:
    @settings(max_examples=examples, deadline=None, derandomize=True, database=None)
    @given(
        options(ours),
        st.integers(1, 3),
        st.booleans(),
        st.sampled_from(["time first", "batch first", "unbatched", "packed", "packed, batch first"]),
        st.lists(st.integers(1, 5), min_size=1, max_size=4),
        st.integers(1, 3),
        st.integers(1, 3),
        st.booleans(),
    )
    def holds(chosen, num_layers, bidirectional, layout, lengths, channels, width, with_state) -> None:
        is_batch_first = layout.endswith("batch first")
        shared = {"num_layers": num_layers, "bidirectional": bidirectional, "batch_first": is_batch_first, "dropout": 0}
        modules = ours(channels, width, 1, **shared, **chosen), theirs(channels, width, **shared, **chosen)
        factory = {"dtype": chosen["dtype"], "requires_grad": True}
        x = torch.randn(max(lengths), len(lengths), channels, **factory)
        rows = num_layers * (1 + bidirectional)
        hx = [torch.randn(rows, len(lengths), width, **factory) for _ in ours.states] if with_state else []
        is_sorted = lengths == sorted(lengths, reverse=True)

        def arrange(x: Tensor) -> Any:
            x = x[:, 0] if layout == "unbatched" else x.transpose(0, 1) if is_batch_first else x
            packing = {"batch_first": is_batch_first, "enforce_sorted": is_sorted}
            return pack_padded_sequence(x, lengths, **packing) if layout.startswith("packed") else x

        check_equal(*modules, x, hx, arrange, lambda h: h[:, 0] if layout == "unbatched" else h)

    holds()


@pytest.mark.parametrize(("ours", "theirs"), in_torch(CELLS), ids=case_id)
def test_cells(ours: type, theirs: type) -> None:
    @settings(max_examples=12, deadline=None, derandomize=True, database=None)
    @given(options(ours), st.sampled_from([(), (1,), (3,)]), st.booleans())
    def holds(chosen: dict[str, Any], batch: tuple[int, ...], with_state: bool) -> None:
        factory = {"dtype": chosen["dtype"], "requires_grad": True}
        x = torch.randn(*batch, 2, **factory)
        hx = [torch.randn(*batch, 3, **factory) for _ in ours.states] if with_state else []
        check_equal(ours(2, 3, 1, **chosen), theirs(2, 3, **chosen), x, hx, lambda v: v, lambda v: v)

    holds()


@pytest.mark.parametrize("ours", [c for c in SEQUENCES if c.__name__.startswith("Conv2d")], ids=case_id)
def test_gradients_of_one_step_of_one_pixel_are_those_of_two_equal_sequences(ours: type) -> None:
    rnn = ours(2, 2, 1, num_layers=2, bias=False)
    torch.manual_seed(0)
    x = torch.randn(1, 1, 2, 1, 1)

    def gradients(x: Tensor) -> list[Tensor]:
        output = rnn(x)[0]
        return list(torch.autograd.grad(output.square().sum(), list(rnn.parameters())))

    for one, two in zip(gradients(x), gradients(x.expand(1, 2, 2, 1, 1)), strict=True):
        torch.testing.assert_close(2 * one, two)
