"""Preprocessing: encodings and their inverses, errors and warnings."""

import dataclasses
import json
import math

import pytest
import torch

from convrnn_zoo import WEIGHTS, Preprocessing, Variable, create_model

RAIN = Preprocessing(encoding="log", floor=0.1, top=100.0, unit="mm/h", step=5.0, lowest=0.0, highest=300.0)
BRIGHTNESS = Preprocessing(lowest=0.0, highest=1.0)
KELVIN = Preprocessing(encoding="standardize", mean=(280.0, 270.0), std=(10.0, 5.0), unit="K")
OWN = [w.preprocessing for w in WEIGHTS.values() if w.preprocessing]
every_one = pytest.mark.parametrize("values", [RAIN, BRIGHTNESS, KELVIN, *OWN], ids=lambda v: v.encoding + v.unit)


@every_one
def test_decode_inverts_encode(values):
    frames = torch.rand(3, 2, 4, 4) + (270 if values.unit == "K" else 0)
    torch.testing.assert_close(values.decode(values.encode(frames)), frames, rtol=1e-4, atol=1e-4)
    frames[0, 0, 0, 0] = math.nan
    assert values.encode(frames)[0, 0, 0, 0] == 0
    assert torch.isfinite(values.encode(frames)).all()


@every_one
def test_json_round_trip(values):
    raw = json.loads(json.dumps(values.to_json()))
    assert Preprocessing.from_json(raw) == values


def test_log_encoding_of_rain():
    rate = torch.tensor([0.0, 0.1, 1.0, 12.5, 100.0, 250.0])
    expected = torch.log1p(rate / 0.1) / math.log1p(1000)
    assert torch.equal(RAIN.encode(rate), expected)
    assert RAIN.encode(torch.tensor([-3.0])) == 0
    encoded = torch.tensor([-0.5, 0.0, 0.5, 1.0, 1.2, 7.0])
    assert torch.equal(RAIN.decode(encoded), torch.expm1(encoded.clamp(0, 1.2) * math.log1p(1000)) * 0.1)


def test_each_channel_is_standardised_by_its_own():
    frames = torch.tensor([290.0, 275.0]).reshape(1, 2, 1, 1)
    assert torch.equal(KELVIN.encode(frames), torch.ones(1, 2, 1, 1))


def test_logits_become_probabilities_and_bounds_cut():
    logits = Preprocessing(activation="sigmoid")
    assert logits.decode(torch.zeros(1)) == 0.5
    assert BRIGHTNESS.decode(torch.tensor([-1.0, 0.5, 2.0])).tolist() == [0, 0.5, 1]
    assert Preprocessing().decode(torch.tensor([-1.0, 2.0])).tolist() == [-1, 2]
    assert Preprocessing(lowest=0.0).decode(torch.tensor([-1.0, 2.0])).tolist() == [0, 2]


BAD = {
    "encoding": ({"encoding": "root"}, "encoding.*'root'"),
    "activation": ({"activation": "tanh"}, "activation.*'tanh'"),
    "unknown": ({"offset": 3}, r"\boffset\b"),
    "unit": ({"unit": 3}, "unit.* 3"),
    "escape": ({"unit": "\x1b[31m"}, r"unit.*\\x1b"),
    "step": ({"step": -5}, "step.* -5"),
    "step's kind": ({"step": True}, "step.* True"),
    "NaN": ({"lowest": math.nan}, "lowest.* nan"),
    "infinite": ({"highest": math.inf}, "highest.* inf"),
    "vast": ({"highest": 10**400}, "highest.* 1329"),
    "bounds": ({"lowest": 1.0, "highest": 1.0}, "lowest.*highest"),
    "inputs": ({"inputs": 0}, "inputs.* 0"),
    "horizon": ({"horizon": 2.5}, r"horizon.* 2\.5"),
    "log without": ({"encoding": "log", "top": 100.0}, "'log'.* floor$"),
    "log of nothing": ({"encoding": "log", "floor": 0.0, "top": 100.0}, r"floor.* 0\.0"),
    "constants of another": ({"floor": 0.1}, "'none'.*floor"),
    "standardize without": ({"encoding": "standardize", "mean": [1.0]}, "'standardize'.* std$"),
    "std": ({"encoding": "standardize", "mean": [1.0], "std": [0.0]}, "std.* 0"),
    "as many": ({"encoding": "standardize", "mean": [1.0], "std": [1.0, 2.0]}, "mean.*std"),
    "a word for a list": ({"encoding": "standardize", "mean": "1", "std": [1.0]}, "mean.* '1'"),
    "long": ({"encoding": "standardize", "mean": [0.0] * (2**16 + 1), "std": [1.0]}, "mean.* 65,536"),
    "no object": ([1], " list"),
}


@pytest.mark.parametrize(("raw", "words"), BAD.values(), ids=BAD)
def test_rejects_invalid_json_in_one_line(raw, words):
    with pytest.raises(ValueError, match=f"preprocessing.*{words}") as caught:
        Preprocessing.from_json(raw)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def frames(value, **kwargs):
    return torch.full((2, 1, 4, 4), value, **kwargs)


