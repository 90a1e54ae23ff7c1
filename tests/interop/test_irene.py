"""IRENE: recorded members, its units, and a checkpoint that holds more than tensors."""

from pathlib import Path

import pytest
import torch

import convrnn_zoo
from convrnn_zoo import Preprocessing, WeightsError, interop
from tests.helpers.interop.recorded import REFERENCE, assert_agree, open_file, recorded


def test_members_are_those_of_the_original() -> None:
    known = recorded("irene")
    model = interop.load("irene", known.state).eval()
    x, noise, values = known.values["x.past"], known.values["x.noise"], known.values
    horizon = noise.shape[2]
    assert_agree(model(x, horizon), values["y.one_zeros"])
    assert_agree(model(x, horizon, noise=noise[0]), values["y.one_noisy"])
    assert_agree(torch.cat([model(x, horizon, noise=n) for n in noise], dim=2), values["y.ensemble"])
    for state, level in zip(model.read(x), (1, 0), strict=True):
        assert_agree(state, values[f"y.encoded{level}"][:, -1])
    assert sum(p.numel() for p in model.parameters()) == sum(v.numel() for v in known.state.values())


def test_its_units() -> None:
    values, _ = open_file(REFERENCE / "irene_units.safetensors")
    scale = Preprocessing(encoding="dbz", unit="mm/h")
    for actual, expected in (
        (scale.encode(values["x.rain"]), "y.normalised"),
        (30 * (scale.encode(values["x.rain"]) + 1), "y.dbz"),
        (scale.decode(values["y.normalised"]), "y.rain_back"),
        (scale.decode(values["x.normalised"]), "y.rain_of_normalised"),
    ):
        torch.testing.assert_close(actual, values[expected], rtol=1e-4, atol=1e-5)
    assert scale.encode(torch.tensor([float("nan"), 0.0])).tolist() == [-1.0, -1.0]


def test_forecast_is_in_mm_an_hour_and_its_borders_are_dry(tmp_path: Path) -> None:
    """Missing values and pixels beyond the map count as no rain, like in the original's wrapper."""
    model = interop.load("irene", recorded("irene").state).eval()
    rain = 5 * torch.rand(6, 7, 10)
    rain[0, 0, 0] = float("nan")
    forecast = model.forecast(rain, horizon=3)
    padded = torch.zeros(6, 8, 12)
    padded[:, :7, :10] = rain.nan_to_num(0)
    encoded = (10 * (200 * padded**1.6 + 1e-16).log10()).clamp(0, 60) / 30 - 1
    expected = model(encoded[None, :, None], 3)[0, :, 0, :7, :10]
    torch.testing.assert_close(forecast, (10 ** (3 * (expected + 1)) / 200) ** 0.625)
    interop.convert("irene", recorded("irene").state, tmp_path / "mine")
    again = convrnn_zoo.from_pretrained(tmp_path / "mine")
    torch.testing.assert_close(again.forecast(rain, horizon=3), forecast)
    assert again.preprocessing.unit == "mm/h"
    assert again.preprocessing.horizon == again.horizon == 12


def test_rejects_invalid_checkpoints() -> None:
    state = recorded("irene").state
    even = {k: v[..., :2, :2] if v.dim() == 4 else v for k, v in state.items()}
    with pytest.raises(WeightsError, match=r"kernel \(2, 2\)"):
        interop.load("irene", even)
    with pytest.raises(WeightsError, match=r"missing: decoder\.blocks\.1"):
        interop.load("irene", {k: v for k, v in state.items() if not k.startswith("decoder.blocks.1")})
    with pytest.raises(ValueError, match="irene"):
        interop.export(interop.load("irene", state), "irene")


def test_a_far_block_is_listed_and_takes_no_memory() -> None:
    """The width of a block is four to the power of its number in the key."""
    state = recorded("irene").state
    key = "encoder.blocks.0.convgru.cell.combined_gates.weight"
    for block in (7, 15):
        far = key.replace("0", str(block), 1)
        with pytest.raises(WeightsError, match=rf"missing: encoder\.blocks\.2\..*unexpected: {far}"):
            interop.load("irene", {**state, far: state[key], **{f"x.{i}": torch.zeros(1) for i in range(20)}})
