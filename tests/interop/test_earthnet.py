"""Networks for satellite images: recorded outputs of the original code, and errors of the converters."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

import convrnn_zoo
from convrnn_zoo import WeightsError, interop
from convrnn_zoo.interop.earthnet import BANDS, WEATHER
from tests.helpers.interop.recorded import assert_agree, recorded

MODELS = {
    "weather2land": ("weather2land", "convlstm_weather2land"),
    "weather2land_bands": ("weather2land", "convlstm_weather2land"),
    "sg_convlstm": ("sg_convlstm", "sg_convlstm"),
    "convlstm_greenearthnet": ("greenearthnet", "convlstm_greenearthnet"),
    "predrnn_greenearthnet": ("greenearthnet", "predrnn_greenearthnet"),
    "digital_typhoon": ("digital_typhoon", "convlstm_digital_typhoon"),
}
"""Source and architecture of each recording. That of the bands reads no elevation and no weather."""


def inputs(values: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Returns the frames and the known inputs of a recording."""
    known = {k: values[k] for k in ("static", "future") if k in values}
    if "daily" in values:  # the original averages five days, and repeats the 2×2 cells
        weather = values["daily"].unflatten(1, (-1, 5)).mean(2)
        known["future"] = weather.repeat_interleave(4, -1).repeat_interleave(4, -2)
    return values["x"], known


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("prefix", ["", "model."])
def test_outputs_are_those_of_the_original(name: str, prefix: str, tmp_path: Path) -> None:
    known, (source, architecture) = recorded(name), MODELS[name]
    state = {prefix + key: value for key, value in known.state.items()}
    assert interop.recognise(state).source.name == source
    done = interop.convert("auto", state, tmp_path / "out", horizon=3)
    assert (done.source, done.architecture) == (source, architecture)
    assert done.parameters == sum(v.numel() for k, v in known.state.items() if "running" not in k and "num_b" not in k)
    model = convrnn_zoo.from_pretrained(tmp_path / "out")
    x, others = inputs(known.values)
    expected = known.values["y"]
    with torch.no_grad():
        y = model(x, **others)
        assert_agree(y[:, :, : expected.shape[2]], expected)
        assert_agree(model(x, 1, **{k: v[:, :4] if k == "future" else v for k, v in others.items()}), y[:, :1])


@pytest.mark.parametrize("name", [n for n in MODELS if n != "weather2land_bands"])
def test_every_known_input_and_weight_has_an_effect(name: str) -> None:
    known, (source, _) = recorded(name), MODELS[name]
    model = interop.load(source, known.state).eval()
    x, others = inputs(known.values)
    expected = model(x, 3, **others)
    expected.square().sum().backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == (["adapter.weight"] if name == "predrnn_greenearthnet" else [])
    for key, value in others.items():
        for channel in range(value.shape[-3]):
            changed = value.clone()
            changed[..., channel, :, :] += 1
            assert not torch.equal(model(x, 3, **{**others, key: changed}), expected), (key, channel)


def test_weather2land_reads_weather_until_the_frame_and_the_others_that_of_the_next() -> None:
    """A forecast of frame T + 1 reads the known inputs up to T with weather2land, and up to T + 1 with SGConvLSTM."""
    for name, steps in (("weather2land", range(4)), ("sg_convlstm", range(1, 5))):
        known = recorded(name)
        model = interop.load(name, known.state).eval()
        x, others = inputs(known.values)
        expected = model(x, 2, static=others["static"], future=others["future"][:, :5])
        for step in range(5):
            future = others["future"][:, :5].clone()
            future[:, step] += 1
            same = torch.equal(model(x, 2, static=others["static"], future=future), expected)
            assert same == (step not in steps)


def test_pixels_in_clouds_keep_their_last_clear_value() -> None:
    """With weights of zero, an SGConvLSTM repeats each pixel's last clear value, and 0 where there is none."""
    model = convrnn_zoo.create_model("sg_convlstm", hidden_channels=2, static_chans=0, future_chans=0).eval()
    for p in model.parameters():
        p.data.zero_()
    bands = torch.rand(1, 3, 4, 4, 4)
    mask = torch.zeros(1, 3, 1, 4, 4)
    mask[:, 2, :, 0, 1] = mask[:, 1:, :, 1, 0] = mask[:, :, :, 1, 1] = 1
    y = model(torch.cat([bands, mask], 2), 2)
    for (row, column), frame in {(0, 0): 2, (0, 1): 1, (1, 0): 0}.items():
        assert torch.equal(y[0, :, :, row, column], bands[0, frame, :, row, column].expand(2, 4))
    assert not y[0, :, :, 1, 1].any()
    out = model(torch.cat([bands, mask], 2)[:, :2], teacher=torch.cat([bands, mask], 2)[:, 2:], return_aux=True)
    assert (out.forecast.shape[2], out.warmup.shape[2]) == (4, 4)


def test_converted_models_know_their_variables(tmp_path: Path) -> None:
    for name in ("weather2land", "sg_convlstm"):
        interop.convert(name, recorded(name).state, tmp_path / name)
        model = convrnn_zoo.from_pretrained(tmp_path / name)
        values = model.preprocessing
        assert [v.name for v in values.variables] == [*BANDS, *["mask"] * (name == "sg_convlstm")]
        assert values.targets == BANDS
        assert ([v.name for v in values.static], [v.name for v in values.future]) == (["elevation"], list(WEATHER))
        assert (values.step, values.inputs, values.horizon, model.horizon) == (7200, 10, 20, 20)
        frames = torch.rand(10, model.in_chans, 8, 8).round(decimals=1)
        frames[:, :, 0, 0] = torch.nan
        forecast = model.forecast(frames, static=torch.rand(1, 8, 8), future=torch.rand(30, 5, 1, 1))
        assert forecast.shape == (20, 4, 8, 8)
        assert forecast[:, :, 0, 0].isnan().all()
        assert forecast[:, :, 1:].isfinite().all()


@torch.no_grad()
def test_the_window_of_digital_typhoon_moves_over_its_own_forecasts() -> None:
    model = interop.load("digital_typhoon", recorded("digital_typhoon").state).eval()
    kelvin = 170 + 130 * torch.rand(12, 1, 8, 6)
    first = model.forecast(kelvin, horizon=1)
    assert ((first > 170) & (first < 300)).all()
    second = model.forecast(torch.cat([kelvin[1:], first]), horizon=1)
    torch.testing.assert_close(model.forecast(kelvin, horizon=2), torch.cat([first, second]), rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", ["convlstm_greenearthnet", "weather2land_bands"])  # the others are in test_errors.py
def test_missing_tensors_are_named(name: str) -> None:
    known, (source, _) = recorded(name), MODELS[name]
    for key in known.state:
        if known.state[key].dim() == 4:
            with pytest.raises(WeightsError, match=r"missing|expected layers|shape|unexpected"):
                interop.load(source, {k: v for k, v in known.state.items() if k != key})
