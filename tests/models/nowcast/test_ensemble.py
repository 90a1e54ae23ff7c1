"""Members of a nowcast: their rates, and their structure in space and time."""

import math

import pytest
import torch

import convrnn_zoo
from convrnn_zoo.layers.warp import warp
from convrnn_zoo.models.nowcast.decisions import LEVELS
from convrnn_zoo.models.nowcast.ensemble import CORRELATION_MINUTES, arrange, quantiles, rain_noise
from convrnn_zoo.models.nowcast.motion import trajectories


def showers(size, height=64, width=80):
    """Rain whose showers have about this radius in pixels."""
    noise = torch.randn(height, width, generator=torch.Generator().manual_seed(0))
    radius = torch.fft.fftfreq(height)[:, None].square() + torch.fft.rfftfreq(width).square()
    smooth = torch.fft.irfft2(torch.fft.rfft2(noise) * (-20 * size**2 * radius).exp(), s=(height, width))
    return (3 * smooth / smooth.std() - 2).clamp_min(0)[None, None]


def correlation(a, b):
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).mean() / (a.std() * b.std()))


def neighbours(maps):
    """Correlation of neighbouring pixels."""
    return correlation(maps[..., 1:], maps[..., :-1])


def noise(rate, motion=(0.0, 0.0), horizon=3, minutes=5.0, count=8, seed=0):
    moving = torch.tensor(motion).reshape(1, 2, 1, 1).expand(1, 2, *rate.shape[-2:])
    maps = rain_noise(rate, minutes, count, torch.Generator().manual_seed(seed))
    origins = trajectories(moving, horizon)[0, :, None]
    return [
        warp(x[:, 0].transpose(0, 1), back, "reflection")[0, :, None, None]
        for x, back in zip(maps, origins, strict=False)
    ]


def test_noise_is_smooth_where_rain_is():
    fine, coarse = (neighbours(noise(showers(size))[0]) for size in (1, 6))
    assert coarse > fine + 0.1


def test_noise_moves_with_the_rain_and_is_forgotten():
    first, second, third = noise(showers(3), motion=(4.0, 0.0), minutes=CORRELATION_MINUTES)
    assert correlation(second[..., 4:], first[..., :-4]) == pytest.approx(1 / math.e, abs=0.1)
    assert correlation(third[..., 8:], first[..., :-8]) == pytest.approx(1 / math.e**2, abs=0.1)
    assert abs(correlation(second, first)) < 0.3


def test_members_keep_the_values_of_each_pixel_and_get_the_order_of_the_noise():
    values = torch.rand(5, 2, 3).sort(0).values
    noises = torch.randn(5, 2, 3)
    members = arrange(values, noises)
    assert torch.equal(members.sort(0).values, values)
    assert torch.equal(members.argsort(0), noises.argsort(0))


def test_dry_maps_have_finite_noise():
    assert all(part.isfinite().all() for part in noise(torch.zeros(1, 1, 16, 24)))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return convrnn_zoo.create_model("convgru_advection", hidden_channels=(4, 6)).eval()


@pytest.fixture(scope="module")
def frames():
    return showers(3)[0].expand(4, -1, -1) * 5


def test_an_ensemble_has_the_forecast_probabilities(model, frames):
    members = model.forecast(frames, 2, members=7, seed=0)
    expected = quantiles(model.probabilities(frames, LEVELS, 2).movedim(1, 0), LEVELS, 7)
    torch.testing.assert_close(members.sort(0).values, expected.sort(0).values)
    assert neighbours(members) < neighbours(expected)  # texture in place of a smooth map for each quantile


def test_a_seed_repeats_an_ensemble_whatever_the_batch(model, frames):
    batch = torch.stack([frames, frames.flip(1)])[:, :, None]
    together, apart = (model.forecast(batch, 2, members=3, seed=1, batch_size=n) for n in (2, 1))
    assert torch.isclose(together, apart, rtol=1e-3).float().mean() > 0.99  # rounding may swap two members at a pixel
    assert not torch.equal(together, model.forecast(batch, 2, members=3, seed=2))


def test_one_member_is_the_median(model, frames):
    (median,) = model.forecast(frames, 2, members=1)
    expected = quantiles(model.probabilities(frames, LEVELS, 2).movedim(1, 0), LEVELS, 1)
    torch.testing.assert_close(median, expected[0])


def test_noise_is_forgotten_sooner_if_frames_are_further_apart(model, frames):
    changes = []
    for minutes in (1.0, 30.0):
        members = model.forecast(frames, 2, members=9, seed=0, minutes=minutes)
        ranks = members.argsort(0).argsort(0).double()
        changes.append((ranks[:, 1] - ranks[:, 0]).abs().mean())
    assert changes[1] > 1.5 * changes[0]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_members_have_channels_and_the_dtype_of_the_frames(dtype):
    network = convrnn_zoo.create_model("convgru_advection", hidden_channels=(2, 3), in_chans=2).to(dtype).eval()
    members = network.members(torch.rand(1, 3, 2, 16, 24, dtype=dtype), 2, members=3, seed=0)
    assert (members.shape, members.dtype) == ((3, 1, 2, 2, 16, 24), dtype)


def test_labelled_frames_give_a_labelled_ensemble(model, frames):
    xr = pytest.importorskip("xarray", reason="the extra netcdf")
    labelled = xr.DataArray(frames.numpy(), dims=("time", "y", "x"), attrs={"units": "mm/h"})
    assert model.forecast(labelled, 2, members=3, seed=0).dims == ("realization", "lead_time", "y", "x")


def test_unknown_pixels_are_unknown_in_every_member(model, frames):
    frames = frames.clone()
    frames[:, :9] = torch.nan
    members = model.forecast(frames[:, :, :61], 2, members=3, seed=0, pixel_km=1.0)
    assert members.shape == (3, 2, 64, 61)
    assert members[..., :9, :].isnan().all()
    assert members[..., 9:, :].isfinite().all()


@pytest.mark.parametrize("options", [{"seed": 1}, {"members": 0}, {"minutes": 0, "members": 2}], ids=str)
def test_wrong_options_are_named(model, frames, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        model.forecast(frames, 2, **options)
