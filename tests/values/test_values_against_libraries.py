"""Values become tensors as SciPy, scikit-learn and pandas compute them, for settings that are drawn."""

from datetime import datetime

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convrnn_zoo import LogMel, Preprocessing
from convrnn_zoo.values.steps import find_calendar_step, next_dates


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    rate=st.integers(4000, 24000),
    window=st.floats(0.02, 0.08),
    fraction=st.floats(0.1, 1),
    bands=st.integers(1, 10),
    seed=st.integers(0, 99),
)
def test_log_mel_equals_the_spectrogram_of_scipy(
    rate: int, window: float, fraction: float, bands: int, seed: int
) -> None:
    signal = pytest.importorskip("scipy.signal")
    front_end = LogMel(rate=rate, window=window, hop=window * fraction, bands=bands, highest=rate / 2.5)
    points = 2 ** (int(np.ceil(np.log2(front_end.size))) + 1)
    wave = np.random.default_rng(seed).normal(0, 0.1, rate // 4)
    frequencies, _, power = signal.spectrogram(
        wave, rate, signal.get_window("hann", front_end.size), noverlap=front_end.size - front_end.hop_length,
        nfft=points, detrend=False, return_onesided=True, scaling="density", mode="psd",
    )  # fmt: skip
    density = rate * (signal.get_window("hann", front_end.size) ** 2).sum()
    power *= density * np.where((frequencies == 0) | (frequencies == rate / 2), 1, 0.5)[:, None]
    mel = np.linspace(*(2595 * np.log10(1 + np.array([60, rate / 2.5]) / 700)), bands + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)
    filters = np.stack([np.interp(frequencies, edges[i : i + 3], [0, 1, 0]) for i in range(bands)])
    expected = np.log(np.maximum(filters / filters.sum(1, keepdims=True) @ power, front_end.floor)).T
    steps = front_end.encode(torch.from_numpy(wave), rate)[..., 0].numpy()
    np.testing.assert_allclose(steps, expected, atol=1e-6)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(1, 4), st.floats(-1e3, 1e3), st.floats(1e-2, 1e3), st.integers(0, 99))
def test_standardised_channels_equal_those_of_scikit_learn(channels: int, mean: float, std: float, seed: int) -> None:
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    frames = np.random.default_rng(seed).normal(mean, std, (6, channels, 4, 5))
    pixels = np.moveaxis(frames, 1, -1).reshape(-1, channels)
    scaler = preprocessing.StandardScaler().fit(pixels)
    values = Preprocessing(encoding="standardize", mean=tuple(scaler.mean_), std=tuple(scaler.scale_), unit="K")
    encoded = values.encode(torch.from_numpy(frames))
    expected = scaler.transform(pixels).reshape(6, 4, 5, channels)
    np.testing.assert_allclose(encoded.movedim(1, -1), expected, atol=1e-4 * (1 + abs(mean) / std))
    np.testing.assert_allclose(values.decode(encoded), frames, rtol=1e-5, atol=1e-4 * (abs(mean) + std))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.dates(datetime(1901, 1, 1).date(), datetime(2090, 1, 1).date()), st.sampled_from(["MS", "ME", "YS", "YE"]))
def test_later_dates_equal_those_of_pandas(first: object, frequency: str) -> None:
    pandas = pytest.importorskip("pandas", reason="the extra archive")
    dates = pandas.date_range(first, periods=30, freq=frequency).to_pydatetime().tolist()
    step = "month" if frequency.startswith("M") else "year"
    assert find_calendar_step(dates[:20]) == step
    assert next_dates(dates[:20], 10, step) == dates[20:]
