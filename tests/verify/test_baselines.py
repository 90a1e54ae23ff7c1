"""Baselines of forecasts."""

import subprocess
import sys

import pytest

READ_AND_EXTRAPOLATE = """
import sys
import numpy, torch, xarray
from convrnn_zoo.data import labelled_frames
from convrnn_zoo.verify.baselines import extrapolation

path = sys.argv[1]
xarray.DataArray(numpy.ones((3, 4, 4)), dims=("time", "y", "x"), name="rain").to_netcdf(path, engine="scipy")
labelled_frames(path)  # for which xarray imports its engines, and cfgrib loads ecCodes
assert extrapolation(torch.rand(1, 2, 1, 40, 40), 2).shape == (1, 2, 1, 40, 40)
"""


def test_extrapolation_does_not_crash_a_process_that_has_read_netcdf_3(tmp_path):
    for module in ("cfgrib", "pyproj", "pysteps", "cv2"):
        pytest.importorskip(module)
    done = subprocess.run(
        [sys.executable, "-c", READ_AND_EXTRAPOLATE, str(tmp_path / "a.nc")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""  # pysteps prints its settings as it is imported
