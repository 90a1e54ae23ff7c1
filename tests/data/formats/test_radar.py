"""Radar files are read as mm/h, events divided in time, and crops taken where the radars see rain."""

import math
from datetime import datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from convrnn_zoo.data import FRAME_DATASETS, labelled_frames, readers
from convrnn_zoo.data.formats.radar import complete_gridded, find_composites, read_composite, read_time
from convrnn_zoo.data.readers import FileError
from tests.helpers.made_data import write_fmi, write_knmi, write_odim

pyproj = pytest.importorskip("pyproj", reason="the extra radar")

pytestmark = pytest.mark.skipif(find_spec("pysteps") is None, reason="the extra radar")

NOON = datetime(2010, 8, 26, 12)


def read_rates(path, coarsen=1):
    return torch.from_numpy(read_composite(path, coarsen)["rain_rate"].values[0])


@pytest.mark.parametrize(
    ("formula", "scale", "offset"),
    [("GEO=0.01*PV+0", 0.01, 0), ("GEO = 0.010 * PV", 0.01, 0), ("GEO=.02*PV-0.01", 0.02, -0.01)],
)
def test_knmi_formulas_are_read_as_numbers(formula, scale, offset, tmp_path):
    path = write_knmi(tmp_path, NOON, np.array([[1, 100], [7, 65535]]))
    with h5py.File(path, "r+") as file:
        file["image1/calibration"].attrs["calibration_formulas"] = np.bytes_(formula)
    expected = 12 * (scale * torch.tensor([[1, 100], [7, math.nan]]) + offset)
    torch.testing.assert_close(read_rates(path), expected, equal_nan=True)


def test_crops_have_rain_and_no_missing_values(rain):
    clips = FRAME_DATASETS["rain"]().load(rain, "test", 4, 6)
    places = clips.places
    assert set(places[:, 0].tolist()) == {0, 1}
    assert places[:, 3].min() >= 8  # the crop at 0 is out of range
    fixed = clips.fixed(5)
    assert fixed.shape == (5, 10, 1, 64, 64)
    assert torch.isfinite(fixed).all()
    assert ((fixed >= 0.1).float().mean((1, 2, 3, 4)) >= 0.05).all()
    event, start, top, left = places[0].tolist()
    assert torch.equal(
        fixed[0],
        clips.files[event].read(rows=slice(top, top + 64), columns=slice(left, left + 64))[
            start - clips.files[event].start :
        ][:10],
    )
    assert torch.equal(clips.fixed(5), fixed)
    assert torch.equal(clips[0], fixed[0])
    assert clips[0].isfinite().all()


@pytest.mark.slow
def test_training_crops_are_random_and_flipped(rain):
    train = FRAME_DATASETS["rain"]().load(rain, "train", 4, 2)
    drawn = train.draw(64)
    known = [clip[:, 0] for clip in train]
    turned = [t for k in known for t in (k, k.flip(-1), k.flip(-2), k.mT)]
    as_is = [any(torch.equal(x[:, 0], k) for k in known) for x in drawn]
    assert 0 < sum(as_is) < 64
    assert sum(any(torch.equal(x[:, 0], k) for k in turned) for x in drawn) > sum(as_is)
    torch.manual_seed(5)
    again = train.draw(3)
    torch.manual_seed(5)
    assert torch.equal(train.draw(3), again)


def bad(path):
    path.write_bytes(b"P5\n3 3\n255\n12")
    return path


def cut(write):
    """Returns a function that writes a file and truncates it in the middle."""

    def make(path):
        written = write(path.parent, read_time(path), np.arange(2500).reshape(50, 50) % 200)
        assert written == path
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return make


BAD = {
    "201008261210_fmi.radar.composite.lowest_FIN_SUOMI1.pgm.gz": (cut(write_fmi), "gzip"),
    "RAD_NL25_RAP_5min_201008261210.h5": (cut(write_knmi), "HDF5"),
    "201008261200_fmi.radar.composite.pgm": (bad, r"3×3.*\b2$"),
    "201008261200_fmi.radar.composite.pgm.gz": (bad, "gzip"),
    "201008261205_fmi.radar.composite.pgm": (lambda p: p.write_bytes(b"P2 1 1 1 1"), "P5.*b'P2 1 1 1'"),
    "RAD_NL25_201008261200.h5": (bad, "HDF5"),
    "AQC102381200F_00005.801.gif": (bad, "710×640"),
    "201008261200.txt": (bad, "unknown format"),
    "RAD_NL25_201008261205.h5": (lambda p: None, "RAD_NL25_201008261205"),
}


