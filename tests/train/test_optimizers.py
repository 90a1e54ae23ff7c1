"""Optimizers on the kernels of a forecaster."""

import pytest
import torch
from torch import nn

import convrnn_zoo
from convrnn_zoo.train.optimizers import OPTIMIZERS, KernelMuon, is_kernel


@pytest.fixture(params=[torch.contiguous_format, torch.channels_last], ids=str)
def model(request):
    torch.manual_seed(0)
    made = convrnn_zoo.create_model("convgru_forecaster", hidden_channels=[16, 16], kernel_size=3)
    return made.to(memory_format=request.param)


def step(model, optimizer):
    torch.manual_seed(1)
    optimizer.zero_grad()
    model(torch.rand(2, 3, 1, 16, 16), horizon=2).square().mean().backward()
    optimizer.step()


def test_every_parameter_moves_and_kernels_by_an_orthogonal_matrix(model):
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    step(model, KernelMuon(model, lr=0.01))
    moved = {n: p.detach() - before[n] for n, p in model.named_parameters()}
    assert all(d.abs().max() > 0 for d in moved.values())
    kernels = {n: d.flatten(1) for n, d in moved.items() if is_kernel(model.get_parameter(n))}
    assert len(kernels) == 7
    for name, d in kernels.items():
        values = torch.linalg.svdvals(d) / (0.01 * 0.2 * max(d.shape) ** 0.5)
        assert values[:8].sub(1).abs().max() < 0.5, name  # the gradient of so few frames has no more of note


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_its_state_goes_on_where_it_was(name, model):
    optimizer = OPTIMIZERS[name](model, 0.01)
    step(model, optimizer)
    kept, weights = optimizer.state_dict(), {k: v.clone() for k, v in model.state_dict().items()}
    kept = torch.utils._pytree.tree_map(lambda x: x.clone() if isinstance(x, torch.Tensor) else x, kept)
    step(model, optimizer)
    expected = {k: v.clone() for k, v in model.state_dict().items()}
    model.load_state_dict(weights)
    again = OPTIMIZERS[name](model, 0.5)
    again.load_state_dict(kept)
    step(model, again)
    assert all(torch.equal(v, expected[k]) for k, v in model.state_dict().items())


def test_kernels_that_are_not_dense_are_refused():
    layer = nn.Conv2d(16, 16, 3)
    layer.weight = nn.Parameter(torch.randn(16, 16, 3, 6)[..., :3])
    with pytest.raises(ValueError, match="dense in memory"):
        KernelMuon(layer, 0.01)
