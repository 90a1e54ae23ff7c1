"""Tests of `convrnn-zoo predict` for forecasters: frames read, files written, errors."""

import importlib.util
import json
import re

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from convrnn_zoo import Preprocessing, create_model, from_pretrained, save_pretrained
from convrnn_zoo.cli.demo import CLASSIFIER, SAMPLE
from convrnn_zoo.data import open_frames
from tests.helpers.command_line import run
from tests.helpers.data.own_data import write_gif, write_video

RAIN = "convgru_forecaster.rain"
needs_av = pytest.mark.skipif(importlib.util.find_spec("av") is None, reason="needs the extra video")


def small(**kwargs):
    """Returns a small forecaster of temperatures in kelvins."""
    torch.manual_seed(0)
    model = create_model("convgru_forecaster", hidden_channels=2, kernel_size=3, patch_size=2, horizon=3, **kwargs)
    channels = model.in_chans
    model.preprocessing = Preprocessing(
        encoding="standardize",
        mean=(280.0,) * channels,
        std=(10.0,) * channels,
        unit="K",
        step=15.0,
        inputs=4,
        horizon=3,
        lowest=150.0,
        highest=350.0,
    )
    return model


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """Directory with a model and six frames, of which one pixel is never known."""
    root = tmp_path_factory.mktemp("run_dir")
    save_pretrained(small(), root / "run")
    frames = 280 + 5 * np.random.default_rng(0).standard_normal((6, 9, 7)).astype(np.float32)
    frames[:, 0, 0] = np.nan
    np.save(root / "frames.npy", frames)
    return root


@pytest.fixture(scope="module")
def expected(run_dir):
    model = from_pretrained(run_dir / "run")
    return model.forecast(np.load(run_dir / "frames.npy")[-4:])


def predict(run_dir, *args, code=0):
    return run("predict", run_dir / "run", run_dir / "frames.npy", *args, code=code)


def test_the_default_weights_of_an_architecture_are_named(tmp_path):
    np.save(tmp_path / "frames.npy", np.random.default_rng(0).random((10, 16, 16), np.float32))
    args = ["predict", "convgru_forecaster", tmp_path / "frames.npy", "-o", tmp_path / "a.npy"]
    expected = "convgru_forecaster: its default weights convgru_forecaster.moving_mnist are used; others: "
    assert expected in (printed := run(*args))
    assert RAIN in printed
    assert "its default" not in run(*args, "--quiet") + run("predict", RAIN, *args[2:])
    assert "convlstm_forecaster has no pretrained weights" in run("predict", "convlstm_forecaster", *args[2:], code=1)


def test_numbers_are_in_the_unit_of_the_data_and_nan_where_unknown(run_dir, expected, tmp_path):
    assert "read frames 2 to 5 of 6, forecast 3 frames" in predict(run_dir, "-o", tmp_path / "a.npy")
    forecasts = np.load(tmp_path / "a.npy")
    assert forecasts.shape == (3, 9, 7)
    np.testing.assert_array_equal(forecasts, expected)
    assert np.isnan(forecasts[:, 0, 0]).all()
    assert np.isfinite(forecasts[:, 1:]).all()
    predict(run_dir, "-o", tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as file:
        np.testing.assert_array_equal(file["forecast"], expected)
        assert (str(file["unit"]), float(file["step"])) == ("K", 15)
    predict(run_dir, "-o", tmp_path / "a.json")
    result = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert (result["unit"], result["step"], result["shape"], result["observed"]) == ("K", 15, [3, 9, 7], 0)
    assert result["forecast"][0][0][0] is None
    np.testing.assert_allclose(np.array(result["forecast"], dtype=float), expected, rtol=1e-6)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "a.npy", "a.npz"]


def test_json_is_printed_with_and_without_a_file(run_dir, expected, tmp_path):
    result = json.loads(predict(run_dir, "--json", "-o", tmp_path / "a.png", "--horizon", 2, "--compare"))
    assert (result["inputs"], result["horizon"], result["observed"], result["output"]) == (
        4,
        2,
        2,
        str(tmp_path / "a.png"),
    )
    assert result["mean_squared_error"] > 0
    assert "forecast" not in result
    np.testing.assert_allclose(np.array(json.loads(predict(run_dir, "--json"))["forecast"], dtype=float), expected)


@needs_av
def test_an_animation_has_one_frame_per_time(run_dir, tmp_path):
    for name in ("a.mp4", "a.gif"):
        predict(run_dir, "-o", tmp_path / name, "--inputs", 1, "--horizon", 1)
    film = open_frames(tmp_path / "a.mp4").read()
    assert len(film) == 2
    with Image.open(tmp_path / "a.gif") as image:
        assert image.n_frames == 2
        assert abs(image.width - film.shape[-1]) <= 1


