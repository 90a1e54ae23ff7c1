"""The log-mel front end: against its equations in NumPy, in pieces, stored, and with invalid arguments and sound."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import convrnn_zoo
from convrnn_zoo import LogMel
from convrnn_zoo.hub import save_pretrained

FRONT_ENDS = [
    LogMel(rate=8000),
    LogMel(rate=16000, window=0.025, hop=0.01, bands=23, lowest=20.0, highest=7000.0),
    LogMel(rate=44100, bands=64, floor=1e-8),
]


def reference(front_end, wave):
    """Step by step and band by band, by the sums of the equations."""
    points = 2 ** (math.ceil(math.log2(front_end.size)) + 1)
    mel = lambda f: 2595 * math.log10(1 + f / 700)  # noqa: E731
    low, high = mel(front_end.lowest), mel(front_end.highest or front_end.rate / 2)
    mels = np.linspace(low, high, front_end.bands + 2)
    edges = [700 * (10 ** (m / 2595) - 1) for m in mels]
    frequencies = np.arange(points // 2 + 1) * front_end.rate / points
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(front_end.size) / front_end.size)
    rows = []
    for start in range(0, len(wave) - front_end.size + 1, front_end.hop_length):
        power = np.abs(np.fft.rfft(wave[start : start + front_end.size] * hann, points)) ** 2
        row = []
        for left, middle, right in zip(edges, edges[1:], edges[2:], strict=False):
            weights = np.interp(frequencies, [left, middle, right], [0, 1, 0])
            row.append(math.log(max(front_end.floor, float(weights @ power / weights.sum()))))
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize("front_end", FRONT_ENDS, ids=lambda e: str(e.rate))
def test_equations(front_end):
    wave = np.random.default_rng(0).normal(0, 0.1, front_end.rate // 3)
    steps = front_end.encode(torch.from_numpy(wave), front_end.rate)
    assert steps.shape[1:] == (front_end.bands, 1)
    np.testing.assert_allclose(steps[..., 0].numpy(), reference(front_end, wave), rtol=0, atol=1e-6)
    single = front_end.encode(torch.from_numpy(wave).float(), front_end.rate)
    np.testing.assert_allclose(single, steps, rtol=0, atol=1e-3)


@given(st.lists(st.integers(1, 700), min_size=1, max_size=9))
def test_pieces_give_the_same_steps(pieces):
    front_end = FRONT_ENDS[0]
    wave = torch.from_numpy(np.random.default_rng(1).normal(0, 0.1, sum(pieces)))
    remainder, steps = wave[:0], []
    for piece in wave.split(pieces):
        new, remainder = front_end.encode_piece(torch.cat([remainder, piece]), front_end.rate)
        steps.append(new)
        assert len(remainder) < front_end.size
    expected = front_end.encode(wave, front_end.rate)
    if len(wave) < front_end.size:  # no window was complete; the recording is padded with silence
        assert (len(torch.cat(steps)), len(expected)) == (0, 1)
    else:
        assert torch.equal(torch.cat(steps), expected) or torch.allclose(torch.cat(steps), expected, atol=1e-9)


def test_a_model_is_saved_with_its_front_end(tmp_path):
    torch.manual_seed(0)
    model = convrnn_zoo.create_model("convgru1d_1layer", in_chans=40, hidden_channels=4, kernel_size=1, num_classes=2)
    with pytest.raises(ValueError, match=r"recording 0.*no front end"):
        model.classify_sound([torch.zeros(100)], 8000)
    model.front_end = FRONT_ENDS[0]
    waves = [0.1 * torch.randn(n) for n in (100, 4000, 900)]
    predictions = model.classify_sound(waves, 8000)
    assert model.classify_sound([wave.double().numpy() for wave in waves], 8000) == predictions
    assert predictions == model.classify([FRONT_ENDS[0].encode(w, 8000) for w in waves])
    again = convrnn_zoo.from_pretrained(save_pretrained(model, tmp_path))
    assert again.front_end == FRONT_ENDS[0]
    assert again.classify_sound(waves, 8000) == predictions
    other = convrnn_zoo.from_pretrained(tmp_path, in_chans=12)
    assert other.front_end is None
    config = json.loads((tmp_path / "config.json").read_text())
    for change, message in (
        ({"bands": 12}, r"config\.json.*\b40 channels.*\b12 bands"),
        ({"rate": "8000"}, r"config\.json.*\brate\b.*'8000'"),
        ({"ears": 2}, r"config\.json.*front_end.*\bears\b"),
    ):
        (tmp_path / "config.json").write_text(json.dumps({**config, "front_end": {**config["front_end"], **change}}))
        with pytest.raises(convrnn_zoo.WeightsError, match=message):
            convrnn_zoo.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rate": 10**9, "bands": 10**5}, "100000 bands"),
        ({"rate": 0}, "rate.* 0"),
        ({"window": 0.0}, r"window.* 0\.0"),
        ({"hop": math.nan}, "hop.* nan"),
        ({"hop": 0.04}, r"window=0\.032, hop=0\.04"),
        ({"window": 1.5}, r"window=1\.5, hop=0\.02"),
        ({"highest": 5000.0}, "highest.*rate.* 4000 .* 60 and 5000"),
        ({"lowest": 4000.0}, "lowest.*rate.* 4000 .* 4000 and 4000"),
        ({"bands": 400}, "400 bands"),
        ({"encoding": "mfcc"}, "encoding.*'mfcc'"),
    ],
)
def test_arguments_out_of_range(change, message):
    with pytest.raises(ValueError, match=message):
        LogMel(**{"rate": 8000, **change})


@pytest.mark.parametrize(
    ("wave", "rate", "message"),
    [
        (torch.zeros(9), 16000, r"\b8000 .*\b16000\b.*rate=8000"),
        (torch.zeros(9), "16 kHz", r"\b8000 .*\b16 kHz"),
        (torch.zeros(0), 8000, "recording.*empty"),
        (torch.zeros(2, 9), 8000, r"channel.*\(2, 9\)"),
        (np.zeros((9, 2), "int16"), 8000, r"channel.*\(9, 2\)"),
        (torch.zeros(9, dtype=torch.int64), 8000, "int64"),
        (torch.zeros(9, dtype=torch.bool), 8000, "bool"),
        ([0, 1200, -9000], 8000, "int64"),
        (torch.full((9,), 300, dtype=torch.int32), 8000, "int32"),
        (torch.tensor([0.0, 12000.0]), 8000, r"-1 to 1.*\b12000\b"),
        (np.array(["a"]), 8000, "recording.*<U1"),
        (torch.zeros(9, dtype=torch.complex64), 8000, "recording.*complex64"),
        (torch.tensor([0.0, math.inf]), 8000, "recording.*NaN"),
    ],
)
def test_invalid_sound_is_rejected(wave, rate, message):
    with pytest.raises(TypeError if "<U1" in message or "complex" in message else ValueError, match=message):
        FRONT_ENDS[0].encode(wave, rate)


@pytest.mark.parametrize(
    "dtype", ["int16", "int32", "uint8", "float64", "float16", "list", ">i2", "reversed", "readonly"]
)
def test_audio_of_every_dtype_is_classified_like_floats(dtype):
    model = convrnn_zoo.create_model("audio_convrnn.fsdd", pretrained=True)
    wave, rate = convrnn_zoo.data.read_sound(Path(convrnn_zoo.__file__).parent / "demo" / "seven.wav", rate=8000)
    samples = {
        "int16": lambda x: (x * 2**15).astype("int16"),
        "int32": lambda x: (x * 2**15).astype("int16").astype("int32") << 16,
        "uint8": lambda x: (x * 128 + 128).round().clip(0, 255).astype("uint8"),
        "list": lambda x: x.tolist(),
        ">i2": lambda x: (x * 2**15).astype(">i2"),
        "reversed": lambda x: x[::-1].copy()[::-1],
        "readonly": lambda x: np.frombuffer(x.tobytes(), "float32"),
    }.get(dtype, lambda x: x.astype(dtype))(wave.numpy())
    [expected], [prediction] = model.classify_sound([wave], rate), model.classify_sound([samples], rate)
    assert model.classify_sound(iter([samples]), rate) == [prediction]
    assert prediction.label == expected.label == "seven"
    assert prediction.probability == pytest.approx(expected.probability, abs=0.05 if dtype == "uint8" else 1e-3)
