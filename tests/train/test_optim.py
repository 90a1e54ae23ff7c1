"""Optimizers and learning rates of the shipped weights, compared with plain formulas."""

import dataclasses
import math

import pytest
import timm
import torch
from torch import nn

import convrnn_zoo
from convrnn_zoo.train.optim import DECAY, SCHEDULES, create_optimizer, create_schedule, is_kernel, muon
from tests.helpers.train.tiny_recipes import PLAIN


def adam(model, lr, layer_decay=1.0, weight_decay=None):
    name = "adam" if weight_decay is None else "adamw"
    fields = {"lr": lr, "layer_decay": layer_decay, "weight_decay": weight_decay, "optimizer": name}
    return create_optimizer(dataclasses.replace(PLAIN, **fields), model)


HAS_MUON = tuple(map(int, timm.__version__.split(".")[:3])) >= (1, 0, 31)
needs_muon = pytest.mark.skipif(not HAS_MUON, reason="timm's Muon follows a schedule from 1.0.31 on")


@pytest.fixture(params=[torch.contiguous_format, torch.channels_last], ids=str)
def model(request):
    torch.manual_seed(0)
    forecaster = convrnn_zoo.create_model("convgru_forecaster", hidden_channels=[16, 16], kernel_size=3)
    return forecaster.to(memory_format=request.param)


def set_gradients(model, seed):
    generator = torch.Generator().manual_seed(seed)
    for p in model.parameters():
        p.grad = torch.randn(p.shape, generator=generator)


@needs_muon
def test_muon_leaves_norms_with_the_shape_of_kernels_to_adam():
    model = convrnn_zoo.create_model("e3d_lstm", hidden_channels=16, num_layers=1, device="meta")
    norms = {name: model.get_parameter(name) for name in model.no_weight_decay()}
    assert any(map(is_kernel, norms.values()))
    kernels, others = ({id(p) for p in group["params"]} for group in muon(model, lr=0.01).param_groups)
    assert not kernels & set(map(id, norms.values()))
    assert set(map(id, norms.values())) <= others
    assert len(kernels | others) == len(list(model.parameters()))


@needs_muon
def test_every_parameter_of_a_model_moves_and_kernels_by_an_orthogonal_matrix(model):
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    torch.manual_seed(1)
    model(torch.rand(2, 3, 1, 16, 16), horizon=2).square().mean().backward()
    muon(model, lr=0.01).step()
    moved = {n: p.detach() - before[n] for n, p in model.named_parameters()}
    assert all(d.abs().max() > 0 for d in moved.values())
    kernels = {n: d.flatten(1) for n, d in moved.items() if is_kernel(model.get_parameter(n))}
    assert len(kernels) == 7
    for name, d in kernels.items():
        values = torch.linalg.svdvals(d) / (0.01 * 0.2 * max(d.shape) ** 0.5)
        assert values[:8].sub(1).abs().max() < 0.5, name  # the gradient of so few frames has no more of note


@needs_muon
@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon to compare with")
def test_muon_is_torchs_bit_for_bit(model):
    kernels = {n: p.detach().clone() for n, p in model.named_parameters() if is_kernel(p)}
    matrices = {n: nn.Parameter(p.contiguous().flatten(1)) for n, p in kernels.items()}
    theirs = torch.optim.Muon(matrices.values(), lr=0.01, weight_decay=DECAY, adjust_lr_fn="match_rms_adamw")
    ours = muon(model, lr=0.01)
    for update in range(3):
        set_gradients(model, update)
        for name, matrix in matrices.items():
            matrix.grad = model.get_parameter(name).grad.flatten(1)
        ours.step()
        theirs.step()
    for name, matrix in matrices.items():
        assert torch.equal(model.get_parameter(name).flatten(1), matrix), name


@pytest.mark.skipif(HAS_MUON, reason="this timm supports schedules of Muon")
def test_an_old_timm_names_the_required_timm(model):
    with pytest.raises(ImportError, match=r"muon.* timm 1\.0\.31 .* pip install 'convrnn-zoo\[train\]'"):
        muon(model, 0.01)


