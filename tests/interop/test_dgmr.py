"""DGMR: recorded outputs of its parts, both spellings of spectral norms, and files with more than the generator."""

import logging
from typing import Any

import pytest
import torch
from torch import Tensor

from convrnn_zoo import WeightsError, create_model, interop
from tests.helpers.interop import dgmr_states
from tests.helpers.interop.recorded import assert_agree, recorded


def with_part(part: str, file: str, **sizes: int) -> Any:
    """A small generator with the recorded weights in one part of it, through the converter."""
    state = dgmr_states.state(**sizes)
    state |= {f"{part}.{k}": v for k, v in recorded(file).state.items()}
    return interop.load("dgmr", state).eval()


def test_the_context_is_that_of_the_original() -> None:
    model, values = with_part("conditioning_stack", "dgmr_context"), recorded("dgmr_context").values
    for level, state in enumerate(model.context(values["x.images"]), start=1):
        assert_agree(state, values[f"y.scale{level}"])


def test_the_latent_map_is_that_of_the_original_with_its_axes_mixed_up() -> None:
    model = with_part("latent_stack", "dgmr_latent", latent_channels=64)
    values = recorded("dgmr_latent").values
    assert_agree(model.latent(values["x.z"]), values["y.latent"])
    x = torch.randn(1, 16, 4, 5)
    attention = model.latent[4]  # between pixels, it would not mind which axis is which
    assert not torch.allclose(attention(x.transpose(2, 3)), attention(x).transpose(2, 3), atol=1e-3)


def test_the_forecast_is_that_of_the_original() -> None:
    model, values = with_part("sampler", "dgmr_sampler"), recorded("dgmr_sampler").values
    latent = values["x.latent"].expand(2, -1, -1, -1)
    forecast = model.sampler(latent, [values[f"x.scale{i}"] for i in (1, 2, 3, 4)], 3)
    assert_agree(forecast.transpose(0, 1), values["y.forecast"])


def same(a: Any, b: Any) -> bool:
    return all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())


def test_the_older_spelling_of_spectral_norms_is_read_too() -> None:
    state = dgmr_states.state()
    ends = {"parametrizations.weight.original": "weight_orig", "parametrizations.weight.0._": "weight_"}
    older = state
    for new, old in ends.items():
        older = {k.replace(new, old): v for k, v in older.items()}
    assert older.keys() != state.keys()
    assert same(interop.load("dgmr", older), interop.load("dgmr", state))


def test_a_full_file_of_the_hub_holds_the_generator_twice_and_a_discriminator(
    caplog: pytest.LogCaptureFixture,
) -> None:
    state = dgmr_states.state()
    full_state: dict[str, Tensor] = {**state, **{f"generator.{k}": v for k, v in state.items()}}
    full_state["discriminator.spatial_discriminator.d1.weight"] = torch.zeros(3)
    with caplog.at_level(logging.INFO, "convrnn_zoo"):
        assert same(interop.load("dgmr", full_state), interop.load("dgmr", state))
    assert "discriminator" in caplog.text
    other = "sampler.bn.weight"
    with pytest.raises(WeightsError, match=other):
        interop.load("dgmr", {**full_state, f"generator.{other}": state[other] + 1})


def test_rejects_spectral_norms_of_zero() -> None:
    state = dgmr_states.state()
    key = "sampler.conv_1x1.parametrizations.weight.original"
    with pytest.raises(WeightsError, match=r"sampler\.conv_1x1"):
        interop.load("dgmr", {**state, key: state[key] * 0})


def test_rejects_too_few_frames() -> None:
    model = create_model("dgmr", context_channels=16, latent_channels=32, noise_channels=1)
    with pytest.raises(ValueError, match=r"4 frames in x.* 5"):
        model(torch.rand(1, 5, 1, 32, 32))
    with pytest.raises(ValueError, match=r"\.eval\(\)"):
        model(torch.rand(1, 4, 1, 32, 32), horizon=1)
    for wrong in ({"context_channels": 24}, {"latent_channels": 48}, {"noise_channels": 2}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            create_model("dgmr", **{"context_channels": 16, "latent_channels": 32, "noise_channels": 1, **wrong})
