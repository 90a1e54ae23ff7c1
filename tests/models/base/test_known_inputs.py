"""Forecasters of several variables, static maps and inputs that are known for the future."""

import pytest
import torch

import convrnn_zoo
from convrnn_zoo import AutoregressiveForecaster, Preprocessing, Stream, Variable
from tests.helpers.models.forecasters import FULL, NAMES, tiny

FRAMES_ONLY = ("dgmr", "convgru_irene", "convgru_advection", "convlstm_digital_typhoon", "prednet")
GENERAL = [n for n in NAMES if n not in FRAMES_ONLY]
AUTOREGRESSIVE = [n for n in GENERAL if isinstance(FULL[n], AutoregressiveForecaster)]
ENCODERS = sorted(set(GENERAL) - {*AUTOREGRESSIVE, "convlstm_greenearthnet"})


def build(name, **options):
    """A small model of two variables, a static map and two known inputs, and its inputs for two frames to two."""
    targets = {"out_chans": 1} if name in ENCODERS else {}
    model = tiny(name, in_chans=2, static_chans=1, future_chans=2, **targets, **options).eval()
    edge = model.reduction
    x, static = torch.rand(2, 2, 2, edge, 2 * edge), torch.rand(1, 1, edge, 2 * edge)
    return model, x, {"static": static, "future": torch.rand(2, 4, 2, 1, 1)}


@pytest.mark.parametrize("name", GENERAL)
def test_the_forecast_of_a_time_depends_on_what_is_known_until_then(name):
    model, x, known = build(name)
    y = model(x, 2, **known)
    assert y.shape == (2, 2, model.out_chans, *x.shape[3:])
    lead = getattr(model, "known_lead", 1)  # a step may also read what is known of its own frame
    for step, same in ((2 + lead, 1), (1 + lead, 0)):
        later = {**known, "future": known["future"].clone()}
        later["future"][:, step] += 1
        other = model(x, 2, **later)
        assert torch.equal(other[:, :same], y[:, :same])
        assert not torch.equal(other[:, same], y[:, same])
    assert not torch.equal(model(x, 2, **{**known, "static": known["static"] + 1}), y)
    spread = {"static": known["static"], "future": known["future"].expand(-1, -1, -1, *x.shape[3:])}
    torch.testing.assert_close(model(x, 2, **spread), y)


@pytest.mark.parametrize("name", ["convgru_forecaster", "convgru_ef", "predrnn"])
def test_errors_name_missing_unexpected_and_misshapen_inputs(name):
    model, x, known = build(name)
    for bad, word in (
        ({}, "static"),
        ({"static": known["static"]}, "future"),
        ({**known, "future": known["future"][:, :3]}, "future"),
        ({**known, "future": known["future"][:, :, :1]}, "future"),
        ({**known, "static": known["static"][..., :3]}, "static"),
        ({**known, "static": known["static"][0]}, "static"),
    ):
        with pytest.raises(ValueError, match=f"{word} .*frames"):
            model(x, 2, **bad)
    with pytest.raises(ValueError, match="static_chans"):
        tiny(name)(x[:, :, :1], 2, static=known["static"])
    for option in ("static_chans", "future_chans", "out_chans"):
        with pytest.raises((ValueError, TypeError), match=option):
            tiny(name, **{option: -1})
    with pytest.raises(ValueError, match=r"static.*future"):
        Stream(model)


@pytest.mark.parametrize("name", AUTOREGRESSIVE)
def test_models_that_read_their_forecast_forecast_all_variables(name):
    with pytest.raises(ValueError, match="out_chans"):
        tiny(name, in_chans=2, out_chans=1)
    model, x, known = build(name)
    frames = torch.cat([x, torch.rand_like(x)], 1)
    out = model(x, teacher=frames[:, 2:], return_aux=True, **known)
    torch.testing.assert_close(out.forecast[:, 0], model(x, 2, **known)[:, 0])
    assert not torch.allclose(out.forecast[:, 1], model(x, 2, **known)[:, 1])


WEATHER = Preprocessing(
    variables=(
        Variable(name="rain", unit="mm/h", lowest=0.0, encoding="log", floor=0.1, top=100.0),
        Variable(name="t2m", unit="K", encoding="standardize", mean=(280.0,), std=(10.0,)),
    ),
    targets=("t2m",),
    static=(Variable(name="height", unit="m", encoding="standardize", mean=(300.0,), std=(100.0,)),),
    future=(Variable(name="hour"), Variable(name="radiation", unit="W/m²", encoding="log", floor=1.0, top=1000.0)),
    inputs=2,
    horizon=2,
)


@pytest.fixture
def weather():
    torch.manual_seed(0)
    model = tiny("convlstm_forecaster", in_chans=2, out_chans=1, static_chans=1, future_chans=2).eval()
    model.preprocessing = WEATHER
    frames = torch.stack([torch.rand(3, 6, 9) * 5, 270 + 20 * torch.rand(3, 6, 9)], 1)
    return model, frames, {"static": 500 * torch.rand(1, 6, 9), "future": 3 * torch.rand(5, 2, 6, 9)}


def test_a_forecast_takes_and_returns_the_unit_of_each_variable(weather):
    model, frames, known = weather
    y = model.forecast(frames, **known, horizon=2)
    assert y.shape == (2, 1, 6, 9)
    edges = (0, 3, 0, 2)
    encoded = model(
        torch.nn.functional.pad(WEATHER.encode(frames[1:]), edges)[None],  # the latest frames and what belongs to them
        2,
        static=torch.nn.functional.pad(WEATHER.encode_static(known["static"]), edges)[None],
        future=torch.nn.functional.pad(WEATHER.encode_future(known["future"][1:]), edges)[None],
    )
    torch.testing.assert_close(y, 280 + 10 * encoded[0, ..., :6, :9])
    torch.testing.assert_close(model.forecast(frames, 2, static=known["static"][0], future=known["future"]), y)
    several = {k: torch.stack([v, v + 1]) for k, v in known.items()}
    forecasts = model.forecast(torch.stack([frames, frames]), 2, batch_size=1, **several)
    torch.testing.assert_close(forecasts[0], y)
    assert not torch.allclose(forecasts[1], y)
    arrays = model.forecast(frames.numpy(), 2, **{k: v.numpy() for k, v in known.items()})
    torch.testing.assert_close(torch.from_numpy(arrays), y)


def test_declared_inputs_and_variables_are_saved_and_loaded(weather, tmp_path):
    model, frames, known = weather
    path = convrnn_zoo.save_pretrained(model, tmp_path / "weather")
    loaded = convrnn_zoo.from_pretrained(path)
    assert loaded.preprocessing == WEATHER
    assert (loaded.in_chans, loaded.out_chans, loaded.static_chans, loaded.future_chans) == (2, 1, 1, 2)
    assert torch.equal(loaded.forecast(frames, 2, **known), model.forecast(frames, 2, **known))
    config = path / "config.json"
    config.write_text(config.read_text(encoding="utf-8").replace('"targets"', '"static"'), encoding="utf-8")
    with pytest.raises(convrnn_zoo.WeightsError, match="preprocessing"):
        convrnn_zoo.from_pretrained(path)
