"""Preprocessing: encodings and their inverses, errors and warnings."""

import dataclasses
import json
import math

import pytest
import torch

from convrnn_zoo import WEIGHTS, Preprocessing, Variable

RAIN = Preprocessing(encoding="log", floor=0.1, top=100.0, unit="mm/h", step=5.0, lowest=0.0, highest=300.0)
BRIGHTNESS = Preprocessing(lowest=0.0, highest=1.0)
KELVIN = Preprocessing(encoding="standardize", mean=(280.0, 270.0), std=(10.0, 5.0), unit="K")
OWN = [w.preprocessing for w in WEIGHTS.values() if w.preprocessing]
every_one = pytest.mark.parametrize("values", [RAIN, BRIGHTNESS, KELVIN, *OWN], ids=lambda v: v.encoding + v.unit)


@every_one
def test_there_and_back_is_the_same_and_unknown_is_zero(values):
    frames = torch.rand(3, 2, 4, 4) + (270 if values.unit == "K" else 0)
    torch.testing.assert_close(values.decode(values.encode(frames)), frames, rtol=1e-4, atol=1e-4)
    frames[0, 0, 0, 0] = math.nan
    assert values.encode(frames)[0, 0, 0, 0] == 0
    assert torch.isfinite(values.encode(frames)).all()


@every_one
def test_plain_json_says_all_of_it(values):
    raw = json.loads(json.dumps(values.to_json()))
    assert Preprocessing.from_json(raw) == values


def test_the_law_of_rain_is_a_logarithm_from_a_tenth_to_a_hundred():
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


def test_pictures_have_a_brightest_value():
    assert (RAIN.brightest, BRIGHTNESS.brightest, KELVIN.brightest, Preprocessing().brightest) == (100, 1, 310, 1)


BAD = {
    "encoding": ({"encoding": "root"}, "encoding must be one of none, log, standardize, dbz, got 'root'"),
    "activation": ({"activation": "tanh"}, "activation must be one of"),
    "unknown": ({"offset": 3}, "unknown key offset"),
    "unit": ({"unit": 3}, "unit must be a string, got 3"),
    "escape": ({"unit": "\x1b[31m"}, "unit must be a short string"),
    "step": ({"step": -5}, "step must be a finite number above 0"),
    "step's kind": ({"step": True}, "step must be a finite number, got True"),
    "NaN": ({"lowest": math.nan}, "lowest must be a finite number, got nan"),
    "infinite": ({"highest": math.inf}, "highest must be a finite number, got inf"),
    "vast": ({"highest": 10**400}, "highest must be a finite number"),
    "bounds": ({"lowest": 1.0, "highest": 1.0}, "lowest must be below highest"),
    "inputs": ({"inputs": 0}, "inputs must be at least 1"),
    "horizon": ({"horizon": 2.5}, "horizon must be a whole number, got 2.5"),
    "log without": ({"encoding": "log", "top": 100.0}, "'log' takes floor and top; correct floor"),
    "log of nothing": ({"encoding": "log", "floor": 0.0, "top": 100.0}, "floor must be a finite number above 0"),
    "constants of another": ({"floor": 0.1}, "'none' takes no constants; correct floor"),
    "standardize without": (
        {"encoding": "standardize", "mean": [1.0]},
        "takes mean and std; correct std",
    ),
    "std": ({"encoding": "standardize", "mean": [1.0], "std": [0.0]}, "std must be above 0"),
    "as many": ({"encoding": "standardize", "mean": [1.0], "std": [1.0, 2.0]}, "as many of each"),
    "a word for a list": (
        {"encoding": "standardize", "mean": "1", "std": [1.0]},
        "mean must be a list of finite numbers",
    ),
    "long": (
        {"encoding": "standardize", "mean": [0.0] * (2**16 + 1), "std": [1.0]},
        "mean must have at most 65,536 values",
    ),
    "no object": ([1], "preprocessing must be an object, got list"),
}


@pytest.mark.parametrize(("raw", "words"), BAD.values(), ids=BAD)
def test_what_a_untrusted_json_may_not_hold_is_rejected_in_one_line(raw, words):
    with pytest.raises(ValueError, match="preprocessing") as caught:
        Preprocessing.from_json(raw)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def frames(value, **kwargs):
    return torch.full((2, 1, 4, 4), value, **kwargs)


@pytest.mark.parametrize(
    ("values", "values_of_data", "words"),
    [
        (RAIN, frames(math.nan), "expected values in mm/h, got only NaN"),
        (RAIN, frames(math.inf), "expected finite values in mm/h"),
        (BRIGHTNESS, frames(200, dtype=torch.uint8), "got bytes; divide them by 255"),
    ],
)
def test_unusable_values_are_rejected(values, values_of_data, words):
    with pytest.raises(ValueError, match=words):
        values.check(values_of_data)


@pytest.mark.parametrize(
    ("values", "values_of_data", "words"),
    [
        (RAIN, frames(-50.0), "expected mm/h from 0 to 300, got values from -50 to -50; check the unit"),
        (RAIN, frames(-1.0), "got values from -1 to -1"),
        (RAIN, frames(4000.0), "got values from 4000 to 4000"),
        (RAIN, frames(200, dtype=torch.uint8), "bytes came for mm/h"),
        (BRIGHTNESS, frames(255.0), "expected brightness from 0 to 1, got values from 255"),
        (dataclasses.replace(RAIN, highest=None), frames(-50.0), "expected mm/h from 0 to anything"),
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
    assert every.brightest == SHOWERS.brightest
    assert Preprocessing.from_json(json.loads(json.dumps(WEATHER.to_json()))) == WEATHER


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"targets": ("wind",)}, "'wind'"),
        ({"targets": ("t2m", "t2m")}, "targets must be unique"),
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
    with pytest.warns(UserWarning, match="rain in mm/h"):
        WEATHER.check(frames)
    frames[:, 1] = math.nan
    with pytest.raises(ValueError, match="t2m in K"):
        WEATHER.check(frames.clamp_min(0))
    with pytest.raises(ValueError, match="2 variables, and the model 3"):
        WEATHER.check_channels(3, 1, 1, 1)
    with pytest.raises(ValueError, match="1 targets, and the model 2"):
        WEATHER.check_channels(2, 2, 1, 1)
    with pytest.raises(ValueError, match="1 static, and the model 0"):
        WEATHER.check_channels(2, 1, 0, 1)
