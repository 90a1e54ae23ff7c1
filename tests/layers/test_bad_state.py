"""Invalid states are rejected, with a message that names a fix."""

import re
from typing import Any

import pytest
import torch
from oracles import CELLS, CLASSES, SEQUENCES, case_id, example, mapped
from torch import Tensor, nn

TWO_STATES = [cls for cls in CLASSES if len(cls.states) == 2]
ONE_STATE = [cls for cls in CLASSES if len(cls.states) == 1]
SHAPE = "pass None for a zero state"
LEAVE = "leave the state out for a zero state"

# how the last state is spoiled, the error, and what its message must tell beyond the state's name
TENSORS: dict[str, tuple[Any, type[Exception], str, str]] = {
    "batch": (lambda h: h.narrow(h.shape.index(2), 0, 1), ValueError, "got (", SHAPE),
    "channels": (lambda h: torch.cat([h, h], -h.dim() + 1), ValueError, "got (", SHAPE),
    "space": (lambda h: h[..., 1:], ValueError, "got (", SHAPE),
    "a map of one pixel would broadcast": (lambda h: h[..., :1], ValueError, "got (", SHAPE),
    "rank": (lambda h: h[None], ValueError, "got (1, ", SHAPE),
    "scalar": (lambda h: h.sum(), ValueError, "got ()", SHAPE),
    "integers": (lambda h: h.long(), TypeError, "is torch.int64", "convert one with .to(torch.float32)"),
    "double": (lambda h: h.double(), TypeError, "is torch.float64", "convert one with .to(torch.float32)"),
    "half": (lambda h: h.bfloat16(), TypeError, "is torch.bfloat16", "convert one with .to(torch.float32)"),
    "device": (lambda h: h.to("meta"), ValueError, "is on meta", "move one with .to"),
    "string": (lambda h: "h", TypeError, "got 'h' (str)", LEAVE),
    "number": (lambda h: 0.0, TypeError, "got 0.0 (float)", LEAVE),
    "tuple": (lambda h: (h,), TypeError, "got a tuple of 1: a tensor", LEAVE),
    "list": (lambda h: h.tolist(), TypeError, "... (list)", LEAVE),
}

# how the whole of (h, c) is spoiled
PAIRS: dict[str, tuple[Any, type[Exception], str, str]] = {
    "bare tensor": (lambda s: s[0], TypeError, "got a tensor of shape (", SHAPE),
    "stacked": (torch.stack, TypeError, "got a tensor of shape (2, ", SHAPE),
    "string": (lambda s: "hc", TypeError, "got 'hc' (str)", SHAPE),
    "mapping": (lambda s: dict(zip("hc", s, strict=True)), TypeError, "... (dict)", SHAPE),
    "number": (lambda s: 0, TypeError, "got 0 (int)", SHAPE),
    "one": (lambda s: s[:1], ValueError, "got 1 entries", "pass all of them or None"),
    "three": (lambda s: (*s, s[0]), ValueError, "got 3 entries", "pass all of them or None"),
    "none": (lambda s: (), ValueError, "got 0 entries", "pass all of them or None"),
    "half a state": (lambda s: (s[0], None), TypeError, "got None (NoneType)", LEAVE),
}


def make_state(module: nn.Module, x: Tensor) -> Any:
    out = module(x)
    return mapped(Tensor.detach, out[1] if type(module) in SEQUENCES else out)


def assert_rejected(module: nn.Module, x: Tensor, hx: Any, error: type[Exception], *parts: str) -> None:
    with pytest.raises(error) as caught:
        module(x, hx)
    message = str(caught.value)
    assert re.match(".*".join(map(re.escape, (type(module).__name__, *parts))), message, re.DOTALL), message
    assert len(message) < 400


