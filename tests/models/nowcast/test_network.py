"""The nowcast by motion and ConvGRU layers: probabilities, decisions and input."""

import dataclasses
import itertools
import logging
import math

import numpy as np
import pytest
import torch
import xarray as xr

import convrnn_zoo
from convrnn_zoo.models.base.forecasting import log_once
from convrnn_zoo.models.nowcast.decisions import (
    DECIDED,
    FLOOR,
    THRESHOLDS,
    Exceedance,
    decide,
    interpolate_probabilities,
    mean_rate,
)
from convrnn_zoo.models.nowcast.motion import advect, extrapolate, fill_gaps
from tests.models.nowcast.test_motion import moving


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return convrnn_zoo.create_model("convgru_advection", hidden_channels=(4, 6)).eval()


@pytest.fixture(scope="module")
def frames():
    return moving("shift", (2.0, -1.0))[0]


def probabilities(height=6, width=7):
    return torch.rand(2, len(THRESHOLDS), height, width).sort(1, descending=True).values


def test_the_mean_is_that_of_the_bins():
    p = probabilities()
    mass = p - torch.cat([p[:, 1:], torch.zeros_like(p[:, :1])], 1)
    middles = [math.sqrt(a * b) for a, b in itertools.pairwise(THRESHOLDS)] + [50.0]
    torch.testing.assert_close(mean_rate(p), sum(m * mass[:, i] for i, m in enumerate(middles)))


def test_other_thresholds_lie_between_and_those_known_are_kept():
    p = probabilities()
    torch.testing.assert_close(interpolate_probabilities(p.logit(), THRESHOLDS), p, rtol=1e-3, atol=1e-5)
    actual = interpolate_probabilities(p.logit(), (0.05, 0.7, 3.0, 60.0))
    assert (actual[:, 1] <= p[:, 2]).all()
    assert (actual[:, 1] >= p[:, 3]).all()
    assert (actual[:, 0] >= p[:, 0] - 1e-5).all()
    assert (actual[:, 3] <= p[:, -1] + 1e-5).all()


def expected_csi(p, selected):
    """Returns the expected CSI over all outcomes of a few independent pixels."""
    total = 0.0
    for outcome in itertools.product((0, 1), repeat=len(p)):
        o = torch.tensor(outcome)
        chance = torch.where(o > 0, p, 1 - p).prod()
        either = ((o > 0) | selected).sum()
        total += float(chance * (((o > 0) & selected).sum() / either if either else 1.0))
    return total


@pytest.mark.parametrize("seed", range(3))
def test_the_decision_is_near_the_best_map(seed):
    p = 0.25 + 0.7 * torch.rand(5, generator=torch.Generator().manual_seed(seed))
    selected = decide(p.reshape(1, 5), torch.ones(1, 5, dtype=torch.bool))[0]
    best = max(expected_csi(p, torch.tensor(c)) for c in itertools.product((False, True), repeat=5))
    assert expected_csi(p, selected) > best - 0.03


def test_a_decision_reads_only_what_is_known():
    p = torch.full((4, 4), 0.3)
    p[0] = 0.9
    known = torch.ones(4, 4, dtype=torch.bool)
    known[0] = False
    assert torch.equal(decide(p, known)[1:], decide(p[1:], known[1:]))


@pytest.mark.parametrize("min_area", [0, 3, 40, 400, 1000])
def test_a_decision_adds_the_most_probable_pixels_up_to_a_minimum_area(min_area):
    p = torch.rand(3, 30, 40, generator=torch.Generator().manual_seed(0)) ** 8
    known = torch.ones(30, 40, dtype=torch.bool)
    known[:5] = False
    area = torch.tensor([0, min_area, min_area])[:, None, None]
    few, enough = decide(p, known, 0.9), decide(p, known, 0.9, area)
    assert torch.equal(enough[0], few[0])
    for selected, before, probability in zip(enough[1:, 5:], few[1:, 5:], p[1:, 5:], strict=True):
        assert selected.sum() == max(int(before.sum()), min_area)
        assert selected.all() or probability[selected].min() > probability[~selected].max()


