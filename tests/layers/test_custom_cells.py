"""Cells and layers defined by users: class attributes and the result of a step are checked."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from convrnn_zoo.layers import ConvRNNBase, ConvRNNCellBase
from convrnn_zoo.layers.rnn import RNNEquations

GOOD: dict[str, Any] = {
    "ndim": 2,
    "gates": 1,
    "states": ("h",),
    "step": lambda self, gates, state, extra: (gates.tanh(),),
}
BASES = pytest.mark.parametrize("base", [ConvRNNCellBase, ConvRNNBase])


def build(base: type, **changes: Any) -> Any:
    """Builds a custom cell or layer; an attribute that is `None` is left out."""
    attributes = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    return type("Custom", (base,), attributes)(2, 3, 3)


def example(base: type) -> Tensor:
    return torch.randn(4, 2, 2, 5, 6) if base is ConvRNNBase else torch.randn(2, 2, 5, 6)


def returning(function: Callable[[Tensor], Any]) -> Callable[..., Any]:
    return lambda self, gates, state, extra: function(gates.tanh())


@BASES
@pytest.mark.parametrize(
    ("attribute", "value", "error"),
    [
        ("ndim", None, TypeError),
        ("gates", None, TypeError),
        ("states", None, TypeError),
        ("ndim", 4, ValueError),
        ("gates", "2", TypeError),
        ("gates", 2.0, TypeError),
        ("gates", 0, ValueError),
        ("states", "hc", TypeError),
        ("states", (), TypeError),
        ("states", (1,), TypeError),
        ("summed", 2, ValueError),
        ("summed", "1", ValueError),
    ],
)
def test_class_attributes_are_checked_when_it_is_built(
    base: type, attribute: str, value: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match=rf"Custom.*\b{attribute}\b"):
        build(base, **{attribute: value})


@BASES
@pytest.mark.parametrize(
    ("states", "result", "error"),
    [
        (("h",), lambda h: h, TypeError),
        (("h", "c"), lambda h: h, TypeError),
        (("h",), lambda h: None, TypeError),
        (("h",), lambda h: (None,), TypeError),
        (("h", "c"), lambda h: (h,), ValueError),
        (("h",), lambda h: (torch.cat([h, h], 1),), ValueError),
        (("h",), lambda h: (h[0],), ValueError),
    ],
    ids=["tensor", "tensor for two states", "None", "tuple of None", "too few", "channels", "rank"],
)
def test_the_result_of_a_step_is_checked(base: type, states: Any, result: Any, error: type[Exception]) -> None:
    custom = build(base, states=states, step=returning(result))
    with pytest.raises(error, match="step of Custom"):
        custom(example(base))


def test_the_result_of_a_custom_advance_is_checked() -> None:
    layer = build(ConvRNNBase, advance=lambda self, x, state, w: state[0])
    with pytest.raises(TypeError, match=r"step of Custom .*tensor of shape"):
        layer(example(ConvRNNBase))


@pytest.mark.parametrize("checkpointed", [False, True])
def test_layers_ignore_additional_results_of_a_step(checkpointed: bool) -> None:
    def build_bidirectional(**changes: Any) -> Any:
        layer = type("Custom", (ConvRNNBase,), {**GOOD, **changes})(2, 3, 3, bidirectional=True, num_layers=2)
        layer.grad_checkpointing = checkpointed
        return layer

    expected, x = build_bidirectional(), example(ConvRNNBase)
    other = build_bidirectional(step=returning(lambda h: (h, 2 * h)))
    other.load_state_dict(expected.state_dict())
    torch.testing.assert_close(other(x), expected(x))


def test_equations_without_a_cell_or_layer_can_be_extended() -> None:
    class Equations2d(RNNEquations):
        ndim = 2

    class Own(Equations2d, ConvRNNBase):
        pass

    assert Equations2d.__doc__ is None
    assert Own(2, 3, 3)(example(ConvRNNBase))[0].shape == (4, 2, 3, 5, 6)
