"""Cells that run over sequences with the interface of a layer."""

from typing import Any

import pytest
import torch
from torch import Tensor

from convrnn_zoo.layers import Conv2dGRUCell, Conv2dLSTMCell
from convrnn_zoo.layers._run import scan
from convrnn_zoo.models.base.blocks import Unroll


def stacked_scan(step: Any, xs: tuple[Tensor, ...], state: Any, *, reverse: bool = False) -> Any:
    ys, state = scan(step, list(zip(*(x.unbind(0) for x in xs), strict=True)), state, reverse=reverse)
    return torch.stack(ys), state


@pytest.mark.parametrize("has_state", [False, True])
@pytest.mark.parametrize("cls", [Conv2dGRUCell, Conv2dLSTMCell])
def test_a_scan_gives_the_outputs_and_states_of_the_loop(cls: type, has_state: bool) -> None:
    torch.manual_seed(0)
    layer, xs = Unroll(cls(3, 4, 3)), torch.randn(5, 2, 3, 6, 7)  # sizes differ on every axis
    hx = layer(torch.randn(2, 2, 3, 6, 7))[1] if has_state else None
    expected, last = layer(xs, hx)
    assert expected.shape == (5, 2, 4, 6, 7)
    layer.cell.scan = stacked_scan
    observed, end = layer(xs, hx)
    torch.testing.assert_close(observed, expected)
    torch.testing.assert_close(end, last)
