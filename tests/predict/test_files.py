"""`predict` reads several files, folders and archives of variables, and writes NetCDF and Zarr with coordinates."""

import json
import tomllib

import numpy as np
import pytest
import torch
from PIL import Image

from convrnn_zoo import Preprocessing, create_model, from_pretrained, save_pretrained
from convrnn_zoo.predict import forecast_files
from convrnn_zoo.recipes import Recipe
from convrnn_zoo.train import train
from convrnn_zoo.values.preprocessing import Variable
from tests.helpers.command_line import run

xarray = pytest.importorskip("xarray", reason="the extra netcdf")
pandas = pytest.importorskip("pandas", reason="of xarray")
MINUTE = np.timedelta64(1, "m")


def rain(steps=6, minutes=5, seed=0):
    values = np.random.default_rng(seed).random((steps, 6, 8)).astype("float32")
    coords = {
        "time": np.datetime64("2020-01-01T12:00", "ns") + np.arange(steps) * minutes * MINUTE,
        "lat": ("lat", np.linspace(60, 55.1, 6), {"units": "degrees_north", "standard_name": "latitude"}),
        "lon": np.arange(8.0),
    }
    return xarray.DataArray(values, dims=("time", "lat", "lon"), coords=coords, name="rain", attrs={"units": "mm/h"})


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    net = create_model("convgru_forecaster", hidden_channels=2, kernel_size=1, patch_size=1, horizon=3)
    net.preprocessing = Preprocessing(unit="mm/h", step=5.0, inputs=4, horizon=3)
    return save_pretrained(net, tmp_path_factory.mktemp("model") / "run")


@pytest.fixture(scope="module")
def nowcast(tmp_path_factory):
    torch.manual_seed(0)
    net = create_model("convgru_advection", hidden_channels=(2, 3), horizon=4)
    return save_pretrained(net, tmp_path_factory.mktemp("nowcast") / "run")


def open_output(path):
    options = {"engine": "zarr", "consolidated": False} if path.suffix == ".zarr" else {}
    return xarray.open_dataset(path, decode_timedelta=True, **options)


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_a_forecast_is_written_with_coordinates(suffix, model, tmp_path):
    if suffix == ".zarr":
        pytest.importorskip("zarr", reason="the extra zarr")
    rain().to_netcdf(tmp_path / "rain.nc", engine="h5netcdf")
    run("predict", model, tmp_path / "rain.nc", "-o", tmp_path / "a.npy")
    out = tmp_path / f"out{suffix}"
    assert "read frames 2 to 5 of 6" in run("predict", model, tmp_path / "rain.nc", "-o", out)
    with open_output(out) as data:
        assert data.rain.dims == ("lead_time", "lat", "lon")
        np.testing.assert_array_equal(data.rain, np.load(tmp_path / "a.npy"))
        assert data.rain.attrs["units"] == "mm/h"
        assert (data.lead_time.values / MINUTE).tolist() == [5, 10, 15]
        assert data.time.values[-1] == np.datetime64("2020-01-01T12:40")
        assert data.forecast_reference_time.values == np.datetime64("2020-01-01T12:25")
        np.testing.assert_array_equal(data.lat, rain().lat)
        assert data.lat.dtype == "float64"  # so that it aligns with the observations
        assert data.lat.attrs["standard_name"] == "latitude"
        assert data.attrs["Conventions"].startswith("CF-")
        assert data.attrs["source"].startswith("convrnn_zoo")
    if suffix == ".zarr":
        assert "exists" in run("predict", model, tmp_path / "rain.nc", "-o", out, code=1)


def test_members_are_realizations(tmp_path):
    net = create_model("convgru_irene", num_blocks=1, horizon=2)
    net.preprocessing = Preprocessing(unit="mm/h", encoding="dbz", step=5.0, inputs=4)
    save_pretrained(net, tmp_path / "run")
    rain().to_netcdf(tmp_path / "rain.nc", engine="h5netcdf")
    args = ("predict", tmp_path / "run", tmp_path / "rain.nc", "--members", 3)
    run(*args, "-o", tmp_path / "out.nc")
    with open_output(tmp_path / "out.nc") as data:
        assert data.rain.dims == ("realization", "lead_time", "lat", "lon")
        members = data.rain.values
    run(*args, "--probability", "0.2,50", "-o", tmp_path / "p.nc")
    with open_output(tmp_path / "p.nc") as data:
        chance = data.probability_of_rain
        assert chance.dims == ("lead_time", "threshold", "lat", "lon")
        np.testing.assert_allclose(chance.sel(threshold=0.2), (members >= 0.2).mean(0), rtol=1e-6)