def test_equally_probable_pixels_are_all_added_to_reach_a_minimum_area():
    p = torch.tensor([[0.15, 0.1, 0.1, 0.1, 0.05]])
    known = torch.ones_like(p, dtype=torch.bool)
    assert decide(p, known, min_area=torch.tensor([[2]])).tolist() == [[True, True, True, True, False]]


def test_rates_exceed_a_threshold_where_it_was_decided(model, frames):
    actual = model.exceedance(frames[None, :, None], 12)
    actual = actual._replace(weight=torch.ones_like(actual.weight))  # where the rain comes from the map
    rates = actual.rates()
    assert rates.shape == (1, 12, 1, *frames.shape[1:])
    for threshold, min_probability in DECIDED.items():
        p = actual.logits[..., THRESHOLDS.index(threshold), :, :].sigmoid()
        extrapolated = actual.log_rate.exp() - FLOOR > threshold
        area = extrapolated.sum((-2, -1), keepdim=True)
        assert ((rates > threshold).sum((-2, -1), keepdim=True) >= area).all()
        agree = ((rates > threshold) == decide(p, actual.known, min_probability, area)).float().mean((2, 3, 4))
        assert agree.min() > 0.99  # a pixel that is decided at a higher threshold reaches the lower ones


def test_fresh_weights_extrapolate(model, frames):
    """Where the carried rain is above a threshold, its probability is above a half."""
    c = advect(frames[None, :, None], 6)
    probable = model.probabilities(frames, [0.5], horizon=6)[:, 0] > 0.5
    for k in range(6):
        wet = extrapolate(c, k, 0.0)[0][0, 0].exp() > 0.5
        sure = extrapolate(c, k, 0.0)[2][0, 0] > 0.99
        assert ((probable[k] == wet) | ~sure).float().mean() > 0.97


def test_probabilities_fall_with_the_threshold_and_widen_with_the_lead_time(model, frames):
    p = model.probabilities(frames, [0.1, 0.5, 1.0, 5.0, 40.0], horizon=8)
    assert p.shape == (8, 5, *frames.shape[1:])
    assert (p[:, 1:] <= p[:, :-1] + 1e-5).all()
    doubt = (p * (1 - p)).mean((2, 3))[:, 1]
    assert doubt[-1] > doubt[0]


def test_a_forecast_holds_features_and_probabilities_of_one_lead_time_at_once(model, frames, monkeypatch):
    held, sizes, rates = [], [], Exceedance.rates
    expected = model(frames[None, :, None], 5)[0, :, 0]
    monkeypatch.setattr(Exceedance, "rates", lambda part: held.append(part.logits.shape[1]) or rates(part))
    handle = model.forecaster.register_forward_hook(lambda _module, inputs, _output: sizes.append(len(inputs[0])))
    torch.testing.assert_close(model.forecast(frames, 5), expected)
    handle.remove()
    assert held == sizes == [1] * 5
    monkeypatch.setattr(model, "chunk_size", 2)
    torch.testing.assert_close(model.forecast(frames, 5), expected)
    assert held[5:] == [2, 2, 1]


def test_a_forecast_frame_by_frame_equals_one_of_all_frames_at_once(model, frames, monkeypatch):
    """Without gradients the layers run one frame at a time; with gradients, and in exported graphs, all at once."""
    x = frames[None, :, None]
    together = model.exceedance(x, 6).logits
    assert together.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(model.exceedance(x, 6).logits, together.detach())
        monkeypatch.setattr(model, "chunk_size", None)
        torch.testing.assert_close(model.exceedance(x, 6).logits, together.detach())


def test_only_pixels_missing_in_the_last_frame_are_nan(model, frames):
    holed = frames.clone()
    holed[:, :20, :30] = math.nan
    holed[1, 60:, 60:] = math.nan
    actual = model.forecast(holed, 3)
    assert torch.equal(actual.isnan(), holed[-1].isnan().expand(3, -1, -1))
    assert torch.equal(model.probabilities(holed, [1.0], 3).isnan()[:, 0], actual.isnan())


def test_rejects_a_missing_last_frame_but_not_an_earlier_one(model, frames):
    gap = frames.clone()
    gap[1] = math.nan
    with pytest.warns(UserWarning, match="without a value.*: 1;"):
        assert model.forecast(gap, 2).isfinite().all()
    gap[-1] = math.nan
    with pytest.raises(ValueError, match="last frame"), pytest.warns(UserWarning, match=": 1, 3;"):
        model.forecast(gap, 2)


