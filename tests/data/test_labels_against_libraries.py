"""Labels of files are read as netCDF4, xarray and pyproj read them: missing values, bounds, pixels, order."""

import itertools
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from convrnn_zoo.data import ReadOptions, labelled_frames
from convrnn_zoo.data.files import FileError
from convrnn_zoo.data.frames import read_variables
from convrnn_zoo.data.readers import open_files
from convrnn_zoo.values.labels.axes import find_pixel_km
from convrnn_zoo.values.labels.form import stack

netCDF4 = pytest.importorskip("netCDF4")  # noqa: N816
xarray = pytest.importorskip("xarray", reason="the extra netcdf")
OPTIONS = {"deadline": None, "suppress_health_check": list(HealthCheck), "derandomize": True, "database": None}
STEPS, HEIGHT, WIDTH = 4, 3, 5
DTYPES = ("i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8")


@pytest.fixture
def folder():
    path = Path(tempfile.mkdtemp())
    yield path
    shutil.rmtree(path)


# ---- missing values ------------------------------------------------------------------------------------------------
@st.composite
def stored(draw):
    """Attributes and dtype of a variable, the numbers that are stored, and the frames that are never written."""
    dtype = draw(st.sampled_from(DTYPES))
    fill = draw(st.sampled_from([None, "_FillValue", "missing_value"]))
    numbers = st.integers(0, 100)
    values = np.array(draw(st.lists(numbers, min_size=60, max_size=60))).reshape(STEPS, HEIGHT, WIDTH)
    attrs = {}
    if draw(st.booleans()):
        attrs |= {
            "scale_factor": draw(st.sampled_from([0.5, 0.01, -0.25])),
            "add_offset": draw(st.sampled_from([0.0, 3.5])),
        }
    if dtype[0] == "i" and draw(st.booleans()):
        attrs["_Unsigned"] = "true"
        values = values - 50  # of which the negative ones are the largest
    if fill:
        attrs[fill] = np.dtype(dtype).type(draw(st.sampled_from(values.ravel().tolist())))
    form = draw(
        st.sampled_from(["NETCDF4", "NETCDF3_CLASSIC"] if dtype in ("i1", "i2", "i4", "f4", "f8") else ["NETCDF4"])
    )
    unwritten = draw(st.sets(st.integers(0, STEPS - 1), max_size=2))
    if (dtype[1] == "1" or "_Unsigned" in attrs) and "_FillValue" not in attrs:
        unwritten = set()  # bytes have no default fill value, and netCDF4 looks for that of the other sign
    return dtype, attrs, values, unwritten, form


def write_stored(path, dtype, attrs, values, unwritten, form):
    with netCDF4.Dataset(path, "w", format=form) as file:
        for name, size in zip(("time", "y", "x"), (None, HEIGHT, WIDTH), strict=True):
            file.createDimension(name, size)
        attrs = dict(attrs)
        rain = file.createVariable("rain", dtype, ("time", "y", "x"), fill_value=attrs.pop("_FillValue", None))
        rain.setncatts({**attrs, "units": "mm/h"})
        rain.set_auto_maskandscale(False)
        for t in [t for t in range(STEPS) if t not in unwritten]:
            rain[t] = values[t].astype(dtype)
        time = file.createVariable("time", "f8", ("time",))
        time[:] = 5 * np.arange(STEPS)
        time.units = "minutes since 2020-01-01"


@given(stored(), st.sets(st.sampled_from(["time", "y", "x"])))
@settings(max_examples=25, **OPTIONS)
def test_values_that_netcdf4_masks_are_missing(how, turned):
    path = Path(tempfile.mkdtemp()) / "a.nc"
    try:
        write_stored(path, *how)
        with netCDF4.Dataset(path) as file:
            expected = np.ma.filled(file["rain"][:].astype("f8"), np.nan)
        np.testing.assert_allclose(stack(labelled_frames(path), ["rain"])[:, 0], expected, rtol=1e-6)
        with xarray.open_dataset(path) as opened:
            source = opened.isel({axis: slice(None, None, -1) for axis in turned})  # a lazy array that is reversed
            places = [axis for axis, name in enumerate(("time", "y", "x")) if name in turned - {"time"}]
            for data in (source, source.rain):  # rows and columns without coordinates stay as they are
                np.testing.assert_allclose(labelled_frames(data).rain, np.flip(expected, places), rtol=1e-6)
    finally:
        shutil.rmtree(path.parent)