@pytest.mark.slow
def test_a_nowcast_gives_probabilities_and_any_time_step(nowcast, tmp_path):
    rain(minutes=10).to_netcdf(tmp_path / "rain.nc", engine="h5netcdf")
    args = ("predict", nowcast, tmp_path / "rain.nc")
    run(*args, "--probability", "0.5,5", "-o", tmp_path / "p.nc")
    with open_output(tmp_path / "p.nc") as data:
        chance = data.probability_of_rain
        assert chance.dims == ("lead_time", "threshold", "lat", "lon")
        assert chance.threshold.values.tolist() == [0.5, 5]
        assert (chance.lead_time.values / MINUTE).tolist() == [10, 20]
        assert float(chance.min()) >= 0
        assert float(chance.max()) <= 1
    text = run(*args, "--minutes", 10, "--probability", 0.5, "--json")
    output, warning = text.splitlines()
    assert (json.loads(output)["step"], json.loads(output)["thresholds"]) == (10, [0.5])
    assert "taken for squares" in warning
    run(*args, "--minutes", 10, "--probability", "0.5,5", "-o", tmp_path / "p.npz")
    assert np.load(tmp_path / "p.npz")["forecast"].shape == (2, 2, 6, 8)


@pytest.mark.parametrize(
    ("option", "value"),
    [("members", 2), ("seed", 1), ("thresholds", (1.0,)), ("minutes", 10), ("pixel_km", 1), ("outside", "nan")],
)
def test_options_that_a_model_lacks_are_errors(option, value, model, tmp_path):
    np.save(tmp_path / "a.npy", rain().values)
    flag = {"thresholds": "--probability"}.get(option, "--" + option.replace("_", "-"))
    with pytest.raises(ValueError, match=rf"^{option} \({flag}\): "):
        forecast_files(from_pretrained(model), "m", [tmp_path / "a.npy"], **{option: value})
    assert "--compare" in run(
        "predict", model, tmp_path / "a.npy", "-o", tmp_path / "b.nc", "--probability", 1, "--compare", code=1
    )


@pytest.mark.sampled("options", "suffix")
@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
@pytest.mark.parametrize("options", [{}, {"thresholds": (0.5,)}, {"members": 2, "thresholds": (0.5, 2.0)}])
def test_the_mask_of_rain_from_outside_is_written(options, suffix, nowcast, tmp_path):
    if suffix == ".zarr":
        pytest.importorskip("zarr", reason="the extra zarr")
    model, data = from_pretrained(nowcast), frames()
    data.to_netcdf(tmp_path / "a.nc")
    np.save(tmp_path / "a.npy", data.values)
    expected = model.forecast(data)["outside"]
    assert 0 < expected.mean() < 1
    for source in ("a.nc", "a.npy"):
        out = tmp_path / f"{source}{suffix}"
        forecast_files(model, "m", [tmp_path / source], outside="nan", **options).write(out)
        with open_output(out) as written:
            np.testing.assert_array_equal(written["outside"], expected)
            for variable in written.data_vars.values():
                mask = written["outside"].broadcast_like(variable).transpose(*variable.dims)
                np.testing.assert_array_equal(np.isnan(variable), mask)


@pytest.mark.parametrize("value", ["a", "", "0.5,", "nan"])
def test_probabilities_must_be_numbers(value, nowcast, tmp_path):
    np.save(tmp_path / "a.npy", rain().values)
    args = ("predict", nowcast, tmp_path / "a.npy", "-o", tmp_path / "b.nc")
    assert "separated by commas" in run(*args, "--probability", value, code=2)
    assert "b.gif" in run("predict", nowcast, tmp_path / "a.npy", "-o", tmp_path / "b.gif", "--probability", 1, code=1)