@pytest.mark.parametrize("shape", [(4, 9, 11), (2, 1, 17, 24), (3, 2, 1, 8, 13)])
def test_maps_of_any_size_come_back_as_they_came(model, shape):
    actual = model.forecast(torch.rand(shape) * 5, horizon=2, inputs="all")
    steps = len(shape) - (3 if shape[-3] != 1 else 4)
    assert actual.shape == (*shape[:steps], 2, *shape[steps + 1 :])


def test_padding_does_not_show(model, frames):
    """Forecasts of a map of 112×128 and of the same map without a column agree far from that edge."""
    complete, cut = model.forecast(frames, 4), model.forecast(frames[..., :-1], 4)
    difference = (complete[..., :-1] - cut).abs()[..., :100]
    assert difference.mean() < 0.02 * complete.mean()


@pytest.mark.slow
def test_a_missing_frame_between_others_is_interpolated(model, frames):
    hole = frames.clone()
    hole[1] = torch.nan
    with pytest.warns(UserWarning, match="read: 1; those between others are interpolated"):
        result = model.forecast(hole, 3)
    filled = fill_gaps(hole[None, :, None])[0, :, 0]
    torch.testing.assert_close(result, model.forecast(filled, 3))
    full, unfilled = model.forecast(frames, 3), model.exceedance(hole[None, :, None], 3).rates()[0, :, 0]
    assert (result - full).abs().mean() < 0.5 * (unfilled - full).abs().mean()
    with pytest.warns(UserWarning, match="interpolated"):
        assert model.forecast(hole, 3, pixel_km=4.0).isfinite().all()


def test_the_step_length_is_heeded(model, frames):
    """The same frames ten minutes apart are as doubtful after six steps as those five minutes apart after twelve."""
    quick = model.probabilities(frames, [0.5], 12, minutes=5)
    slow = model.probabilities(frames, [0.5], 6, minutes=10)
    doubt = [(p[-1] * (1 - p[-1])).mean() for p in (quick[:6], quick, slow)]
    assert doubt[0] < doubt[2]
    assert doubt[2] == pytest.approx(float(doubt[1]), rel=0.25)


@pytest.mark.parametrize(
    "thresholds",
    [[], [0.0], [1.0, -2.0], [math.nan], [math.inf], 0.5, ["a"], "0.5", [None], [True], {0.5: 1}],
    ids=repr,
)
def test_rejects_invalid_thresholds(model, frames, thresholds):
    with pytest.raises((TypeError, ValueError), match="thresholds"):
        model.probabilities(frames, thresholds)


@pytest.mark.parametrize("thresholds", [(0.5, 2), np.array([0.5, 2.0]), [np.float32(0.5), np.int64(2)]], ids=repr)
def test_thresholds_may_be_of_numpy(model, frames, thresholds):
    expected = model.probabilities(frames, [0.5, 2.0], 2)
    torch.testing.assert_close(model.probabilities(frames, thresholds, np.int64(2)), expected)
    torch.testing.assert_close(model.probabilities(frames, torch.tensor([0.5, 2.0]), 2), expected)


@pytest.mark.parametrize("minutes", [0, -5, math.nan, math.inf, "5", None, True, [5]], ids=repr)
def test_rejects_invalid_minutes(model, frames, minutes):
    calls = [lambda: model(frames[None, :, None], minutes=minutes)]
    if minutes is not None:  # the default
        calls += [
            lambda: model.forecast(frames, minutes=minutes),
            lambda: model.probabilities(frames, [1.0], minutes=minutes),
        ]
    for call in calls:
        with pytest.raises((TypeError, ValueError), match="minutes"):
            call()


def test_minutes_may_be_of_numpy_and_are_those_of_training_by_default(model, frames):
    expected = model.forecast(frames, 2, minutes=10.0)
    for minutes in (10, np.float32(10), np.int16(10)):
        torch.testing.assert_close(model.forecast(frames, 2, minutes=minutes), expected)
    other = convrnn_zoo.create_model("convgru_advection", hidden_channels=(4, 6)).eval()
    other.load_state_dict(model.state_dict())
    other.preprocessing = dataclasses.replace(other.preprocessing, step=10.0)
    torch.testing.assert_close(other.forecast(frames, 2), expected)


