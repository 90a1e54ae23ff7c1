"""Labelled frames of every source have one form, and a forecast is labelled as its source."""

import pickle

import numpy as np
import pytest
import torch

from convrnn_zoo import Preprocessing
from convrnn_zoo.data import ReadOptions, labelled_frames, open_frames
from convrnn_zoo.data.files import FileError
from convrnn_zoo.data.forecasts import to_dataset, write_dataset
from convrnn_zoo.data.readers import open_files

xarray = pytest.importorskip("xarray", reason="the extra netcdf")
STEPS, HEIGHT, WIDTH = 6, 4, 5
START = np.datetime64("2020-02-27T00:00", "ns")


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


def check(data, expected=None):
    """The values and the dates of a Dataset in the form of frames are those of rain()."""
    expected = rain() if expected is None else expected
    assert data.rain.dims == ("time", "y", "x")
    assert data.rain.dtype == "float32"
    np.testing.assert_allclose(data.rain, expected, rtol=1e-6)
    np.testing.assert_array_equal(data.time, expected.time)


# ---- axes --------------------------------------------------------------------------------------------------------
def cf_names(data):
    return data.rename(lat="a", lon="b", time="c").assign_coords(c=("c", data.time.values, {"axis": "T"}))


AXES = {
    "memory order": lambda d: d.transpose("lon", "time", "lat"),
    "directions": lambda d: d.isel(lat=slice(None, None, -1), lon=slice(None, None, -1), time=slice(None, None, -1)),
    "unordered times": lambda d: d.isel(time=[3, 0, 5, 1, 2, 4]),
    "names in capitals": lambda d: d.rename(lat="LAT", lon="LON", time="Time"),
    "CF attributes": cf_names,
    "names without coordinates": lambda d: d.drop_vars(["lat", "lon"]).rename(lat="south_north", lon="west_east"),
    "a dated auxiliary coordinate": lambda d: d.rename(time="Time").rename(Time="XTIME").swap_dims(XTIME="t0"),
    "a level of one": lambda d: d.expand_dims(height=[2.0], axis=1),
    "a DataArray in a Dataset": lambda d: d.to_dataset(),
}


@pytest.mark.parametrize("name", AXES)
def test_axes_are_recognised_by_their_labels(name):
    check(labelled_frames(AXES[name](rain())))


def test_coordinates_attributes_and_projection_are_those_of_the_source():
    source = rain(standard_name="rainfall_rate", grid_mapping="crs").assign_coords(
        crs=((), 0, {"grid_mapping_name": "latitude_longitude"}), station=("lon", list("abcde"))
    )
    data = labelled_frames(source)
    assert data.rain.attrs == {"units": "mm/h", "standard_name": "rainfall_rate", "grid_mapping": "crs"}
    assert data.crs.attrs["grid_mapping_name"] == "latitude_longitude"
    assert data.station.values.tolist() == list("abcde")
    np.testing.assert_array_equal(data.lat, source.lat)


def test_two_dimensions_of_time_are_an_error_that_names_the_selection():
    source = rain().expand_dims(run=START + np.arange(3) * np.timedelta64(6, "h"))
    with pytest.raises(ValueError, match=r"run and time.*data\.sel"):
        labelled_frames(source, variables=["rain"])
    check(labelled_frames(source, sel={"run": "2020-02-27T06:00"}))


def test_static_maps_and_series_are_variables_on_the_grid_of_the_frames():
    data = rain().to_dataset().assign(
        ground=(("lon", "lat"), np.arange(20.0).reshape(5, 4)), heat=("time", np.arange(6.0))
    )  # fmt: skip
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


# ---- times -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("calendar", ["standard", "noleap", "360_day"])
def test_dates_of_every_calendar_are_kept_from_file_to_forecast(calendar, tmp_path):
    data = rain().to_dataset().drop_vars("time")
    units = "hours since 2021-02-28 20:00"
    data["time"] = ("time", np.arange(STEPS), {"units": units, "calendar": calendar})
    data.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    frames = open_frames(tmp_path / "a.nc", ReadOptions(unit="mm/h"))
    days = {"standard": "03-01", "noleap": "03-01", "360_day": "02-29"}
    assert [f"{t:%m-%d %H}" for t in frames.dates][3:5] == ["02-28 23", f"{days[calendar]} 00"]
    assert frames.step == 60
    dataset = to_dataset(torch.zeros(3, HEIGHT, WIDTH), frames, Preprocessing(unit="mm/h"), step=60.0)
    write_dataset(dataset, tmp_path / "b.nc")
    again = open_frames(tmp_path / "b.nc", ReadOptions(unit="mm/h"))
    assert again.dates[0] - frames.dates[-1] == frames.dates[1] - frames.dates[0]
    assert again.step == 60


