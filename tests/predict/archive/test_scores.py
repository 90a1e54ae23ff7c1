"""Scores of stores by month and lead time, compared with numbers computed by NumPy."""

import dataclasses
import json

import numpy as np
import pytest
import xarray as xr

import convrnn_zoo
from convrnn_zoo.predict.archive import forecast_archive, score_archive
from convrnn_zoo.predict.archive.store import OPEN
from tests.helpers.command_line import run
from tests.helpers.predict.archives import network, nowcast, rain
from tests.helpers.registry import slow_unless

pytest.importorskip("dask", reason="the extra archive")
pytest.importorskip("torchmetrics", reason="the extra train")


@pytest.fixture
def archive(tmp_path):
    data = rain(steps=40, start="2020-01-31T22:00")
    data["rain"][15, :9] = np.nan
    data["rain"][:, 3, 4] = np.nan
    data.to_zarr(tmp_path / "archive.zarr", consolidated=False)
    return tmp_path / "archive.zarr"


@pytest.mark.filterwarnings("ignore:Mean of empty slice")  # of the last issue times, which no frame follows
def test_errors_by_month_and_lead_time(archive, tmp_path):
    forecast_archive(network(), archive, tmp_path / "f.zarr", every=2)
    result = score_archive(tmp_path / "f.zarr", archive, thresholds=[1.0])
    store, truth = (xr.open_zarr(p, **OPEN) for p in (tmp_path / "f.zarr", archive))
    labelled = score_archive(tmp_path / "f.zarr", truth["rain"], thresholds=[1.0])
    assert labelled.to_json() == result.to_json()
    observed = truth["rain"].reindex(time=store["time"].values.ravel()).values.reshape(store["rain"].shape)
    forecast, last = store["rain"].values, truth["rain"].sel(time=store["forecast_reference_time"].values).values
    observed = np.where(np.isnan(forecast) | np.isnan(last[:, None]), np.nan, observed)
    months = store["forecast_reference_time"].values.astype("datetime64[M]").astype(str)
    assert list(result.by_month) == ["2020-01", "2020-02", "all months"]
    for month, scores in result.by_month.items():
        chosen = [m == month or month == "all months" for m in months]
        error = (forecast - observed)[chosen]
        by_frame = np.nanmean(error**2, (-2, -1))
        scored = ~np.isnan(by_frame).all(1)
        np.testing.assert_allclose(scores["forecast"]["MSE"], np.nanmean(by_frame, 0), rtol=1e-4)
        mae = np.nanmean(np.nanmean(abs(last[:, None] - observed)[chosen], (-2, -1)), 0)
        np.testing.assert_allclose(scores["last frame"]["MAE"], mae, rtol=1e-4)
        known = ~np.isnan(observed[chosen])
        f, o = (forecast[chosen] >= 1) & known, (observed[chosen] >= 1) & known
        csi = (f & o).sum((0, 2, 3)) / (f | o).sum((0, 2, 3))
        np.testing.assert_allclose(scores["forecast"]["CSI 1 mm/h"], csi, rtol=1e-4)
        assert result.issue_times[month] == scored.sum()


@pytest.mark.slow
def test_brier_scores_of_probabilities_and_members(archive, tmp_path):
    forecast_archive(nowcast(), archive, tmp_path / "p.zarr", every=4, members=3, thresholds=(0.5,))
    result = score_archive(tmp_path / "p.zarr", archive, thresholds=[0.5])
    store, truth = (xr.open_zarr(p, **OPEN) for p in (tmp_path / "p.zarr", archive))
    p = store["probability_of_rain"].values[:, :, 0]
    observed = truth["rain"].reindex(time=store["time"].values.ravel()).values.reshape(p.shape)
    known = ~np.isnan(observed) & ~np.isnan(p)
    error = np.where(known, (p - (observed >= 0.5)) ** 2, np.nan)
    scores = result.by_month["all months"]["forecast"]
    np.testing.assert_allclose(scores["Brier 0.5 mm/h"], np.nanmean(error, (0, 2, 3)), rtol=1e-4)
    assert len(scores["CRPS"]) == 3
    assert all(v > 0 for v in scores["CRPS"])