def test_a_nowcast_states_its_unit_by_whatever_name_it_is_built_and_saves_it(frames, tmp_path):
    untrained = convrnn_zoo.create_model("convgru_advection", hidden_channels=(4, 6))
    assert untrained.preprocessing.unit == "mm/h"
    assert (untrained.preprocessing.inputs, untrained.preprocessing.step) == (4, 5.0)
    convrnn_zoo.save_pretrained(untrained, tmp_path)
    again = convrnn_zoo.from_pretrained(tmp_path)
    assert again.preprocessing == untrained.preprocessing
    torch.testing.assert_close(again.forecast(frames, 2), untrained.forecast(frames, 2))


def test_nowcast_rejects_another_unit_or_encoding(frames):
    other = convrnn_zoo.create_model("convgru_advection", hidden_channels=(2, 3))
    for values in (convrnn_zoo.Preprocessing(unit="dBZ"), convrnn_zoo.Preprocessing(unit="mm/h", encoding="dbz")):
        other.preprocessing = values
        with pytest.raises(ValueError, match="mm/h"):
            other.forecast(frames, 2)


def test_the_latest_four_frames_are_read(model, frames):
    longer = torch.cat([frames.flip(0)[:2], frames])
    torch.testing.assert_close(model.forecast(longer, 2), model.forecast(frames, 2))
    assert not torch.allclose(model.forecast(longer, 2, inputs="all"), model.forecast(frames, 2))
    with pytest.warns(UserWarning, match="3 frames"):
        model.forecast(frames[:3], 2)
    p = model.probabilities(longer, [1.0], 2)
    torch.testing.assert_close(p, model.probabilities(frames, [1.0], 2))


def test_chosen_lead_times_are_those_of_all(model, frames):
    x = frames[None, :, None]
    every, some = model.exceedance(x, 5), model.exceedance(x, 5, steps=[0, 3])
    torch.testing.assert_close(some.logits, every.logits[:, [0, 3]])
    torch.testing.assert_close(some.rates(), every.rates()[:, [0, 3]])


@pytest.mark.parametrize("steps", [[3, 0], [1, 1], [-1, 2], [0, 5], [], [0.5]], ids=str)
def test_lead_times_that_do_not_ascend_are_rejected(model, frames, steps):
    with pytest.raises((TypeError, ValueError), match="steps"):
        model.exceedance(frames[None, :, None], 5, steps=steps)


def test_maps_of_other_pixels_are_forecast_at_two_kilometres(model, frames):
    coarse = frames[..., :32, :40].clone()
    coarse[:, :4, :4] = math.nan
    fine = coarse.repeat_interleave(2, -1).repeat_interleave(2, -2)
    for forecast in (model.forecast, lambda x, **kwargs: model.probabilities(x, [0.5, 2.0], **kwargs)):
        expected, actual = forecast(coarse, horizon=2), forecast(fine, horizon=2, pixel_km=1.0)
        assert actual.shape[-2:] == fine.shape[-2:]
        assert torch.equal(actual[0].isnan().any(), torch.tensor(True))
        assert torch.equal(actual.isnan()[..., ::2, ::2], expected.isnan())
        up = torch.nn.functional.interpolate(
            expected.nan_to_num(0).reshape(1, -1, 32, 40), scale_factor=2, mode="bilinear"
        ).reshape(actual.shape)
        torch.testing.assert_close(actual[..., 9:, 9:], up[..., 9:, 9:])
        assert torch.equal(forecast(coarse, horizon=2, pixel_km=2.0).nan_to_num(0), expected.nan_to_num(0))


def test_pixels_of_four_kilometres_are_refined(model, frames):
    coarse = torch.nn.functional.avg_pool2d(frames[..., :64, :64], 2)
    forecast = model.forecast(coarse, horizon=1, pixel_km=4.0)
    still = (coarse[-1] - forecast[0]).abs().mean()
    assert forecast.shape == (1, *coarse.shape[-2:])
    truth = model.forecast(frames[..., :64, :64], horizon=1)
    assert (torch.nn.functional.avg_pool2d(truth, 2) - forecast).abs().mean() < 0.5 * still