@pytest.mark.parametrize("name", BAD)
def test_damaged_files_are_named(name, tmp_path):
    make, message = BAD[name]
    make(tmp_path / name)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        read_composite(tmp_path / name)
    assert name in str(error.value)


def test_names_without_time_missing_radar_files_and_too_long_sequences_are_errors(tmp_path, rain):
    with pytest.raises(ValueError, match=r"a\.h5.*%Y%m%d"):
        read_time(tmp_path / "a.h5")
    with pytest.raises(FileNotFoundError, match=r"RAD_NL25.*download_pysteps_data"):
        FRAME_DATASETS["rain"]().load(tmp_path, "train", 4, 12)
    with pytest.raises(ValueError, match=r" 99 frames.*inputs.*horizon"):
        FRAME_DATASETS["rain"]().load(rain, "train", 4, 95)


def test_composites_of_other_quantities_and_missing_counts(tmp_path):
    path = write_knmi(tmp_path, NOON, np.array([[0, 65534], [7, 65535]]))
    with h5py.File(path, "r+") as file:
        file["image1/calibration"].attrs["calibration_missing_data"] = [65534]
    assert read_rates(path).isnan().sum() == 2
    with h5py.File(path, "r+") as file:
        file["image1"].attrs["image_geo_parameter"] = np.bytes_("REFLECTIVITY_[DBZ]")
    with pytest.raises(FileError, match="REFLECTIVITY"):
        read_composite(path)


def test_odim_files_of_any_name_are_recognised(tmp_path):
    paths = [tmp_path / name for name in ("composite.hdf", "dbz-hd5", "sum.h5")]
    for path in paths:
        write_odim(path, NOON, np.zeros((2, 2)))
    assert find_composites(tmp_path) == [paths]


@pytest.mark.parametrize("format_of", ["KNMI", "ODIM"])
@pytest.mark.parametrize("minutes", [0, -5])
def test_a_sum_of_rain_that_ends_before_it_starts_is_an_error(format_of, minutes, tmp_path):
    start, end = (f"{NOON - timedelta(minutes=m):%Y%m%d %H%M%S}".split() for m in (0, -minutes))
    if format_of == "ODIM":
        path = write_odim(tmp_path / "sum.h5", NOON, np.ones((2, 2)), "ACRR")
        with h5py.File(path, "r+") as file:
            file["dataset1/what"].attrs.update(
                startdate=np.bytes_(start[0]),
                starttime=np.bytes_(start[1]),
                enddate=np.bytes_(end[0]),
                endtime=np.bytes_(end[1]),
            )
    else:
        path = write_knmi(tmp_path, NOON, np.zeros((765, 700)))
        with h5py.File(path, "r+") as file:
            for name, shift in (("start", 0), ("end", minutes)):
                stamp = f"{NOON + timedelta(minutes=shift):%d-%b-%Y;%H:%M:%S.000}".upper()
                file["overview"].attrs[f"product_datetime_{name}"] = np.array([stamp.encode()])
    with pytest.raises(FileError, match=path.name):
        read_composite(path)


def link_to_another_file(path):
    with h5py.File(path, "r+") as file:
        del file["image1/image_data"]
        file["image1/image_data"] = h5py.ExternalLink("other.h5", "image1/image_data")


def store_values_in_another_file(path):
    with h5py.File(path, "r+") as file:
        del file["image1/image_data"]
        file.create_dataset("image1/image_data", (2, 2), np.uint16, external=[("/etc/hostname", 0, 8)])


@pytest.mark.parametrize("change", [link_to_another_file, store_values_in_another_file])
def test_files_that_name_others_are_rejected_before_pysteps_opens_them(change, tmp_path):
    write_knmi(tmp_path, NOON, np.zeros((2, 2))).rename(tmp_path / "other.h5")
    path = write_knmi(tmp_path, NOON, np.zeros((2, 2)))
    change(path)
    with pytest.raises(FileError, match="another file"):
        read_composite(path)


