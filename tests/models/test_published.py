"""The sizes that papers and their code give, and the outputs that their code gives."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from timm.utils import freeze, unfreeze

from convrnn_zoo.layers.trajgru import TrajGRUCell, TrajGRUStateCell
from convrnn_zoo.pretrained.registry import entry_points
from tests.helpers.models.forecasters import FULL, NAMES, count, tiny

REFERENCE = Path(__file__).parent / "reference"
PUBLISHED = {
    "convlstm_shi2015_mnist_5x5_256": 13_524_496,
    "convlstm_shi2015_mnist_5x5_128_128": 10_042_896,
    "convlstm_shi2015_mnist_5x5_128_64_64": 7_585_296,
    "convlstm_shi2015_mnist_9x9_128_128": 11_550_224,
    "convlstm_shi2015_mnist_9x9_128_64_64": 8_830_480,
    "convlstm_openstl_s": 11_675_648,
    "convlstm_openstl_l": 26_115_072,
    "predrnn": 23_838_720,
    "predrnn_v2": 23_855_104,
    "predrnn_pp": 38_584_320,
    "mim": 38_043_648,
    "mau": 4_483_588,
    "motionrnn_predrnn": 6_852_161,
    "phydnet": 3_091_732,
    "prednet": 12_510_842,
    "e3d_lstm": 51_347_456,
    "convgru_irene": 64_177_905,
    "convlstm_weather2land": 201_424,
    "sg_convlstm": 253_792,
    "convlstm_digital_typhoon": 21_831_553,
    "convlstm_greenearthnet": 1_036_101,
    "predrnn_greenearthnet": 1_430_312,
    "dgmr": 53_566_957,
    "trajgru_hko7": 12_753_909 - 1_149_536,  # but for the input convolutions of a layer that has no input
}
UNUSED = {"predrnn_pp": 3_276_800, "mim": 98_304, "mau": 8_259, "e3d_lstm": 15_667_200, "dgmr": 784_800}
"""Parameters that published code builds and never uses, and that are left out here."""


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_parameter_counts_are_the_published_ones(name):
    assert count(FULL[name]) == PUBLISHED[name] - UNUSED.get(name, 0)


@pytest.mark.parametrize("name", [n for n in NAMES if " parameters" in (entry_points()[n].__doc__ or "")])
def test_docstrings_state_the_count(name):
    assert f"{count(FULL[name]):,} parameters" in entry_points()[name].__doc__


@pytest.mark.parametrize("name", UNUSED)
def test_docstrings_state_the_published_count_and_the_parameters_left_out(name):
    doc = " ".join(entry_points()[name].__doc__.split())
    assert f"{PUBLISHED[name]:,} parameters" in doc
    assert f"{UNUSED[name]:,} of them" in doc


@pytest.mark.parametrize("name", UNUSED)
def test_every_parameter_gets_a_gradient_after_unfreezing(name):
    model = tiny(name)
    freeze(model)
    unfreeze(model)
    x = torch.rand(2, model.input_frames or 3, model.in_chans, model.reduction, model.reduction)
    noise = {"noise": model.draw_noise(x, 2)} if name == "dgmr" else {}
    if name == "dgmr":
        model.latent[4].gamma.data.fill_(0.5)  # at 0, the attention has no effect
    model(x, 2, **noise).square().sum().backward()
    assert not [n for n, p in model.named_parameters() if p.grad is None]


def test_docstrings_state_every_published_count():
    assert PUBLISHED.keys() <= {n for n in NAMES if " parameters" in (entry_points()[n].__doc__ or "")}


@pytest.mark.parametrize("name", NAMES)
def test_docstrings_name_the_paper_and_its_address(name):
    doc = " ".join(entry_points()[name].__doc__.split())
    assert "https://" in doc
    assert " et al. 20" in doc


def test_default_horizons_match_the_papers():
    horizons = dict.fromkeys(NAMES, 10) | {"convlstm_shi2015_radar": 15, "dgmr": 18}
    horizons |= {"trajgru_hko7": 20, "convgru_hko7": 20}
    horizons |= dict.fromkeys(("convgru_irene", "convgru_advection", "convlstm_digital_typhoon"), 12)
    earth = "convlstm_weather2land", "sg_convlstm", "convlstm_greenearthnet", "predrnn_greenearthnet"
    assert {name: FULL[name].horizon for name in NAMES} == horizons | dict.fromkeys(earth, 20)


# ---- TrajGRU --------------------------------------------------------------------------------------------------------
def trajgru_weights(w):
    links = w["ret.weight"].shape[1] * 3 // w["ret.weight"].shape[0]
    taps = w["ret.weight"].flatten(1).unflatten(1, (links, -1)).transpose(1, 2)  # ours: (3C, C, 1, links)
    out = {"weight_ih": w["i2h.weight"], "bias_ih": w["i2h.bias"]}
    out |= {"weight_hh": taps.unsqueeze(2), "bias_hh": w["ret.bias"]}
    out |= {"weight_xf": w["i2f_conv1.weight"], "bias_xf": w["i2f_conv1.bias"]}
    out |= {"weight_hf": w["h2f_conv1.weight"], "bias_hf": w["h2f_conv1.bias"]}
    # Theirs is the way that the state has come, ours where it is read.
    return out | {"weight_f": -w["flows_conv.weight"], "bias_f": -w["flows_conv.bias"]}


@pytest.mark.parametrize("fed", [True, False])
def test_trajgru_agrees_with_a_public_implementation(fed):
    tensors = load_file(REFERENCE / "trajgru.safetensors")
    weights = trajgru_weights({k[2:]: v for k, v in tensors.items() if k.startswith("w.")})
    cell = TrajGRUCell(2, 3, 3, links=5) if fed else TrajGRUStateCell(3, links=5)
    cell.load_state_dict(
        {k: v for k, v in weights.items() if fed or k not in ("weight_ih", "bias_ih", "weight_xf", "bias_xf")}
    )
    xs, expected = (tensors["x"], tensors["y"]) if fed else (torch.ones(3, 2, 1, 7, 6), tensors["y.no_input"])
    h = tensors["h0"]
    for x, y in zip(xs, expected, strict=True):
        h = cell(x, h)
        torch.testing.assert_close(h, y, rtol=1e-5, atol=1e-5)
