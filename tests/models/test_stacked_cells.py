"""OpenSTL's recurrent models: weights per pixel, norms, memories and options."""

import re

import pytest
import torch

import convrnn_zoo
from tests.helpers.models.forecasters import tiny

TIED = ("mim", "mau", "e3d_lstm")
"""Those with a weight for each pixel."""
NORMED = pytest.mark.parametrize("name", ["convlstm_openstl_s", "convlstm_openstl_l", "predrnn", "predrnn_v2", "mim"])
"""Models that support norms after their convolutions."""


def drawn(name, **kwargs):
    """One with norms, in float64, whose scales and shifts are such as training leaves."""
    model = tiny(name, num_layers=2, layer_norm=True, img_size=(8, 12), dtype=torch.float64, **kwargs)
    for key, p in model.named_parameters():
        if "_norm_" in key:
            torch.nn.init.normal_(p, mean=float("weight" in key), std=0.3)
    return model


@pytest.mark.parametrize("name", TIED)
def test_pixel_weights_have_the_size_of_img_size(name):
    model = tiny(name, img_size=(8, 16), num_layers=2)
    sizes = {p.shape[-2:] for n, p in model.named_parameters() if "norm" in n or "weight_pi" in n}
    assert sizes == {(2, 4)}
    with pytest.raises(ValueError, match=r"img_size.*\(8, 10\)"):
        tiny(name, img_size=(8, 10))
    with pytest.raises(ValueError, match=r"img_size.* 0"):
        tiny(name, img_size=0)


@NORMED
def test_norms_are_those_of_the_size_they_are_built_for_and_fitted_to_others(name):
    plain = tiny(name, num_layers=2)
    assert not [key for key in plain.state_dict() if "norm" in key]
    model = drawn(name)
    assert [key for key in model.state_dict() if "_norm_" not in key] == list(plain.state_dict())
    norms = {key: p for key, p in model.state_dict().items() if "_norm_" in key}
    assert {p.shape[1:] for p in norms.values()} == {(2, 3)}
    x = torch.rand(1, 3, 1, 16, 8, dtype=torch.float64)
    with torch.no_grad():
        before = model(x, horizon=2)
        assert before.shape == (1, 2, 1, 16, 8)
        for key, p in norms.items():
            p.add_(1)
            assert not torch.allclose(model(x, horizon=2), before), key  # every norm is read
            p.sub_(1)
    with pytest.raises(ValueError, match=r"img_size.*\(8, 10\)"):
        tiny(name, layer_norm=True, img_size=(8, 10))
    with pytest.raises(TypeError, match=r"layer_norm.* 1"):
        tiny(name, layer_norm=1)


@NORMED
def test_norms_are_trained_with_checkpointing_and_without_and_saved(name, tmp_path):
    model = drawn(name)
    x, grads = torch.rand(2, 3, 1, 8, 12, dtype=torch.float64), []
    for checkpointing in (False, True):
        model.set_grad_checkpointing(checkpointing)
        model.zero_grad()
        actual = model(x, horizon=2, return_aux=True)
        (actual.forecast.square().sum() + sum((c * m).sum() for c, m in actual.deltas)).backward()
        grads.append({key: p.grad for key, p in model.named_parameters() if p.requires_grad})
    for key, grad in grads[0].items():
        assert grad.abs().max() > 0, key
        torch.testing.assert_close(grad, grads[1][key])
    convrnn_zoo.save_pretrained(model, tmp_path)
    again = convrnn_zoo.from_pretrained(tmp_path)
    assert again.layer_norm
    assert torch.equal(again(x, horizon=2), model(x, horizon=2))


@pytest.mark.parametrize(
    ("names", "option", "value"),
    [
        ("predrnn predrnn_pp mim mau motionrnn_predrnn", "hidden_channels", [3, 4]),
        ("predrnn_pp mim motionrnn_predrnn", "num_layers", 1),
        ("motionrnn_predrnn", "hidden_channels", 6),
        ("motionrnn_predrnn firenet e2vid prednet predrnn_greenearthnet", "kernel_size", 4),
        ("predrnn_pp sa_convlstm", "layer_norm", True),
        ("sa_convlstm", "attention_channels", 0),
        ("mau", "downsampling", 3),
    ],
)
def test_rejects_sizes_that_a_network_cannot_have(names, option, value):
    for name in names.split():
        with pytest.raises(ValueError, match=option if value is True else rf"{option}.* {re.escape(str(value))}"):
            convrnn_zoo.create_model(name, **{option: value})


def test_phydnet_of_both_patch_sizes_and_no_other():
    for patch in (2, 4):
        model = tiny("phydnet", patch_size=patch)
        assert model.reduction == patch
        out = model(torch.rand(1, 2, 1, 2 * patch, 3 * patch), horizon=2)
        assert out.shape == (1, 2, 1, 2 * patch, 3 * patch)
        assert 0 <= out.min() <= out.max() <= 1
    with pytest.raises(ValueError, match=r"patch_size.* 3"):
        tiny("phydnet", patch_size=3)


def test_an_eidetic_memory_reaches_back_to_the_first_frame():
    """Shut out of every way but the attention, the first frame is still recalled."""
    model = tiny("e3d_lstm", num_layers=1).eval()
    state = model.start(torch.zeros(1, 16, 2, 2))
    for frame in torch.rand(3, 1, 16, 2, 2):
        _, state = model.advance(frame, state)
    before, h, *cells = state
    assert len(cells) == 4  # of zeros, and one a frame
    assert torch.equal(cells[-1], torch.zeros_like(h))
    changed = [*cells[:2], cells[2] + 1, cells[3]]
    actual = [model.advance(torch.ones(1, 16, 2, 2), (before, h, *past))[0] for past in (cells, changed)]
    assert not torch.allclose(*actual)


@pytest.mark.parametrize("name", ["predrnn", "predrnn_pp", "mim"])
def test_options_of_the_cells_are_those_of_every_cell(name):
    """On a circular map, a shift of the input shifts the output."""
    model = tiny(name, num_layers=3, padding_mode="circular", dtype=torch.float64, bias=True).eval()
    for parameter in (p for n, p in model.named_parameters() if n.rpartition(".")[2].startswith("weight_p")):
        torch.nn.init.constant_(parameter, 0.1)  # weights per pixel would not shift
    x = torch.rand(1, 3, 1, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    edge = model.reduction
    shifted = model(x.roll((edge, 2 * edge), (-2, -1)), 2)
    torch.testing.assert_close(shifted, model(x, 2).roll((edge, 2 * edge), (-2, -1)))


@pytest.mark.parametrize("name", ["predrnn", "mau", "e3d_lstm"])
def test_norms_per_pixel_have_no_weight_decay(name):
    options = {"layer_norm": True} if name == "predrnn" else {}
    model = tiny(name, img_size=16, num_layers=2, **options)
    exempt = model.no_weight_decay()
    norms = {n for n, _ in model.named_parameters() if "_norm" in n}
    assert norms
    assert norms <= exempt
