"""Small files with the names and the form of those that the tutorials on climate data download."""

from pathlib import Path

import numpy as np
import pytest

PAGES = ("sea_surface", "temperature")
"""Tutorials that need these files."""


def write_climate(directory: Path) -> None:
    """Writes random monthly sea surface temperatures, and five days of hourly temperatures as GRIB."""
    xarray = pytest.importorskip("xarray", reason="the extra netcdf")
    grib = pytest.importorskip("cfgrib.xarray_to_grib", reason="the extra grib")
    rng = np.random.default_rng(0)
    months = np.arange("2010-01", "2020-09", dtype="datetime64[M]").astype("datetime64[ns]")
    lat, lon = np.arange(85, -86, -5.0), np.arange(0, 360, 5.0)
    sst = rng.normal(20, 1, (len(months), len(lat), len(lon))).astype("float32")
    sst[:, :, 10] = np.nan  # land
    coords = {"time": months, "lat": lat, "lon": lon}
    sea = xarray.DataArray(sst, coords, ("time", "lat", "lon"), name="sst", attrs={"units": "degC"})
    sea.to_netcdf(directory / "sst.mnmean.nc", engine="h5netcdf")
    hours = np.datetime64("2019-03-01", "ns") + np.arange(120) * np.timedelta64(1, "h")
    coords = {"time": hours, "latitude": 58 - np.arange(33) / 4, "longitude": np.arange(49) / 4 - 10}
    values = 280 + 5 * np.sin(np.arange(120) / 24 * 2 * np.pi)[:, None, None] + rng.normal(0, 1, (120, 33, 49))
    t2m = xarray.DataArray(
        values.astype("float32"),
        coords,
        ("time", "latitude", "longitude"),
        name="t2m",
        attrs={"GRIB_shortName": "2t", "units": "K"},
    )
    with (directory / "era5-2mt-2019-03-uk.grib").open("wb") as file:
        grib.canonical_dataarray_to_grib(t2m, file)  # its function for a Dataset needs an older xarray
