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
    path = directory / f"RAD_NL25_RAP_5min_{time:%Y%m%d%H%M}.h5"
    with h5py.File(path, "w") as file:
        file["image1/image_data"] = counts.astype(np.uint16)
        calibration = file.create_group("image1/calibration").attrs
        calibration["calibration_formulas"] = np.bytes_("GEO=0.01*PV+0.0")
        calibration["calibration_out_of_image"] = np.array([65535])
    return path


def write_fmi(directory, time, image):
    path = directory / f"{time:%Y%m%d%H%M}_fmi.radar.composite.lowest_FIN_SUOMI1.pgm.gz"
    head = f"P5\n# obstime {time:%Y%m%d%H%M}\n# param CorrectedReflectivity\n{image.shape[1]} {image.shape[0]}\n255\n"
    path.write_bytes(gzip.compress(head.encode() + image.astype(np.uint8).tobytes(), mtime=0))
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
    directory = tmp_path_factory.mktemp("rain")
    write_rain(directory)
    return directory
