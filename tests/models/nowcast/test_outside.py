"""Nowcasts where the rain comes from outside the map."""

import numpy as np
import pytest
import torch

import convrnn_zoo
from convrnn_zoo.models.nowcast.decisions import CLIMATOLOGY, THRESHOLDS, mean_rate
from convrnn_zoo.models.nowcast.motion import advect, distance_outside, distance_to_known

CELLS = ((30, 20), (80, 10), (130, 25), (55, 60), (110, 70), (30, 110), (90, 130), (140, 120), (60, 180), (120, 200))
"""Rows and columns of the cells in the last frame."""


@pytest.fixture(scope="module")
def frames():
    """Cells that move east at 54 km/h on pixels of 1 km, every five minutes, with nothing behind them."""
    y, x = torch.meshgrid(torch.arange(160.0), torch.arange(240.0), indexing="ij")
    frames = []
    for t in range(4):
        rates = [20 * (-((x - column - 4.5 * (t - 3)) ** 2 + (y - row) ** 2) / 60).exp() for row, column in CELLS]
        frames.append(torch.stack(rates).sum(0))
    return torch.stack(frames)


@pytest.fixture(scope="module")
def shipped():
    return convrnn_zoo.create_model("convgru_advection.nowcast", pretrained=True).eval()


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    return convrnn_zoo.create_model("convgru_advection", hidden_channels=(2, 3), horizon=3).eval()


@pytest.fixture(scope="module")
def part(frames):
    """The upper left of the map, for what holds on any."""
    return frames[:, :80, :120]


def test_no_rain_is_invented_where_the_flow_comes_in(shipped, frames):
    """After 60 minutes nothing is known of the western strip, where the last rates were reflected into the map."""
    rates = shipped.forecast(frames, 12, pixel_km=1.0)
    chance = shipped.probabilities(frames, [0.5, 5.0], 12, pixel_km=1.0)
    assert rates[-1, :, :20].max() < 0.5
    assert chance[-1, 0, :, :20].max() < 0.15
    assert chance[-1, 1, :, :20].max() < 0.02
    assert rates[-1, :, 60:].max() > 2  # the cells that were on the map


def test_no_rain_is_invented_at_the_edge_of_the_range_of_radars(shipped, frames):
    """Unknown pixels next to the map have no rain to advect, just as those beyond its edge."""
    wide = torch.full((4, 160, 320), torch.nan)
    wide[..., 80:] = frames
    rates = shipped.forecast(wide, 12, pixel_km=1.0)
    assert rates[-1, :, 80:100].max() < 0.5
    assert rates[..., :80].isnan().all()


@pytest.mark.slow
def test_members_are_rarely_wet_where_the_flow_comes_in(shipped, frames):
    members = shipped.forecast(frames, 12, pixel_km=1.0, members=20, seed=0)
    for threshold in (0.5, 5.0):
        share = (members[:, -1, :, :10] >= threshold).float().mean()
        assert share <= CLIMATOLOGY[THRESHOLDS.index(threshold)] + 0.03


@pytest.mark.slow
def test_probabilities_are_those_of_the_network_within_and_of_the_climatology_far_outside(small, frames):
    nowcast = small.exceedance(frames[None, :, None], 12)
    likely, network = nowcast.probabilities(), nowcast.logits.sigmoid()
    outside = nowcast.outside.unsqueeze(3).expand_as(likely)
    assert 0.05 < outside.float().mean() < 0.5
    assert torch.equal(likely[~outside], network[~outside])
    far = nowcast.weight.squeeze(2) < 1e-4
    assert far.any()
    expected = torch.tensor(CLIMATOLOGY)
    torch.testing.assert_close(
        likely[:, :, 0].movedim(2, -1)[far], expected.expand(int(far.sum()), -1), atol=1e-4, rtol=0
    )
    rate = mean_rate(expected[:, None, None]).squeeze()
    torch.testing.assert_close(nowcast.rates()[:, :, 0][far], rate.expand(int(far.sum())), atol=5e-3, rtol=0)


def test_rain_that_stands_still_comes_from_the_map(small, frames):
    assert not small.exceedance(frames[None, -1:, None], 6).outside.any()


