"""Files with named dimensions are read through xarray: order of axes, selection, groups, packing, memory."""

import pickle
import subprocess
import sys

import h5py
import numpy as np
import pytest
import torch

from convrnn_zoo import Preprocessing
from convrnn_zoo.data import ArrayFrames, ReadOptions, open_frames, read_dataset
from convrnn_zoo.data.readers import open_files
from convrnn_zoo.predict import to_dataset, write_dataset
from tests.helpers.data.own_data import write_dataset as write

xarray = pytest.importorskip("xarray", reason="the extra netcdf")
STEPS, HEIGHT, WIDTH = 12, 5, 7


def rain(seed=0, dtype="float32"):
    """Rain of 12 steps at 3 levels with coordinates; latitude falls, as in most archives."""
    values = np.random.default_rng(seed).integers(0, 100, (STEPS, 3, HEIGHT, WIDTH)).astype(dtype) / 8
    return xarray.DataArray(
        values,
        dims=("time", "level", "lat", "lon"),
        coords={
            "time": np.datetime64("2020-06-01T00:00", "ns") + np.arange(STEPS) * np.timedelta64(6, "h"),
            "level": [1000.0, 850.0, 0.1],
            "lat": np.linspace(60, 50, HEIGHT),
            "lon": np.linspace(0, 12, WIDTH).astype("float32"),
            "station": ("level", ["a", "b", "c"]),
        },
        attrs={"units": "mm/h"},
        name="rain",
    )


def read(path, **options):
    return open_frames(path, ReadOptions(**options)).read().numpy()


def test_axes_are_named_by_the_recipe(tmp_path):
    data = rain().isel(level=0, drop=True).drop_vars("time")
    data["time"] = np.arange(STEPS)
    other = data.rename(time="run", lat="row", lon="column").transpose("column", "run", "row")
    other = write(tmp_path / "b.nc", other.to_dataset())
    dims = {"time": "run", "y": "row", "x": "column"}
    np.testing.assert_array_equal(read(other, dims=dims)[:, 0], data)
    kind = ArrayFrames(name="a", unit="mm/h", dims=dims)
    np.testing.assert_array_equal(kind.load(other, "train", 1, 1)[0][:, 0], data[:2])
    with pytest.raises(ValueError, match=r"b\.nc.*\brows\b.*data\.dims.* row\b"):
        read(other, dims={"y": "rows"})
    with pytest.raises(ValueError, match=r"data\.dims.*\bz\b"):
        read_dataset({"kind": "frames", "name": "a", "dims": {"z": "level"}})


SELECTIONS = {
    "value": ({"level": 850}, lambda x: x.sel(level=850)),
    "small value": ({"level": 0.1}, lambda x: x.sel(level=0.1)),
    "falling range": ({"lat": [51, 58]}, lambda x: x.sel(lat=slice(58, 51))),
    "rising range": ({"lon": [3, 9], "level": 1000}, lambda x: x.sel(lon=slice(3, 9), level=1000)),
    "dates": ({"time": ["2020-06-02", "2020-06-03"]}, lambda x: x.isel(time=slice(4, 12))),
    "rounded range": ({"lat": [51 - 1e-9, 58 - 1e-9]}, lambda x: x.sel(lat=slice(58, 51))),
}


@pytest.mark.parametrize("name", SELECTIONS)
@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_a_part_is_selected_by_coordinates(name, suffix, tmp_path):
    sel, expected = SELECTIONS[name]
    path, expected = write(tmp_path / f"a{suffix}", rain().drop_vars("station").to_dataset()), expected(rain())
    frames = open_frames(path, ReadOptions(sel=sel))
    values = frames.read().numpy()
    np.testing.assert_array_equal(values[:, 0] if expected.ndim == 3 else values, expected)
    assert len(frames.times) == len(values)
    kind = read_dataset({"kind": "frames", "name": "a", "unit": "mm/h", "sel": sel})
    assert tuple(kind.load(path, "train", 1, 1)[0].shape[1:]) == values.shape[1:]


