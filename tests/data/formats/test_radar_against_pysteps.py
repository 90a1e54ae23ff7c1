"""Radar composites have the rain rates, unknown pixels, regions and means of pysteps' importers."""

import importlib
import shutil
import tempfile
from datetime import datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convrnn_zoo._extras import quiet
from convrnn_zoo.data.formats.radar import open_composites, read_composite
from tests.helpers.made_data import write_fmi, write_knmi, write_mch, write_odim

pyproj = pytest.importorskip("pyproj", reason="the extra radar")

pytestmark = pytest.mark.skipif(find_spec("pysteps") is None, reason="the extra radar")

CLOSE = {"rtol": 2e-5, "atol": 1e-3}  # of pixels at its threshold, pysteps makes dry ones
PROPERTY = settings(max_examples=5, deadline=None, derandomize=True, database=None)
GERMAN = "ORG:78,NOD:dehx"


def import_pysteps(module):
    """Imports a module of pysteps: in the tests, since it takes seconds in every process that collects them."""
    return importlib.import_module(f"pysteps.{module}")


def importers():
    return import_pysteps("io.importers")


def knmi(folder, time, values, unknown):
    """Hundredths of a millimetre in five minutes."""
    path = write_knmi(folder, time, np.where(unknown, 65535, 20 * values))
    rain, _, about = importers().import_knmi_hdf5(path)
    return path, "rain_rate", rain * 60 / about["accutime"], about


def fmi(folder, time, values, unknown):
    """Half decibels from -32 dBZ; the byte 0 is no echo."""
    path = write_fmi(folder, time, np.where(unknown, 255, values))
    dbz, _, about = importers().import_fmi_pgm(str(path), gzipped=True)
    rain, about = import_pysteps("utils.conversion").to_rainrate(dbz, about)
    return path, "rain_rate", np.where(dbz == -32, 0, np.where(np.isnan(dbz), np.nan, rain)), about


def mch(folder, time, values, unknown):
    """Classes of rain in five minutes, in the only region of this format."""
    image = np.zeros((640, 710))
    image[:6, :9] = np.where(unknown, 255, values)
    path = write_mch(folder, time, image)
    with quiet():  # it leaves the file open
        rain, _, about = importers().import_mch_gif(str(path), product="AQC", unit="mm", accutime=5.0)
    return path, "rain_rate", rain * 12, about


def odim(quantity, source="ORG:247"):
    def write(folder, time, values, unknown):
        stored = np.where(unknown, -9999000, np.where(values < 40, -8888000, values / 8))
        path = write_odim(folder / f"{time:%H%M}.h5", time, stored, quantity, source=source)
        read = importers().import_dwd_hdf5 if source == GERMAN else importers().import_odim_hdf5
        field, _, about = read(str(path), qty=quantity)
        about |= {"unit": {"ACRR": "mm", "DBZH": "dBZ", "RATE": "mm/h"}[quantity]}
        name = "reflectivity" if quantity == "DBZH" else "rain_rate"
        return path, name, field * (4 if quantity == "ACRR" else 1), about  # sums of 15 minutes

    return write


FORMATS = {
    "KNMI": knmi,
    "FMI": fmi,
    "MeteoSwiss": mch,
    "ODIM rate": odim("RATE"),
    "ODIM sum": odim("ACRR"),
    "ODIM reflectivity": odim("DBZH"),
    "DWD rate": odim("RATE", GERMAN),
    "DWD reflectivity": odim("DBZH", GERMAN),
}


@pytest.mark.parametrize("form", FORMATS)
@given(seed=st.integers(0, 2**31), share=st.sampled_from([0.0, 0.2, 0.7]), coarsen=st.integers(1, 3))
@PROPERTY
def test_composites_are_those_of_pysteps(form, seed, share, coarsen):
    rng, folder = np.random.default_rng(seed), Path(tempfile.mkdtemp())
    time = datetime(2010, 8, 26, 12) + int(rng.integers(0, 200)) * timedelta(minutes=5)
    values, unknown = rng.integers(0, 200, (6, 9)), rng.random((6, 9)) < share
    try:
        path, name, expected, about = FORMATS[form](folder, time, values, unknown)
        data = read_composite(path, coarsen)
        assert data.time.values == np.datetime64(time)
        assert data[name].attrs["units"] == ("dBZ" if name == "reflectivity" else "mm/h")
        is_decibel = name == "reflectivity" and coarsen > 1
        means = 10 ** (expected / 10) if is_decibel else expected
        for axis in (0, 1):
            means = import_pysteps("utils.dimension").aggregate_fields(
                means, coarsen, axis=axis, method="mean", trim=True
            )
        means = 10 * np.log10(means) if is_decibel else means
        np.testing.assert_allclose(data[name][0], means, **CLOSE)

        scale = 1000 if about["cartesian_unit"] == "km" else 1
        size = [float(about[f"{axis}pixelsize"]) * scale * coarsen for axis in "xy"]
        assert float(data.x[1] - data.x[0]) == pytest.approx(size[0], rel=1e-6)
        assert float(data.y[0] - data.y[1]) == pytest.approx(size[1], rel=1e-6)
        if coarsen == 1 and form in ("KNMI", "MeteoSwiss"):  # corners of pixels
            corners = [float(about[key]) * scale for key in ("x1", "x2", "y1", "y2")]
            half = np.array([size[0], -size[0], size[1], -size[1]]) / 2
            found = [data.x[0], data.x[-1], data.y[-1], data.y[0]] - half
            np.testing.assert_allclose(found, corners, atol=1)
        crs = pyproj.CRS(data.crs.attrs["crs_wkt"])
        to_metres, expected_crs = (
            pyproj.Transformer.from_crs(4326, crs, always_xy=True),
            pyproj.Proj(about["projection"]),
        )
        np.testing.assert_allclose(to_metres.transform(8, 54), np.array(expected_crs(8, 54)) * scale, rtol=1e-3)
    finally:
        shutil.rmtree(folder)


@given(st.permutations(range(4)), st.sampled_from(["KNMI", "FMI", "ODIM rate"]))
@PROPERTY
def test_composites_are_stacked_in_order_of_time(order, form):
    folder = Path(tempfile.mkdtemp())
    try:
        made = []
        for i in order:
            written = FORMATS[form](folder, datetime(2010, 8, 26, 23, 50) + i * timedelta(minutes=5), *example(i))
            made.append((i, *written[:3]))
        data = open_composites([path for _, path, *_ in made])
        ordered = [values for _, _, _, values in sorted(made, key=lambda m: m[0])]
        np.testing.assert_allclose(data.rain_rate, ordered, **CLOSE)
        assert (np.diff(data.time) == np.timedelta64(5, "m")).all()
        np.testing.assert_allclose(data.rain_rate[2, 1:3], ordered[2][1:3], **CLOSE)
    finally:
        shutil.rmtree(folder)


def example(seed):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 200, (6, 9)), rng.random((6, 9)) < 0.2