@pytest.mark.parametrize("members", [None, 3])
def test_nan_in_place_of_the_climatology(small, part, members):
    options = {} if members is None else {"members": members, "seed": 0}
    expected = small.forecast(part, **options)
    actual = small.forecast(part, outside="nan", **options)
    outside = small.exceedance(part[None, :, None], 3).outside[0, :, 0]
    assert torch.equal(actual.isnan(), outside.expand_as(actual))
    assert torch.equal(actual[~actual.isnan()], expected[~actual.isnan()])
    chance = small.probabilities(part, [1.0, 2.0], outside="nan")
    assert torch.equal(chance.isnan(), outside[:, None].expand_as(chance))
    forecast, mask = small.forecast_with_outside(part, outside="nan", **options)
    assert torch.equal(mask, outside)
    assert torch.equal(forecast.isnan(), actual.isnan())
    batch = np.stack([part.numpy(), part.numpy()[..., ::-1]])[:, :, None]
    chance, masks = small.probabilities_with_outside(batch, [1.0])
    assert masks.shape == (chance.shape[0], 3, *part.shape[-2:])
    np.testing.assert_array_equal(masks[0], outside)
    with pytest.raises(ValueError, match=r"outside.*nan"):
        small.forecast(part, outside="zero")


@pytest.mark.slow
def test_the_climatology_is_an_argument_of_the_model_and_saved_with_it(frames, tmp_path):
    climatology = [0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01, 0.001, 0.0]
    wet = convrnn_zoo.create_model("convgru_advection", hidden_channels=(2, 3), climatology=climatology).eval()
    chance = wet.probabilities(frames, [0.1, 5.0, 40.0])[-1, :, 80, 0]
    torch.testing.assert_close(chance, torch.tensor([0.6, 0.05, 0.0]), atol=1e-2, rtol=0)
    convrnn_zoo.save_pretrained(wet, tmp_path)
    assert torch.equal(convrnn_zoo.from_pretrained(tmp_path).forecast(frames), wet.forecast(frames))
    for wrong in ([0.1] * 10, climatology[::-1], [*climatology[:-1], 2.0]):
        with pytest.raises(ValueError, match="climatology"):
            convrnn_zoo.create_model("convgru_advection", climatology=wrong)


@pytest.mark.parametrize("members", [None, 2])
def test_labelled_forecasts_have_the_mask(small, part, members):
    xr = pytest.importorskip("xarray", reason="the extra netcdf")
    labelled = xr.DataArray(part.numpy()[:, ::-1], dims=("time", "lat", "lon"), attrs={"units": "mm/h"}, name="rain")
    labelled = labelled.assign_coords(time=np.datetime64("2020-01-01", "ns") + np.arange(4) * np.timedelta64(5, "m"))
    labelled = labelled.assign_coords(lat=np.linspace(51.4, 50, 80), lon=np.linspace(5, 8.4, 120))
    options = {} if members is None else {"members": members, "seed": 0}
    result = small.forecast(labelled, pixel_km=2.0, outside="nan", **options)
    assert (result["outside"].dims, result["outside"].dtype) == (("lead_time", "lat", "lon"), bool)
    np.testing.assert_array_equal(np.isnan(result), result["outside"].broadcast_like(result).transpose(*result.dims))
    assert "outside" in small.forecast(labelled.to_dataset(), pixel_km=2.0, **options).coords
    assert "outside" in small.probabilities(labelled, [1.0], pixel_km=2.0).coords


def test_the_mask_has_the_pixels_of_the_frames(small, part):
    xr = pytest.importorskip("xarray", reason="the extra netcdf")
    labelled = xr.DataArray(part.numpy(), dims=("time", "y", "x"), attrs={"units": "mm/h"})
    masks = [small.forecast(labelled, 3, pixel_km=km)["outside"] for km in (1.0, 2.0)]
    assert masks[0].shape == masks[1].shape
    assert float((masks[0] == masks[1]).mean()) > 0.97


def test_distances_from_the_known_pixels():
    known = torch.ones(1, 1, 12, 16)
    known[..., 10:] = 0
    assert distance_to_known(known)[0, 0, 3].tolist() == [0.0] * 10 + [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    x = torch.rand(1, 1, 1, 12, 16).where(known > 0, torch.nan)
    c = advect(x, 1)
    there = torch.tensor([-3.0, 0.0])[:, None, None].expand(2, 12, 16)
    distance = distance_outside(c._replace(origins=there[None, None]), 0)[0, 0, 5]
    torch.testing.assert_close(distance[:4], torch.tensor([2.5, 1.5, 0.5, 0.0]))
    torch.testing.assert_close(distance[12:], torch.tensor([0.0, 0.5, 1.5, 2.5]))