def test_a_header_without_comments_does_not_hang(tmp_path):
    path = tmp_path / "201008261200_fmi.radar.composite.pgm"
    path.write_bytes(b"P5\n1 1\n255\n1")
    with pytest.raises(FileError, match="projection"):
        read_composite(path)


def test_volumes_and_other_quantities_are_rejected(tmp_path):
    path = write_odim(tmp_path / "a.h5", NOON, np.zeros((2, 2)), "VRADH")
    with pytest.raises(FileError, match="VRADH"):
        read_composite(path)
    with h5py.File(path, "r+") as file:
        file["what"].attrs["object"] = np.bytes_("PVOL")
    with pytest.raises(FileError, match="PVOL"):
        read_composite(path)


def test_composites_of_two_regions_are_an_error(tmp_path):
    write_odim(tmp_path / "a.h5", NOON, np.zeros((4, 4)))
    write_odim(tmp_path / "b.h5", NOON + timedelta(minutes=15), np.zeros((4, 4)), LL_lon=9.1, UR_lon=10.1)
    frames = readers.open_files([tmp_path])
    with pytest.raises(FileError, match=r"b\.h5"):
        frames.read()


def test_files_of_saf_have_time_and_projection(tmp_path):
    """As those of the Nowcasting SAF of EUMETSAT: the projection and the time are attributes of the file."""
    xarray = pytest.importorskip("xarray", reason="the extra netcdf")
    attrs = {
        "gdal_projection": "+proj=geos +a=6378137.0 +b=6356752.3 +lon_0=0.0 +h=35785863.0",
        "nominal_product_time": "2018-06-01T09:15:00Z",
    }
    places = {
        axis: (f"n{axis}", np.arange(n) * step, {"standard_name": f"projection_{axis}_coordinate", "units": "m"})
        for axis, n, step in (("y", 4, -3000.0), ("x", 5, 3000.0))
    }
    data = xarray.Dataset(
        {
            "crr": (("ny", "nx"), np.ones((4, 5), "float32")),
            "crr_intensity": (("ny", "nx"), np.arange(20.0, dtype="float32").reshape(4, 5), {"units": "mm/h"}),
        },
        {f"n{axis}": place for axis, place in places.items()},
        attrs,
    )
    for i, time in enumerate(("09:15", "09:30")):
        data.attrs["nominal_product_time"] = f"2018-06-01T{time}:00Z"
        data.to_netcdf(tmp_path / f"S_NWC_CRR_{i}.nc", engine="h5netcdf")
    frames = labelled_frames([tmp_path / "S_NWC_CRR_1.nc", tmp_path / "S_NWC_CRR_0.nc"])
    assert list(frames.data_vars) == ["crr_intensity"]
    assert [str(t)[11:16] for t in frames.time.values] == ["09:15", "09:30"]
    assert frames.crs.attrs["grid_mapping_name"] == "geostationary"
    assert frames.crr_intensity.attrs["grid_mapping"] == "crs"
    assert list(labelled_frames(tmp_path / "S_NWC_CRR_0.nc", variables=["crr"]).data_vars) == ["crr"]


def test_files_of_mrms_have_a_unit_and_unknown_pixels():
    """As cfgrib opens them: a parameter that ecCodes does not know, negative where no radar sees rain."""
    xarray = pytest.importorskip("xarray", reason="the extra netcdf")
    values = np.array([[0.0, -3.0], [-1.0, 2.5]], "float32")
    data = xarray.Dataset({"unknown": (("latitude", "longitude"), values, {"units": "unknown"})})
    completed = complete_gridded(data, Path("PrecipRate_00.00_20190610-002200.grib2"))
    np.testing.assert_array_equal(completed["rain_rate"], np.array([[0, np.nan], [np.nan, 2.5]]))
    assert completed["rain_rate"].attrs["units"] == "mm/h"
    assert complete_gridded(data, Path("Other_00.00_20190610-002200.grib2")) is data