# ---- which frames are read -----------------------------------------------------------------------------------------
def save_netcdf(path, frames, start="2010-08-26 04:00:00", unit="K", step=15):
    with h5py.File(path, "w") as file:
        file["temperature"] = frames
        file["temperature"].attrs["units"] = unit
        file["time"] = np.arange(len(frames)) * step
        file["time"].attrs["units"] = f"minutes since {start}"


def test_a_start_is_a_number_or_a_time(run_dir, tmp_path):
    frames = np.load(run_dir / "frames.npy")
    save_netcdf(tmp_path / "a.nc", frames)

    def first(start, code=0):
        text = run("predict", run_dir / "run", tmp_path / "a.nc", "--json", f"--start={start}", code=code)
        return text if code else json.loads(text.partition("Warning: ")[0])["read"]["first"]

    assert [first(s) for s in (0, 1, -5, "04:15", "2010-08-26T04:30", "2010-08-26 04:30:00")] == [0, 1, 1, 1, 2, 2]
    for wrong in ("04:20", "6", "-7", "noon", "2011-08-26T04:30"):
        assert "--start" in first(wrong, code=1)
    assert "--start" in predict(run_dir, "--json", "--start", "04:15", code=1)  # the file has no times
    assert "2 frames" in collect_warnings(
        "predict", run_dir / "run", run_dir / "frames.npy", "--start", 4, "-o", tmp_path / "a.npy"
    )
    assert "--inputs" in predict(run_dir, "--json", "--inputs", 7, code=1)
    assert "--inputs" in predict(run_dir, "--json", "--inputs", 3, "--start", 4, code=1)


# ---- errors and warnings --------------------------------------------------------------------------------------------
def collect_warnings(*args):
    """Returns the warnings of a successful command, as they are printed."""
    return "".join(re.findall("^Warning: .*\n", run(*args), re.MULTILINE))


def test_values_out_of_range_give_a_warning_of_one_line(tmp_path):
    np.save(tmp_path / "x.npy", np.full((4, 8, 8), -50.0))
    text = collect_warnings("predict", RAIN, tmp_path / "x.npy", "-o", tmp_path / "y.npy")
    assert text.startswith("Warning: ")
    assert "-50" in text
    assert len(text.splitlines()) == 1
    np.save(tmp_path / "x.npy", np.full((4, 8, 8), 5.0))
    assert collect_warnings("predict", RAIN, tmp_path / "x.npy", "-o", tmp_path / "y.npy") == ""


BRIGHTNESS = np.arange(5, dtype="uint8")[:, None, None].repeat(32, 1).repeat(32, 2) * 40
INVALID = {
    "bytes.npy": (lambda p: np.save(p, np.full((4, 8, 8), 90, dtype=np.uint8)), "holds brightness"),
    "a.gif": (lambda p: write_gif(p, BRIGHTNESS), "holds brightness"),
    "a.mp4": (lambda p: write_video(p, BRIGHTNESS), "holds brightness"),
    "nan.npy": (lambda p: np.save(p, np.full((4, 8, 8), np.nan)), "expected values in mm/h, got only NaN"),
    "inf.npy": (lambda p: np.save(p, np.full((4, 8, 8), np.inf)), "expected finite"),
}


@pytest.mark.parametrize("name", [pytest.param(name, marks=[needs_av] if name == "a.mp4" else []) for name in INVALID])
def test_invalid_frames_are_an_error_of_one_line_and_nothing_is_written(name, tmp_path):
    make, message = INVALID[name]
    make(tmp_path / name)
    text = run("predict", RAIN, tmp_path / name, "-o", tmp_path / "out.npy", code=1)
    assert message in text
    assert len(text.splitlines()) == 1
    assert not (tmp_path / "out.npy").exists()


def test_options_that_do_not_apply_are_errors(run_dir, tmp_path):
    assert re.search(r"-o .*\.npy.*--json", predict(run_dir, code=1))
    assert "a.tif" in predict(run_dir, "-o", tmp_path / "a.tif", code=1)
    assert "horizon" in predict(run_dir, "-o", tmp_path / "a.npy", "--horizon", 0, code=2)
    assert "--horizon: only valid for forecasters" in run("predict", CLASSIFIER, SAMPLE, "--horizon", 3, code=1)
    assert ".json" in run("predict", CLASSIFIER, SAMPLE, "-o", tmp_path / "a.gif", code=1)
    assert "--recipe" in predict(run_dir, "-o", tmp_path / "a.npy", "--recipe", "rain", code=1)
    assert list(tmp_path.iterdir()) == []
