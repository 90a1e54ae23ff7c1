"""Tiny synthetic files in the layouts of the data sets, and fixtures with directories of them."""

import gzip
import struct
from datetime import datetime, timedelta

import h5py
import numpy as np
import pytest

from convrnn_zoo.data.datasets.moving_mnist import FILES


def write_idx(path, images):
    content = struct.pack(">4I", 0x803, *images.shape) + images.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def write_digits(directory):
    rng = np.random.default_rng(0)
    for name in FILES.values():
        images = np.zeros((6, 28, 28))
        images[:, 6:22, 6:22] = rng.integers(100, 256, (6, 16, 16))
        write_idx(directory / f"{name}.gz", images)


def write_knmi(directory, time, counts):
    pytest.importorskip("pysteps", reason="the extra radar")  # reads what is written
    path = directory / f"RAD_NL25_RAP_5min_{time:%Y%m%d%H%M}.h5"
    with h5py.File(path, "w") as file:
        file["image1/image_data"] = counts.astype(np.uint16)
        file["image1"].attrs["image_geo_parameter"] = np.bytes_("ACCUMULATED_PRECIPITATION_[MM]")
        calibration = file.create_group("image1/calibration").attrs
        calibration["calibration_formulas"] = np.bytes_("GEO=0.01*PV+0.0")
        calibration["calibration_out_of_image"] = np.array([65535])
        overview = file.create_group("overview").attrs
        for name, end in (("start", time - timedelta(minutes=5)), ("end", time)):
            month = f"{end:%b}".upper()
            stamp = f"{end.day:02}-{month}-{end:%Y;%H:%M:%S}.000"
            overview[f"product_datetime_{name}"] = np.array([stamp.encode()])
        geographic = file.create_group("geographic").attrs
        geographic["geo_dim_pixel"] = np.bytes_("KM,KM")
        height, width = counts.shape
        numbers = {
            "column_offset": 0,
            "row_offset": 3650,
            "pixel_size_x": 1,
            "pixel_size_y": -1,
            "number_columns": width,
            "number_rows": height,
        }
        for name, number in numbers.items():
            geographic[f"geo_{name}"] = np.array([number], np.float32)
        projection = "+proj=stere +lat_0=90 +lon_0=0.0 +lat_ts=60.0 +a=6378.137 +b=6356.752 +x_0=0 +y_0=0"
        file.create_group("geographic/map_projection").attrs["projection_proj4_params"] = np.bytes_(projection)
    return path


FMI_HEAD = """P5
# obstime {time:%Y%m%d%H%M}
# param CorrectedReflectivity
# metersperpixel_x 999.674053
# metersperpixel_y 999.62859
# projection radar {{
# type stereographic
# centrallongitude 25
# centrallatitude 90
# truelatitude 60
# bottomleft 18.600000 57.930000
# topright 34.903000 69.005000
# }}
{width} {height}
255
"""


def write_fmi(directory, time, image):
    pytest.importorskip("pysteps", reason="the extra radar")  # reads what is written
    path = directory / f"{time:%Y%m%d%H%M}_fmi.radar.composite.lowest_FIN_SUOMI1.pgm.gz"
    head = FMI_HEAD.format(time=time, width=image.shape[1], height=image.shape[0])
    path.write_bytes(gzip.compress(head.encode() + image.astype(np.uint8).tobytes(), mtime=0))
    return path


def write_mch(directory, time, image):
    image_module = pytest.importorskip("PIL.Image", reason="the extra draw")
    path = directory / f"AQC{time:%y%j%H%M}F_00005.801.gif"
    picture = image_module.frombytes("P", image.shape[::-1], image.astype(np.uint8).tobytes())
    picture.putpalette([grey for grey in range(256) for _ in "RGB"])
    picture.save(path, optimize=False)
    return path


def write_odim(path, time, values, quantity="RATE", source="ORG:247", text=np.bytes_, **where):
    """Writes a composite of OPERA or DWD: pixels of 2 km in a region around Hamburg, -9999000 where unknown."""
    with h5py.File(path, "w") as file:
        file.attrs["Conventions"] = text("ODIM_H5/V2_3")
        file["dataset1/data1/data"] = values
        groups = {
            "what": {"object": "COMP", "source": source, "date": f"{time:%Y%m%d}", "time": f"{time:%H%M%S}"},
            "dataset1/what": {
                "startdate": f"{time - timedelta(minutes=15):%Y%m%d}", "enddate": f"{time:%Y%m%d}",
                "starttime": f"{time - timedelta(minutes=15):%H%M%S}", "endtime": f"{time:%H%M%S}",
            },
            "dataset1/data1/what": {
                "quantity": quantity, "gain": 1.0, "offset": 0.0, "nodata": -9999000.0, "undetect": -8888000.0,
            },
            "where": {
                "projdef": "+proj=laea +lat_0=55.0 +lon_0=10.0 +x_0=1950000.0 +y_0=-2100000.0 +units=m +ellps=WGS84",
                "xscale": 2000.0, "yscale": 2000.0, "xsize": values.shape[1], "ysize": values.shape[0],
                "LL_lon": 9.0, "LL_lat": 53.0, "UR_lon": 10.0, "UR_lat": 54.0, **where,
            },
        }  # fmt: skip
        for group, attrs in groups.items():
            for name, value in attrs.items():
                file.require_group(group).attrs[name] = text(value) if isinstance(value, str) else value
    return path


def write_rain(directory, frames=30, size=160):
    """A shower of each source that drifts to the right, one pixel of 1 km a frame; the left edge is out of range."""
    y, x = np.mgrid[:size, :size]
    for i in range(frames):
        shower = np.exp(-((x - size / 3 - i) ** 2 + (y - size / 2) ** 2) / (size / 5) ** 2)
        counts, image = (shower * 80).round(), 64 + (shower * 70).round()
        counts[:, :8], image[:, :8] = 65535, 255
        write_knmi(directory, datetime(2010, 8, 26) + i * timedelta(minutes=5), counts)
        write_fmi(directory, datetime(2016, 9, 28) + i * timedelta(minutes=5), image)


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    directory = tmp_path_factory.mktemp("digits")
    write_digits(directory)
    return directory


@pytest.fixture(scope="session")
def rain(tmp_path_factory):
    pytest.importorskip("pysteps", reason="the extra radar")
    pytest.importorskip("pyproj", reason="the extra radar")
    directory = tmp_path_factory.mktemp("rain")
    write_rain(directory)
    return directory