# ---- bounds of times -----------------------------------------------------------------------------------------------
@given(
    st.lists(st.sampled_from([60, 180, 360]), min_size=4, max_size=8),
    st.booleans(),
    st.sampled_from(["standard", "noleap"]),
    st.booleans(),
    st.integers(0, 3),
)
@settings(max_examples=10, **OPTIONS)
def test_sums_are_divided_by_the_bounds_of_their_times(minutes, is_uniform, calendar, with_units, cut):
    """Bounds differ from the steps between the frames, and from each other; files are joined."""
    minutes = np.array(minutes[:1] * len(minutes) if is_uniform else minutes)
    ends = 60.0 * np.arange(1, len(minutes) + 1)
    depth = np.arange(1.0, len(minutes) + 1)[:, None, None] * np.ones((1, HEIGHT, WIDTH))
    stated = {"units": "minutes since 2021-02-28", "calendar": calendar}
    data = xarray.Dataset(
        {
            "tp": (("time", "y", "x"), depth, {"units": "kg m-2"}),
            "time_bnds": (("time", "nv"), np.stack([ends - minutes, ends], 1), stated if with_units else {}),
        },
        {"time": ("time", ends, {**stated, "bounds": "time_bnds"})},
    )
    expected = depth / minutes[:, None, None] * 60
    folder = Path(tempfile.mkdtemp())
    try:
        parts = [data.isel(time=slice(cut)), data.isel(time=slice(cut, None))] if cut else [data]
        paths = [folder / f"{i}.nc" for i in range(len(parts))]
        for path, part in zip(paths, parts, strict=True):
            part.to_netcdf(path, engine="netcdf4")
        read, _ = read_variables(paths, ReadOptions(unit="mm/h"))
        np.testing.assert_allclose(stack(read, ["tp"])[:, 0], expected, rtol=1e-6)
        with xarray.open_dataset(paths[-1]) as opened:
            read, _ = read_variables(opened, ReadOptions(unit="mm/h"))
            np.testing.assert_allclose(stack(read, ["tp"])[:, 0], expected[cut:], rtol=1e-6)
    finally:
        shutil.rmtree(folder)


def test_variables_with_and_without_a_level_have_the_same_bounds():
    data, hour = rain().to_dataset(name="rain"), np.timedelta64(1, "h")
    data = data.assign_coords(bnds=(("time", "nv"), np.stack([data.time - hour, data.time], 1)))
    data.time.attrs["bounds"] = "bnds"
    both = data.assign(snow=data.rain.expand_dims(height=[2.0]))
    assert list(labelled_frames(both, variables=["rain", "snow"]).data_vars) == ["rain", "snow"]


def test_files_with_and_without_bounds_are_not_joined(folder):
    for i, has_bounds in enumerate((True, False)):
        data = rain(start=f"2020-01-01T0{i}:00").to_dataset(name="rain")
        if has_bounds:
            hour = np.timedelta64(1, "h")
            data = data.assign_coords(bnds=(("time", "nv"), np.stack([data.time - hour, data.time], 1)))
            data.time.attrs["bounds"] = "bnds"
            data.time.encoding["units"] = data.bnds.encoding["units"] = "minutes since 2020-01-01"
        data.to_netcdf(folder / f"{i}.nc", engine="netcdf4")
    with pytest.raises(FileError, match=r"1\.nc.*bounds"):
        labelled_frames(folder)


# ---- pixels --------------------------------------------------------------------------------------------------------
def rain(start="2020-01-01", steps=3, size=(6, 8), step=5, **coords):
    times = np.datetime64(start, "ns") + step * np.arange(steps) * np.timedelta64(1, "m")
    values = np.random.default_rng(0).random((steps, *size)).astype("f4")
    return xarray.DataArray(values, {"time": times, **coords}, ("time", "y", "x"), "rain", {"units": "mm/h"})


