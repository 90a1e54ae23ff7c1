"""Options of a recipe for reading files apply in training and in `predict`; bad data are reported before training."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image

from convrnn_zoo.data import ArrayFrames, VideoFrames
from tests.helpers.command_line import run
from tests.helpers.data.own_data import FRAMES, RADAR, VIDEO, blobs, write_hdf5


def train(directory, recipe, data, name="run", **kwargs):
    path = directory / "recipe.toml"
    path.write_text(recipe)
    return run("train", path, "--data", data, "-o", directory / name, "--quiet", **kwargs)


def predicted(directory, file, *args):
    run("predict", directory / "run", file, "-o", directory / "out.npy", *args)
    return np.load(directory / "out.npy")


# ---- options stored with the model -------------------------------------------------------------------------------
def test_numbers_that_mark_missing_values_are_missing_in_predict(tmp_path):
    frames = blobs()
    marked = np.nan_to_num(frames, nan=-999)
    np.save(tmp_path / "a.npy", marked)
    np.save(tmp_path / "nan.npy", frames)
    train(tmp_path, RADAR + "fill_value = -999\n", tmp_path / "a.npy")
    result = [predicted(tmp_path, tmp_path / name) for name in ("a.npy", "nan.npy")]
    np.testing.assert_array_equal(*result)
    assert np.isnan(result[0][:, :3, :3]).all()


def test_a_video_is_resized_in_predict_as_in_training(tmp_path):
    frames = (blobs(18, 40, 56, missing=False) * 15).clip(0, 255).astype("uint8")
    first, *others = map(Image.fromarray, frames)
    first.save(tmp_path / "a.gif", save_all=True, append_images=others)
    train(tmp_path, VIDEO + "size = [24, 32]\n", tmp_path / "a.gif")
    assert predicted(tmp_path, tmp_path / "a.gif").shape == (4, 24, 32)


def test_predict_reads_the_variable_of_the_recipe(tmp_path):
    frames = blobs()
    np.savez(tmp_path / "a.npz", rate=frames, x=frames * 0)
    np.save(tmp_path / "a.npy", frames)
    train(tmp_path, RADAR + 'variable = "rate"\n', tmp_path / "a.npz")
    result = [predicted(tmp_path, tmp_path / name) for name in ("a.npz", "a.npy")]
    np.testing.assert_array_equal(*result)


# ---- hidden files, and those of runs --------------------------------------------------------------------------------
def write_images(folder, count=12, level=10):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        Image.fromarray(np.full((16, 16), level + i, "uint8")).save(folder / f"{i}.png")


def test_hidden_files_and_folders_are_ignored(tmp_path):
    write_images(tmp_path / "film")
    for hidden in (".ipynb_checkpoints", "__MACOSX", "film/.thumbs"):
        write_images(tmp_path / hidden, level=200)
    (tmp_path / "film" / "._0.png").write_bytes(b"resource fork")
    clips = VideoFrames(name="a").load(tmp_path, "train", 2, 1)
    assert clips.fixed(99).max() < 0.2
    np.save(tmp_path / "a.npy", np.ones((9, 4, 4)))
    (tmp_path / "._b.npy").write_bytes(b"resource fork")
    (tmp_path / ".ipynb_checkpoints" / "c.npy").write_bytes(b"broken")
    assert ArrayFrames(name="a").load(tmp_path, "train", 2, 1).fixed(99).unique().tolist() == [1]


def test_figures_of_a_run_are_not_read_as_data(tmp_path):
    write_images(tmp_path / "film", 20)
    recipe = VIDEO.replace("crop = 16\n", "") + 'split = "time"\n'
    train(tmp_path, recipe, tmp_path)
    assert list((tmp_path / "run").glob("update*.png"))
    before = VideoFrames(name="a").load(tmp_path / "film", "train", 3, 4)
    assert len(VideoFrames(name="a").load(tmp_path, "train", 3, 4)) == len(before)
    (tmp_path / "run" / "model.safetensors").unlink()
    train(tmp_path, recipe, tmp_path)  # the same data, so that the run goes on


# ---- units and values ----------------------------------------------------------------------------------------------
UNITS = {"mm h-1": 1, "mm/5min": 1 / 12, "mm per 5 minutes": 1 / 12, "m/s": 1 / 3.6e6, "kg m-2 s-1": 1 / 3600}


@pytest.mark.parametrize("unit", UNITS)
def test_rain_rates_of_other_units_are_converted_in_training_and_predict(unit, tmp_path):
    frames = blobs(missing=False)
    write_hdf5(tmp_path / "a.nc", (frames.astype("float64") * UNITS[unit]).astype("float64"), units=unit)
    read = ArrayFrames(name="a", unit="mm/h", variable="rate").load(tmp_path / "a.nc", "train", 3, 4)
    torch.testing.assert_close(read[0].frames[:, 0], torch.from_numpy(frames[:7]), rtol=1e-4, atol=1e-4)
    np.save(tmp_path / "a.npy", frames)
    result = []
    for name in ("a.npy", "a.nc"):
        run("predict", "convgru_forecaster.rain", tmp_path / name, "-o", tmp_path / "out.npy")
        result.append(np.load(tmp_path / "out.npy"))
    np.testing.assert_allclose(*result, rtol=1e-3, atol=1e-3)


def test_temperatures_are_converted(tmp_path):
    write_hdf5(tmp_path / "a.nc", np.full((9, 4, 4), 10.0), units="degC")
    read = ArrayFrames(name="a", unit="K", variable="rate").load(tmp_path / "a.nc", "train", 2, 1)
    assert read[0].frames.unique().tolist() == [pytest.approx(283.15)]


@pytest.mark.parametrize(
    ("unit", "expected"), [("Pa", "mm/h"), ("K", "mm/h"), ("mm", "K"), ("mm/h", ""), ("mm/h", "K")]
)
def test_units_of_other_quantities_are_an_error(unit, expected, tmp_path):
    write_hdf5(tmp_path / "a.nc", blobs(), units=unit)
    with pytest.raises(ValueError, match=rf"a\.nc.*{unit}"):
        ArrayFrames(name="a", unit=expected, variable="rate").load(tmp_path / "a.nc", "train", 3, 4)
    if expected == "mm/h":
        text = run("predict", "convgru_forecaster.rain", tmp_path / "a.nc", "-o", tmp_path / "out.npy", code=1)
        assert unit in text
        assert len(text.splitlines()) == 1


def spoilt(**changes):
    frames = blobs(missing=False)
    frames[changes.get("at", slice(None)), :3, :3] = changes["value"]
    return frames


BAD = {
    "-999 for missing": (spoilt(value=-999), RADAR, "fill_value = -999"),
    "-9999 without a unit": (spoilt(value=-9999), FRAMES, "fill_value = -9999"),
    "65535 for missing": (spoilt(value=65535), FRAMES, "fill_value = 65535"),
    "NetCDF's own": (spoilt(value=9.96921e36), FRAMES, "fill_value"),
    "-999 in one frame": (spoilt(value=-999, at=7), RADAR, "fill_value"),
    "negative rain": (spoilt(value=-5), RADAR, "fill_value"),
    "dBZ": (10 * np.log10(200 * (blobs(missing=False) + 1e-3) ** 1.6), RADAR, "unit"),
    "dBZ from 0 on": (np.maximum(0, 10 * np.log10(200 * (blobs(missing=False) + 1e-3) ** 1.6)), RADAR, "unit"),
    "infinite": (spoilt(value=np.inf), FRAMES, "NaN"),
    "above the range": (blobs(missing=False) * 100, FRAMES + "valid_min = 0\nvalid_max = 20\n", "valid_max"),
    "below the range": (blobs(missing=False) - 5, FRAMES + "valid_min = 0\nvalid_max = 20\n", "valid_min"),
}


@pytest.mark.parametrize("name", BAD)
def test_invalid_values_are_reported_before_training_with_the_key_to_change(name, tmp_path):
    frames, recipe, key = BAD[name]
    np.save(tmp_path / "a.npy", frames)
    text = train(tmp_path, recipe, tmp_path / "a.npy", code=1)
    assert "a.npy" in text
    assert key in text
    assert len(text.splitlines()) == 1
    assert not (tmp_path / "run" / "last.ckpt").exists()


def test_a_store_is_checked_before_training(tmp_path):
    from tests.helpers.data.own_data import write_zarr

    pytest.importorskip("zarr", reason="the extra zarr")
    write_zarr(tmp_path / "a.zarr", spoilt(value=-999))
    assert "fill_value = -999" in train(tmp_path, RADAR, tmp_path / "a.zarr", code=1)


def test_heavy_rain_is_valid_with_valid_max(tmp_path):
    frames = 20 + blobs(missing=False)
    np.save(tmp_path / "a.npy", frames)
    kind = ArrayFrames(name="a", unit="mm/h")
    with pytest.raises(ValueError, match="valid_max"):
        kind.load(tmp_path / "a.npy", "train", 3, 4)
    assert len(dataclasses.replace(kind, valid_max=150.0).load(tmp_path / "a.npy", "train", 3, 4))


# ---- splits, windows ---------------------------------------------------------------------------------------------
def test_the_test_split_is_the_last_third_of_a_file_with_gaps(tmp_path):
    times = np.arange(18) * 5
    times[3:] += 30
    np.savez(tmp_path / "a.npz", x=np.arange(18)[:, None, None] * np.ones((1, 4, 4)), time=times)
    kind = ArrayFrames(name="a")
    assert kind.load(tmp_path / "a.npz", "train", 1, 1).fixed(99).max() == 11
    test = kind.load(tmp_path / "a.npz", "test", 1, 1)
    assert test.fixed(99)[:, 1].min() == 12


def test_an_explicit_task_is_kept():
    assert ArrayFrames(name="a", unit="mm/h", task="video prediction").task == "video prediction"
    assert ArrayFrames(name="a", unit="mm/h").task == "precipitation nowcasting"
    assert ArrayFrames(name="a").task == "video prediction"


def test_wet_pixels_are_counted_from_the_lowest_threshold(tmp_path):
    np.save(tmp_path / "a.npy", 280 + blobs(missing=False))
    with pytest.raises(ValueError, match=r"data\.thresholds"):
        ArrayFrames(name="a", unit="K", min_wet_fraction=0.5)
    kind = ArrayFrames(name="a", unit="K", min_wet_fraction=0.5, thresholds=(300.0,))
    with pytest.raises(ValueError, match=r"a\.npy.*crop.* 7 frames of 24×28"):
        kind.load(tmp_path / "a.npy", "train", 3, 4)


def test_stores_of_a_folder_are_read_lazily(tmp_path):
    from tests.helpers.data.own_data import write_zarr

    pytest.importorskip("zarr", reason="the extra zarr")
    for name in "ab":
        write_zarr(tmp_path / f"{name}.zarr", blobs())
    clips = ArrayFrames(name="a", unit="mm/h").load(tmp_path, "train", 3, 4)
    assert not clips.files[0].is_loaded
    assert len(clips) == 2 * 6


def test_transposed_arrays_and_damaged_netcdf_3_are_reported(tmp_path):
    import h5py

    with h5py.File(tmp_path / "a.nc", "w") as file:
        file["rate"], file["time"] = np.zeros((4, 5, 9)), np.arange(9)
    with pytest.raises(ValueError, match=r"a\.nc.*\(4, 5, 9\)"):
        ArrayFrames(name="a").load(tmp_path / "a.nc", "train", 3, 4)
    (tmp_path / "a.nc").write_bytes(b"CDF\x01" + bytes(100))
    with pytest.raises(ValueError, match=r"a\.nc.*variable of frames"):
        ArrayFrames(name="a").load(tmp_path / "a.nc", "train", 3, 4)


def test_steps_with_jitter_and_other_years_are_forecast(tmp_path):
    """Training and predict accept the same jitter, and a period of training does not select in other files."""
    times = np.arange(18) * 5 + np.tile([0.0, 0.003], 9)
    recipe = RADAR + 'variable = "rate"\nsel = {time = ["2020-01-01", "2020-01-31"]}\n'
    xarray = pytest.importorskip("xarray", reason="the extra netcdf")
    for name, year in (("a", 2020), ("b", 2021)):
        attrs = {"units": f"minutes since {year}-01-01"}
        data = {"rate": (("time", "y", "x"), blobs(), {"units": "mm/h"})}
        xarray.Dataset(data, {"time": ("time", times, attrs)}).to_netcdf(tmp_path / f"{name}.nc", engine="h5netcdf")
    train(tmp_path, recipe, tmp_path / "a.nc")
    a, b = (predicted(tmp_path, tmp_path / f"{name}.nc") for name in "ab")
    np.testing.assert_array_equal(a, b)
    offset, utc = (predicted(tmp_path, tmp_path / "a.nc", "--start", t) for t in ("2020-01-01T00:20+00:20", "00:00"))
    np.testing.assert_array_equal(offset, utc)


def test_the_recipe_of_a_run_may_be_named_again(tmp_path):
    np.save(tmp_path / "a.npy", blobs(missing=False) + 280)
    recipe = FRAMES + 'unit = "K"\nencoding = "standardize"\n'
    train(tmp_path, recipe, tmp_path / "a.npy")
    again = predicted(tmp_path, tmp_path / "a.npy", "--recipe", tmp_path / "run" / "recipe.toml")
    np.testing.assert_array_equal(again, predicted(tmp_path, tmp_path / "a.npy"))
    (tmp_path / "other.toml").write_text(recipe.replace('"K"', '"degC"'))
    output = run(
        "predict",
        tmp_path / "run",
        tmp_path / "a.npy",
        "-o",
        tmp_path / "b.npy",
        "--recipe",
        tmp_path / "other.toml",
        code=1,
    )
    assert "other data" in output


def test_dimensions_with_spaces_are_stored_in_the_recipe(tmp_path):
    xarray = pytest.importorskip("xarray", reason="the extra netcdf")
    data = xarray.DataArray(
        blobs()[:, None], dims=("time", "pressure level", "y", "x"), name="rate", attrs={"units": "mm/h"}
    )
    data.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    train(tmp_path, RADAR + 'sel = {"pressure level" = 0}\n', tmp_path / "a.nc")
    assert predicted(tmp_path, tmp_path / "a.nc").shape == (4, 24, 28)


def test_the_recipe_of_a_nowcast_may_be_named_again(tmp_path):
    np.save(tmp_path / "a.npy", blobs(4))
    outputs = []
    for options in ((), ("--recipe", "nowcast")):
        run(
            "predict",
            "convgru_advection.nowcast",
            tmp_path / "a.npy",
            "-o",
            tmp_path / "b.npy",
            "--horizon",
            1,
            *options,
        )
        outputs.append(np.load(tmp_path / "b.npy"))
    np.testing.assert_array_equal(*outputs)


def test_evaluation_reads_the_units_of_the_training(tmp_path):
    xarray = pytest.importorskip("xarray", reason="the extra netcdf")
    for name, unit, shift in (("a", "K", 280.0), ("b", "degC", 6.85)):
        (tmp_path / name).mkdir()
        data = {n: (("time", "y", "x"), blobs(missing=False) + shift, {"units": unit}) for n in ("t", "u")}
        xarray.Dataset(data, {"time": np.arange(18.0) * 5}).to_netcdf(tmp_path / name / "a.nc", engine="h5netcdf")
    train(tmp_path, FRAMES + 'variables = ["t", "u"]\n', tmp_path / "a")
    scores = [
        json.loads(run("eval", tmp_path / "run", "--data", tmp_path / name, "--json", "--quiet")) for name in "ab"
    ]
    first, second = (s["forecast"] for s in scores)
    assert next(iter(first.values())) == pytest.approx(next(iter(second.values())), rel=1e-2)


def test_evaluation_rejects_a_recipe_of_other_data(tmp_path):
    np.save(tmp_path / "a.npy", blobs(missing=False) + 280)
    recipe = FRAMES + 'unit = "K"\nencoding = "standardize"\n'
    train(tmp_path, recipe, tmp_path / "a.npy")
    (tmp_path / "other.toml").write_text(recipe.replace('"K"', '"degC"'))
    arguments = ("eval", tmp_path / "run", "--data", tmp_path / "a.npy", "--quiet", "--recipe")
    run(*arguments, tmp_path / "recipe.toml")
    assert "other data" in run(*arguments, tmp_path / "other.toml", code=1)