def test_files_that_do_not_belong_together_are_errors(model, tmp_path):
    np.save(tmp_path / "a.npy", rain().values)
    (tmp_path / "b.txt").write_text("3")
    assert "b.txt" in run("predict", model, tmp_path / "a.npy", tmp_path / "b.txt", "-o", tmp_path / "c.npy", code=1)
    maps = [tmp_path / f"map{i}.npy" for i in range(2)]
    for i, path in enumerate(maps):
        np.save(path, np.ones((8, 8 + i), "float32"))
    assert "map1.npy: expected frames as in" in run("predict", model, *maps, "-o", tmp_path / "c.npy", code=1)
    (tmp_path / "empty").mkdir()
    assert "empty" in run("predict", model, tmp_path / "empty", "-o", tmp_path / "c.npy", code=1)
    for name in ("a", "b"):
        image = Image.fromarray(np.zeros((4, 4), "uint8"))
        image.save(tmp_path / "empty" / f"{name}.gif", save_all=True, append_images=[image])
    text = run("predict", model, tmp_path / "empty", "-o", tmp_path / "c.npy", code=1)
    assert str(tmp_path / "empty" / "a.gif") in text


def test_a_folder_of_recordings_is_classified(tmp_path):
    torch.manual_seed(0)
    save_pretrained(create_model("convgru1d_1layer", in_chans=3, hidden_channels=2, num_classes=2), tmp_path / "run")
    folder = tmp_path / "recordings"
    folder.mkdir()
    for i in (1, 2, 10):
        np.save(folder / f"r{i}.npy", np.random.default_rng(i).random((5, 3, 1)).astype("float32"))
    rows = json.loads(run("predict", tmp_path / "run", folder, "--json"))
    assert [row["file"].rpartition("/")[2] for row in rows] == ["r1.npy", "r2.npy", "r10.npy"]
    (tmp_path / "empty").mkdir()
    assert "empty" in run("predict", tmp_path / "run", tmp_path / "empty", "--json", code=1)


def test_attributes_that_netcdf_cannot_hold_are_left_out_with_a_note(model, tmp_path):
    pytest.importorskip("zarr", reason="the extra zarr")
    data = rain().to_dataset()
    data["rain"].attrs |= {"standard_name": "rainfall_rate", "grid_mapping": "crs"}
    data["crs"] = ((), 0, {"grid_mapping_name": "latitude_longitude", "nested": {"a": 1}, "known": True})
    data["lat"].attrs["nothing"] = None
    data.to_zarr(tmp_path / "rain.zarr", consolidated=False)
    text = run("predict", model, tmp_path / "rain.zarr", "-o", tmp_path / "a.nc")
    assert all(name in text for name in ("crs.nested", "crs.known", "lat.nothing"))
    with xarray.open_dataset(tmp_path / "a.nc", decode_coords=False) as written:
        assert written.rain.attrs["standard_name"] == "rainfall_rate"
        assert written.rain.attrs["grid_mapping"] == "crs"
        assert "crs" not in written.rain.attrs.get("coordinates", "").split()
        assert written.crs.attrs == {"grid_mapping_name": "latitude_longitude"}
        assert written.lat.attrs["units"] == "degrees_north"
    run("predict", model, tmp_path / "rain.zarr", "-o", tmp_path / "a.zarr")
    with open_output(tmp_path / "a.zarr") as written:
        assert written.crs.attrs["nested"] == {"a": 1}
    with pytest.warns(UserWarning, match=r"b\.nc: NetCDF cannot hold the attributes .*lat\.nothing"):
        forecast_files(from_pretrained(model), "m", [tmp_path / "rain.zarr"]).write(tmp_path / "b.nc")


def months(count, start=0):
    """Monthly means over ten years, dated at the first of each month, with a cycle of a year."""
    number = np.arange(start, start + count)
    time = np.datetime64("2010-01", "M") + number
    season = np.cos(2 * np.pi * number / 12)[:, None, None]
    place = np.linspace(0, 1, 48).reshape(6, 8)
    coords = {"time": time.astype("datetime64[ns]"), "lat": np.linspace(60, 55, 6), "lon": np.arange(8.0)}
    dims = ("time", "lat", "lon")
    values = (280 + 10 * season * (1 + place)).astype("float32")
    return xarray.DataArray(values, dims=dims, coords=coords, name="t2m", attrs={"units": "K"})


