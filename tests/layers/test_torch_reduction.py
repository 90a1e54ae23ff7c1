"""On a map of one pixel with a kernel of one tap, a convolutional RNN is torch.nn's RNN."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from tests.helpers.layers.oracles import CELLS, SEQUENCES, assert_close, case_id, tensors
from tests.helpers.registry import two_dimensions_first

LAYOUTS: dict[str, Callable[[Tensor], Any]] = {
    "time_first": lambda x: x,
    "batch_first": lambda x: x.transpose(0, 1),
    "unbatched": lambda x: x[:, 0],
    "packed_sorted": lambda x: pack_padded_sequence(x, [4, 3, 1]),
    "packed_unsorted": lambda x: pack_padded_sequence(x, [2, 4, 1], enforce_sorted=False),
}
TOLERANCE = {torch.float32: (1e-6, 5e-6), torch.float64: (1e-12, 1e-12)}  # of values, of gradients


def in_torch(classes: list[type]) -> list[tuple[type, type, dict[str, Any]]]:
    """Each class that torch.nn has too, torch.nn's, and the options that both take."""
    pairs = [(cls, getattr(nn, cls.__name__[len("Conv1d") :], None)) for cls in classes]
    return [
        (ours, theirs, {"nonlinearity": f} if f else {})
        for ours, theirs in pairs
        if theirs is not None
        for f in ours.options.get("nonlinearity", [None])
    ]


def pixel(ndim: int) -> Callable[[Tensor], Tensor]:
    """A vector as a map of one pixel."""
    return lambda v: v[(...,) + (None,) * ndim]


def unchanged(v: Tensor) -> Tensor:
    return v


def give_weights(ours: nn.Module, theirs: nn.Module, lift: Callable[[Tensor], Tensor]) -> None:
    state = theirs.state_dict()
    ours.load_state_dict({k: lift(v) if k.startswith("weight") else v for k, v in state.items()}, strict=True)


def results(module: nn.Module, call: Callable[[], Any], leaves: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Outputs and states, and the gradients of one random loss by the leaves and the weights."""
    out = call()
    values = list(tensors((out[0].data, out[1]) if isinstance(out[0], PackedSequence) else out))
    draw = torch.Generator().manual_seed(1)
    weights = [torch.randn(v.numel(), generator=draw, dtype=torch.float64).to(v.dtype) for v in values]
    loss = torch.stack([v.flatten() @ w for v, w in zip(values, weights, strict=True)]).sum()
    return values, list(torch.autograd.grad(loss, [*leaves, *module.parameters()]))


def assert_same_numbers(ours: Any, theirs: Any, dtype: torch.dtype) -> None:
    for mine, expected, tolerance in zip(ours, theirs, TOLERANCE[dtype], strict=True):
        assert_close([v.flatten() for v in mine], [v.flatten() for v in expected], tolerance)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("bidirectional", [False, True], ids=["uni", "bi"])
@pytest.mark.parametrize("num_layers", [1, 2, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("ours", "theirs", "options"), two_dimensions_first(in_torch(SEQUENCES)), ids=case_id)
def test_sequence_layers(
    ours: type, theirs: type, options: dict, num_layers: int, bidirectional: bool, layout: str, dtype: torch.dtype
) -> None:
    lift, arrange = pixel(ours.ndim), LAYOUTS[layout]
    options = {
        **options,
        "num_layers": num_layers,
        "bidirectional": bidirectional,
        "batch_first": layout == "batch_first",
        "dtype": dtype,
    }
    reference, module = theirs(2, 3, **options), ours(2, 3, 1, **options)
    give_weights(module, reference, lift)
    x = torch.randn(4, 3, 2, dtype=dtype, requires_grad=True)
    rows = num_layers * (1 + bidirectional)
    hx = [torch.randn(rows, 3, 3, dtype=dtype, requires_grad=True) for _ in ours.states]

    def state(lifted: Callable[[Tensor], Tensor]) -> Any:
        parts = tuple(lifted(h[:, 0] if layout == "unbatched" else h) for h in hx)
        return parts if len(parts) > 1 else parts[0]

    def run(m: nn.Module, lifted: Callable[[Tensor], Tensor], with_state: bool) -> Any:
        states = [state(lifted)] if with_state else []
        return results(m, lambda: m(arrange(lifted(x)), *states), [x, *hx] if with_state else [x])

    for with_state in (True, False):
        assert_same_numbers(run(module, lift, with_state), run(reference, unchanged, with_state), dtype)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no_bias"])
@pytest.mark.parametrize("batch", [(3,), ()], ids=["batched", "unbatched"])
@pytest.mark.parametrize(("ours", "theirs", "options"), in_torch(CELLS), ids=case_id)
def test_cells(ours: type, theirs: type, options: dict, batch: tuple, bias: bool, dtype: torch.dtype) -> None:
    lift = pixel(ours.ndim)
    reference, module = theirs(2, 3, bias, **options, dtype=dtype), ours(2, 3, 1, bias=bias, **options, dtype=dtype)
    give_weights(module, reference, lift)
    x = torch.randn(*batch, 2, dtype=dtype, requires_grad=True)
    hx = [torch.randn(*batch, 3, dtype=dtype, requires_grad=True) for _ in ours.states]

    def run(m: nn.Module, lifted: Callable[[Tensor], Tensor], with_state: bool) -> Any:
        parts = tuple(map(lifted, hx))
        states = [parts if len(parts) > 1 else parts[0]] if with_state else []
        return results(m, lambda: m(lifted(x), *states), [x, *hx] if with_state else [x])

    for with_state in (True, False):
        assert_same_numbers(run(module, lift, with_state), run(reference, unchanged, with_state), dtype)


@pytest.mark.parametrize(("ours", "theirs", "options"), in_torch(SEQUENCES), ids=case_id)
def test_an_empty_batch_gives_an_empty_output(ours: type, theirs: type, options: dict) -> None:
    lift = pixel(ours.ndim)
    options = {**options, "num_layers": 2, "bidirectional": True}
    x = torch.randn(4, 0, 2)
    expected = list(tensors(theirs(2, 3, **options)(x)))
    for mode in ("zeros", "reflect", "replicate", "circular"):
        actual = list(tensors(ours(2, 3, 1, padding_mode=mode, **options)(lift(x))))
        assert [v.shape for v in actual] == [lift(v).shape for v in expected]