def test_a_day_is_selected_from_times_in_any_order(tmp_path):
    order = np.random.default_rng(0).permutation(rain().sizes["time"])
    path = write(tmp_path / "a.nc", rain().isel(level=0, time=order).drop_vars(["station", "level"]).to_dataset())
    np.testing.assert_array_equal(read(path, sel={"time": ["2020-06-02"] * 2})[:, 0], rain().isel(level=0)[4:8])


def test_a_value_that_is_repeated_selects_nothing(tmp_path):
    path = write(tmp_path / "a.nc", rain().drop_vars("station").assign_coords(level=[1.0, 1.0, 2.0]).to_dataset())
    with pytest.raises(ValueError, match=r"a\.nc.*level.*data\.sel"):
        read(path, sel={"level": 1})


@pytest.mark.parametrize(
    ("sel", "message"),
    [
        ({"levels": 850}, r"\blevels\b.*data\.sel.* level\b"),
        ({"level": 840}, r"level.* 840,.*data\.sel.*1000\.0"),
        ({"level": "high"}, r"level.* high,.*data\.sel.*1000\.0"),
        ({"lat": [70, 80]}, r"lat .*\[70, 80\].*data\.sel.*60\.0 to 50\.0"),
        ({"time": "2021-01-01"}, r"time .*2021-01-01.*data\.sel"),
    ],
)
def test_selections_that_the_file_lacks_are_errors(sel, message, tmp_path):
    path = write(tmp_path / "a.nc", rain().drop_vars("station").to_dataset())
    with pytest.raises(ValueError, match=rf"a\.nc.*{message}") as error:
        read(path, sel=sel)
    assert "\n" not in str(error.value)


def test_selections_in_a_recipe_are_checked():
    for value in ([1, 2, 3], {"from": 1}, [[1], 2]):
        with pytest.raises(ValueError, match=r"data\.sel\.level"):
            read_dataset({"kind": "frames", "name": "a", "sel": {"level": value}})


def test_a_scale_factor_of_zero_is_an_error(tmp_path):
    data = rain().to_dataset()
    data.rain.attrs["scale_factor"] = 0.0
    with pytest.raises(ValueError, match=r"a\.nc\b.*scale_factor.* 0"):
        open_frames(write(tmp_path / "a.nc", data))


def test_a_group_is_named_with_its_variable(tmp_path):
    pytest.importorskip("h5netcdf", reason="the extra netcdf")
    data = rain().isel(level=0, drop=True)
    data.to_dataset().to_netcdf(tmp_path / "a.nc", group="radar/latest", engine="h5netcdf")
    (2 * data).to_dataset(name="rain").to_netcdf(tmp_path / "a.nc", group="model", mode="a", engine="h5netcdf")
    frames = open_frames(tmp_path / "a.nc", ReadOptions(variable="radar/latest/rain"))
    np.testing.assert_array_equal(frames.read()[:, 0], data)
    assert frames.step == 360
    with pytest.raises(ValueError, match=r"a\.nc.*radar/latest/rain.*data\.variable"):
        open_frames(tmp_path / "a.nc")


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_the_only_group_with_frames_is_read(suffix, tmp_path):
    path, data = tmp_path / f"a{suffix}", rain().isel(level=0, drop=True)
    if suffix == ".nc":
        data.to_dataset().to_netcdf(path, group="radar/latest", engine="h5netcdf")
    else:
        data.to_dataset().to_zarr(path, group="radar/latest", consolidated=False)
    np.testing.assert_array_equal(open_frames(path).read()[:, 0], data)


def test_every_file_that_an_engine_recognises_is_read(tmp_path):
    path = write(tmp_path / "a.cdf", rain().isel(level=0, drop=True).to_dataset())
    other = path.rename(tmp_path / "archive.dat")
    np.testing.assert_array_equal(read(other)[:, 0], rain()[:, 0])


