"""Forecasts plotted and evaluated from the command line, with weights of a tiny run."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from convrnn_zoo.cli.demo import CLASSIFIER
from convrnn_zoo.data.readers import open_files
from tests.helpers.command_line import run
from tests.helpers.data.own_data import WRITERS
from tests.helpers.made_data import write_digits, write_rain

ENTRIES = {
    "weights": "convlstm_openstl_s.tiny",
    "description": "Forecasts.",
    "license": "mit",
    "inputs": 3,
    "horizon": 4,
    "max_steps": 1,
    "batch_size": 2,
    "lr": 0.01,
    "loss": "mse",
    "test_sequences": 6,
}


def picture(path):
    """Size, number of frames and colours of the first."""
    with Image.open(path) as image:
        return image.size, getattr(image, "n_frames", 1), image.convert("RGB").getcolors(1 << 24)


@pytest.fixture(scope="module", params=[pytest.param("moving_mnist", marks=pytest.mark.slow), "rain"])
def trained(request, tmp_path_factory):
    """Directory of the data, record and recipe file of each kind of data."""
    directory = tmp_path_factory.mktemp(request.param)
    write_digits(directory) if request.param != "rain" else write_rain(directory)
    entries = {**ENTRIES, "data": request.param}
    lines = [f"{k} = {json.dumps(v)}" for k, v in {"kind": "forecaster", **entries}.items()]
    recipe = directory / "recipe.toml"
    recipe.write_text("\n".join([*lines, "[model]", "hidden_channels = [2]", "kernel_size = 3"]))
    run("train", recipe, "--data", directory, "-o", directory / "run", "--quiet")
    return directory, directory / "run", recipe


@pytest.mark.slow
def test_eval_recomputes_the_metadata_and_writes_scores_and_a_figure(trained, tmp_path):
    directory, record, recipe = trained
    where = tmp_path / "scores.json", tmp_path / "curve.png"
    text = run("eval", record, "--data", directory, "--recipe", recipe, "--quiet", "-o", where[0], "-o", where[1])
    assert re.search(r"mean over lead times +forecast +last frame +zero", text)
    assert re.search(r"forecast is better than +last frame +zero.*\nMSE +(at|from) \w+", text)
    scores = json.loads(where[0].read_text())
    claimed = {m["name"]: m["value"] for m in json.loads((record / "metadata.json").read_text())["metrics"]}
    assert {"MSE", "MAE", "SSIM", "PSNR"} <= claimed.keys()
    for name, value in claimed.items():
        values = [v for v in scores["forecast"][name] if v is not None]
        assert len(scores["forecast"][name]) == 4
        assert np.mean(values) == pytest.approx(value, rel=0.01, abs=1e-4)
    assert picture(where[1])[0][0] > 1000
    fewer = run("eval", record, "--data", directory, "--recipe", recipe, "--quiet", "--sequences", 2)
    args = ("eval", record, "--data", directory, "--recipe", recipe, "--quiet", "--sequences", 2)
    assert "ensemble of 7" in run(*args, "--members", 7, code=1)
    assert run(*args, "--members", 0) == fewer
    assert fewer != text


@pytest.mark.parametrize("suffix", [".h5", ".nc", ".zarr"])
def test_a_forecast_reads_the_files_that_training_reads(trained, suffix, tmp_path):
    if suffix == ".zarr":
        pytest.importorskip("zarr", reason="the extra zarr")
    _, record, _ = trained
    frames = np.random.default_rng(0).random((6, 16, 16)).astype("float32")
    stored, plain = tmp_path / f"a{suffix}", tmp_path / "a.npy"
    WRITERS[suffix](stored, frames)
    np.save(plain, frames)
    forecasts = []
    for path in (stored, plain):
        assert "read frames 3 to 5 of 6" in run("predict", record, path, "-o", tmp_path / "out.npy")
        forecasts.append(np.load(tmp_path / "out.npy"))
    assert np.array_equal(*forecasts)
    assert open_files([stored]).read(1, 5).shape == (4, 1, 16, 16)
    assert open_files([stored]).step == 5
    assert "--key" in run("predict", record, plain, "-o", tmp_path / "out.npy", "--key", "rate", code=1)
    assert "no variable other" in run("predict", record, stored, "-o", tmp_path / "out.npy", "--key", "other", code=1)


def test_fewer_frames_than_in_training_give_a_warning(trained, tmp_path):
    _, record, _ = trained
    np.save(tmp_path / "a.npy", np.zeros((2, 16, 16), "float32"))
    output = run("predict", record, tmp_path / "a.npy", "-o", tmp_path / "out.npy")
    assert "reads 2 frames, but was trained to read 3" in output
    assert "--inputs 2" in output
    output = run("predict", record, tmp_path / "a.npy", "-o", tmp_path / "out.npy", "--inputs", 2)
    assert "reads 2 frames, but was trained to read 3" in output
    assert "--inputs" not in output


@pytest.mark.slow
def test_invalid_names_are_reported(trained, tmp_path):
    directory, record, recipe = trained
    frames = tmp_path / "x.npy"
    np.save(frames, np.zeros((5, 8, 8)))
    out = ("-o", tmp_path / "a.png")
    assert "'nothing.at_all'" in run("predict", "nothing.at_all", frames, *out, code=1)
    assert "one sound" in run("predict", CLASSIFIER, frames, *out, code=1)
    assert "JapaneseVowels_TRAIN.ts" in run("eval", CLASSIFIER, "--data", directory, code=1)
    assert "'other'" in run("predict", record, frames, *out, "--recipe", "other", code=1)
    assert ".gif or .mp4" in run("predict", record, frames, "-o", tmp_path / "a.jpg", code=1)
    assert "-o " in run("predict", record, frames, code=1)
    assert "a.jpg" in run("eval", record, "--data", directory, "--recipe", recipe, "-o", tmp_path / "a.jpg", code=1)
    (tmp_path / "other.json").write_text("{}")
    assert "other.json" in run("eval", tmp_path / "other.json", "--data", directory, code=1)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert str(empty) in run("eval", record, "--data", empty, "--recipe", recipe, "--quiet", code=1)
