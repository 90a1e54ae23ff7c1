"""Cells that run over sequences as a layer, and norms that a repeated forward pass of checkpointing updates once."""

from typing import Any

import pytest
import torch
from timm.layers import BatchNormAct2d, SyncBatchNormAct
from torch import Tensor, nn

from convrnn_zoo.layers import Conv2dGRUCell, Conv2dLSTMCell
from convrnn_zoo.layers._run import run_loop
from convrnn_zoo.models.base.blocks import Unroll, recompute


@pytest.mark.parametrize(
    "norm",
    [
        lambda: nn.BatchNorm2d(3, momentum=None),
        lambda: nn.SyncBatchNorm(3, momentum=None),
        lambda: nn.InstanceNorm2d(3, track_running_stats=True),
        lambda: BatchNormAct2d(3),
        lambda: SyncBatchNormAct(3),
        lambda: nn.BatchNorm2d(3, track_running_stats=False),
        lambda: nn.BatchNorm2d(3).eval(),
    ],
)
def test_every_norm_is_as_after_one_pass(norm):
    x = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    plain, checkpointed = norm(), norm()
    plain(x)
    momentum, count = checkpointed.momentum, checkpointed.num_batches_tracked
    y = recompute(checkpointed, x.requires_grad_(), norms=checkpointed)
    for keep in (True, False):
        y.sum().backward(retain_graph=keep)
    assert dict(plain.named_buffers()).keys() == dict(checkpointed.named_buffers()).keys()
    for name, buffer in plain.named_buffers():
        torch.testing.assert_close(checkpointed.get_buffer(name), buffer)
    assert checkpointed.momentum == momentum
    assert checkpointed.num_batches_tracked is count


def stacked_loop(step: Any, xs: tuple[Tensor, ...], state: Any, *, reverse: bool = False) -> Any:
    ys, state = run_loop(step, list(zip(*(x.unbind(0) for x in xs), strict=True)), state, reverse=reverse)
    return torch.stack(ys), state


@pytest.mark.parametrize("has_state", [False, True])
@pytest.mark.parametrize("cls", [Conv2dGRUCell, Conv2dLSTMCell])
def test_a_replaced_loop_gives_the_outputs_and_states_of_the_loop(cls: type, has_state: bool) -> None:
    torch.manual_seed(0)
    layer, xs = Unroll(cls(3, 4, 3)), torch.randn(5, 2, 3, 6, 7)  # sizes differ on every axis
    hx = layer(torch.randn(2, 2, 3, 6, 7))[1] if has_state else None
    expected, last = layer(xs, hx)
    assert expected.shape == (5, 2, 4, 6, 7)
    layer.cell.export_loop = stacked_loop
    observed, end = layer(xs, hx)
    torch.testing.assert_close(observed, expected)
    torch.testing.assert_close(end, last)
