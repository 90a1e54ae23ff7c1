"""Options of a recipe for reading files apply in training and in `predict`; bad data are reported before training."""

import json

import h5py
import numpy as np
import pytest

from convrnn_zoo.data import ArrayFrames
from tests.helpers.command_line import run
from tests.helpers.data.own_data import FRAMES, RADAR, VIDEO, blobs, write_gif, write_hdf5, write_zarr


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
    write_gif(tmp_path / "a.gif", (blobs(18, 40, 56, missing=False) * 15).clip(0, 255).astype("uint8"))
    train(tmp_path, VIDEO + "size = [24, 32]\n", tmp_path / "a.gif")
    assert predicted(tmp_path, tmp_path / "a.gif").shape == (4, 24, 32)


# ---- units and values ----------------------------------------------------------------------------------------------


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
    pytest.importorskip("zarr", reason="the extra zarr")
    for name in "ab":
        write_zarr(tmp_path / f"{name}.zarr", blobs())
    clips = ArrayFrames(name="a", unit="mm/h").load(tmp_path, "train", 3, 4)
    assert not clips.files[0].is_loaded
    assert len(clips) == 2 * 6


def test_transposed_arrays_and_damaged_netcdf_3_are_reported(tmp_path):
    with h5py.File(tmp_path / "a.nc", "w") as file:
        file["rate"], file["time"] = np.zeros((4, 5, 9)), np.arange(9)
    with pytest.raises(ValueError, match=r"a\.nc.*\(4, 5, 9\)"):
        ArrayFrames(name="a").load(tmp_path / "a.nc", "train", 3, 4)
    (tmp_path / "a.nc").write_bytes(b"CDF\x01" + bytes(100))
    with pytest.raises(ValueError, match=r"a\.nc.*variable of frames"):
        ArrayFrames(name="a").load(tmp_path / "a.nc", "train", 3, 4)


@pytest.mark.slow
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
    options = ("-o", tmp_path / "b.npy", "--recipe", tmp_path / "other.toml")
    assert "other data" in run("predict", tmp_path / "run", tmp_path / "a.npy", *options, code=1)


def test_dimensions_with_spaces_are_stored_in_the_recipe(tmp_path):
    xarray = pytest.importorskip("xarray", reason="the extra netcdf")
    data = xarray.DataArray(
        blobs()[:, None], dims=("time", "pressure level", "y", "x"), name="rate", attrs={"units": "mm/h"}
    )
    data.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    train(tmp_path, RADAR + 'sel = {"pressure level" = 0}\n', tmp_path / "a.nc")
    assert predicted(tmp_path, tmp_path / "a.nc").shape == (4, 24, 28)


@pytest.mark.slow
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