@pytest.mark.slow
@pytest.mark.parametrize("calendar", ["standard", "noleap"])
def test_monthly_data_are_described_trained_on_and_predicted(calendar, tmp_path):
    data = months(60)
    if calendar == "noleap":
        data = data.convert_calendar("noleap")
    data.to_netcdf(tmp_path / "monthly.nc", engine="h5netcdf")
    run("recipe", "convgru_forecaster", tmp_path / "monthly.nc", "-o", tmp_path / "a.toml")
    text = (tmp_path / "a.toml").read_text()
    assert 'step = "month"' in text
    small = {**tomllib.loads(text), "max_steps": 1, "batch_size": 1, "inputs": 3, "horizon": 2}
    small["model"] = {"hidden_channels": [2, 2], "kernel_size": 3, "patch_size": 1}
    record = train(Recipe.of(small), data=tmp_path / "monthly.nc", out=tmp_path / "run", progress=False)
    assert record.preprocessing.step == "month"
    baselines = {m.name: m.baselines for m in record.metrics}
    assert baselines["MSE"]["climatology"] < 1e-6 < baselines["MSE"]["last frame"]
    run("predict", tmp_path / "run", tmp_path / "monthly.nc", "-o", tmp_path / "out.nc")
    with xarray.open_dataset(tmp_path / "out.nc") as forecast:
        assert [str(t)[:10] for t in forecast.time.values] == ["2015-01-01", "2015-02-01"]
        if calendar == "standard":
            assert (forecast.lead_time.values / np.timedelta64(1, "D")).tolist() == [31, 62]
    net = from_pretrained(tmp_path / "run")
    written = net.forecast(data[-3:])
    assert written.time.dt.strftime("%Y-%m").values.tolist() == ["2015-01", "2015-02"]
    with pytest.raises(ValueError, match="month"):
        net.forecast(data[[0, 1, 3]])
    days = rain(3, minutes=1440).rename("t2m").assign_attrs(units="K")
    days.to_netcdf(tmp_path / "daily.nc", engine="h5netcdf")
    assert "month" in run("predict", tmp_path / "run", tmp_path / "daily.nc", "-o", tmp_path / "x.nc", code=1)


def test_a_latest_frame_without_a_value_is_an_error(model, tmp_path):
    data = rain(9)
    data[5] = np.nan
    data.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    text = run("predict", model, tmp_path / "a.nc", "--start", "12:10", "-o", tmp_path / "f.nc", code=1)
    assert "the latest frame that is read, 2020-01-01 12:25, has no value; pass another --start" in text
    run("predict", model, tmp_path / "a.nc", "--start", "12:15", "-o", tmp_path / "f.nc")


def test_another_step_names_a_fix_that_is_possible(model, tmp_path):
    rain().to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    args = ("predict", "convgru_advection.nowcast", tmp_path / "a.nc", "--minutes", 10, "-o", tmp_path / "f.nc")
    assert "correct --minutes, or omit it" in run(*args, code=1)
    rain(minutes=1).to_netcdf(tmp_path / "b.nc", engine="h5netcdf")
    text = run("predict", model, tmp_path / "b.nc", "-o", tmp_path / "f.nc", code=1)
    assert "are 1 minute apart, expected 5 minutes; pass frames at the step of the training" in text
    uneven = rain().assign_coords(time=rain().time + np.array([0, 0, 0, 2, 2, 2]) * MINUTE)
    uneven.to_netcdf(tmp_path / "c.nc", engine="h5netcdf")
    text = run("predict", model, tmp_path / "c.nc", "-o", tmp_path / "f.nc", code=1)
    assert "--start" in text
    assert "data." not in text  # no advice in Python