def test_the_climatology_is_the_mean_of_the_other_years(tmp_path):
    dates = np.arange("2000-01", "2003-01", dtype="datetime64[M]").astype("datetime64[ns]")
    data = rain(steps=36).assign_coords(time=dates)
    data["rain"][7, 2, 3] = np.nan
    model = network()
    model.preprocessing = dataclasses.replace(model.preprocessing, step="month")
    forecast_archive(model, data, tmp_path / "f.zarr")
    result = score_archive(tmp_path / "f.zarr", data, thresholds=[1.0])
    scores = result.by_month["all months"]
    values, error = data["rain"].values, []
    for i in range(1, 35):  # the first lead time
        others = np.nanmean(np.delete(values[(i + 1) % 12 :: 12], (i + 1) // 12, 0), 0)
        error.append(np.nanmean(np.where(np.isnan(values[i]), np.nan, (others - values[i + 1]) ** 2)))
    np.testing.assert_allclose(scores["climatology"]["MSE"][0], np.mean(error), rtol=1e-5)
    assert set(scores["climatology"]) == set(scores["forecast"])
    text = run("eval", tmp_path / "f.zarr", "--data", save(data, tmp_path))
    assert "climatology" in text
    assert max(map(len, text.splitlines())) < 120
    assert len(result.by_month) == 35


def save(data, folder):
    data.to_netcdf(folder / "months.nc")
    return folder / "months.nc"


def test_targets_with_names_have_their_own_scores(tmp_path):
    data = rain().assign(snow=rain()["rain"] / 2)
    data["snow"].attrs = data["rain"].attrs
    model = network(in_chans=2)
    variables = [convrnn_zoo.Variable(name=name, unit="mm/h") for name in ("rain", "snow")]
    model.preprocessing = convrnn_zoo.Preprocessing(step=5.0, inputs=2, horizon=3, variables=tuple(variables))
    store = forecast_archive(model, data, tmp_path / "f.zarr", every=10)
    scores = score_archive(tmp_path / "f.zarr", data).by_month["all months"]["forecast"]
    for name in ("rain", "snow"):
        error = store[name].isel(lead_time=0).values - data[name].sel(time=store["time"].isel(lead_time=0)).values
        assert scores[f"MSE of {name}"][0] == pytest.approx((error**2).mean(), rel=1e-5)


@pytest.mark.slow
def test_rows_that_go_north_and_unfinished_regions(archive, tmp_path):
    import zarr

    forecast_archive(network(), archive, tmp_path / "f.zarr", every=4, batch_size=2)
    up = xr.open_zarr(archive, **OPEN).isel(y=slice(None, None, -1))
    up.to_netcdf(tmp_path / "up.nc")
    expected = score_archive(tmp_path / "f.zarr", archive)
    assert score_archive(tmp_path / "f.zarr", tmp_path / "up.nc").to_json() == expected.to_json()
    zarr.open_group(tmp_path / "f.zarr")["missing_inputs"][2:4] = -1
    assert score_archive(tmp_path / "f.zarr", archive).issue_times["all months"] == (
        expected.issue_times["all months"] - 2
    )
    up.assign_coords(y=up["y"] + 1).to_netcdf(tmp_path / "moved.nc")
    with pytest.raises(ValueError, match=r"moved\.nc.* y\["):
        score_archive(tmp_path / "f.zarr", tmp_path / "moved.nc")
    jitter = np.random.default_rng(0).integers(-2000, 2000, up.sizes["time"]) * np.timedelta64(1, "ms")
    up.assign_coords(time=up["time"] + jitter).to_netcdf(tmp_path / "irregular.nc")
    assert (
        score_archive(tmp_path / "f.zarr", tmp_path / "irregular.nc").to_json()
        == score_archive(tmp_path / "f.zarr", archive).to_json()
    )
    up.assign_coords(time=up["time"] + np.timedelta64(1, "D")).to_netcdf(tmp_path / "later.nc")
    with pytest.raises(ValueError, match="has no frame at a valid time"):
        score_archive(tmp_path / "f.zarr", tmp_path / "later.nc")


@pytest.mark.parametrize(
    "scale", slow_unless((1e-5).__eq__, [1, 1e-5])
)  # degrees, and steps that are small beside the coordinates
def test_maps_of_latitude_and_longitude_are_compared(scale, archive, tmp_path):
    plain = xr.open_zarr(archive, **OPEN).drop_vars(["y", "x"], errors="ignore").load()
    north, east = (plain.sizes[d] - 1 - np.arange(plain.sizes[d]) for d in ("y", "x"))
    lat, lon = np.meshgrid(50 + scale * north, 10 - scale * east, indexing="ij")
    named = [("lat", lat, "degrees_north"), ("lon", lon, "degrees_east")]
    plain = plain.assign_coords({n: (("y", "x"), c, {"units": unit}) for n, c, unit in named})
    plain.to_zarr(tmp_path / "maps.zarr", consolidated=False)
    forecast_archive(network(), tmp_path / "maps.zarr", tmp_path / "f.zarr", every=4)
    expected = score_archive(tmp_path / "f.zarr", tmp_path / "maps.zarr").to_json()
    plain.isel(y=slice(None, None, -1)).to_netcdf(tmp_path / "up.nc")
    assert score_archive(tmp_path / "f.zarr", tmp_path / "up.nc").to_json() == expected
    plain.assign_coords(lat=plain["lat"] + 3 * scale).to_netcdf(tmp_path / "moved.nc")
    with pytest.raises(ValueError, match=r"moved\.nc.*\blat\b"):
        score_archive(tmp_path / "f.zarr", tmp_path / "moved.nc")


def test_the_commands(archive, tmp_path):
    store, scores = tmp_path / "f.zarr", tmp_path / "s.json"
    command = ["archive", "convgru_forecaster.rain", archive, "--every", "1h", "--horizon", "2", "-o", store]
    assert "3 issue times, 2020-01-31T23:00 to 2020-02-01T01:00" in run(*command)
    described = json.loads(run(*command, "--json"))
    assert described["issue_times"] == 3
    assert described["first"].startswith("2020-01-31T23:00")
    output = run("eval", store, "--data", archive, "-o", scores)
    assert "2020-02" in output
    assert "all months" in output
    assert json.loads(scores.read_text())["2020-01"]["issue_times"] == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--every", "1h", "-o", "a.nc"], "ends in .zarr"),
        (["--every", "1h", "-o", "a.zarr", "--period", "2020"], "(--period) takes two dates"),
        (["--every", "1h", "-o", "a.zarr", "--members", "3"], "convgru_forecaster.rain makes one forecast"),
        (["--every", "1h", "-o", "a.zarr", "--jobs", "2", "--scheduler", "tcp://h:1"], "pass one of the two"),
    ],
)
def test_options_that_do_not_fit(words, message, archive, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("archive", "convgru_forecaster.rain", archive, *words, code=1)
    assert message in result