@pytest.mark.parametrize("code", [3035, 3067, 32632, 2263, 4326])
@pytest.mark.parametrize("has_coordinates", [True, False])
def test_pixels_of_a_geotiff_have_the_size_that_pyproj_measures(code, has_coordinates):
    """As ``rioxarray.open_rasterio`` returns it: x and y without units, and all else in the scalar ``spatial_ref``."""
    pyproj = pytest.importorskip("pyproj")
    crs = pyproj.CRS.from_epsg(code)
    x0, y0, step = 8.0, 50.0, 0.01
    if crs.is_projected:
        place = {2263: (-75.0, 40.5), 3067: (20.0, 60.0)}.get(code, (9.5, 60.0))
        (x0, y0), step = pyproj.Transformer.from_crs(4326, code, always_xy=True).transform(*place), 1000.0
    x, y = x0 + step * (np.arange(8) + 0.5), y0 - step * (np.arange(6) + 0.5)
    attrs = {"crs_wkt": crs.to_wkt(), "spatial_ref": crs.to_wkt(), "GeoTransform": f"{x0} {step} 0.0 {y0} 0.0 {-step}"}
    data = rain(spatial_ref=((), 0, attrs), **({"y": y, "x": x} if has_coordinates else {}))
    geod = pyproj.Geod(ellps="WGS84")
    to_degrees = pyproj.Transformer.from_crs(code, 4326, always_xy=True)
    corners = [to_degrees.transform(x[4] + i * step, y[3] - j * step) for i, j in ((0, 0), (1, 0), (0, 1))]
    width, height = (geod.inv(*corners[0], *corner)[2] for corner in corners[1:])
    found = find_pixel_km(labelled_frames(data))
    assert found == pytest.approx(np.sqrt(width * height) / 1000, rel=0.01)
    if has_coordinates:
        turned = labelled_frames(data.isel(y=slice(None, None, -1)))
        np.testing.assert_array_equal(turned.rain, data)


# ---- longitudes ----------------------------------------------------------------------------------------------------
@given(
    st.sampled_from([0, 180]),
    st.integers(-3, 42),
    st.integers(4, 40),
    st.booleans(),
    st.booleans(),
    st.sampled_from([0.25, 1.0, 2.5]),
)
@example(0, 10, 20, False, True, 1.0)  # 0 … 9, 350 … 359
@example(180, 10, 20, True, False, 1.0)
@settings(max_examples=40, **OPTIONS)
def test_maps_that_are_torn_at_greenwich_or_the_date_line_are_rejected(edge, before, count, is_turned, from_zero, step):
    """A region is torn if it is sorted by longitudes that jump in it. xarray's roll puts it together."""
    east = edge + step * (np.arange(count) - before)
    lon = east % 360 if from_zero else (east + 180) % 360 - 180
    data = rain(size=(6, count), lat=("y", np.linspace(60, 55, 6)), lon=("x", lon)).swap_dims(y="lat", x="lon")
    ordered = data.sortby("lon", ascending=not is_turned)
    torn = bool((abs(np.diff(ordered.lon.values)) > 1.5 * step).any())
    if not torn:  # the dimension may cross Greenwich
        found = labelled_frames(ordered)
        assert find_pixel_km(found) == pytest.approx(111.2 * np.sqrt(step * np.cos(np.radians(57.5))), rel=0.01)
        np.testing.assert_array_equal(found.rain, data.sortby("lon"))
        whole = data[..., ::-1] if is_turned else data
        np.testing.assert_array_equal(labelled_frames(whole).rain, data)
        return
    with pytest.raises(ValueError, match=r"lon jumps .*roll\(lon=\d+, roll_coords=True\)") as error:
        labelled_frames(ordered)
    shift = int(str(error.value).split("roll(lon=")[1].split(",")[0])
    whole = labelled_frames(ordered.roll(lon=shift, roll_coords=True))
    np.testing.assert_array_equal(whole.rain, data)