def test_ten_minute_sums_of_one_map_per_file_are_forecast_at_their_step(nowcast, tmp_path):
    """Files as those of the Bureau of Meteorology: sums in kg m-2 from the start time to the valid time of each map."""
    frames, y, x = rain(steps=5, minutes=10), np.arange(5.75, -0.25, -1), np.arange(0.25, 8)
    for i, time in enumerate(frames.time.values):
        sums = xarray.Dataset(
            {"precipitation": (("y", "x"), frames.values[i] / 6, {"units": "kg m-2", "grid_mapping": "proj"})},
            {
                "y": ("y", y, {"standard_name": "projection_y_coordinate", "units": "km"}),
                "x": ("x", x, {"standard_name": "projection_x_coordinate", "units": "km"}),
            },
        ).assign(
            valid_time=((), time),
            start_time=((), time - 10 * MINUTE),
            proj=((), 0, {"grid_mapping_name": "albers_conical_equal_area", "standard_parallel": [-18.0, -36.0]}),
        )
        sums.precipitation.attrs["standard_name"] = "precipitation_amount"
        sums.valid_time.attrs["standard_name"] = "time"
        sums.to_netcdf(tmp_path / f"{i}.prcp-crate.nc", engine="h5netcdf")
    run("predict", nowcast, *sorted(tmp_path.glob("*.prcp-crate.nc")), "-o", tmp_path / "out.nc")
    expected = from_pretrained(nowcast).forecast(
        torch.from_numpy(frames.values[-4:]), 2, minutes=10, pixel_km=1, inputs="all"
    )
    with open_output(tmp_path / "out.nc") as data:
        name = next(n for n, v in data.data_vars.items() if "lead_time" in v.dims)
        assert (data.lead_time.values / MINUTE).tolist() == [10, 20]
        np.testing.assert_allclose(data[name].values, expected, rtol=1e-4, atol=1e-5)


def test_options_without_effect_are_errors(model, tmp_path):
    rain().to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    np.save(tmp_path / "a.npy", rain().values)
    for option in (["--coarsen", "3"], ["--rain-relation", "200,1.6"]):
        for file in ("a.nc", "a.npy"):
            text = run("predict", model, tmp_path / file, *option, "-o", tmp_path / "y.npy", code=1)
            assert option[0] in text
    assert not (tmp_path / "y.npy").exists()


def test_files_with_and_without_dates_are_not_joined(model, tmp_path):
    frames = rain().assign_attrs(units="mm/h")
    frames.to_netcdf(tmp_path / "z.nc", engine="h5netcdf")
    np.save(tmp_path / "a.npy", frames.values)
    text = run("predict", model, tmp_path / "a.npy", tmp_path / "z.nc", "-o", tmp_path / "y.nc", code=1)
    assert "a.npy" in text


def test_pixels_that_contradict_the_coordinates_or_are_not_square_are_warned_of():
    def places(kilometers):
        rows, columns = (np.arange(32.0) * edge for edge in kilometers)
        return {"y": ("y", rows[::-1], {"units": "km"}), "x": ("x", columns, {"units": "km"})}

    values = np.random.default_rng(0).random((4, 32, 32)).astype("float32")
    model = create_model("convgru_advection", hidden_channels=(2, 3)).eval()
    square, wide = (
        xarray.DataArray(values, places(edges), ("time", "y", "x"), "rain", {"units": "mm/h"})
        for edges in ((1.0, 1.0), (1.0, 2.0))
    )
    with pytest.warns(UserWarning, match="pixels of 1 km; pixel_km=2"):
        model.forecast(square, horizon=1, pixel_km=2.0)
    with pytest.warns(UserWarning, match="pixels of 1 × 2 km"):
        model.forecast(wide, horizon=1)


# ---- frames that a command receives ------------------------------------------------------------------------------
def frames(steps=8, freq="5min"):
    """Rain in mm/h on pixels of 2 km; the rows go south, as in the normal form."""
    attrs = [{"units": "km", "standard_name": f"projection_{a}_coordinate"} for a in "yx"]
    place = ("y", 2.0 * np.arange(32)[::-1], attrs[0]), ("x", 2.0 * np.arange(32), attrs[1])
    values = np.random.default_rng(0).gamma(0.3, 2.0, (steps, 32, 32)).astype("float32")
    coords = {"time": pandas.date_range("2020-06-01", periods=steps, freq=freq), "y": place[0], "x": place[1]}
    return xarray.DataArray(values, coords, ("time", "y", "x"), "rain", {"units": "mm/h"})


