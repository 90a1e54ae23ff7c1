"""Tests of `convrnn-zoo predict` for forecasters: frames read, files written, errors."""

import dataclasses
import importlib.util
import json
import re
from datetime import datetime, timedelta

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from convrnn_zoo import WEIGHTS, Preprocessing, create_model, from_pretrained, save_pretrained
from convrnn_zoo.cli.demo import CLASSIFIER, SAMPLE
from convrnn_zoo.data import Frames, open_frames
from tests.helpers.command_line import run
from tests.helpers.made_data import write_knmi

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


def test_frames_of_several_channels(tmp_path):
    save_pretrained(small(in_chans=2), tmp_path / "run")
    np.save(tmp_path / "x.npy", np.full((4, 2, 8, 6), 280.0))
    for out in ("y.npy", "y.png"):
        run("predict", tmp_path / "run", tmp_path / "x.npy", "-o", tmp_path / out)
    assert np.load(tmp_path / "y.npy").shape == (3, 2, 8, 6)
    np.save(tmp_path / "one.npy", np.full((4, 8, 6), 280.0))
    assert "T, 2, H, W)" in run("predict", tmp_path / "run", tmp_path / "one.npy", "-o", tmp_path / "z.npy", code=1)


def test_names_directories_and_metadata_files_give_the_same_forecast(tmp_path):
    record = WEIGHTS[RAIN]
    save_pretrained(create_model(RAIN, pretrained=True), tmp_path / "run")
    (tmp_path / "rain.json").write_text(record.to_json(), encoding="utf-8")
    (tmp_path / f"{RAIN}.safetensors").write_bytes(record.file.read_bytes())
    np.save(tmp_path / "x.npy", np.full((4, 12, 12), 3.0))
    forecasts = []
    for i, name in enumerate((RAIN, tmp_path / "run", f"local-dir:{tmp_path / 'run'}", tmp_path / "rain.json")):
        run("predict", name, tmp_path / "x.npy", "-o", tmp_path / f"{i}.npy")
        forecasts.append(np.load(tmp_path / f"{i}.npy"))
        metadata = json.loads(run("info", name, "--json"))
        assert metadata["trained on"] == record.trained_on
        assert metadata["values"] == record.preprocessing.to_json()
        assert metadata["metrics"] == [dataclasses.asdict(m) for m in record.metrics]
        assert {"unit mm/h", "step 5.0"} <= {part.strip() for part in run("info", name).split(",")}
    assert all(np.array_equal(forecasts[0], f) for f in forecasts[1:])