@pytest.mark.parametrize(
    ("values", "values_of_data", "words"),
    [
        (RAIN, frames(math.nan), "mm/h.* NaN"),
        (RAIN, frames(math.inf), "mm/h.* inf"),
        (BRIGHTNESS, frames(200, dtype=torch.uint8), "bytes.* 255"),
    ],
)
def test_unusable_values_are_rejected(values, values_of_data, words):
    with pytest.raises(ValueError, match=words):
        values.check(values_of_data)


@pytest.mark.parametrize(
    ("values", "values_of_data", "words"),
    [
        (RAIN, frames(-50.0), "mm/h.* 0 .* 300.* -50"),
        (RAIN, frames(-1.0), "mm/h.* -1"),
        (RAIN, frames(4000.0), "mm/h.* 4000"),
        (RAIN, frames(200, dtype=torch.uint8), "bytes.*mm/h"),
        (BRIGHTNESS, frames(255.0), "brightness.* 0 .* 1,.* 255"),
        (dataclasses.replace(RAIN, highest=None), frames(-50.0), "mm/h.* 0 .* -50"),
    ],
)
def test_implausible_values_raise_a_warning(values, values_of_data, words):
    with pytest.warns(UserWarning, match=words):
        values.check(values_of_data)


@pytest.mark.parametrize("values_of_data", [frames(0.0), frames(299.0), frames(-1e-6), frames(5, dtype=torch.int64)])
def test_plausible_values_raise_no_warning(values_of_data):
    RAIN.check(values_of_data)


AIR = Variable(name="t2m", unit="K", encoding="standardize", mean=(280.0,), std=(10.0,))
SHOWERS = Variable(name="rain", unit="mm/h", encoding="log", floor=0.1, top=100.0, lowest=0.0)
HEIGHT = Variable(name="height", unit="m", encoding="standardize", mean=(300.0,), std=(100.0,))
WEATHER = Preprocessing(
    variables=(SHOWERS, AIR), targets=("t2m",), static=(HEIGHT,), future=(Variable(name="hour"),), step=60.0
)


def test_each_variable_has_its_own_unit_and_targets_are_decoded_by_theirs():
    data = torch.tensor([100.0, 290.0]).reshape(2, 1, 1)
    assert WEATHER.encode(data).flatten().tolist() == pytest.approx([1.0, 1.0])
    assert WEATHER.decode(torch.ones(3, 1, 2, 2)).unique().tolist() == [290.0]
    assert WEATHER.encode_static(torch.full((1, 2, 2), 400.0)).unique().tolist() == [1.0]
    assert WEATHER.encode_future(torch.full((4, 1, 1, 1), 0.5)).unique().tolist() == [0.5]
    assert WEATHER.target_channels == [1]
    assert WEATHER.target_variables == (AIR,)
    every = dataclasses.replace(WEATHER, targets=())
    torch.testing.assert_close(every.decode(every.encode(data)), data)
    assert Preprocessing.from_json(json.loads(json.dumps(WEATHER.to_json()))) == WEATHER


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"targets": ("wind",)}, "'wind'"),
        ({"targets": ("t2m", "t2m")}, "targets.* t2m, t2m"),
        ({"static": (AIR,)}, "t2m"),
        ({"unit": "K"}, "unit"),
        ({"encoding": "dbz"}, "encoding"),
    ],
    ids=str,
)
def test_contradictory_variables_are_rejected(fields, words):
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(WEATHER, **fields)


def test_a_variable_is_checked_by_its_name():
    frames = torch.tensor([-5.0, 290.0]).reshape(1, 2, 1, 1)
    with pytest.warns(UserWarning, match=r"\brain\b.*mm/h"):
        WEATHER.check(frames)
    frames[:, 1] = math.nan
    with pytest.raises(ValueError, match=r"\bt2m\b.*\bK\b"):
        WEATHER.check(frames.clamp_min(0))
    with pytest.raises(ValueError, match=r"\b2 variables.*\b3 "):
        WEATHER.check_channels(3, 1, 1, 1)
    with pytest.raises(ValueError, match=r"\b1 targets.*\b2 "):
        WEATHER.check_channels(2, 2, 1, 1)
    with pytest.raises(ValueError, match=r"\b1 static.*\b0 "):
        WEATHER.check_channels(2, 1, 0, 1)


def test_another_number_of_channels_is_an_error():
    variables = Preprocessing(variables=(Variable(name="a"), Variable(name="b")))
    for call in (KELVIN.encode, KELVIN.decode, variables.encode, variables.decode):
        for channels in (1, 3):
            with pytest.raises(ValueError, match=rf"2, H, W.*\(5, {channels}, 2, 2\)"):
                call(torch.zeros(5, channels, 2, 2))
    assert KELVIN.encode_static(torch.ones(3, 2, 2, dtype=torch.int64)).dtype == torch.float32  # without a description
    model = create_model("convgru_forecaster", hidden_channels=2)
    model.preprocessing = BRIGHTNESS
    with pytest.raises(ValueError, match=r"1, H, W"):
        model.preprocess(torch.zeros(5, 2, 8, 8))
