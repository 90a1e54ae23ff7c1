"""Baselines of forecasts."""

import importlib.util
import math
import subprocess
import sys
from datetime import datetime
from functools import partial

import numpy as np
import pytest
import torch

from convrnn_zoo import Preprocessing
from convrnn_zoo.verify import anvil, choose_baselines, extrapolation, fair_crps, last_frame, linda, skill, sprog, steps
from tests.helpers.made_data import write_fmi

needs_pysteps = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("pysteps", "cv2"))), reason="needs the extra nowcast"
)
RAIN = [Preprocessing(unit="mm/h")]
METHODS = {"S-PROG": sprog, "ANVIL": anvil, "LINDA": linda, "STEPS": partial(steps, members=4)}

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


@pytest.mark.slow
def test_extrapolation_does_not_crash_a_process_that_has_read_netcdf_3(tmp_path):
    for module in ("cfgrib", "pyproj", "pysteps", "cv2"):
        if importlib.util.find_spec(module) is None:  # without an import, since this process would crash as it ends
            pytest.skip(f"{module} is not installed")
    composite = write_fmi(tmp_path, datetime(2010, 8, 26, 12), np.zeros((4, 4)))
    command = [sys.executable, "-c", READ_AND_EXTRAPOLATE, str(tmp_path / "a.nc"), str(composite)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""  # pysteps prints its settings as it is imported


def moving_rain(frames, size=64, seed=0):
    """Smooth random rain that drifts two pixels a frame to the right: ``(1, T, 1, H, W)``."""
    wide = size + 2 * frames
    white = torch.randn(wide, wide, generator=torch.Generator().manual_seed(seed))
    distance = torch.fft.fftfreq(wide).square()
    smooth = torch.fft.ifft2(torch.fft.fft2(white) / (distance + distance[:, None] + 1e-4)).real
    rain = (8 * smooth / smooth.std()).clamp_min(0)
    return torch.stack([rain[:size, 2 * (frames - t) :][:, :size] for t in range(frames)])[None, :, None]


@needs_pysteps
@pytest.mark.parametrize("method", [*METHODS, "extrapolation"])
def test_the_methods_of_pysteps_follow_the_rain(method):
    sequence = torch.cat([moving_rain(8), moving_rain(8, seed=1).mT])
    inputs, truth = sequence[:, :4], sequence[:, 4:]
    forecast = METHODS.get(method, extrapolation)(inputs, 4)
    assert forecast.shape == ((4,) if method == "STEPS" else ()) + truth.shape
    assert forecast.dtype == truth.dtype
    assert forecast.min() >= 0
    mean = forecast.mean(0) if method == "STEPS" else forecast
    errors = [(f - truth)[..., 8:-8, 8:-8].square().mean() for f in (mean, last_frame(inputs, 4))]
    assert errors[0] < 0.5 * errors[1]


@needs_pysteps
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "frames",
    [torch.zeros(1, 4, 1, 40, 40), moving_rain(4, 16), moving_rain(4)[:, :2], moving_rain(1).expand(-1, 4, -1, -1, -1)],
    ids=["dry", "small", "two", "still"],
)
def test_maps_that_a_method_cannot_use_are_extrapolated(method, frames):
    forecast = METHODS[method](frames, 2)
    assert torch.equal(forecast, extrapolation(frames, 2).expand(forecast.shape))
    assert forecast.any() == frames.any()


@needs_pysteps
def test_unknown_pixels_are_filled_or_left_out():
    frames = moving_rain(4)
    frames[..., :10] = math.nan
    for forecast in (sprog(frames, 2), anvil(frames, 2)):
        assert forecast[..., 12:].isfinite().all()
    members = steps(frames.nan_to_num(0), 3, members=2, fill=False)
    assert members.isnan().any()
    assert steps(frames.nan_to_num(0), 3, members=2).isfinite().all()


@needs_pysteps
def test_members_of_steps_differ_and_a_seed_repeats_them():
    frames = moving_rain(4)
    members = steps(frames, 3, members=3)
    assert (members[0] != members[1]).float().mean() > 0.2
    assert torch.equal(members, steps(frames, 3, members=3))
    assert not torch.equal(members, steps(frames, 3, members=3, seed=1))
    assert fair_crps(members, members[0]).mean() > 0


@needs_pysteps
def test_rain_is_compared_with_all_methods():
    names = ["last frame", "zero", "extrapolation", "S-PROG", "ANVIL", "LINDA"]
    assert list(choose_baselines(RAIN, moving_rain(4))) == names
    baselines = choose_baselines(RAIN, moving_rain(4), minutes=10.0, pixel_km=1.0, members=3)
    assert list(baselines) == [*names, "STEPS"]
    assert baselines["LINDA"].keywords == {"minutes": 10.0, "pixel_km": 1.0}
    assert baselines["STEPS"].keywords == {"minutes": 10.0, "pixel_km": 1.0, "members": 3}
    for few in (moving_rain(4, size=31), moving_rain(2)):  # which the others only extrapolate
        assert list(choose_baselines(RAIN, few, members=3)) == names[:3]


NAN = math.nan


@pytest.mark.parametrize(
    ("metric", "ours", "others", "expected"),
    [
        ("MSE", [1, 1], {"a": [4, 4], "b": [2, 2]}, ("b", 0.5)),
        ("CSI 2 mm/h", [0.4, 0.2], {"a": [0.1, 0.1], "b": [0.6, 0.2]}, ("b", -1 / 6)),
        ("FAR 2 mm/h", [NAN, 0.1], {"a": [0.0, 0.4], "b": [0.3, 0.3]}, ("b", 2 / 3)),
        ("SSIM", [0.5], {"a": [NAN]}, ("", NAN)),
        ("MSE", [1], {"a": [0]}, ("a", NAN)),
        ("PSNR", [20], {"a": [10]}, ("a", NAN)),
    ],
)
def test_skill_is_relative_to_the_best_baseline(metric, ours, others, expected):
    scores = {"forecast": {metric: ours}, **{name: {metric: values} for name, values in others.items()}}
    name, value = skill(scores, metric)
    assert name == expected[0]
    assert value == pytest.approx(expected[1], nan_ok=True)


@needs_pysteps
@pytest.mark.parametrize("method", METHODS)
def test_a_map_without_a_value_next_to_others_stays_unknown(method):
    frames = moving_rain(4).repeat(2, 1, 1, 1, 1)
    frames[1] = math.nan
    forecast = METHODS[method](frames, 2)
    assert forecast[..., 0, :, :, :, :].isfinite().all()
    assert extrapolation(frames, 2)[1].isnan().all()
