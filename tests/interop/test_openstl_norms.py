"""OpenSTL's networks with ``layer_norm=1``: its outputs, on maps that are not square, by our networks."""

import re
from typing import Any

import pytest
import torch
from torch import Tensor

from convrnn_zoo import WeightsError, interop
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