@pytest.mark.parametrize("unit", ["us", "µs", "ns", "Minutes"])
def test_units_of_time_that_xarray_does_not_decode_are_read(unit, tmp_path):
    """xarray raises ValueError for these, or leaves the numbers as they are."""
    seconds = {"us": 1e-6, "µs": 1e-6, "ns": 1e-9, "Minutes": 60}[unit]
    data = rain().to_dataset().drop_vars("time")
    number = (np.arange(STEPS) * round(3600 / seconds)).astype("int64")
    data["time"] = ("time", number, {"units": f"{unit} Since 2020-02-27"})
    data.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    check(labelled_frames(tmp_path / "a.nc"))


# ---- files -------------------------------------------------------------------------------------------------------
def write(path, data):
    if path.suffix == ".zarr":
        pytest.importorskip("zarr", reason="the extra zarr")
        data.to_zarr(path, consolidated=False)
    else:
        data.to_netcdf(path, engine="h5netcdf")
    return path


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_several_files_are_one_series_in_the_order_of_their_times(suffix, tmp_path):
    data = rain().to_dataset().assign(ground=(("lat", "lon"), np.ones((HEIGHT, WIDTH))))
    parts = {"c": slice(0, 3), "a": slice(2, 4), "b": slice(4, 6)}
    paths = [write(tmp_path / f"{n}{suffix}", data.isel(time=s)) for n, s in parts.items()]
    frames = labelled_frames(sorted(paths))
    check(frames)
    np.testing.assert_array_equal(frames.isel(time=[1, 4, 5]).rain, rain().isel(time=[1, 4, 5]))
    np.testing.assert_array_equal(frames.isel(time=3).rain, rain().isel(time=3))
    joined = open_files(paths, ReadOptions(variable="rain", unit="mm/h"))
    np.testing.assert_array_equal(joined.read(1, 5, slice(1, 3))[:, 0], rain()[1:5, 1:3])
    assert torch.equal(pickle.loads(pickle.dumps(joined)).read(0, 2).nan_to_num(0), joined.read(0, 2).nan_to_num(0))


OTHERS = {
    "values": (lambda d: d.isel(time=slice(2, 5)) + 1, r"a\.nc and .*b\.nc .*rain at 2020-02-27T02"),
    "region": (lambda d: d.isel(time=slice(3, 6)).assign_coords(lat=d.lat.values - 1), r"b\.nc.*lat\[0\].*a\.nc"),
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


def test_files_in_other_units_and_directions_are_joined(tmp_path):
    write(tmp_path / "a.nc", rain()[:3].to_dataset())
    other = (rain()[3:] / 12).assign_attrs(units="mm/5min").isel(lat=slice(None, None, -1)).transpose("lon", ...)
    write(tmp_path / "b.nc", other.to_dataset())
    check(labelled_frames([tmp_path / "b.nc", tmp_path / "a.nc"]).assign_attrs(), rain() / 12)


def test_sums_of_rain_become_rates_by_the_bounds_of_their_times(tmp_path):
    """One map of a file, as the Bureau of Meteorology of Australia stores it."""
    for i in range(3):
        seconds = 1_582_761_600 + 600 * i
        stated = {"units": "seconds since 1970-01-01 00:00:00 UTC", "standard_name": "time"}
        values = rain()[i].drop_vars("time").assign_attrs(units="kg m-2", standard_name="precipitation_amount") / 6
        values.attrs = {"units": "kg m-2", "standard_name": "precipitation_amount"}
        data = values.to_dataset(name="precipitation").assign_coords(
            valid_time=((), seconds, stated), start_time=((), seconds - 600, {"units": stated["units"]})
        )
        data.precipitation.encoding = {"dtype": "int16", "scale_factor": 0.001, "_FillValue": -1}
        write(tmp_path / f"{310 - i}.nc", data)
    frames = open_files([tmp_path], ReadOptions(unit="mm/h"))
    np.testing.assert_allclose(frames.read()[:, 0], rain()[:3], atol=6e-3)
    assert (frames.step, str(frames.dates[0])) == (10, "2020-02-27 00:00:00")
    assert "10 minutes" in frames.dataset.precipitation.attrs["comment"]


def test_a_forecast_has_the_order_and_direction_of_its_file(tmp_path):
    source = rain().isel(lat=slice(None, None, -1))
    frames = open_frames(write(tmp_path / "a.nc", source.to_dataset()), ReadOptions(unit="mm/h"))
    result = to_dataset(frames.read()[:2, 0], frames, Preprocessing(unit="mm/h"), step=60.0)
    assert result.rain.dims == ("lead_time", "lat", "lon")
    np.testing.assert_array_equal(result.rain, source[:2])
    np.testing.assert_array_equal(result.lat, source.lat)