@pytest.mark.parametrize("pixel_km", [0, -1.0, math.nan, "2"])
def test_rejects_invalid_pixel_sizes(model, frames, pixel_km):
    with pytest.raises((TypeError, ValueError), match="pixel_km"):
        model.forecast(frames, pixel_km=pixel_km)


def test_decided_rain_exceeds_its_thresholds_in_half_precision():
    model = convrnn_zoo.create_model("convgru_advection", hidden_channels=(2, 3), horizon=2).eval().bfloat16()
    y, x = torch.meshgrid(torch.arange(48), torch.arange(48), indexing="ij")
    radar = torch.stack([12 * torch.exp(-((x - 16 - 2 * t) ** 2 + (y - 24) ** 2) / 60.0) for t in range(4)])
    rates = model.forecast(radar)
    assert not any((rates == threshold).any() for threshold in (0.5, 2.0, 5.0))


def test_autocast_changes_a_forecast_little(model, frames):
    calls = (
        lambda: model.forecast(frames, 3),
        lambda: model.probabilities(frames, [0.5], 3),
        lambda: model.forecast(frames, 3, members=2, seed=0),
    )
    for call in calls:
        y = call()
        with torch.autocast("cpu", torch.bfloat16):
            x = call()
        assert x.dtype == y.dtype == torch.float32
        assert (x - y).abs().mean() < 0.02 * y.mean()


def test_the_pixel_size_is_logged_once(model, frames, caplog):
    labelled = xr.DataArray(
        frames.squeeze()[..., :20, :20].numpy(),
        {"y": ("y", np.arange(20), {"units": "km"}), "x": ("x", np.arange(20), {"units": "km"})},
        ("time", "y", "x"),
        attrs={"units": "mm/h"},
    )
    log_once.cache_clear()
    with caplog.at_level(logging.INFO, "convrnn_zoo"):
        for _ in range(2):
            for maps in (frames, labelled):
                model.forecast(maps, 1)
            model.forecast(frames, 1, pixel_km=3)
    levels = {record.levelname: record.message for record in caplog.records}
    assert len(caplog.records) == 2
    assert "2 km" in levels["WARNING"]
    assert "1 km" in levels["INFO"]


def test_an_assumed_pixel_size_is_stated_for_coordinates_without_units(model, frames):
    maps = frames.squeeze()[..., :20, :20].numpy()
    coords = {"y": np.arange(20.0), "x": np.arange(20.0)}
    labelled = xr.DataArray(maps, coords, ("time", "y", "x"), attrs={"units": "mm/h"})
    for _ in range(2):
        for call in (model.forecast, lambda x, _: model.probabilities(x, [1.0], 1)):
            with pytest.warns(UserWarning, match=r"pixels of 2 km.*pixel_km"):
                call(labelled, 1)
    model.forecast(labelled, 1, pixel_km=2)


@pytest.mark.parametrize(("minutes", "count"), [(None, 12), (7, 9), (90, 1)])
def test_the_default_horizon_is_the_trained_time(model, frames, minutes, count):
    assert model.forecast(frames, minutes=minutes).shape[-3] == count
    times = np.datetime64("2020-01-01T00:00") + np.arange(frames.shape[-3]) * np.timedelta64(minutes or 5, "m")
    labelled = xr.DataArray(frames.squeeze().numpy(), {"time": times}, ("time", "y", "x"), attrs={"units": "mm/h"})
    assert model.probabilities(labelled, [1.0]).sizes["lead_time"] == count
    with pytest.warns(UserWarning, match=f"horizon={count + 1}"):
        assert model.forecast(frames, count + 1, minutes=minutes).shape[-3] == count + 1


def test_an_impossible_pixel_size_is_an_error():
    with pytest.raises(ValueError, match="pixel_km=1000"):
        convrnn_zoo.create_model("convgru_advection", hidden_channels=(2, 3)).forecast(
            torch.rand(4, 24, 24), pixel_km=1000
        )
