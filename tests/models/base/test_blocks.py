"""Gradient checkpointing: a forward pass that is repeated updates the statistics of norms once."""

import pytest
import torch
from timm.layers import BatchNormAct2d, SyncBatchNormAct
from timm.layers import convert_sync_batchnorm as convert_for_timm
from torch import nn

import convrnn_zoo
from convrnn_zoo.models.base.blocks import recompute

CONVERSIONS = {"torch": nn.SyncBatchNorm.convert_sync_batchnorm, "timm": convert_for_timm, "none": lambda model: model}


@pytest.mark.parametrize("convert", CONVERSIONS.values(), ids=CONVERSIONS)
@pytest.mark.parametrize("build", [
    lambda: convrnn_zoo.create_model("resnet18_convgru2d", hidden_channels=4, num_classes=2),
    lambda: convrnn_zoo.create_model(
        "dgmr", context_channels=32, latent_channels=64, noise_channels=2, input_frames=2, horizon=2
    ),
], ids=["video", "dgmr"])  # fmt: skip
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


@pytest.mark.parametrize("norm", [
    lambda: nn.BatchNorm2d(3, momentum=None), lambda: nn.SyncBatchNorm(3, momentum=None),
    lambda: nn.InstanceNorm2d(3, track_running_stats=True), lambda: BatchNormAct2d(3), lambda: SyncBatchNormAct(3),
    lambda: nn.BatchNorm2d(3, track_running_stats=False), lambda: nn.BatchNorm2d(3).eval(),
])  # fmt: skip
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