def decibel(rain):
    return rain.copy(data=10 * np.log10(200 * np.maximum(rain.values, 0.5) ** 1.6))


@pytest.mark.parametrize("missing", [[6], [5], [5, 6], [4]])
def test_missing_frames_are_inserted_as_unknown(missing, nowcast, tmp_path):
    model, data = from_pretrained(nowcast), frames()
    data.drop_isel(time=missing).to_netcdf(tmp_path / "a.nc")
    with pytest.warns(UserWarning, match="without a value"):
        result = forecast_files(model, "m", [tmp_path / "a.nc"])
    unknown = data.copy(deep=True)
    unknown[missing] = np.nan
    with pytest.warns(UserWarning, match="without a value"):
        expected = model.forecast(unknown)
    for time, map_ in zip(data.time.values, data.values, strict=True):
        np.save(tmp_path / f"{str(time)[:16].replace(':', '-')}.npy", map_)
    maps = sorted(tmp_path.glob("*.npy"))
    with pytest.warns(UserWarning, match="without a value"):
        of_maps = forecast_files(model, "m", [m for i, m in enumerate(maps) if i not in missing], pixel_km=2.0)
    for found in (result, of_maps):
        np.testing.assert_allclose(found.forecast, expected.values, rtol=1e-5, atol=1e-6)
        assert [f"{t:%H:%M}" for t in found.frames.dates] == ["00:20", "00:25", "00:30", "00:35"]


def test_reflectivity_without_a_unit_is_an_error(nowcast, tmp_path):
    model, data = from_pretrained(nowcast), decibel(frames())
    del data.attrs["units"]
    np.save(tmp_path / "a.npy", data.values)
    data.to_netcdf(tmp_path / "a.nc")
    for name in ("a.npy", "a.nc"):
        with pytest.raises(ValueError, match="dBZ"):
            forecast_files(model, "m", [tmp_path / name])


def test_numbers_that_mark_missing_values_are_an_error(nowcast, tmp_path):
    data = frames()
    data[-1, 3, 4] = -9999.0
    data.to_netcdf(tmp_path / "a.nc")
    with pytest.raises(ValueError, match="-9999"):
        forecast_files(from_pretrained(nowcast), "m", [tmp_path / "a.nc"])


def test_the_forecast_from_reflectivity_is_a_rainfall_rate(nowcast, tmp_path):
    model = from_pretrained(nowcast)
    data = decibel(frames()).rename("DBZH").assign_attrs(units="dBZ", long_name="reflectivity")
    data.to_netcdf(tmp_path / "a.nc")
    forecast_files(model, "m", [tmp_path / "a.nc"]).write(tmp_path / "b.nc")
    with xarray.open_dataset(tmp_path / "b.nc", decode_timedelta=True) as written:
        assert written["rainfall_rate"].attrs["units"] == "mm/h"
        assert "DBZH" not in written
    assert model.forecast(data).name == "rainfall_rate"
    assert "long_name" not in model.forecast(data).attrs
    assert model.probabilities(data, [1.0]).name == "probability_of_rainfall_rate"


def test_a_variable_of_several_files_is_selected_by_its_name(nowcast, tmp_path):
    data = frames().to_dataset().assign(other=2 * frames())
    for i in (0, 1):
        data.isel(time=slice(4 * i, 4 * i + 4)).to_netcdf(tmp_path / f"{i}.nc")
    model = from_pretrained(nowcast)
    expected = model.forecast(data["rain"])
    for files in ([tmp_path / "0.nc", tmp_path / "1.nc"], [tmp_path]):
        result = forecast_files(model, "m", files, key="rain")
        np.testing.assert_allclose(result.forecast, expected.values, rtol=1e-5, atol=1e-6)


