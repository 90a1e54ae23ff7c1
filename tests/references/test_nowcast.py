"""Nowcasts are trained on training events only, on crops with valid rain, and resume after an interruption."""

import importlib.util
import math
from datetime import datetime, timedelta

import numpy as np
import pytest
import torch

from convrnn_zoo import create_model
from convrnn_zoo.models.nowcast.decisions import THRESHOLDS
from convrnn_zoo.recipes import ForecasterRecipe, Recipe
from convrnn_zoo.verify import ProbabilityScores
from convrnn_zoo.verify.losses import exceedance as cross_entropy
from references.nowcast import inflow, opera
from references.nowcast import train as training
from references.nowcast.events import BOM, EVENTS, MCH, TEST_DAYS, load_event
from references.nowcast.mrms import CodedEvent, encode_rate, rate_by_code, read_mrms
from references.nowcast.train import PLACES, SHARES, Crops, load_archives, train_on
from tests.helpers.made_data import write_fmi, write_odim
from tests.helpers.train.runs import interrupted, same

RECIPE = ForecasterRecipe(
    weights="convgru_advection.test",
    data="rain",
    description="Forecasts rain.",
    license="mit",
    model={"hidden_channels": (3, 4)},
    inputs=3,
    horizon=4,
    max_steps=4,
    checkpoint_every=2,
    batch_size=2,
    lr=0.003,
    bf16=True,
    loss="exceedance",
    optimizer="adam",
    lead_times=3,
)
needs_pysteps = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("pysteps", "cv2"))), reason="needs the extra nowcast"
)


def event(steps=12, height=40, width=60, minutes=2.0):
    """A shower that drifts, bytes as MRMS is kept."""
    y, x = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    shower = torch.stack([30 * (-((x - 20 - t) ** 2 + (y - 20) ** 2) / 60).exp() for t in range(steps)])
    return CodedEvent(encode_rate(shower), minutes)


@pytest.fixture
def crops():
    return Crops({"mrms": [event()], "europe": [event(minutes=5.0)]}, 16, 3, 4)


def test_bytes_and_rates_go_round():
    codes = torch.arange(256).to(torch.uint8)
    assert torch.equal(encode_rate(rate_by_code()), codes)
    rate = torch.logspace(-1, 2, 50)
    assert (rate_by_code()[encode_rate(rate).long()] / rate - 1).abs().max() < 0.02


def test_archives_of_mrms_are_read_and_other_files_rejected(tmp_path):
    codes = event().codes.numpy()
    times = [f"00{2 * i:02d}00" for i in range(len(codes))]
    np.savez(tmp_path / "mrms-a.npz", rate=codes, time=times)
    (archive,) = read_mrms(tmp_path)
    assert torch.equal(archive.codes, torch.from_numpy(codes))
    assert archive.minutes == 2
    for bad, message in (
        ({"rate": codes}, r"mrms-a\.npz.*time.* rate$"),
        ({"rate": codes.astype(float), "time": times}, r"mrms-a\.npz.*rate, bytes"),
        ({"rate": codes, "time": [*times[:-1], "005900"]}, r"mrms-a\.npz.*times.*\[120, 2340\]"),
    ):
        np.savez(tmp_path / "mrms-a.npz", **bad)
        with pytest.raises(ValueError, match=message):
            read_mrms(tmp_path)


def test_the_days_of_the_test_are_never_learnt_from(tmp_path):
    for day in (datetime(2017, 5, 9, 12), datetime(2016, 9, 28, 12)):
        for i in range(6):
            write_fmi(tmp_path, day + i * timedelta(minutes=5), np.full((4, 6), 100))
    for split in PLACES:
        assert len(load_archives(tmp_path, split, 2)["europe"]) == 1
    for file in tmp_path.glob("2016*"):
        file.unlink()
    with pytest.raises(FileNotFoundError, match="MRMS, OPERA, KNMI or FMI"):
        load_archives(tmp_path, "train", 2)
    assert len(TEST_DAYS) == len(EVENTS) == 5


