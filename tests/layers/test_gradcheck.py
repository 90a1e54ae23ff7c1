"""Derivatives against finite differences in double precision: by the input, the state and every weight."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.rnn import PackedSequence

from tests.helpers.layers.oracles import CELLS, SEQUENCES, case_id, over_variants, tensors, usual
from tests.helpers.registry import slow_unless, two_dimensions_first

# a packed batch in which a sequence ends, and which is not in its caller's order
SIZES, ORDER = torch.tensor([2, 1]), torch.tensor([1, 0])


def small(cls: type) -> dict[str, Any]:
    """Two channels; a kernel with two taps along only the last axis, on a map of two or three pixels."""
    return {"in_channels": 1, "out_channels": 2, "kernel_size": (1,) * (cls.ndim - 1) + (2,), "dtype": torch.float64}


def pixels(cls: type) -> tuple[int, ...]:
    return (1,) * (cls.ndim - 1) + (3,)


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def check(module: nn.Module, x: Tensor, hx: list[Tensor], wrap: Any = lambda x: x) -> bool:
    names, weights = zip(*module.named_parameters(), strict=True)

    def function(x: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        state, parameters = others[: len(hx)], dict(zip(names, others[len(hx) :], strict=True))
        out = functional_call(module, parameters, (wrap(x), state if len(state) > 1 else state[0]))
        return tuple(tensors((out[0].data, out[1]) if isinstance(out[0], PackedSequence) else out))

    # Of layers in random directions, as test_same_as_reference.py compares every entry of theirs with the plain loop's.
    return torch.autograd.gradcheck(function, (x, *hx, *weights), fast_mode=type(module) in SEQUENCES)


@pytest.mark.parametrize(("cls", "options"), two_dimensions_first(over_variants(CELLS)), ids=case_id)
def test_cells(cls: type, options: dict) -> None:
    shape = pixels(cls)
    assert check(cls(**small(cls), **options), draw(2, 1, *shape), [draw(2, 2, *shape) for _ in cls.states])


@pytest.mark.parametrize(("cls", "options"), slow_unless(usual, over_variants(SEQUENCES)), ids=case_id)
def test_sequence_layers(cls: type, options: dict) -> None:
    shape = pixels(cls)
    rnn = cls(**small(cls), bidirectional=True, **options)
    assert check(rnn, draw(2, 1, 1, *shape), [draw(2, 1, 2, *shape) for _ in cls.states])