def test_weights_without_preprocessing_need_their_recipe(tmp_path):
    record = dataclasses.replace(WEIGHTS[RAIN], preprocessing=None, metrics=())
    (tmp_path / "old.json").write_text(record.to_json(), encoding="utf-8")
    (tmp_path / f"{RAIN}.safetensors").write_bytes(record.file.read_bytes())
    np.save(tmp_path / "x.npy", np.full((4, 12, 12), 3.0))
    args = ("predict", tmp_path / "old.json", tmp_path / "x.npy", "-o", tmp_path / "y.npy")
    assert "--recipe" in run(*args, code=1)
    run(*args, "--recipe", "rain")
    run("predict", RAIN, tmp_path / "x.npy", "-o", tmp_path / "z.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), np.load(tmp_path / "z.npy"))


# ---- which frames are read -----------------------------------------------------------------------------------------
def save_netcdf(path, frames, start="2010-08-26 04:00:00", unit="K", step=15):
    with h5py.File(path, "w") as file:
        file["temperature"] = frames
        file["temperature"].attrs["units"] = unit
        file["time"] = np.arange(len(frames)) * step
        file["time"].attrs["units"] = f"minutes since {start}"


def test_the_latest_frames_are_read_by_default(run_dir, expected, tmp_path):
    predict(run_dir, "-o", tmp_path / "a.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), expected)
    frames = np.load(run_dir / "frames.npy")
    save_netcdf(tmp_path / "a.nc", np.concatenate([frames[::-1], frames]))
    text = run("predict", run_dir / "run", tmp_path / "a.nc", "-o", tmp_path / "b.npy")
    assert re.search(r"8 to 11 of 12\b.*2010-08-26 06:00 to 2010-08-26 06:45", text)
    np.testing.assert_array_equal(np.load(tmp_path / "b.npy"), expected)


def test_radar_files_of_a_day_are_forecast_from_the_last_one(tmp_path):
    start = datetime(2010, 8, 26, 4, 10)
    times = [start + (i + 3 * (i > 1)) * timedelta(minutes=5) for i in range(8)]  # a gap before the ones that are read
    for i, time in enumerate(times):
        write_knmi(tmp_path, time, np.full((24, 24), 1.0 + i))
    result = json.loads(run("predict", RAIN, tmp_path, "--json", "--horizon", 2))
    assert result["read"] == {
        "first": 4,
        "last": 7,
        "frames_in_file": 8,
        "first_time": "2010-08-26T04:45:00",
        "last_time": "2010-08-26T05:00:00",
    }
    assert result["times"] == ["2010-08-26T05:05:00", "2010-08-26T05:10:00"]
    assert "mean_squared_error" not in result


def test_a_comparison_reads_the_frames_before_the_observed_ones(run_dir, tmp_path):
    result = json.loads(predict(run_dir, "--json", "--compare"))
    assert (result["read"]["first"], result["read"]["last"], result["observed"]) == (0, 3, 2)
    result = json.loads(predict(run_dir, "--json", "--compare", "--horizon", 1))
    assert (result["read"]["first"], result["read"]["last"], result["observed"]) == (1, 4, 1)
    result = json.loads(predict(run_dir, "--json", "--compare", "--start", 1))
    assert (result["read"]["first"], result["read"]["last"], result["observed"]) == (1, 4, 1)
    assert "--compare" in predict(run_dir, "--json", "--compare", "--start", 2, code=1)
    assert "--compare" in predict(run_dir, "--json", "--compare", "--inputs", 6, code=1)


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


def test_json_has_no_nan(run_dir, tmp_path):
    np.savez(tmp_path / "a.npz", x=np.full((4, 8, 6), 280.0), labels=np.array("first"))
    np.save(tmp_path / "long.npy", np.full((4, 8, 6), 280, np.longdouble))
    nothing = np.full((5, 8, 6), 280.0)
    nothing[4:] = np.nan  # observed, but unknown
    np.save(tmp_path / "unknown.npy", nothing)

    def reject(constant):
        raise AssertionError(constant)

    for file in ("a.npz", "long.npy", "unknown.npy"):
        args = ("--compare", "--horizon", 1) if file == "unknown.npy" else ()
        result = json.loads(run("predict", run_dir / "run", tmp_path / file, "--json", *args), parse_constant=reject)
        assert np.isfinite(np.array(result["forecast"], float)).all()
    assert result["mean_squared_error"] is None


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


def gif(path):
    pictures = [Image.new("L", (8, 8), 40 * i) for i in range(5)]
    pictures[0].save(path, save_all=True, append_images=pictures[1:])


def mp4(path):
    av = pytest.importorskip("av", reason="the extra video")
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for i in range(5):
            image = np.full((32, 32, 3), 40 * i, dtype=np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        file.mux(stream.encode())


INVALID = {
    "bytes.npy": (lambda p: np.save(p, np.full((4, 8, 8), 90, dtype=np.uint8)), "holds brightness"),
    "a.gif": (gif, "holds brightness"),
    "a.mp4": (mp4, "holds brightness"),
    "nan.npy": (lambda p: np.save(p, np.full((4, 8, 8), np.nan)), "expected values in mm/h, got only NaN"),
    "inf.npy": (lambda p: np.save(p, np.full((4, 8, 8), np.inf)), "expected finite"),
}


@pytest.mark.parametrize("name", INVALID)
def test_invalid_frames_are_an_error_of_one_line_and_nothing_is_written(name, tmp_path):
    make, message = INVALID[name]
    make(tmp_path / name)
    text = run("predict", RAIN, tmp_path / name, "-o", tmp_path / "out.npy", code=1)
    assert message in text
    assert len(text.splitlines()) == 1
    assert not (tmp_path / "out.npy").exists()


def test_another_time_step_is_an_error(run_dir):
    from convrnn_zoo.predict.files import check_step

    values = from_pretrained(run_dir / "run").preprocessing
    frames = Frames(path=run_dir, array=np.zeros((2, 4, 4)), times=np.array([0, 5], "timedelta64[m]"))
    with pytest.raises(ValueError, match=r"\b5 minutes.*\b15\b"):
        check_step(frames, values.step, run_dir)
    check_step(dataclasses.replace(frames, times=np.array([0, 15], "timedelta64[m]")), values.step, run_dir)


def test_options_that_do_not_apply_are_errors(run_dir, tmp_path):
    assert re.search(r"-o .*\.npy.*--json", predict(run_dir, code=1))
    assert "a.tif" in predict(run_dir, "-o", tmp_path / "a.tif", code=1)
    assert "horizon" in predict(run_dir, "-o", tmp_path / "a.npy", "--horizon", 0, code=2)
    assert "--horizon: only valid for forecasters" in run("predict", CLASSIFIER, SAMPLE, "--horizon", 3, code=1)
    assert ".json" in run("predict", CLASSIFIER, SAMPLE, "-o", tmp_path / "a.gif", code=1)
    assert "--recipe" in predict(run_dir, "-o", tmp_path / "a.npy", "--recipe", "rain", code=1)
    assert list(tmp_path.iterdir()) == []


def test_classes_are_written_as_json(tmp_path):
    text = run("predict", CLASSIFIER, SAMPLE, "-o", tmp_path / "a.json")
    rows = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert f"{len(rows)} sequences classified" in text
    assert {"file", "recording", "prediction", "probability", "probabilities"} == set(rows[0])
    assert json.loads(run("predict", CLASSIFIER, SAMPLE, "--json")) == rows


def test_a_file_that_is_read_is_never_overwritten(tmp_path):
    file = tmp_path / "a.npy"
    np.save(file, np.zeros((24, 32, 32), dtype="float32"))
    before = file.read_bytes()
    result = run("predict", RAIN, file, "-o", tmp_path / "b" / ".." / "a.npy", code=1)
    assert "a.npy" in result
    assert file.read_bytes() == before


def test_scores_are_written_to_files_of_known_suffixes(tmp_path):
    result = run("eval", "convgru_forecaster.rain", "-o", tmp_path / "rain.toml", code=1)
    assert "rain.toml" in result
    assert ".json" in result


def test_a_quiet_prediction_prints_nothing_but_its_result(run_dir, tmp_path):
    assert predict(run_dir, "-o", tmp_path / "a.npy", "--quiet") == ""
    assert json.loads(predict(run_dir, "--json", "--quiet"))["horizon"] == 3
    assert run("predict", CLASSIFIER, SAMPLE, "-o", tmp_path / "a.json", "--quiet") == ""


def test_a_second_output_is_rejected(run_dir, tmp_path):
    assert "--output" in predict(run_dir, "-o", tmp_path / "a.npy", "-o", tmp_path / "b.npy", code=2)
    assert not list(tmp_path.iterdir())
