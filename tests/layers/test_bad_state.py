"""Invalid states are rejected, with a message that names the layer, the state and the value."""

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.layers.oracles import CELLS, CLASSES, SEQUENCES, case_id, example, mapped

TWO_STATES = [cls for cls in CLASSES if len(cls.states) == 2]
ONE_STATE = [cls for cls in CLASSES if len(cls.states) == 1]

# how the last state is spoiled, the error, and the value that its message names: None is the shape
TENSORS: dict[str, tuple[Any, type[Exception], str | None]] = {
    "batch": (lambda h: h.narrow(h.shape.index(2), 0, 1), ValueError, None),
    "channels": (lambda h: torch.cat([h, h], -h.dim() + 1), ValueError, None),
    "space": (lambda h: h[..., 1:], ValueError, None),
    "a map of one pixel would broadcast": (lambda h: h[..., :1], ValueError, None),
    "rank": (lambda h: h[None], ValueError, None),
    "scalar": (lambda h: h.sum(), ValueError, None),
    "integers": (lambda h: h.long(), TypeError, "torch.int64"),
    "double": (lambda h: h.double(), TypeError, "torch.float64"),
    "half": (lambda h: h.bfloat16(), TypeError, "torch.bfloat16"),
    "device": (lambda h: h.to("meta"), ValueError, "meta"),
    "string": (lambda h: "h", TypeError, "'h'"),
    "number": (lambda h: 0.0, TypeError, "0.0"),
    "tuple": (lambda h: (h,), TypeError, "tuple"),
    "list": (lambda h: h.tolist(), TypeError, "(list)"),
}

# how the whole of (h, c) is spoiled
PAIRS: dict[str, tuple[Any, type[Exception], str]] = {
    "bare tensor": (lambda s: s[0], TypeError, "tensor of shape ("),
    "stacked": (torch.stack, TypeError, "tensor of shape (2, "),
    "string": (lambda s: "hc", TypeError, "'hc'"),
    "mapping": (lambda s: dict(zip("hc", s, strict=True)), TypeError, "(dict)"),
    "number": (lambda s: 0, TypeError, " 0 "),
    "one": (lambda s: s[:1], ValueError, " 1 "),
    "three": (lambda s: (*s, s[0]), ValueError, " 3 "),
    "none": (lambda s: (), ValueError, " 0 "),
    "half a state": (lambda s: (s[0], None), TypeError, "None"),
}


def make_state(module: nn.Module, x: Tensor) -> Any:
    out = module(x)
    return mapped(Tensor.detach, out[1] if type(module) in SEQUENCES else out)


def assert_rejected(module: nn.Module, x: Tensor, hx: Any, error: type[Exception], name: str, value: str) -> None:
    with pytest.raises(error) as caught:
        module(x, hx)
    message = str(caught.value)
    assert re.match(rf"{type(module).__name__} .*\b{name}.*{re.escape(value)}", message, re.DOTALL), message
    assert len(message) < 400  # a value is shortened


@pytest.mark.sampled("cls")
@pytest.mark.parametrize(("spoil", "error", "value"), TENSORS.values(), ids=TENSORS)
@pytest.mark.parametrize("cls", CLASSES, ids=case_id)
def test_a_tensor_of_the_state(cls: type, spoil: Any, error: type[Exception], value: str | None) -> None:
    module, x = cls(2, 3, 3), example(cls, 2)
    state, name = make_state(module, x), cls.states[-1] + ("" if cls in CELLS else "_0")
    bad = spoil(state[1] if cls in TWO_STATES else state)
    hx = (state[0], bad) if cls in TWO_STATES else bad
    assert_rejected(module, x, hx, error, name, str(tuple(bad.shape)) if value is None else value)


@pytest.mark.parametrize(("spoil", "error", "value"), PAIRS.values(), ids=PAIRS)
@pytest.mark.parametrize("cls", TWO_STATES, ids=case_id)
def test_the_pair_of_states(cls: type, spoil: Any, error: type[Exception], value: str) -> None:
    module, x = cls(2, 3, 3), example(cls, 2)
    assert_rejected(module, x, spoil(make_state(module, x)), error, r"c(_0)?\b", value)


@pytest.mark.parametrize("wrap", [tuple, list])
@pytest.mark.parametrize("cls", ONE_STATE, ids=case_id)
def test_rejects_a_tuple_of_one_state(cls: type, wrap: type) -> None:
    module, x = cls(2, 3, 3), example(cls, 2)
    hx = wrap([make_state(module, x)])
    assert_rejected(module, x, hx, TypeError, "h", wrap.__name__)


# how the states of two layers are spoiled, the error, and what its message names after h or c
LAYERED: dict[str, tuple[Any, type[Exception], str, str]] = {
    "a tensor": (lambda h: h[0], TypeError, "_0", "tensor of shape ("),
    "a number": (lambda h: 1, TypeError, "_0", " 1 "),
    "too few": (lambda h: h[:1], ValueError, "_0.* 2 layers", " 1"),
    "too many": (lambda h: (*h, h[0]), ValueError, "_0.* 2 layers", " 3"),
    "another order": (lambda h: h[::-1], ValueError, r"_0\[0\].*\(2, 2, 3,", "(2, 2, 4,"),
    "a layer missing": (lambda h: (h[0], None), TypeError, r"_0\[1\].*\(2, 2, 4,", "None"),
    "a layer in double": (lambda h: (h[0], h[1].double()), TypeError, r"_0\[1\]", "torch.float64"),
    "a layer elsewhere": (lambda h: (h[0], h[1].to("meta")), ValueError, r"_0\[1\]", "meta"),
}


@pytest.mark.parametrize(("spoil", "error", "name", "value"), LAYERED.values(), ids=LAYERED)
@pytest.mark.parametrize("cls", SEQUENCES, ids=case_id)
def test_states_by_layer(cls: type, spoil: Any, error: type[Exception], name: str, value: str) -> None:
    rnn, x = cls(2, [3, 4], 3, num_layers=2, bidirectional=True), example(cls, 2)
    state = make_state(rnn, x)
    hx = (state[0], spoil(state[1])) if cls in TWO_STATES else spoil(state)
    assert_rejected(rnn, x, hx, error, cls.states[-1] + name, value)


@pytest.mark.parametrize("cls", SEQUENCES, ids=case_id)
def test_batched_states_for_an_unbatched_input_and_the_other_way(cls: type) -> None:
    rnn, x = cls(2, 3, 3), example(cls, 2)
    assert_rejected(rnn, x[:, 0], make_state(rnn, x), ValueError, r"h_0.*\(1, 3, ", "(1, 2, 3, ")
    assert_rejected(rnn, x, make_state(rnn, x[:, 0]), ValueError, r"h_0.*\(1, 2, 3, ", "(1, 3, ")