def test_an_unsuitable_muon_names_the_required_timm(model, monkeypatch):
    def raise_error(*args, **kwargs):
        raise TypeError("unexpected keyword argument 'fallback_lr_scale'")

    monkeypatch.setattr("convrnn_zoo.train.optim.create_optimizer_v2", raise_error)
    with pytest.raises(ImportError, match=r"muon.* timm 1\.0\.31 .* pip install"):
        muon(model, 0.01)


# ---- learning rates --------------------------------------------------------------------------------------------
def rates(recipe):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler = create_schedule(recipe, optimizer, recipe.max_steps)
    values = []
    for _ in range(recipe.max_steps):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return values


def test_one_cycle_is_torchs():
    recipe = dataclasses.replace(PLAIN, max_steps=500, warmup=0.3)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2.0, total_steps=500, cycle_momentum=False)
    for rate in rates(recipe):
        assert rate == pytest.approx(optimizer.param_groups[0]["lr"], abs=0.03)
        optimizer.step()
        theirs.step() if theirs.last_epoch < 499 else None


def test_cycles_follow_each_other_half_as_high():
    actual = rates(dataclasses.replace(PLAIN, max_steps=60, cycles=(40, 20), warmup=0.25))
    assert (actual[10], actual[45]) == (2.0, 1.0)
    assert max(actual[:40]) == 2.0
    assert max(actual[40:]) == 1.0
    assert actual[39] < 0.02 > actual[59]
    with pytest.raises(ValueError, match=r"cycles.*updates, 60,.*\[40, 10\]"):
        rates(dataclasses.replace(PLAIN, max_steps=60, cycles=(40, 10)))


def test_cosine_is_torchs():
    recipe = dataclasses.replace(PLAIN, max_steps=10, schedule="cosine")
    assert rates(recipe) == pytest.approx([1 + math.cos(math.pi * t / 10) for t in range(10)])
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    assert isinstance(create_schedule(recipe, optimizer, 10), torch.optim.lr_scheduler.CosineAnnealingLR)


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_ends_low(name):
    assert rates(dataclasses.replace(PLAIN, max_steps=200, schedule=name))[-1] < 0.01


# ---- weight decay ----------------------------------------------------------------------------------------------
DECAYING = {
    "mobilenetv3_small_100_convgru2d": {"hidden_channels": 4, "num_classes": 2},
    "convlstm2d_1layer": {"hidden_channels": 4, "num_classes": 2, "norm": "layer"},
    "convpeepholelstm1d_1layer": {"hidden_channels": 4, "num_classes": 2, "peephole": "channel"},
    "convgru1d_1layer": {"hidden_channels": 4, "num_classes": 2, "learn_initial_state": True},
    "predrnn": {"hidden_channels": 4, "num_layers": 2, "layer_norm": True, "img_size": 16},
}


@pytest.mark.sampled("name")
@pytest.mark.parametrize("layer_decay", [1.0, 0.7])
@pytest.mark.parametrize("name", DECAYING)
def test_kernels_decay_and_biases_norms_peepholes_and_learned_states_do_not(name, layer_decay):
    model = convrnn_zoo.create_model(name, **DECAYING[name])
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    optimizer = adam(model, lr=0.5, layer_decay=layer_decay, weight_decay=0.1)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)  # so that decay alone changes a parameter
    with torch.no_grad():
        for p in model.parameters():
            p += 1
    optimizer.step()
    decayed = {n for n, p in model.named_parameters() if not torch.equal(p, before[n] + 1)}
    vectors = {n for n, p in before.items() if p.dim() <= 1}
    peepholes = {n for n in before if "weight_p" in n and DECAYING[name].get("peephole")}
    assert len(peepholes) == 3 * (name == "convpeepholelstm1d_1layer")
    assert peepholes <= model.no_weight_decay()
    assert vectors | model.no_weight_decay()
    assert decayed == before.keys() - vectors - model.no_weight_decay()
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("name", ["convgru1d_1layer", "convgru2d_1layer"])
def test_muon_rejects_a_model_without_kernels_of_its_own(name):
    with pytest.raises(ValueError, match=r"muon.*adamw"):
        muon(convrnn_zoo.create_model(name, in_chans=1, hidden_channels=4, num_classes=2), 0.005)
