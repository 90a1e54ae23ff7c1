"""Values of frames are the same in training and in `predict`, for any dtype, scale and attributes of the file."""

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from convrnn_zoo import Preprocessing, create_model, save_pretrained
from convrnn_zoo.data import ArrayFrames, ReadOptions, VideoFrames, open_frames
from convrnn_zoo.data.frames import DataVariable
from convrnn_zoo.data.readers import FileError, open_files
from convrnn_zoo.values.labels.times import decode_time
from tests.helpers.command_line import run
from tests.helpers.data.own_data import write_hdf5


@pytest.fixture(scope="module")
def identity(tmp_path_factory):
    """A model of brightness, with which forecasts of two files are compared."""
    torch.manual_seed(0)
    model = create_model("convgru_forecaster", hidden_channels=2, kernel_size=1, patch_size=1, horizon=1)
    model.preprocessing = Preprocessing(unit="", lowest=0.0, highest=1.0, inputs=2, horizon=1)
    directory = tmp_path_factory.mktemp("model") / "run"
    save_pretrained(model, directory)
    return directory


def forecast(model, file, out):
    run("predict", model, file, "-o", out)
    return np.load(out)


def trained_on(path, **entries):
    """All frames that training reads of a file."""
    kind = ArrayFrames(name="a", **entries)
    return torch.cat([kind.load(path, "train", 1, 1)[0], kind.load(path, "test", 1, 1)[0]])


def test_bytes_are_brightness_in_training_as_in_predict(identity, tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (6, 4, 4), dtype="uint8")
    np.save(tmp_path / "bytes.npy", frames)
    np.save(tmp_path / "floats.npy", frames.astype("float32") / 255)
    assert torch.equal(trained_on(tmp_path / "bytes.npy"), trained_on(tmp_path / "floats.npy"))
    result = [forecast(identity, tmp_path / f"{n}.npy", tmp_path / "out.npy") for n in ("bytes", "floats")]
    assert np.array_equal(*result)


def test_bytes_with_a_unit_are_an_error_in_training_as_in_predict(tmp_path):
    np.save(tmp_path / "a.npy", np.full((6, 4, 4), 7, dtype="uint8"))
    with pytest.raises(ValueError, match=r"a\.npy.*brightness.*mm/h"):
        trained_on(tmp_path / "a.npy", unit="mm/h")


def test_a_store_of_bytes_is_brightness(tmp_path):
    zarr = pytest.importorskip("zarr", reason="the extra zarr")
    array = zarr.create_array(str(tmp_path / "a.zarr"), shape=(30, 16, 16), chunks=(1, 16, 16), dtype="uint8")
    array[:] = 200
    assert trained_on(tmp_path / "a.zarr").unique().tolist() == [pytest.approx(200 / 255)]


# ---- images ------------------------------------------------------------------------------------------------------
def gradient(shape=(8, 10)):
    return np.linspace(0, 1, np.prod(shape)).reshape(shape)


def images(folder):
    kind = VideoFrames(name="a")
    return kind.load(folder, "test", 1, 1)[-1][-1, 0]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_images_of_16_bits_keep_their_brightness(suffix, tmp_path):
    for i in range(6):
        Image.fromarray((gradient() * 65535).astype("uint16")).save(tmp_path / f"{i}{suffix}")
    torch.testing.assert_close(images(tmp_path), torch.from_numpy(gradient()).float(), atol=1e-4, rtol=0)


def test_tiff_files_of_floats_keep_their_brightness(tmp_path):
    for i in range(6):
        Image.fromarray(gradient().astype("float32")).save(tmp_path / f"{i}.tif")
    torch.testing.assert_close(images(tmp_path), torch.from_numpy(gradient()).float())
    Image.fromarray((250 + gradient()).astype("float32")).save(tmp_path / "6.tif")
    with pytest.raises(ValueError, match=r"6\.tif"):
        images(tmp_path)


