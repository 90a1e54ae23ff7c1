"""Baselines of forecasts."""

import importlib.util
import subprocess
import sys
from datetime import datetime

import numpy as np
import pytest

from tests.helpers.made_data import write_fmi

READ_AND_EXTRAPOLATE = """
import sys
from pathlib import Path
import numpy, torch, xarray
from convrnn_zoo.data import labelled_frames
from convrnn_zoo.data.formats.radar import read_composite
from convrnn_zoo.verify.baselines import extrapolation

path, composite = sys.argv[1:]
xarray.DataArray(numpy.ones((3, 4, 4)), dims=("time", "y", "x"), name="rain").to_netcdf(path, engine="scipy")
labelled_frames(path)  # for which xarray imports its engines, and cfgrib loads ecCodes
assert read_composite(Path(composite)).crs.attrs["grid_mapping_name"] == "polar_stereographic"
assert extrapolation(torch.rand(1, 2, 1, 40, 40), 2).shape == (1, 2, 1, 40, 40)
"""


def test_extrapolation_does_not_crash_a_process_that_has_read_netcdf_3(tmp_path):
    for module in ("cfgrib", "pyproj", "pysteps", "cv2"):
        if importlib.util.find_spec(module) is None:  # without an import, since this process would crash as it ends
            pytest.skip(f"{module} is not installed")
    composite = write_fmi(tmp_path, datetime(2010, 8, 26, 12), np.zeros((4, 4)))
    command = [sys.executable, "-c", READ_AND_EXTRAPOLATE, str(tmp_path / "a.nc"), str(composite)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""  # pysteps prints its settings as it is imported
