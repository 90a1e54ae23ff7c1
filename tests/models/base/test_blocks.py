"""Cells that run over sequences as a layer, and norms that a repeated forward pass of checkpointing updates once."""

from typing import Any

import pytest
import torch
from timm.layers import BatchNormAct2d, SyncBatchNormAct
from timm.layers import convert_sync_batchnorm as convert_for_timm
from torch import Tensor, nn

import convrnn_zoo
from convrnn_zoo.layers import Conv2dGRUCell, Conv2dLSTMCell
from convrnn_zoo.layers._run import run_loop
from convrnn_zoo.models.base.blocks import Unroll, recompute

CONVERSIONS = {"torch": nn.SyncBatchNorm.convert_sync_batchnorm, "timm": convert_for_timm, "none": lambda model: model}


@pytest.mark.parametrize("convert", CONVERSIONS.values(), ids=CONVERSIONS)
@pytest.mark.parametrize(
    "build",
    [
        lambda: convrnn_zoo.create_model("resnet18_convgru2d", hidden_channels=4, num_classes=2),
        lambda: convrnn_zoo.create_model(
            "dgmr", context_channels=32, latent_channels=64, noise_channels=2, input_frames=2, horizon=2
        ),
    ],
    ids=["video", "dgmr"],
)
def test_synchronised_batch_norms_count_a_recomputed_batch_once(build, convert):
    models = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        model = convert(build().train())
        model.set_grad_checkpointing(checkpointing)
        model(torch.rand(1, 2, model.in_chans, 64, 64)).sum().backward()
        models.append(model)
    expected, buffers = (dict(model.named_buffers()) for model in models)
    assert {int(b) for name, b in buffers.items() if name.endswith("num_batches_tracked")} == {1}
    for name, buffer in buffers.items():
        torch.testing.assert_close(buffer, expected[name])
    for p, q in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(p.grad, q.grad)


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