@pytest.mark.slow
def test_a_process_that_asks_all_engines_ends_without_a_crash(tmp_path):
    """ecCodes and pyproj bring a libproj each, which crashed the process when it ended."""
    write(tmp_path / "a.cdf", rain().isel(level=0, drop=True).to_dataset())
    code = f"from convrnn_zoo.data import labelled_frames; labelled_frames({str(tmp_path / 'a.cdf')!r})"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_grib_files_without_their_engine_are_an_error_with_the_extra(tmp_path, monkeypatch):
    (tmp_path / "b.grib2").write_bytes(b"GRIB" + bytes(100))
    monkeypatch.setitem(sys.modules, "cfgrib", None)
    with pytest.raises(ImportError, match=r"cfgrib.*convrnn-zoo\[grib\]"):
        open_frames(tmp_path / "b.grib2")


def write_grib(path, data, edition=2):
    """Writes temperatures ``(time, lat, lon)`` with hourly times as one GRIB message for each step."""
    eccodes = pytest.importorskip("eccodes", reason="the extra grib")
    pytest.importorskip("cfgrib", reason="the extra grib")
    with path.open("wb") as file:
        for t, frame in enumerate(data.values):
            handle = eccodes.codes_grib_new_from_samples(f"regular_ll_sfc_grib{edition}")
            keys = {
                "Ni": WIDTH,
                "Nj": HEIGHT,
                "latitudeOfFirstGridPointInDegrees": float(data.lat[0]),
                "latitudeOfLastGridPointInDegrees": float(data.lat[-1]),
                "longitudeOfFirstGridPointInDegrees": 0.0,
                "longitudeOfLastGridPointInDegrees": float(data.lon[-1]),
                "iDirectionIncrementInDegrees": 2.0,
                "jDirectionIncrementInDegrees": 2.5,
                "shortName": "2t",
                "dataDate": 20200601,
                "dataTime": 100 * t,
                "bitmapPresent": 1,
                "missingValue": 9999.0,
            }
            for key, value in keys.items():
                eccodes.codes_set(handle, key, value)
            eccodes.codes_set_values(handle, np.nan_to_num(frame, nan=9999.0).astype("float64").ravel())
            eccodes.codes_write(handle, file)
            eccodes.codes_release(handle)
    return path


@pytest.mark.parametrize("edition", [1, 2])
def test_grib_files_are_read_with_times_coordinates_and_missing_values(edition, tmp_path):
    data = 280 + rain().isel(level=0, drop=True)
    data[2, 1, 1] = np.nan
    path = write_grib(tmp_path / "a.grib2", data, edition)
    frames = open_frames(path, ReadOptions(variable="t2m", unit="K"))
    np.testing.assert_allclose(frames.read()[:, 0], data, atol=1e-3)
    assert frames.read(2, 3).isnan().sum() == 1
    assert (frames.step, frames.dates[1].isoformat()) == (60, "2020-06-01T01:00:00")
    np.testing.assert_allclose(frames.dataset.latitude, data.lat)
    assert [p.name for p in tmp_path.iterdir()] == ["a.grib2"]  # and no index next to it
    clips = ArrayFrames(name="a", variables=("t2m",), step=60).load(path, "train", 2, 1)
    np.testing.assert_allclose(clips[3][:, 0], data[3:6], atol=1e-3)
    part = open_frames(path, ReadOptions(sel={"latitude": [50, 56], "time": ["2020-06-01T03", "2020-06-01T05"]}))
    np.testing.assert_allclose(part.read()[:, 0], data[3:6, 2:], atol=1e-3)
    path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(ValueError, match=r"a\.grib2.*GRIB"):
        open_frames(path)


def test_stores_with_consolidated_metadata_are_read_without_a_warning(tmp_path):
    pytest.importorskip("zarr", reason="the extra zarr")
    data = rain().isel(level=0, drop=True).to_dataset()
    data.to_zarr(tmp_path / "a.zarr", zarr_format=2, consolidated=True)
    np.testing.assert_array_equal(read(tmp_path / "a.zarr")[:, 0], data.rain)


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_frames_are_read_in_another_process_or_thread(suffix, tmp_path):
    path = write(tmp_path / f"a{suffix}", rain().isel(level=0, drop=True).to_dataset())
    frames = open_frames(path)
    assert frames.read(2, 3).shape == (1, 1, HEIGHT, WIDTH)
    again = pickle.loads(pickle.dumps(frames))
    assert torch.equal(again.read(), frames.read())