def test_places_to_learn_from_and_to_validate_on_lie_apart(tmp_path):
    codes = torch.zeros(3, 4, 3000, dtype=torch.uint8) + (torch.arange(3000) % 250).to(torch.uint8)
    codes[:, 0, :] = (torch.arange(3000) // 250).to(torch.uint8)
    np.savez(tmp_path / "mrms-a.npz", rate=codes.numpy(), time=["000000", "000200", "000400"])
    train, test = (load_archives(tmp_path, split, 2)["mrms"][0].codes for split in ("train", "test"))
    columns = [{tuple(c) for c in part[0, :2].T.tolist()} for part in (train, test)]
    assert not columns[0] & columns[1]


def test_composites_of_opera_are_read_and_their_south_validates(tmp_path, monkeypatch):
    monkeypatch.setattr(opera, "ROWS", 8)
    monkeypatch.setattr(training, "ROWS", {"train": (0, 5), "test": (5, None)})
    maps = torch.arange(8.0)[:, None].expand(8, 6)  # the rate is the row
    dbz = (10 * (200 * maps**1.6).log10()).nan_to_num(neginf=-8888000.0).repeat_interleave(2, 0).repeat_interleave(2, 1)
    for i in range(3):
        time = datetime(2024, 11, 26, 1) + i * timedelta(minutes=5)
        write_odim(tmp_path / f"T_PABV21_C_EUOC_{time:%Y%m%d%H%M}.hdf", time, dbz.numpy(), "DBZH")
        time = datetime(2018, 8, 24, 1) + i * timedelta(minutes=15)
        write_odim(tmp_path / f"T_PAAH21_C_EUOC_{time:%Y%m%d%H%M}.hdf", time, maps.numpy())
    for split, rows in {"train": range(5), "test": range(5, 8)}.items():
        events = load_archives(tmp_path, split, 2)["opera"]
        assert [event.minutes for event in events] == [15, 5]
        for event in events:
            rates = rate_by_code()[event.codes.long()]
            assert rates.shape == (3, len(rows), 6)
            assert rates[1, :, 2].tolist() == pytest.approx([float(row) for row in rows], rel=0.02)
    (tmp_path / "T_PAAH21_C_EUOC_201808240115.hdf").unlink()
    (tmp_path / "T_PABV21_C_EUOC_202411260110.hdf").unlink()
    assert [event.minutes for event in opera.read_opera(tmp_path)] == [30, 5]
    write_odim(tmp_path / "T_PAAH21_C_EUOC_201808240145.hdf", datetime(2018, 8, 24, 1, 45), maps.numpy())
    with pytest.raises(ValueError, match="equal distances"):
        opera.read_opera(tmp_path)


def test_crops_are_rates_at_equal_distances_whatever_the_source(crops):
    torch.manual_seed(0)
    minutes = set()
    for _ in range(30):
        frames, step = crops.draw(2, SHARES)
        minutes.add(step)
        assert frames.shape[0] == 2
        assert frames.shape[2:] == (1, 16, 16)
        assert 3 < frames.shape[1] <= 7
        assert (frames >= 0).all()
    assert minutes <= {2.0, 4.0, 6.0, 5.0, 10.0}
    assert len(minutes) > 2


def test_the_loss_compares_every_threshold_and_ignores_unknown_pixels():
    truth = torch.tensor([[[3.0, math.nan]]])  # (N, H, W)
    right = torch.where(torch.tensor(THRESHOLDS) < 3, 20.0, -20.0)[None, :, None, None].expand(1, -1, 1, 2)
    assert cross_entropy(right, truth) < 1e-6
    wrong = right.clone()
    wrong[..., 1] *= -1  # where nothing is known
    assert torch.equal(cross_entropy(wrong, truth), cross_entropy(right, truth))
    wrong[..., 0] *= -1
    assert cross_entropy(wrong, truth) > 20


def test_an_interrupted_run_ends_like_an_uninterrupted_one(crops, tmp_path):
    expected = train_on(crops, RECIPE, out=tmp_path / "whole", progress=False)
    interrupted(lambda: train_on(crops, RECIPE, out=tmp_path / "cut", progress=False), saves=1)
    assert same(train_on(crops, RECIPE, out=tmp_path / "cut", progress=False), expected)
    assert len(list((tmp_path / "whole").glob("update*.safetensors"))) == 2


def test_the_recipe_of_the_nowcast_builds_its_model():
    recipe = Recipe.read("nowcast")
    model = recipe.create_model(horizon=recipe.horizon, device="meta")
    assert model.horizon == recipe.horizon
    assert sum(recipe.cycles or (recipe.max_steps,)) == recipe.max_steps


def test_times_and_gaps_of_events(tmp_path):
    assert MCH.read_time(tmp_path / "AQC161940000V_00005.801.gif") == datetime(2016, 7, 12)
    with pytest.raises(ValueError, match=r"radar\.gif"):
        MCH.read_time(tmp_path / "radar.gif")
    with pytest.raises(ValueError, match=r"radar\.nc.*YYYYMMDD_hhmmss"):
        BOM.read_time(tmp_path / "radar.nc")
    with pytest.raises(FileNotFoundError, match="download_pysteps_data"):
        load_event(tmp_path, EVENTS[0])
    for i in (0, 1, 3):
        write_fmi(tmp_path, datetime(2017, 5, 9, 12) + i * timedelta(minutes=5), np.full((4, 6), 100))
    with pytest.raises(ValueError, match=r"5 minutes.*12:05:00.*12:15:00"):
        load_event(tmp_path, EVENTS[0])


def test_brier_scores_differ_from_those_of_the_network_outside_the_map_only(monkeypatch):
    monkeypatch.setattr(inflow, "EDGE", 32)
    monkeypatch.setattr(inflow, "SPACING", 1)
    torch.manual_seed(0)
    model = create_model("convgru_advection", hidden_channels=(2, 3)).eval()
    within, outside = inflow.brier_scores(model, [event(minutes=5.0), event(minutes=15.0)])  # too far apart
    assert (within[:, 0] + outside[:, 0]).tolist() == [8 * 32 * 32] * 3
    assert torch.equal(within[:, 1], within[:, 2])
    assert (outside[:, 1] != outside[:, 2]).all()


def test_sums_of_rain_of_the_bureau_of_meteorology_are_rates(tmp_path):
    """A sum of 6 minutes, in steps of 0.05 mm; -1 is unknown."""
    xarray = pytest.importorskip("xarray", reason="the extra netcdf")
    path = tmp_path / "2_20180616_100600.prcp-cscn.nc"
    packed = {"dtype": "int16", "scale_factor": 0.05, "_FillValue": -1}
    data = xarray.Dataset(
        {
            "precipitation": (("y", "x"), np.array([[0.0, 0.05], [2.0, math.nan]]), {"units": "kg m-2"}, packed),
            "start_time": ((), 1529143200, {"units": "seconds since 1970-01-01 00:00:00 UTC"}),
            "valid_time": ((), 1529143560, {"units": "seconds since 1970-01-01 00:00:00 UTC"}),
        }
    )
    data.to_netcdf(path, engine="h5netcdf")
    expected = torch.tensor([[0, 0.5], [20, math.nan]])
    torch.testing.assert_close(BOM.read(path), expected, equal_nan=True)
    path.write_bytes(path.read_bytes()[:999])
    with pytest.raises(ValueError, match=path.name):
        BOM.read(path)


@needs_pysteps
def test_scores_are_those_counted_by_hand():
    from references.nowcast.verification import last_frame, verify, verify_ensembles

    frames = torch.rand(16, 9, 8, generator=torch.Generator().manual_seed(0)) ** 4 * 8
    frames = (frames * 2).round() / 2  # many values are equal to a threshold, as in records with coarse steps
    frames[:, 0] = math.nan
    frames[7, 3, 3] = math.nan
    scores = verify({"last frame": last_frame}, frames)["last frame"]
    truth, forecast = frames[4:], frames[3].expand(12, -1, -1)
    known = truth.isfinite()
    for threshold in (0.5, 2.0):
        hit = ((truth >= threshold) & (forecast >= threshold) & known).sum((1, 2))
        either = (((truth >= threshold) | (forecast >= threshold)) & known).sum((1, 2))
        by_group = [float(hit[g].sum() / either[g].sum()) for g in (slice(3), slice(3, 6), slice(6, 12))]
        assert list(scores[f"CSI {threshold:g}"].values()) == pytest.approx(by_group)
        assert scores[f"CSI {threshold:g} by window"] == [scores[f"CSI {threshold:g}"]]
    assert scores["MSE"] == pytest.approx(float((truth - forecast)[known].square().mean()), rel=1e-5)
    bias = [float(m[k].mean() / t[k].mean()) for m, t, k in zip(forecast, truth, known, strict=True)]
    assert scores["bias by frame"] == pytest.approx(bias, rel=1e-5)
    members = verify_ensembles({"still": lambda x, h: last_frame(x, h)[None]}, frames)["still"]
    error = [float((m - t)[k].abs().mean()) for m, t, k in zip(forecast, truth, known, strict=True)]
    assert members["CRPS by frame"] == pytest.approx(error, rel=1e-4)  # of one member, the absolute error
    hour = (torch.where(known, forecast, 0).mean(0) - torch.where(known, truth, 0).mean(0)).abs().mean()
    assert members["CRPS of the hour by window"] == [pytest.approx(float(hour), rel=1e-4)]
    perfect = verify_ensembles({"perfect": lambda x, h: truth[None]}, frames)["perfect"]
    assert perfect["power 4–16 km at 30 and 60 min"] == pytest.approx([1, 1])
    assert perfect["CRPS in 20 km by window"] == [pytest.approx(0, abs=1e-6)]
    wrong = [float(((m >= 2) != (t >= 2))[k].float().mean()) for m, t, k in zip(forecast, truth, known, strict=True)]
    assert members["Brier 2 by frame"] == pytest.approx(wrong)
    sure = (forecast >= 2) & known
    assert members["reliability 2"]["forecast"][-1] == 1
    assert members["reliability 2"]["observed"][-1] == pytest.approx(float((truth >= 2)[sure].float().mean()))


@needs_pysteps
def test_scores_of_random_members_are_fair_and_their_spread_is_compared_with_the_error():
    """Random members that are sampled like the truth have one expected score, whatever their number."""
    from references.nowcast.verification import verify_ensembles

    frames = 8 * torch.rand(16, 60, 60, generator=torch.Generator().manual_seed(0))

    def noise(count):
        generator = torch.Generator().manual_seed(count)
        return lambda x, horizon: 8 * torch.rand(count, horizon, 60, 60, generator=generator)

    few, many = (verify_ensembles({"STEPS": noise(n)}, frames)["STEPS"] for n in (3, 30))
    for key, expected in (("CRPS by window", 8 / 6), ("Brier 2 by window", 0.25 * 0.75)):
        assert few[key] == [pytest.approx(expected, rel=0.02)]
        assert many[key] == [pytest.approx(expected, rel=0.02)]
    for scores in (few, many):
        assert list(scores["spread / error"].values()) == pytest.approx([1] * 3, abs=0.03)
    still = verify_ensembles({"forecast": noise(3)}, frames)["forecast"]  # as quantiles, they are not corrected
    assert still["CRPS by window"][0] > 1.15 * few["CRPS by window"][0]


@needs_pysteps
def test_baselines_of_an_event_have_its_axes():
    from convrnn_zoo.verify import sprog, steps
    from references.nowcast.scores import for_event

    frames = 5 * torch.rand(4, 40, 36, generator=torch.Generator().manual_seed(0))
    assert for_event(sprog)(frames, 3).shape == (3, 40, 36)
    assert for_event(steps, members=2, fill=False)(frames, 3).shape == (2, 3, 40, 36)


@needs_pysteps
def test_metrics_state_the_interval_of_each_difference():
    from references.nowcast.scores import make_metrics
    from references.nowcast.verification import last_frame, verify, verify_ensembles

    frames = torch.rand(22, 12, 12, generator=torch.Generator().manual_seed(1)) ** 4 * 8
    scores = verify(dict.fromkeys(("forecast", "last frame", "extrapolation"), last_frame), frames)
    members = dict.fromkeys(("forecast", "STEPS"), lambda x, h: last_frame(x, h)[None])
    event = {"title": "noise", **scores, "ensembles": verify_ensembles(members, frames)}
    metrics = {m.name: m for m in make_metrics({"a": event, "b": event})}
    for name in ("CSI 5 mm/h, 35–60 min", "FSS 2 mm/h, 10 km"):
        assert metrics[name].note.endswith(
            "minus extrapolation: +0.000 (+0.000 to +0.000), 95 % interval, not distinguishable from zero"
        )
    for name in ("CRPS", "Brier 5 mm/h", "reliability error 2 mm/h"):
        assert "minus STEPS: +0.000 (" in metrics[name].note
    windows = [w["5–60 min"] for w in scores["forecast"]["FSS 2, 10 km by window"]]
    assert metrics["FSS 2 mm/h, 10 km"].value == pytest.approx(sum(windows) / 2, abs=1e-4)


@needs_pysteps
def test_fractions_and_scores_by_window_are_those_computed_by_hand():
    from references.nowcast.verification import last_frame, reliability_error, verify, verify_ensembles

    frames = torch.rand(22, 12, 12, generator=torch.Generator().manual_seed(1)) ** 4 * 8
    scores = verify({"last frame": last_frame}, frames)["last frame"]
    for window, start in enumerate((0, 6)):
        truth, forecast = (frames[start + 4 : start + 7] >= 2).float(), (frames[start + 3] >= 2).float()
        error = float((truth - forecast).square().sum() / (truth.square().sum() + 3 * forecast.square().sum()))
        assert scores["FSS 2, 2 km by window"][window]["5–15 min"] == pytest.approx(1 - error)
    assert scores["FSS 2, 20 km by window"][0]["5–15 min"] > scores["FSS 2, 2 km by window"][0]["5–15 min"]
    assert verify({"last frame": last_frame}, frames * 0)["last frame"]["FSS 2, 2 km by window"][0] == dict.fromkeys(
        ("5–15 min", "20–30 min", "35–60 min", "5–60 min")
    )
    members = verify_ensembles({"still": lambda x, h: last_frame(x, h)[None]}, frames)["still"]
    for window, start in enumerate((0, 6)):
        truth, forecast = frames[start + 4 : start + 16], frames[start + 3]
        assert members["CRPS by window"][window] == pytest.approx(float((truth - forecast).abs().mean()), rel=1e-4)
        wrong = float(((truth > 2) != (forecast > 2)).float().mean())
        assert members["Brier 2 by window"][window] == pytest.approx(wrong)
    chances, wet = torch.tensor([0.05, 0.05, 1.0, 1.0]), torch.tensor([False, True, True, True])
    many = (torch.arange(20)[:, None] < 20 * chances).float().reshape(20, 1, 1, 1, 1, 4)
    counted = ProbabilityScores((1.0,), horizon=1)
    counted.add(many, wet.float().reshape(1, 1, 1, 1, 4))
    assert reliability_error(counted.bins[1.0]) == pytest.approx((2 * 0.45**2 + 2 * 0) / 4)