def test_the_default_horizon_is_the_trained_time(nowcast, tmp_path):
    frames(freq="10min").to_netcdf(tmp_path / "a.nc")
    model = from_pretrained(nowcast)
    trained = model.horizon
    assert forecast_files(model, "m", [tmp_path / "a.nc"]).run.horizon == max(1, trained // 2)
    with pytest.warns(UserWarning, match="beyond"):
        assert forecast_files(model, "m", [tmp_path / "a.nc"], horizon=trained).run.horizon == trained


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.* has pixels of")
@pytest.mark.parametrize("has_recipe", [False, True])
def test_one_member_of_an_ensemble_is_selected(has_recipe, model, tmp_path):
    model = "convgru_forecaster.rain" if has_recipe else model
    members = xarray.concat([rain(), rain(seed=1)], "number").assign_coords(number=[3, 4])
    members.transpose("number", "time", "lat", "lon").to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    rain(seed=1).sel(lat=slice(59, 57)).to_netcdf(tmp_path / "b.nc", engine="h5netcdf")
    assert "--sel number=3" in run("predict", model, tmp_path / "a.nc", "-o", tmp_path / "f.npy", code=1)
    run("predict", model, tmp_path / "a.nc", "--sel", "number=4", "--sel", "lat=57,59", "-o", tmp_path / "f.npy")
    run("predict", model, tmp_path / "b.nc", "-o", tmp_path / "g.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "f.npy"), np.load(tmp_path / "g.npy"))
    named = members.assign_coords(number=["003", "2020"])
    named.transpose("number", "time", "lat", "lon").to_netcdf(tmp_path / "n.nc", engine="h5netcdf")
    for label in ("003", "2020"):
        run("predict", model, tmp_path / "n.nc", "--sel", f"number={label}", "-o", tmp_path / f"{label}.nc")
    assert "such as realization=0" in run(
        "predict", model, tmp_path / "a.nc", "--sel", "number", "-o", tmp_path / "f.npy", code=2
    )


def test_variables_static_maps_and_known_inputs_are_read_by_name(tmp_path):
    torch.manual_seed(0)
    net = create_model(
        "convgru_forecaster",
        in_chans=2,
        out_chans=1,
        static_chans=1,
        future_chans=1,
        hidden_channels=2,
        kernel_size=1,
        patch_size=1,
        horizon=2,
    )
    net.preprocessing = Preprocessing(
        step=5.0,
        inputs=3,
        horizon=2,
        targets=("t2m",),
        static=(Variable(name="elevation", unit="m"),),
        variables=(Variable(name="rain", unit="mm/h"), Variable(name="t2m", unit="K")),
        future=(Variable(name="hour"),),
    )
    save_pretrained(net, tmp_path / "run")
    data = rain().to_dataset()
    data["t2m"] = (data.rain + 20).assign_attrs(units="degC")
    data["elevation"] = (data.rain[0] * 100).assign_attrs(units="m")
    data["hour"] = ("time", np.arange(6.0))
    data.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    args = ("predict", tmp_path / "run", tmp_path / "a.nc")
    assert "read frames 1 to 3 of 6" in run(*args, "-o", tmp_path / "out.nc")
    frames = np.stack([data.rain, data.rain + 293.15], 1)[1:4]
    hour = np.arange(1.0, 6)[:, None, None, None]
    expected = net.eval().forecast(frames, static=data.elevation.values[None], future=hour, inputs="all")
    with open_output(tmp_path / "out.nc") as forecast:
        assert list(forecast.data_vars) == ["t2m"]
        assert forecast.t2m.attrs["units"] == "K"
        np.testing.assert_allclose(forecast.t2m, expected[:, 0], rtol=1e-5)
        assert forecast.forecast_reference_time.values == np.datetime64("2020-01-01T12:15")
    assert "compared with 2 observed" in run(*args, "--compare", "-o", tmp_path / "out.npy")
    assert "known inputs" in run(*args, "--start", 3, "-o", tmp_path / "out.npy", code=1)
    assert "reads the variables rain, t2m by their names" in run(
        *args, "--key", "t2m", "-o", tmp_path / "c.npy", code=1
    )
    data.drop_vars("t2m").to_netcdf(tmp_path / "b.nc", engine="h5netcdf")
    assert "no variable t2m" in run("predict", tmp_path / "run", tmp_path / "b.nc", "-o", tmp_path / "c.npy", code=1)
