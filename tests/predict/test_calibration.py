"""Sequences for the calibration of int8 files are those that the exported files read."""

import numpy as np
import pytest
import soundfile
import torch

from convrnn_zoo import from_pretrained
from convrnn_zoo.predict import calibration_sequences
from convrnn_zoo.predict.calibration import MAX_SEQUENCES


def test_frames_are_windows_in_the_unit_of_the_data(tmp_path):
    rain = np.random.default_rng(0).gamma(0.5, 2, (50, 33, 41)).astype(np.float32)
    rain[3, 0, 0] = np.nan
    np.save(tmp_path / "rain.npy", rain)
    sequences = calibration_sequences(from_pretrained("convgru_forecaster.rain"), [tmp_path / "rain.npy"])
    assert len(sequences) == MAX_SEQUENCES
    np.testing.assert_array_equal(sequences[0], rain[:4, None, None, :32, :40])
    np.testing.assert_array_equal(sequences[-1], rain[-4:, None, None, :32, :40])


def test_recordings_are_normalized(tmp_path):
    model = from_pretrained("audio_convrnn.fsdd")
    waves = np.random.default_rng(0).normal(size=(40, 4000)) / 9
    for i, wave in enumerate(waves):
        soundfile.write(tmp_path / f"{i:02}.wav", wave, 8000)
    sequences = calibration_sequences(model, [tmp_path])
    assert len(sequences) == MAX_SEQUENCES
    steps = model.encode_sound("", *soundfile.read(tmp_path / "00.wav", dtype="float32"))
    expected = model.normalize(torch.as_tensor(steps)[None])[0].reshape(-1, 1, 40, 1)
    np.testing.assert_allclose(sequences[0], expected, atol=1e-4)


def test_too_few_frames_are_an_error(tmp_path):
    np.save(tmp_path / "rain.npy", np.zeros((2, 8, 8), np.float32))
    with pytest.raises(ValueError, match="has 2 frames, and 4 are expected"):
        calibration_sequences(from_pretrained("convgru_forecaster.rain"), [tmp_path / "rain.npy"])