@pytest.mark.parametrize(("spoil", "error", "got", "cure"), TENSORS.values(), ids=TENSORS)
@pytest.mark.parametrize("cls", CLASSES, ids=case_id)
def test_a_tensor_of_the_state(cls: type, spoil: Any, error: type[Exception], got: str, cure: str) -> None:
    module, x = cls(2, 3, 3), example(cls, 2)
    state, name = make_state(module, x), cls.states[-1] + ("" if cls in CELLS else "_0")
    hx = (state[0], spoil(state[1])) if cls in TWO_STATES else spoil(state)
    assert_rejected(module, x, hx, error, name, got, cure)


@pytest.mark.parametrize(("spoil", "error", "got", "cure"), PAIRS.values(), ids=PAIRS)
@pytest.mark.parametrize("cls", TWO_STATES, ids=case_id)
def test_the_pair_of_states(cls: type, spoil: Any, error: type[Exception], got: str, cure: str) -> None:
    module, x = cls(2, 3, 3), example(cls, 2)
    assert_rejected(module, x, spoil(make_state(module, x)), error, "expected", got, cure)


@pytest.mark.parametrize("wrap", [tuple, list])
@pytest.mark.parametrize("cls", ONE_STATE, ids=case_id)
def test_a_single_state_comes_bare(cls: type, wrap: type) -> None:
    module, x = cls(2, 3, 3), example(cls, 2)
    hx = wrap([make_state(module, x)])
    assert_rejected(module, x, hx, TypeError, "to be a tensor of shape (", f"got a {wrap.__name__} of 1", LEAVE)


LAYERED: dict[str, tuple[Any, type[Exception], str, str, str]] = {
    "a tensor": (lambda h: h[0], TypeError, "tuple of 2 tensors (one per layer", "got a tensor of shape (", SHAPE),
    "a number": (lambda h: 1, TypeError, "tuple of 2 tensors (one per layer", "got 1 (int)", SHAPE),
    "too few": (lambda h: h[:1], ValueError, "to hold 2 layers", "got 1", "pass one per layer"),
    "too many": (lambda h: (*h, h[0]), ValueError, "to hold 2 layers", "got 3", "pass one per layer"),
    "another order": (lambda h: h[::-1], ValueError, "_0[0] of shape (2, 2, 3,", "got (2, 2, 4,", SHAPE),
    "a layer missing": (
        lambda h: (h[0], None),
        TypeError,
        "_0[1] to be a tensor of shape (2, 2, 4,",
        "got None",
        LEAVE,
    ),
    "a layer in double": (lambda h: (h[0], h[1].double()), TypeError, "_0[1] is torch.float64", "convert", "float32"),
    "a layer elsewhere": (lambda h: (h[0], h[1].to("meta")), ValueError, "_0[1] is on meta", "move one", ".to"),
}


@pytest.mark.parametrize(("spoil", "error", "expected", "got", "cure"), LAYERED.values(), ids=LAYERED)
@pytest.mark.parametrize("cls", SEQUENCES, ids=case_id)
def test_states_by_layer(cls: type, spoil: Any, error: type[Exception], expected: str, got: str, cure: str) -> None:
    rnn, x = cls(2, [3, 4], 3, num_layers=2, bidirectional=True), example(cls, 2)
    state = make_state(rnn, x)
    hx = (state[0], spoil(state[1])) if cls in TWO_STATES else spoil(state)
    assert_rejected(rnn, x, hx, error, cls.states[-1], expected, got, cure)


@pytest.mark.parametrize("cls", SEQUENCES, ids=case_id)
def test_batched_states_for_an_unbatched_input_and_the_other_way(cls: type) -> None:
    rnn, x = cls(2, 3, 3), example(cls, 2)
    assert_rejected(rnn, x[:, 0], make_state(rnn, x), ValueError, "of shape (1, 3, ", "got (1, 2, 3, ", SHAPE)
    assert_rejected(rnn, x, make_state(rnn, x[:, 0]), ValueError, "of shape (1, 2, 3, ", "got (1, 3, ", SHAPE)