def test_images_are_rotated_by_their_exif_tag(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees clockwise
    pixels = np.zeros((4, 6), "uint8")
    pixels[0, 0] = 255
    for i in range(6):
        Image.fromarray(pixels).save(tmp_path / f"{i}.png", exif=exif)
    read = images(tmp_path)
    assert read.shape == (6, 4)
    assert read.argmax() == 3  # the top left is at the top right


# ---- attributes ----------------------------------------------------------------------------------------------------
def write_nc(path, frames, times=None, time_attrs=None, **attrs):
    with h5py.File(path, "w") as file:
        file["rate"] = frames
        file["rate"].attrs.update(attrs)
        if times is not None:
            file["time"] = times
            file["time"].attrs.update(time_attrs or {})
    return path


def read_nc(tmp_path, frames, **kwargs):
    return trained_on(write_nc(tmp_path / "a.nc", frames, **kwargs), variable="rate", min_valid_fraction=0.0)[0, 0]


def test_values_outside_of_the_valid_range_are_missing(tmp_path):
    frames = np.arange(-2, 14, dtype="int16").reshape(4, 4)[None].repeat(6, 0)
    assert read_nc(tmp_path, frames, valid_range=np.array([0, 10], "int16")).isfinite().sum() == 11
    assert read_nc(tmp_path, frames, valid_min=np.int16(0)).isfinite().sum() == 14
    packed = read_nc(tmp_path, frames, valid_range=np.array([0, 10], "int16"), scale_factor=0.5)
    assert packed.isfinite().sum() == 11
    assert packed.nan_to_num(0).max() == 5
    unpacked = read_nc(tmp_path, frames, valid_max=np.float32(2.0), scale_factor=0.5)
    assert unpacked.isfinite().sum() == 7
    falling = read_nc(tmp_path, frames, valid_range=np.array([0, 10], "int16"), scale_factor=-0.5, add_offset=20.0)
    assert falling[falling.isfinite()].tolist() == [20 - value / 2 for value in range(11)]


@pytest.mark.parametrize(("stored", "attribute"), [("int16", "true"), ("uint16", "false")])
def test_limits_are_read_as_the_numbers_that_are_stored_for_others(tmp_path, stored, attribute):
    start = 0 if attribute == "true" else -32768
    frames = (np.arange(16).reshape(4, 4)[None].repeat(6, 0) * 4096 + start).astype(stored)
    limits = np.array([start + 4096, start + 13 * 4096]).astype(stored)  # the upper one is negative as int16
    read = read_nc(tmp_path, frames, valid_range=limits, _Unsigned=attribute, scale_factor=2.0)
    assert read[read.isfinite()].tolist() == [2 * (start + 4096 * i) for i in range(1, 14)]


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_a_fill_value_of_the_recipe_is_a_stored_number(tmp_path, dtype):
    frames = np.full((6, 4, 4), 7, dtype)
    frames[:, 0, 0] = -999
    path = write_nc(tmp_path / "a.nc", frames, scale_factor=np.float32(0.1), add_offset=1.0)
    read = trained_on(path, variable="rate", min_valid_fraction=0.0, fill_value=-999.0)
    assert read[:, 0, 0, 0].isnan().all()
    assert read.isfinite().sum() == read.numel() - len(read)


def test_empty_attributes_are_ignored(tmp_path):
    for empty in (np.array([], "float32"), h5py.Empty("f"), ""):
        assert read_nc(tmp_path, np.ones((6, 4, 4)), _FillValue=empty, units=empty).unique().tolist() == [1]


def test_zeros_of_zarr_2_are_numbers(tmp_path):
    zarr = pytest.importorskip("zarr", reason="the extra zarr")
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w", zarr_format=2)
    array = group.create_array("rate", shape=(6, 4, 4), chunks=(1, 4, 4), dtype="float32", fill_value=0)
    array[:, 1:] = 3.0
    assert trained_on(tmp_path / "a.zarr").unique().tolist() == [0, 3]
    assert trained_on(tmp_path / "a.zarr", fill_value=0.0, min_valid_fraction=0.0).isnan().sum() == 4 * 4


def test_numbers_that_only_count_the_frames_are_no_times(tmp_path):
    """Frame numbers would be minutes, and the frames of another step than that of the data."""
    rate, count = np.ones((6, 4, 4)), np.arange(6)
    write_nc(tmp_path / "a.nc", rate, times=count)
    np.savez(tmp_path / "a.npz", rate=rate, time=count + 3)
    for suffix in ("nc", "npz"):
        frames = open_frames(tmp_path / f"a.{suffix}", ReadOptions(variable="rate"))
        assert (frames.times, frames.step) == (None, None)
    for times, attrs in ((count, {"units": "min"}), (count * 1.5, {}), ([0, 1, 2, 3, 4, 6], {})):
        write_nc(tmp_path / "b.nc", rate, times=np.array(times), time_attrs=attrs)
        assert open_frames(tmp_path / "b.nc", ReadOptions(variable="rate")).step == times[1]


@pytest.mark.parametrize("dtype", ["timedelta64[s]", "timedelta64[ns]", "datetime64[us]", "<U20"])
def test_times_of_numpy_are_read(dtype, tmp_path):
    times = (np.arange(6) * 300).astype("timedelta64[s]")
    times = times if dtype.startswith("t") else np.datetime64("2020-01-01T00:00:00") + times
    np.savez(tmp_path / "a.npz", rate=np.ones((6, 4, 4)), time=times.astype(dtype))
    clips = ArrayFrames(name="a", step=5).load(tmp_path / "a.npz", "train", 1, 1)
    assert clips.files[0].step == 5


@pytest.mark.parametrize(
    "times",
    [[0, 5, 10, 10, 20, 25], [25, 20, 15, 10, 5, 0], [0, 5, np.nan, 15, 20, 25], [0, 5, 1e300 * 1e300, 1, 2, 3]],
)
def test_times_that_do_not_increase_are_an_error(times, tmp_path):
    np.savez(tmp_path / "a.npz", rate=np.ones((6, 4, 4)), time=np.array(times))
    with pytest.raises(ValueError, match=r"a\.npz: time"):
        ArrayFrames(name="a").load(tmp_path / "a.npz", "train", 1, 1)


def test_digits_of_a_date_are_no_times(tmp_path):
    np.savez(tmp_path / "a.npz", rate=np.ones((3, 4, 4)), time=[202007011200, 202007011205, 202007011210])
    with pytest.raises(ValueError, match=r"a\.npz: time.* 202007011200"):
        ArrayFrames(name="a").load(tmp_path / "a.npz", "train", 1, 1)


# ---- arrays --------------------------------------------------------------------------------------------------------
ARRAYS = {
    "flipped": lambda x: x[::-1, ::-1],
    "big-endian": lambda x: x.astype(">f4"),
    "big-endian integers": lambda x: (x * 8).astype(">i4") / 8,
    "long doubles": lambda x: x.astype("longdouble"),
    "Fortran order": np.asfortranarray,
    "float16": lambda x: x.astype("float16"),
    "uint16": lambda x: x.astype("uint16"),
    "int64": lambda x: x.astype("int64"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_of_every_layout_have_the_same_values(name, identity, tmp_path):
    frames = (np.arange(6 * 16).reshape(6, 4, 4) % 2).astype("float32")
    array = ARRAYS[name](frames)
    np.save(tmp_path / "a.npy", array)
    np.save(tmp_path / "b.npy", np.ascontiguousarray(array, dtype="float32"))
    assert torch.equal(trained_on(tmp_path / "a.npy"), trained_on(tmp_path / "b.npy"))
    result = [forecast(identity, tmp_path / f"{n}.npy", tmp_path / "out.npy") for n in "ab"]
    assert np.array_equal(*result)
    model = create_model("convgru_forecaster.rain", pretrained=True)
    there = model.forecast(np.ascontiguousarray(array, dtype="float32"), 1)
    assert np.array_equal(model.forecast(array, 1), there)


def test_masked_values_are_missing(tmp_path):
    frames = np.ma.masked_less(np.where(np.eye(4) > 0, -9999.0, 1.0)[None].repeat(6, 0), 0)
    model = create_model("convgru_forecaster.rain", pretrained=True)
    there = model.forecast(frames.filled(np.nan), 1)
    assert np.array_equal(model.forecast(frames, 1), there, equal_nan=True)
    assert np.isnan(there).sum() == 4


def test_times_of_seconds_are_exact(tmp_path):
    write_hdf5(tmp_path / "a.h5", np.ones((5, 4, 4), "float32"))
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["time"][:] = np.arange(5) * 10
        file["time"].attrs["units"] = "seconds since 2020-01-01"
    frames = open_frames(tmp_path / "a.h5", ReadOptions(variable="rate"))
    assert [t.isoformat() for t in frames.dates[1:3]] == ["2020-01-01T00:00:10", "2020-01-01T00:00:20"]
    assert frames.step == pytest.approx(1 / 6, abs=1e-12)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file["time"]
        file["time"] = 734137.0 + np.arange(5) * 5 / 1440
        file["time"].attrs["units"] = "days since 0001-01-01"
    frames = open_frames(tmp_path / "a.h5", ReadOptions(variable="rate"))
    assert [f"{t:%H:%M:%S.%f}" for t in frames.dates[1:3]] == ["00:05:00.000000", "00:10:00.000000"]
    assert frames.step == pytest.approx(5, abs=1e-6)


@pytest.mark.parametrize(
    ("hours", "units", "calendar", "date"),
    [
        (17067072.0, "hours since 1-1-1 00:00:0.0", "standard", "1948-01-01"),
        (17067072.0 - 48, "hours since 1-1-1", "proleptic_gregorian", "1948-01-01"),
        (24.0, "hours since 1582-10-04", "gregorian", "1582-10-15"),
    ],
)
def test_dates_before_1582_are_julian_in_the_standard_calendar(hours, units, calendar, date):
    xarray = pytest.importorskip("xarray", reason="the extra netcdf")
    time = decode_time(xarray.Variable("time", np.array([hours]), {"units": units, "calendar": calendar}))
    assert str(time.values[0])[:10] == date


def test_files_of_two_radars_in_one_folder_are_an_error(tmp_path):
    (tmp_path / "RAD_NL25_RAP_5min_201008260000.h5").write_text("x")
    for name in ("own.npy", "201609281600_fmi.radar.composite.lowest_FIN_SUOMI1.pgm"):
        (tmp_path / name).write_text("x")
        with pytest.raises(FileError, match=name):
            open_files([tmp_path])
        (tmp_path / name).unlink()


def test_tiff_files_of_32_bit_integers_have_no_known_range(tmp_path):
    Image.fromarray((gradient() * 255).astype("int32")).save(tmp_path / "0.tif")
    with pytest.raises(ValueError, match=r"0\.tif.*\.npy"):
        images(tmp_path)


def test_variables_of_one_row_are_read(tmp_path):
    arrays = {"rain": np.ones((6, 1, 5)), "heat": np.arange(6.0), "ground": np.full((1, 5), 3.0)}
    np.savez(tmp_path / "a.npz", **arrays)
    names = {"variables": "rain", "future": "heat", "static": "ground"}
    roles = {role: (DataVariable(name=name),) for role, name in names.items()}
    frames = open_frames(tmp_path / "a.npz", ReadOptions(**roles)).read(2, 4)
    assert frames.shape == (2, 3, 1, 5)
    assert frames[:, :, 0, 0].tolist() == [[1, 2, 3], [1, 3, 3]]