@pytest.mark.parametrize("options", [{"sel": {"y": 3}}, {"dims": {"y": "row"}}])
def test_arrays_without_names_have_no_dimensions_to_select(options, tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((3, 4, 5), "float32"))
    with pytest.raises(ValueError, match=rf"a\.npy .*data\.{next(iter(options))}"):
        read(tmp_path / "a.npy", **options)


@pytest.mark.parametrize("width", [7, 5])  # of maps whose dimensions differ in size, and of square ones
def test_hdf5_files_of_one_map_without_named_dimensions_are_joined(width, tmp_path):
    frames = np.random.default_rng(0).random((4, 5, width), dtype=np.float32)
    for i, frame in enumerate(frames):
        with h5py.File(tmp_path / f"{i}.h5", "w") as file:
            file["data/rain"], file["data/row"] = frame, np.arange(5)
    with pytest.warns(UserWarning, match=r"0\.h5.*nor their names have dates"):
        joined = open_files([tmp_path], ReadOptions(variable="data/rain"))
    np.testing.assert_array_equal(joined.read(0, 4)[:, 0], frames)


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_the_map_projection_is_kept_in_written_forecasts(suffix, tmp_path):
    data = rain().isel(level=0, drop=True).assign_attrs(grid_mapping="crs").to_dataset()
    projection = {"grid_mapping_name": "lambert_conformal_conic", "standard_parallel": [50.0, 60.0]}
    frames = open_frames(write(tmp_path / f"a{suffix}", data.assign(crs=((), 0, projection))))
    dataset = to_dataset(torch.zeros(2, HEIGHT, WIDTH), frames, Preprocessing(unit="mm/h"), step=360.0)
    write_dataset(dataset, tmp_path / f"b{suffix}")
    options = {"engine": "zarr", "consolidated": False} if suffix == ".zarr" else {"engine": "h5netcdf"}
    with xarray.open_dataset(tmp_path / f"b{suffix}", decode_coords="all", **options) as written:
        assert written.rain.encoding["grid_mapping"] == "crs"
        assert written.crs.attrs["grid_mapping_name"] == "lambert_conformal_conic"
        assert list(written.crs.attrs["standard_parallel"]) == [50, 60]
        np.testing.assert_allclose(written.lat, data.lat)
        assert not [n for n, c in written.coords.items() if "_FillValue" in c.encoding]  # which CF forbids


def test_a_variable_in_a_group_has_the_times_of_the_file(tmp_path):
    h5netcdf = pytest.importorskip("h5netcdf", reason="the extra netcdf")
    with h5netcdf.File(tmp_path / "a.nc", "w") as file:
        file.dimensions = {"time": 3, "y": 4, "x": 5}
        time = file.create_variable("time", ("time",), "f8", data=[0.0, 1.0, 50.0])
        time.attrs["units"] = "hours since 2020-01-01"
        file.create_group("g").create_variable("rain", ("time", "y", "x"), "f4", data=np.ones((3, 4, 5), "float32"))
    frames = open_frames(tmp_path / "a.nc", ReadOptions(variable="g/rain"))
    assert [f"{t:%H:%M}" for t in frames.dates] == ["00:00", "01:00", "02:00"]


def test_a_forecast_of_an_array_without_labels_is_written(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.ones((4, 6, 8), "float32"))
    frames = open_frames(tmp_path / "a.npz", ReadOptions())
    dataset = to_dataset(torch.zeros(3, 6, 8), frames, Preprocessing(), step=None)
    assert {n: v.dims for n, v in dataset.data_vars.items()} == {"forecast": ("lead_time", "y", "x")}


def test_coordinates_are_known_by_text_of_fixed_length(tmp_path):
    """As the netCDF library of C stores it."""
    maps = {name: (("y", "x"), np.ones((5, 7))) for name in ("rain", "lat2", "lon2")}
    xarray.Dataset(maps).to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    with h5py.File(tmp_path / "a.nc", "r+") as file:
        file["rain"].attrs["coordinates"] = np.bytes_("lat2 lon2")
    assert list(open_frames(tmp_path / "a.nc").dataset.data_vars) == ["rain"]