# ---- series of files -----------------------------------------------------------------------------------------------
@given(st.permutations(range(5)), st.sampled_from(["%Y%m%d%H%M", "%Y-%m-%d_%H-%M", "%Y%m%dT%H%M%SZ", "%Y-%m"]))
@settings(max_examples=8, **OPTIONS)
def test_undated_maps_have_the_dates_in_the_names_of_their_files(order, form):
    """The dates are those that pandas reads; a missing file is a gap."""
    pandas = pytest.importorskip("pandas")
    start, freq = ("2019-11-01", "MS") if form == "%Y-%m" else ("2020-02-28T23:50", "5min")
    dates = pandas.date_range(start, periods=5, freq=freq)
    folder = Path(tempfile.mkdtemp())
    try:
        for i in order[:4]:
            map_ = rain()[0].drop_vars("time") + i
            map_.to_dataset(name="rain").to_netcdf(folder / f"rain_{dates[i]:{form}}.nc", engine="netcdf4")
            np.save(folder / f"rain_{dates[i]:{form}}.npy", map_.values)
        data = labelled_frames(folder)
        arrays = open_files([folder / f"rain_{dates[i]:{form}}.npy" for i in order[:4]])
        np.testing.assert_array_equal(arrays.times, data.time)
        np.testing.assert_array_equal(arrays.read()[:, 0], data.rain)
        np.testing.assert_array_equal(data.time, dates[sorted(order[:4])])
        np.testing.assert_allclose(data.rain[:, 0, 0] - rain()[0, 0, 0], sorted(order[:4]), rtol=1e-5)
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("suffix", [".nc", ".npy"])
def test_files_of_maps_without_any_dates_are_a_warning(suffix, folder):
    for i in range(3):
        map_ = rain()[i].drop_vars("time")
        map_.to_dataset().to_netcdf(folder / f"{i}.nc", engine="netcdf4")
        np.save(folder / f"{i}.npy", map_.values)
    with pytest.warns(UserWarning, match="dates"):
        read = open_files([folder / f"{i}{suffix}" for i in range(3)])
    np.testing.assert_array_equal(read.read()[:, 0], rain())


def test_dated_and_undated_files_are_not_joined(folder):
    for i, data in enumerate((rain(), rain().drop_vars("time"))):
        data.to_dataset().to_netcdf(folder / f"{i}.nc", engine="netcdf4")
    for files in ([folder / "0.nc", folder / "1.nc"], [folder / "1.nc", folder / "0.nc"]):
        with pytest.raises(FileError, match=r"1\.nc: has no dates, and .*0\.nc has"):
            labelled_frames(files)


def test_a_folder_without_labelled_frames_is_an_error_that_says_what_was_expected(folder):
    (folder / "a.txt").write_text("a")
    with pytest.raises(FileError, match=r"folder with files of labelled frames"):
        labelled_frames(folder)


@pytest.mark.parametrize("values", [[1.0, 2.0, 3.0], [1.0], []])
def test_a_selection_of_other_than_two_values_is_no_range(values):
    levels = rain().expand_dims(level=[1.0, 2.0, 3.0, 4.0])
    with pytest.raises(ValueError, match=r"data\.sel\.level.*\[first, last\]"):
        labelled_frames(levels, sel={"level": values})


def test_rain_of_an_unknown_duration_is_an_error_that_asks_for_it():
    sums = rain().drop_vars("time").assign_attrs(units="mm", standard_name="precipitation_amount")
    with pytest.raises(ValueError, match=r"over which time the rain is summed.*data\.step") as error:
        read_variables(sums, ReadOptions(unit="mm/h"))
    assert "no rain" not in str(error.value)


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 4)), min_size=2, max_size=4), st.booleans())
@settings(max_examples=10, **OPTIONS)
def test_files_that_overlap_are_joined_as_xarray_does(ranges, is_turned):
    data = rain(steps=9, y=("y", np.arange(6.0)[::-1], {"units": "km"}))
    parts = [data[start : start + count] for start, count in ranges]
    folder = Path(tempfile.mkdtemp())
    try:
        for i, part in enumerate(parts):
            stored = part.isel(y=slice(None, None, -1)) if is_turned and i else part
            stored.to_dataset().to_netcdf(folder / f"{i}.nc", engine="netcdf4")
        expected = xarray.concat(parts, "time", join="exact").drop_duplicates("time").sortby("time")
        joined = labelled_frames(sorted(folder.iterdir()))
        np.testing.assert_array_equal(joined.rain, expected)
        np.testing.assert_array_equal(joined.time, expected.time)
        for a, b in itertools.combinations(range(joined.sizes["time"]), 2):
            np.testing.assert_array_equal(stack(joined, ["rain"], (slice(a, b),))[:, 0], expected[a:b])
    finally:
        shutil.rmtree(folder)
