"""Labelled frames of every source have one form, and a forecast is labelled as its source."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from convrnn_zoo import Preprocessing, create_model
from convrnn_zoo.data import ArrayFrames, Frames, ReadOptions, labelled_frames, open_frames
from convrnn_zoo.data.files import FileError
from convrnn_zoo.data.frames import read_variables
from convrnn_zoo.predict import forecast_files
from convrnn_zoo.values.labels.axes import find_pixel_km
from convrnn_zoo.values.labels.times import decode_times
from convrnn_zoo.values.preprocessing import Variable
from tests.helpers.data.own_data import write_dataset as write

xarray = pytest.importorskip("xarray", reason="the extra netcdf")
STEPS, HEIGHT, WIDTH = 6, 4, 5
START = np.datetime64("2020-02-27T00:00", "ns")


def forecaster(**options):
    """A small forecaster of two frames, which reads three."""
    torch.manual_seed(0)
    model = create_model("convgru_forecaster", hidden_channels=2, patch_size=1, horizon=2, **options).eval()
    model.preprocessing = Preprocessing(unit="mm/h", step=5.0, inputs=3)
    return model


def rain(**attrs):
    """Rain of six hours on a grid of latitudes from north to south."""
    values = np.random.default_rng(0).random((STEPS, HEIGHT, WIDTH)).astype("float32")
    values[2, 1, 1] = np.nan
    coords = {
        "time": START + np.arange(STEPS) * np.timedelta64(1, "h"),
        "lat": ("lat", np.linspace(53, 50, HEIGHT), {"standard_name": "latitude", "units": "degrees_north"}),
        "lon": ("lon", np.arange(WIDTH) / 2, {"standard_name": "longitude", "units": "degrees_east"}),
    }
    return xarray.DataArray(values, coords, ("time", "lat", "lon"), "rain", {"units": "mm/h", **attrs})


# ---- axes --------------------------------------------------------------------------------------------------------


NUMBERS = np.arange(360, dtype="float32")


def array(*dims, sizes=(3, 4, 5), **coords):
    """An array with these names of dimensions, or without names."""
    values = NUMBERS[: np.prod(sizes)].reshape(sizes)
    return xarray.DataArray(values, {n: (n, v) for n, v in coords.items()}, dims or None, "rain")


@pytest.mark.parametrize(
    ("dims", "y", "x"),
    [(("time", "a", "x"), 1, 2), (("a", "b_lat", "lon"), 1, 2), (("y", "a", "time"), 0, 1), (("x", "time", "a"), 2, 0)],
)
def test_one_dimension_that_nothing_describes_is_the_missing_one(dims, y, x):
    source = array(*dims)
    if "b_lat" in dims:
        source = source.assign_coords(b_lat=("b_lat", [3.0, 2, 1, 0], {"standard_name": "latitude"}))
    result = labelled_frames(source).rain
    time = ({0, 1, 2} - {y, x}).pop()
    np.testing.assert_array_equal(result, source.values.transpose(time, y, x))


def test_one_more_dimension_is_that_of_channels():
    source = array("time", "a", "y", "x", sizes=(3, 2, 4, 5))
    np.testing.assert_array_equal(labelled_frames(source).rain.transpose("time", "channel", "y", "x"), source)
    np.testing.assert_array_equal(
        labelled_frames(array("a", "y", "x", sizes=(1, 4, 5))).rain.values.ravel(), NUMBERS[:20]
    )


@pytest.mark.parametrize(
    ("dims", "message"),
    [
        (
            ("a", "b", "c"),
            r"a, b, c, and nothing tells which of a, b, c is time and y and x; .*rename\(a='time'\).*dims",
        ),
        (("time", "b", "c"), "which of b, c is y and x"),
        (("b", "lat", "c"), "which of b, c is time and x"),
        (("b", "c", "y", "x"), "which of b, c is time"),
        (("time", "b", "c", "y", "x"), "which of b, c is channel"),
        (("time", "station"), "which of station is y and x"),
    ],
)
def test_named_dimensions_are_never_taken_by_their_order(dims, message, tmp_path):
    source = array(*dims, sizes=(3, 4, 5, 2, 3)[: len(dims)])
    with pytest.raises(ValueError, match=message):
        labelled_frames(source)
    with pytest.raises(ValueError, match=message):
        forecaster().forecast(source)
    with pytest.raises(FileError, match=message):
        labelled_frames(write(tmp_path / "a.nc", source.to_dataset()))
    if dims == ("a", "b", "c"):
        np.testing.assert_array_equal(
            labelled_frames(source, dims={"time": "c", "y": "a"}).rain, source.values.transpose(2, 0, 1)
        )


def test_arrays_without_names_of_dimensions_have_a_documented_order():
    for sizes, dims in (
        ((3, 4, 5), "time y x"),
        ((3, 2, 4, 5), "time channel y x"),
        ((2, 3, 2, 4, 5), "realization time channel y x"),
    ):
        result = labelled_frames(array(sizes=sizes)).rain
        assert result.dims == tuple(dims.split())
        np.testing.assert_array_equal(result, array(sizes=sizes))
    assert labelled_frames(array("time", "dim_1", "dim_2")).rain.dims == ("time", "y", "x")


def test_wind_is_no_rain():
    wind = array("time", "y", "x").assign_attrs(units="m s-1", standard_name="wind_speed")
    with pytest.raises(ValueError, match=r"wind_speed, which is no rain; select the variable of rain"):
        forecaster().forecast(wind)


@pytest.mark.parametrize("dtype", ["object", "complex64"])
def test_values_that_are_no_real_numbers_are_an_error_that_names_their_type(dtype):
    with pytest.raises(ValueError, match=rf"rain.*{dtype}.*float32"):
        labelled_frames(rain().astype(dtype))


def test_static_maps_and_series_are_variables_on_the_grid_of_the_frames():
    data = (
        rain()
        .to_dataset()
        .assign(ground=(("lon", "lat"), np.arange(20.0).reshape(5, 4)), heat=("time", np.arange(6.0)))
    )
    turned = data.isel(lat=slice(None, None, -1))
    for source in (data, turned):
        frames = labelled_frames(source, variables=["rain", "heat", "ground"])
        assert list(frames.data_vars) == ["rain", "heat", "ground"]
        assert (frames.heat.dims, frames.ground.dims) == (("time",), ("y", "x"))
        np.testing.assert_array_equal(frames.ground, data.ground.T)
    other = data.assign_coords(lat2=("lat2", np.linspace(54, 51, HEIGHT), {"standard_name": "latitude"}))
    other = other.assign(ground=(("lat2", "lon"), np.zeros((HEIGHT, WIDTH))))
    with pytest.raises(ValueError, match=r"ground is on another grid: lat\[0\] is 54\.0, and 53\.0"):
        labelled_frames(other, variables=["rain", "ground"])
    assert list(labelled_frames(other).data_vars) == ["rain", "heat"]
    with pytest.raises(ValueError, match=r"no variable rian;.* rain\b"):
        labelled_frames(other, variables=["rian"])


# ---- files -------------------------------------------------------------------------------------------------------
OTHERS = {
    "size": (lambda d: d.isel(time=slice(3, 6), lat=slice(2)), r"b\.nc.* 2 values of lat.* 4"),
    "unit": (lambda d: d.isel(time=slice(3, 6)).assign_attrs(units="K"), r"b\.nc.*'K'"),
    "name": (lambda d: d.isel(time=slice(3, 6)).rename("snow"), r"b\.nc.*snow.*a\.nc.*rain"),
    "calendar": (lambda d: d.isel(time=slice(3, 6)).convert_calendar("noleap"), "noleap"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_files_of_several_series_are_an_error_that_names_the_difference(name, tmp_path):
    change, message = OTHERS[name]
    write(tmp_path / "a.nc", rain()[:4].to_dataset())
    with xarray.set_options(keep_attrs=True):
        write(tmp_path / "b.nc", change(rain()).to_dataset())
    with pytest.raises(FileError, match=message):
        labelled_frames([tmp_path / "a.nc", tmp_path / "b.nc"])


# ---- training and predict ----------------------------------------------------------------------------------------


def radar(km=1.0, steps=8, size=(40, 48)):
    """A moving shower at pixels of `km`."""
    y, x = (np.arange(n) for n in size)
    t = np.arange(steps)[:, None, None]
    values = 8 * np.exp(-((y[:, None] - 15 - t) ** 2 + (x - 20 - 2 * t) ** 2) / 60)
    coords = {
        "time": START + np.arange(steps) * np.timedelta64(5, "m"),
        "y": ("y", -y * km, {"units": "km"}),
        "x": ("x", x * km * 1000, {"units": "m"}),
    }
    return xarray.DataArray(values.astype("float32"), coords, ("time", "y", "x"), "rain", {"units": "mm/h"})


@pytest.fixture(scope="module")
def nowcast():
    torch.manual_seed(0)
    model = create_model("convgru_advection", hidden_channels=(2, 3), horizon=2).eval()
    model.preprocessing = Preprocessing(unit="mm/h", step=5.0, inputs=4)
    return model


def test_values_of_another_quantity_are_no_damaged_file():
    wind = radar().assign_attrs(units="m s-1")
    with pytest.raises(FileError, match=r"^archive: values up to .* mm/h after conversion from a speed"):
        Frames.from_dataset(partial(read_variables, wind, ReadOptions(unit="mm/h")), Path("archive")).read()


def test_pixel_sizes_are_read_from_coordinates():
    assert find_pixel_km(labelled_frames(radar(0.5))) == pytest.approx(0.5)
    degrees = find_pixel_km(labelled_frames(rain()))  # 1° by 0.5° at 51.5°
    assert degrees == pytest.approx(111.195 * np.sqrt(0.5 * np.cos(np.radians(51.5))), rel=1e-3)
    assert find_pixel_km(labelled_frames(radar().drop_vars("x"))) is None
    assert find_pixel_km(labelled_frames(radar().assign_coords(y=np.arange(40)))) is None


def test_coordinates_of_irregular_steps_warn():
    columns = np.append(np.arange(47), 200.0)
    with pytest.warns(UserWarning, match="x has steps from 1 to 154; .* pass pixel_km"):
        find_pixel_km(labelled_frames(radar().assign_coords(x=("x", columns, {"units": "km"}))))


def test_models_that_resample_maps_use_the_pixel_size_and_others_compare_it(nowcast, tmp_path):
    data = radar(1.0)
    expected = nowcast.forecast(data.values, pixel_km=1.0)
    assert abs(expected - nowcast.forecast(data.values)).max() > 0.1
    np.testing.assert_array_equal(nowcast.forecast(data), expected)
    np.testing.assert_array_equal(nowcast.forecast(radar(2.01)), nowcast.forecast(data.values))
    result = forecast_files(nowcast, "m", [write(tmp_path / "a.nc", data.to_dataset())])
    np.testing.assert_array_equal(result.forecast, expected)
    assert "pixels of 1 km" in result.describe()["notes"]
    other = forecaster()
    other.preprocessing = Preprocessing(unit="mm/h", step=5.0, inputs=4, pixel_km=2.0)
    for forecast in (lambda: other.forecast(data), lambda: forecast_files(other, "m", [tmp_path / "a.nc"])):
        with pytest.warns(UserWarning, match=r"pixels of 1 km.* 2 km"):
            forecast()


def test_frames_without_a_value_at_the_end_are_left_out(nowcast, tmp_path):
    data = radar()
    late = data.where(data.time < data.time[6])
    expected = nowcast.forecast(data[:6])
    result = nowcast.forecast(late)
    xarray.testing.assert_equal(result, expected)
    found = forecast_files(nowcast, "m", [write(tmp_path / "a.nc", late.to_dataset())])
    np.testing.assert_array_equal(found.forecast, expected)
    assert found.times[-2] == data.time.values[6].astype("datetime64[us]").item()
    assert "left out 2 later frames" in " ".join(found.describe()["notes"])


def test_a_frame_without_a_value_among_the_inputs_is_a_warning_with_its_time(nowcast, tmp_path):
    data = radar()
    hole = data.where(data.time != data.time[4])
    path = write(tmp_path / "a.nc", hole.to_dataset())
    with pytest.warns(UserWarning, match="2020-02-27T00:20:00"):
        result = nowcast.forecast(hole)
    np.testing.assert_array_equal(result, nowcast.forecast(data[5:], inputs="all"))  # the first of four
    with pytest.warns(UserWarning, match=r"a\.nc.*2020-02-27 00:20"):
        found = forecast_files(nowcast, "m", [path])
    np.testing.assert_array_equal(found.forecast, result)
    with pytest.warns(UserWarning, match="are read: 2"):
        nowcast.forecast(data.where(data.time != data.time[6]).values)


def test_forcing_that_is_longer_than_the_observations_is_read_from_the_last_observed_frame(tmp_path):
    model = forecaster(future_chans=1)
    variables = {"variables": (Variable(name="rain", unit="mm/h"),), "future": (Variable(name="forcing"),)}
    model.preprocessing = Preprocessing(step=5.0, inputs=3, **variables)
    data = radar(steps=10).to_dataset().assign(forcing=("time", np.arange(10.0)))
    data["rain"] = data.rain.where(data.time < data.time[6]).assign_attrs(units="mm/h")
    expected = model.forecast(data.rain[3:6].values, future=np.arange(3.0, 8)[:, None, None, None])
    found = forecast_files(model, "m", [write(tmp_path / "a.nc", data)])
    np.testing.assert_allclose(found.forecast, expected, rtol=1e-5)
    np.testing.assert_allclose(model.forecast(data[["rain"]], future=data.forcing).rain, expected, rtol=1e-5)
    with pytest.raises(ValueError, match=r"forcing.*|future has no value at 2020-02-27T00:35"):
        model.forecast(data[["rain"]].isel(time=slice(6)), future=data.forcing[:7])


def test_known_inputs_are_aligned_with_labelled_frames():
    model = forecaster(static_chans=1, future_chans=1)
    data, rng = radar(steps=5), np.random.default_rng(0)
    ground = xarray.DataArray(rng.random((40, 48)).astype("f4"), {"y": data.y, "x": data.x}, ("y", "x"))
    forcing = xarray.DataArray(rng.random(5).astype("f4"), {"time": data.time}, ("time",))
    expected = model.forecast(data[:3], static=ground.values[None], future=forcing.values[:, None, None, None])
    options = {"static": ground.isel(y=slice(None, None, -1)).transpose("x", "y"), "future": forcing}
    xarray.testing.assert_equal(model.forecast(data[:3], **options), expected)
    xarray.testing.assert_equal(model.forecast(data[:3], **{**options, "future": forcing[::-1]}), expected)
    with pytest.raises(ValueError, match=r"static.*another grid: y\[0\] is 1\.0"):
        model.forecast(data[:3], static=ground.assign_coords(y=("y", data.y.values + 1, data.y.attrs)), future=forcing)
    with pytest.raises(ValueError, match="future has no value at 2020-02-27T00:20"):
        model.forecast(data[:3], static=ground, future=forcing[:4])


def test_known_inputs_without_coordinates_have_the_rows_of_the_frames():
    model = forecaster(static_chans=1, future_chans=1)
    data, rng = radar(steps=3), np.random.default_rng(0)
    ground = xarray.DataArray(rng.random((40, 48)).astype("f4"), {"y": data.y, "x": data.x}, ("y", "x"))
    forcing = rng.random((5, 1, 40, 48)).astype("f4")
    expected = model.forecast(data, static=ground, future=forcing)
    turned = {"y": slice(None, None, -1), "x": slice(None, None, -1)}
    for static in (ground.isel(turned).drop_vars(["y", "x"]), ground.isel(turned).values, ground):
        result = model.forecast(data.isel(turned), static=static, future=forcing[..., ::-1, ::-1])
        np.testing.assert_array_equal(result.isel(turned), expected)
    with pytest.raises(ValueError, match="static has 3 times"):
        model.forecast(data, static=ground.expand_dims(time=data.time), future=forcing)


@pytest.mark.parametrize("fill", ["_FillValue", "missing_value"])
def test_packed_values_that_xarray_did_not_decode_are_decoded(fill, tmp_path):
    data = rain().to_dataset()
    packing = {"dtype": "int16", "scale_factor": 0.01, "add_offset": 0.5, fill: np.int16(-32768)}
    data.to_netcdf(tmp_path / "a.nc", engine="h5netcdf", encoding={"rain": packing})
    for decode in (True, False):
        with xarray.open_dataset(tmp_path / "a.nc", engine="h5netcdf", mask_and_scale=decode) as opened:
            for source in (opened, opened.rain):
                np.testing.assert_allclose(labelled_frames(source).rain, rain(), atol=0.006)


# ---- maps of positions -------------------------------------------------------------------------------------------
AXES_WRF = ("south_north", "west_east")
AXES_REVERSED = dict.fromkeys(AXES_WRF, slice(None, None, -1))


def wrf(turned=()):
    """Frames with positions ``(y, x)`` as those of WRF, from north to south, or in another direction."""
    data, y, x = radar(2.0, steps=4), *np.mgrid[:40, :48]
    data = data.drop_vars(["y", "x"]).rename(time="Time", y="south_north", x="west_east")
    north, east = 60 - 0.018 * y + 0.001 * x, 179 + 0.036 * x + 0.001 * y
    maps = {"XLAT": (north, "degree_north"), "XLONG": ((east + 180) % 360 - 180, "degree_east")}
    moves = {n: (data.dims, np.stack(4 * [v]), {"units": unit}) for n, (v, unit) in maps.items()}
    return data.assign_coords(moves).isel(dict.fromkeys(turned, slice(None, None, -1)))


@pytest.mark.sampled("turned")
@pytest.mark.parametrize("turned", [(), ("south_north",), ("west_east",), ("south_north", "west_east")])
def test_maps_of_positions_state_the_direction_and_the_pixel_size(turned, nowcast, tmp_path):
    expected = nowcast.forecast(wrf().values)
    data = labelled_frames(wrf(turned))
    np.testing.assert_array_equal(data.rain, wrf())
    assert data.XLAT.dims == ("y", "x")
    assert find_pixel_km(data) == pytest.approx(2.0, rel=0.02)
    result = nowcast.forecast(wrf(turned), pixel_km=2.0)
    np.testing.assert_array_equal(result, expected[:, *(slice(None, None, -1 if d in turned else 1) for d in AXES_WRF)])
    np.testing.assert_array_equal(result.XLAT, wrf(turned).XLAT[0])
    path = write(tmp_path / "a.nc", wrf(turned).to_dataset())
    found = forecast_files(nowcast, "m", [path], pixel_km=2.0)
    np.testing.assert_array_equal(found.forecast, expected)
    found.write(tmp_path / "f.nc")
    again = labelled_frames(tmp_path / "f.nc")
    np.testing.assert_array_equal(again.rain, expected)


def test_maps_of_another_region_are_another_grid(tmp_path):
    late = wrf().assign_coords(Time=wrf().Time + np.timedelta64(20, "m"))
    other = late.assign_coords(XLAT=late.XLAT - 0.72)
    same, apart, kind = tmp_path / "same", tmp_path / "apart", ArrayFrames(name="a", unit="mm/h", step=5)
    for folder, second in ((same, late.isel(AXES_REVERSED)), (apart, other)):
        folder.mkdir()
        write(folder / "a.nc", wrf().to_dataset())
        write(folder / "b.nc", second.to_dataset())
    np.testing.assert_array_equal(labelled_frames(sorted(same.iterdir())).rain, np.concatenate([wrf(), wrf()]))
    with pytest.raises(ValueError, match=r"b\.nc.*another grid: its XLAT"):
        labelled_frames(sorted(apart.iterdir()))
    assert [len(f) for f in kind.select(kind.open(same), same, "train")] == [8]
    assert [len(f) for f in kind.select(kind.open(apart), apart, "train")] == [4, 4]
    model = forecaster(static_chans=1)
    ground = wrf()[0].assign_attrs(units="m")
    expected = model.forecast(wrf(), static=ground)
    np.testing.assert_array_equal(model.forecast(wrf(), static=ground.isel(AXES_REVERSED)), expected)
    with pytest.raises(ValueError, match="static is on another grid: its XLONG"):
        model.forecast(wrf(), static=ground.assign_coords(XLONG=ground.XLONG + 1))


def near_pole(first):
    """Frames with maps of positions whose rows begin `first` rows from the north pole."""
    y, x = np.mgrid[first : first + 40, -24:24] + 0.5
    north, east = 90 - np.hypot(x, y) / 50, np.degrees(np.arctan2(x, y))
    maps = {
        "lat": (("y", "x"), north, {"units": "degrees_north"}),
        "lon": (("y", "x"), east, {"units": "degrees_east"}),
    }
    return radar(steps=2).drop_vars(["y", "x"]).assign_coords(maps)


def test_maps_around_a_pole_are_not_turned():
    data = near_pole(-20)
    for turned in (data, data[:, ::-1], data[:, :, ::-1]):
        np.testing.assert_array_equal(labelled_frames(turned).rain, turned)


def test_the_relation_of_reflectivity_is_a_key_of_the_recipe(tmp_path):
    data = radar(steps=18) + 0.1
    stored = (10 * np.log10(300 * data**1.4)).assign_attrs(units="dBZ")
    write(tmp_path / "a.nc", stored.to_dataset())
    kind = ArrayFrames(name="a", unit="mm/h", step=5, rain_relation=(300.0, 1.4))
    np.testing.assert_allclose(kind.load(tmp_path, "train", 2, 1)[0][:, 0], data[:3], rtol=1e-4)
    with pytest.raises(ValueError, match=r"data\.rain_relation"):
        ArrayFrames(name="a", rain_relation=(300.0,))
    with pytest.raises(ValueError, match=r"rain_relation.*above 0"):
        ReadOptions(rain_relation=(300.0, 0.0))


@pytest.mark.parametrize("numbers", [[20200131, 20200201], [1590969600.0, 1590969900.0]])
def test_dates_as_numbers_without_a_unit_are_errors(numbers, tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 8, 8), "float32"), time=np.array(numbers))
    with pytest.raises(ValueError, match="no unit"):
        open_frames(tmp_path / "a.npz")


@pytest.mark.parametrize(("zone", "hour"), [("", 0), ("Z", 0), ("UTC", 0), ("+02:00", -2), ("EST", None)])
def test_time_zones_are_converted_or_named(zone, hour):
    attrs = {"units": f"minutes since 2020-01-02 00:00:00 {zone}".rstrip()}
    if hour is None:
        with pytest.raises(ValueError, match=zone):
            decode_times(np.array([0, 5]), attrs)
        return
    assert decode_times(np.array([0, 5]), attrs)[0] == np.datetime64("2020-01-02") + np.timedelta64(hour, "h")


def test_repeated_times_are_one_frame_in_memory_too():
    values = np.random.default_rng(0).random((3, 8, 8)).astype("float32")
    times = np.array(["2020-01-01T00", "2020-01-01T01", "2020-01-01T02"], "datetime64[ns]")
    frames = xarray.DataArray(values, {"time": times}, ("time", "y", "x"), "rain")
    twice = xarray.concat([frames[:2], frames[1:]], "time")
    assert np.array_equal(labelled_frames(twice)["rain"].values, values)
    twice[1] += 1
    with pytest.raises(ValueError, match="2020-01-01"):
        labelled_frames(twice)


def test_a_value_near_zero_is_selected():
    levels = np.arange(-1, 1.05, 0.1)  # without an exact 0
    frames = xarray.DataArray(np.zeros((2, len(levels), 4, 5)), {"level": levels}, ("time", "level", "y", "x"), "rain")
    assert "level" not in labelled_frames(frames, sel={"level": 0}).dims
