"""OpenSTL's networks with ``layer_norm=1``: its outputs, on maps that are not square, by our networks."""

import re
from typing import Any

import pytest
import torch
from torch import Tensor

from convrnn_zoo import WeightsError, create_model, interop
from tests.helpers.interop.openstl_states import NORMED, known, read
from tests.helpers.registry import slow_unless

EVERY = pytest.mark.parametrize("name", NORMED)
NORM = re.compile(r"(.*\.conv_\w+)\.1\.(?:weight|bias)")
NORMS = [
    (name, key) for name in NORMED for key in known(name).state if NORM.fullmatch(key) and key not in known(name).dead
]


def load(name: str, state: dict[str, Tensor] | None = None, patch_size: int = 2, **options: Any) -> Any:
    state = known(name).state if state is None else state
    return interop.load("openstl", state, patch_size=patch_size, **options)


def assert_agree(output: Any, expected: Tensor) -> None:
    """Compares all output frames to 1e-5 of the range of the expected values."""
    actual = torch.cat([output.warmup, output.forecast], dim=1)
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() <= 1e-5 * (expected.max() - expected.min())


def test_there_are_norms_of_every_convolution_in_time() -> None:
    for name in NORMED:
        normed = {key.rpartition(".1.")[0] for other, key in NORMS if other == name}
        convs = {m[1]: m[0] for key in known(name).state if (m := re.fullmatch(r"(.*)\.0(?:\.conv3d)?\.weight", key))}
        constant = {"cell_list.0.conv_gm", "cell_list.1.conv_gm"}  # convolutions of zeros, of which the shift remains
        assert normed == {conv for conv, key in convs.items() if key not in known(name).dead or conv in constant}


@EVERY
@torch.no_grad()
def test_forecasts(name: str) -> None:
    about, x, horizon = read(name)
    model = load(name, horizon=horizon)
    assert model.pretrained_cfg["architecture"] == NORMED[name]
    assert model.layer_norm
    assert model.layers[0].norm_size[-2:] == (3, 4)
    assert_agree(model(x, return_aux=True), about.values["y.pred"])
    known_steps = torch.ones(len(x), x.shape[1] - 1, dtype=torch.bool)
    mask = torch.cat([known_steps, about.values["x.sampled"].bool()], dim=1)
    teacher = about.values["x.frames"][:, x.shape[1] :]
    assert_agree(model(x, teacher=teacher, mask=mask, return_aux=True), about.values["y.pred_sampled"])


@EVERY
@torch.no_grad()
def test_on_pixels_the_network_is_that_on_patches(name: str) -> None:
    """A norm has the size of the map; the size of the frames follows from that of the patches."""
    _, x, _ = read(name)
    folded = torch.nn.functional.pixel_unshuffle(x, 2)
    model = load(name, patch_size=1)
    assert model.layers[0].norm_size[-2:] == (3, 4)
    expected = torch.nn.functional.pixel_unshuffle(load(name)(x, horizon=2), 2)
    torch.testing.assert_close(model(folded, horizon=2), expected, rtol=1e-5, atol=1e-6)


@EVERY
def test_every_weight_that_is_read_is_loaded(name: str, caplog: pytest.LogCaptureFixture) -> None:
    about = known(name)
    with caplog.at_level("WARNING", "convrnn_zoo"):
        model = load(name)
    dropped = about.dead
    assert sum(p.numel() for p in model.parameters()) == sum(
        v.numel() for k, v in about.state.items() if k not in dropped
    )
    assert all(key in caplog.text for key in dropped)
    assert bool(caplog.text) == bool(dropped)
    assert any(".conv_o.1." in key for key in dropped) == (name == "openstl_convlstm_norm")


@pytest.mark.parametrize(("name", "key"), slow_unless(NORMS[::6].__contains__, NORMS))
def test_a_wrong_norm_is_named(name: str, key: str) -> None:
    state = known(name).state
    channels, *size = state[key].shape
    with pytest.raises(WeightsError) as e:
        load(name, {k: v for k, v in state.items() if k != key})
    assert str(e.value).endswith(f"missing: {key}")  # and no other is doubted
    others = (torch.zeros(channels + 1, *size), torch.zeros(channels, *size[:-2], 5, 5))
    for value in (state[key].mT.contiguous(), *others):
        with pytest.raises(WeightsError) as e:
            load(name, {**state, key: value})
        assert str(e.value).endswith(f"of another shape: {key} {tuple(value.shape)} for {tuple(state[key].shape)}")
    with pytest.raises(WeightsError, match="of another shape: "):
        load(name, {**state, key: torch.zeros(channels)})


@EVERY
def test_rejects_norms_after_only_some_convolutions(name: str) -> None:
    state = known(name).state
    lacking = {k: v for k, v in state.items() if not (NORM.fullmatch(k) and ".conv_x" in k)}
    with pytest.raises(WeightsError, match=r"missing: [a-z_]+\.0\.conv_x\.1\.weight, [a-z_]+\.0\.conv_x\.1\.bias, "):
        load(name, lacking)
    without = {k: v for k, v in state.items() if not NORM.fullmatch(k)}
    assert not load(name, without).layer_norm


def test_rejects_a_size_without_norms():
    for name in ("predrnn", "convlstm_openstl_s"):
        with pytest.raises(ValueError, match=r"img_size=32.*layer_norm"):
            create_model(name, hidden_channels=2, num_layers=1, img_size=32)
    assert create_model("mim", hidden_channels=2, num_layers=2, img_size=32, layer_norm=True).layer_norm
