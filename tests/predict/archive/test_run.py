"""Forecasts of archives: equal to `predict`, in regions, in several processes, and after interruptions."""

import dataclasses
import re
import shutil
from functools import partial

import numpy as np
import pytest
import torch
import xarray as xr

import convrnn_zoo
from convrnn_zoo.predict import forecast_files
from convrnn_zoo.predict.archive import forecast_archive, store
from convrnn_zoo.predict.archive.store import OPEN
from tests.helpers.command_line import run
from tests.helpers.predict.archives import network, nowcast, rain, same
from tests.helpers.registry import slow_unless

pytest.importorskip("dask", reason="the extra archive")


@pytest.fixture
def archive(tmp_path):
    rain().to_zarr(tmp_path / "archive.zarr", consolidated=False)
    return tmp_path / "archive.zarr"


def predicted(model, file, start, path, **options):
    """The forecast that `predict` writes, from the frames from `start` on."""
    forecast_files(model, "m", [file], start=start, **options).write(path)
    return xr.open_zarr(path, **OPEN)


CASES = {
    "single": (network, {}),
    "probabilities": (nowcast, {"thresholds": (0.5, 2.0)}),
    "nothing from outside": (nowcast, {"outside": "nan"}),
    "members and probabilities": (nowcast, {"members": 3, "seed": 1, "thresholds": (0.5,)}),
}


@pytest.mark.parametrize("has_size", [True, False])
def test_the_command_states_the_size_of_the_pixels(has_size, tmp_path):
    data = rain() if has_size else rain().drop_vars(["x", "y", "lon", "lat"], errors="ignore")
    data.to_zarr(tmp_path / "archive.zarr", consolidated=False)
    convrnn_zoo.save_pretrained(nowcast(), tmp_path / "run")
    command = ["archive", tmp_path / "run", tmp_path / "archive.zarr", "--period", "2020-02-01T00:30,", "--every", "1h"]
    for name in ("f.zarr", "g.zarr"):  # each run states it, also in one process
        text = run(*command, "-o", tmp_path / name)
        assert re.search(r"pixels of [\d.]+ km" + ("(?! are)" if has_size else " are assumed"), text)


@pytest.mark.parametrize("case", CASES)
def test_it_equals_predict_at_every_issue_time(case, archive, tmp_path):
    build, options = CASES[case]
    model, inputs = build().train(), 4 if build is nowcast else 2
    result = forecast_archive(model, archive, tmp_path / "all.zarr", every="30min", inputs=inputs, **options)
    assert model.training
    times = result["forecast_reference_time"].values
    assert list(times[:2]) == [np.datetime64("2020-01-31T22:30"), np.datetime64("2020-01-31T23:00")]
    for i, time in enumerate(times[[0, -1]]):
        start = str(time - np.timedelta64(5 * (inputs - 1), "m"))[:16]
        one = predicted(model, archive, start, tmp_path / f"{i}.zarr", inputs=inputs, **options)
        mine = result.sel(forecast_reference_time=time).drop_vars("missing_inputs")
        assert set(mine.data_vars) == set(one.data_vars)
        assert ("outside" in mine.coords) == (build is nowcast)
        xr.testing.assert_allclose(mine, one, rtol=1e-5, atol=1e-6)
        for name, variable in one.variables.items():
            assert mine[name].attrs == variable.attrs, name
            assert mine[name].dims == variable.dims, name
    assert result.attrs["Conventions"] == "CF-1.10"
    assert result["crs"].attrs["earth_radius"] == 6371000.0


@pytest.mark.slow
def test_batches_and_threads_do_not_change_it(archive, tmp_path):
    options = {"every": 3}
    one = forecast_archive(network(), archive, tmp_path / "one.zarr", batch_size=1, **options)
    before = torch.get_num_threads()
    many = forecast_archive(network(), archive, tmp_path / "many.zarr", batch_size=5, threads=before + 1, **options)
    assert torch.get_num_threads() == before
    xr.testing.assert_allclose(one, many, rtol=1e-5, atol=1e-6)


def test_missing_frames_are_counted_and_a_missing_last_one_gives_nan(tmp_path):
    data = rain(20)
    data["rain"][10] = np.nan
    for model, inputs in ((network(), 2), (nowcast(), 4)):
        path = tmp_path / f"{inputs}.zarr"
        result = forecast_archive(model, data, path, inputs=inputs, batch_size=4)
        frames = np.arange(inputs - 1, 20)
        expected = (frames >= 10) & (frames < 10 + inputs)
        np.testing.assert_array_equal(result["missing_inputs"], expected)
        is_nan = np.isnan(result["rain"].values).all((1, 2, 3))
        np.testing.assert_array_equal(is_nan, frames == 10)
        window = torch.from_numpy(data["rain"].values[12 - inputs : 12])
        with pytest.warns(UserWarning, match="without a value"):
            alone = model.forecast(window, inputs="all")  # the frame before the last is missing
        np.testing.assert_allclose(result["rain"].values[12 - inputs], alone, rtol=1e-5, atol=1e-6)


def test_known_inputs_are_those_of_each_issue_time(tmp_path):
    times = rain()["time"]
    data = rain().assign(
        height=(("y", "x"), np.random.default_rng(1).uniform(0, 1, (18, 24)).astype("float32")),
        clock=("time", np.sin(np.arange(40)).astype("float32")),
    )
    variables = {
        "variables": (convrnn_zoo.Variable(name="rain", unit="mm/h"),),
        "static": (convrnn_zoo.Variable(name="height"),),
        "future": (convrnn_zoo.Variable(name="clock"),),
    }
    model = network(static_chans=1, future_chans=1)
    model.preprocessing = convrnn_zoo.Preprocessing(step=5.0, inputs=2, horizon=3, **variables)
    result = forecast_archive(model, data, tmp_path / "known.zarr", every=7)
    assert result["forecast_reference_time"].values[-1] <= times.values[-4]  # future inputs are needed
    for i in (0, -1):
        at = int(np.flatnonzero(times.values == result["forecast_reference_time"].values[i])[0])
        window = data[["rain"]].isel(time=slice(at - 1, at + 1))
        known = {"static": data["height"], "future": data["clock"].isel(time=slice(at - 1, at + 4))}
        alone = model.forecast(window, **known)
        np.testing.assert_allclose(result["rain"].values[i], alone["rain"].values, rtol=1e-4, atol=1e-5)


# ---- interruptions -----------------------------------------------------------------------------------------------
class StoppedError(Exception):
    pass


@pytest.mark.slow
def test_finished_regions_are_skipped_and_others_are_completed(archive, tmp_path, monkeypatch):
    whole, broken = tmp_path / "whole.zarr", tmp_path / "broken.zarr"
    forecast_archive(network(), archive, whole, batch_size=4)
    write, finished = store.write_region, []

    def stop(path, forecasts, first, *rest):
        if len(finished) == 3:
            raise StoppedError
        finished.append(first // 4)
        write(path, forecasts, first, *rest)

    monkeypatch.setattr(store, "write_region", stop)
    with pytest.raises(StoppedError):
        forecast_archive(network(), archive, broken, batch_size=4)
    assert not same(whole, broken)
    assert finished == [0, 1, 2]
    (broken / "rain" / "c" / "9.0123456789abcdef0123456789abcdef.partial").write_bytes(b"half of a chunk")
    (broken / "rain" / "c" / "1" / "0" / "0" / "0").unlink()  # of a finished region, which is not computed again
    finished.clear()
    monkeypatch.setattr(store, "write_region", lambda *args: (finished.append(args[2] // 4), write(*args)))
    forecast_archive(network(), archive, broken, batch_size=4)
    assert finished == list(range(3, 10))
    shutil.copy(whole / "rain/c/1/0/0/0", broken / "rain/c/1/0/0/0")
    assert same(whole, broken)


@pytest.mark.sampled("change", "message")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"horizon": 2}, "horizon = 3, and is 2"),
        ({"batch_size": 2}, "batch_size = 4, and is 2"),
        ({"every": 2}, "issue_times = {'count': 10, .* and is {'count': 20, .*--period"),
    ],
)
def test_other_settings_than_those_of_the_store_are_an_error(change, message, archive, tmp_path):
    options = {"batch_size": 4, "every": 4}
    forecast_archive(network(), archive, tmp_path / "f.zarr", **options)
    with pytest.raises(ValueError, match=message):
        forecast_archive(network(), archive, tmp_path / "f.zarr", **{**options, **change})


@pytest.mark.parametrize("first", slow_unless((22).__eq__, [14, 22, 40]))
def test_a_store_grows_with_its_archive_as_one_run_would_have_written_it(first, tmp_path, monkeypatch):
    options = {"every": "10min", "batch_size": 4}
    forecast_archive(network(), rain(60), tmp_path / "one.zarr", **options)
    forecast_archive(network(), rain(first), tmp_path / "two.zarr", **options)
    write, finished = store.write_region, []
    monkeypatch.setattr(store, "write_region", lambda *args: (finished.append(args[2] // 4), write(*args)))
    result = forecast_archive(network(), rain(60), tmp_path / "two.zarr", **options)
    assert finished == list(range((first - 1) // 2 // 4, 8))
    assert result.sizes["forecast_reference_time"] == 29
    assert same(tmp_path / "one.zarr", tmp_path / "two.zarr")
    assert {p.name for p in tmp_path.iterdir()} == {"one.zarr", "two.zarr"}
    with pytest.raises(ValueError, match=r"issue_times = {'count': 29, .*, and is {'count': 19, .*--period"):
        forecast_archive(network(), rain(40), tmp_path / "two.zarr", **options)


def test_an_archive_whose_values_changed_is_an_error(tmp_path):
    forecast_archive(network(), rain(), tmp_path / "f.zarr", every=4)
    changed = rain()
    changed["rain"] = (changed["rain"] * 2).assign_attrs(changed["rain"].attrs)
    for archive in (changed, xr.concat([changed, rain(start="2020-02-01T01:20")], "time", data_vars="minimal")):
        with pytest.raises(ValueError, match=r"has a forecast from 2020-01-31 22:05.*other values there"):
            forecast_archive(network(), archive, tmp_path / "f.zarr", every=4)


@pytest.mark.parametrize("batch_size", slow_unless((4).__eq__, [1, 4]))
def test_issue_times_with_missing_inputs_are_forecast_again_when_the_inputs_are_there(batch_size, tmp_path):
    night = rain()
    night["rain"][10] = np.nan
    night["rain"][-1] = np.nan  # the frame of this moment, which comes a little later
    options = {"batch_size": batch_size}
    forecast_archive(network(), night, tmp_path / "two.zarr", **options)
    forecast_archive(network(), night, tmp_path / "two.zarr", **options)  # nothing is new
    result = forecast_archive(network(), rain(), tmp_path / "two.zarr", **options)
    forecast_archive(network(), rain(), tmp_path / "one.zarr", **options)
    assert int(result["missing_inputs"].max()) == 0
    assert same(tmp_path / "one.zarr", tmp_path / "two.zarr")


def test_an_archive_of_other_places_is_an_error(tmp_path):
    forecast_archive(network(), rain(), tmp_path / "f.zarr", every=4)
    moved = rain().assign_coords(x=rain()["x"] + 100)
    for archive in (moved, moved.isel(time=slice(None, 30)), moved.drop_vars("x")):
        with pytest.raises(ValueError, match=r"values of x\b"):
            forecast_archive(network(), archive, tmp_path / "f.zarr", every=4)


@pytest.mark.filterwarnings("error")
def test_stores_are_opened_without_arguments(archive, tmp_path):
    forecast_archive(network(), archive, tmp_path / "f.zarr", every=4)
    forecast_archive(network(), rain(60), tmp_path / "f.zarr", every=4)
    assert xr.open_zarr(tmp_path / "f.zarr", chunks=None, decode_timedelta=True).sizes["forecast_reference_time"] == 15
    forecast_files(network(), "m", [archive]).write(tmp_path / "one.zarr")
    assert xr.open_zarr(tmp_path / "one.zarr", chunks=None, decode_timedelta=True)["rain"].shape == (3, 18, 24)


def test_periods_are_the_times_of_their_beginnings(tmp_path):
    import pandas

    data = rain().assign_coords(time=pandas.period_range("2020-01-31T22:00", periods=40, freq="5min"))
    result = forecast_archive(network(), data, tmp_path / "f.zarr", every=10)
    assert result["forecast_reference_time"].values[0] == np.datetime64("2020-01-31T22:05")


@pytest.mark.parametrize(
    ("build", "options", "message"),
    [
        (nowcast, {"thresholds": [2, 2]}, "thresholds must differ"),
        (network, {"members": 2}, r"^members.*: "),
        (partial(torch.nn.Linear, 1, 1), {}, r"^Linear is no forecaster"),
        (network, {"archive": np.zeros((5, 18, 24))}, r"of xarray, got .*label an array: xarray.DataArray"),
    ],
)
def test_arguments_that_do_not_fit_are_errors(build, options, message, archive, tmp_path):
    with pytest.raises((TypeError, ValueError), match=message):
        forecast_archive(build(), **{"archive": archive, "output": tmp_path / "f.zarr", **options})
    assert not (tmp_path / "f.zarr").exists()


def test_a_horizon_beyond_that_of_training_is_reported_once(archive, tmp_path):
    with pytest.warns(UserWarning, match="horizon=13 is beyond") as reported:
        forecast_archive(nowcast(), archive, tmp_path / "f.zarr", horizon=13, every=10, batch_size=1)
    assert len(reported) == 1


def test_another_store_is_not_overwritten(archive, tmp_path):
    before = {p: p.read_bytes() for p in archive.rglob("*") if p.is_file()}
    with pytest.raises(ValueError, match="is no store of forecasts"):
        forecast_archive(network(), archive, archive)
    assert before == {p: p.read_bytes() for p in archive.rglob("*") if p.is_file()}


@pytest.mark.slow
# ---- several processes -------------------------------------------------------------------------------------------
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_workers_of_a_scheduler_write_the_same_store(archive, tmp_path):
    distributed = pytest.importorskip("distributed", reason="the extra archive")
    options = {"batch_size": 4, "every": 2}
    forecast_archive(network(), archive, tmp_path / "one.zarr", **options)
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0"
    )
    with cluster, distributed.Client(cluster) as client:
        forecast_archive(network(), archive, tmp_path / "two.zarr", scheduler=client, **options)
    assert same(tmp_path / "one.zarr", tmp_path / "two.zarr")


def test_arrays_without_labels_have_numbers_of_frames(tmp_path):
    values = rain()["rain"].values
    np.save(tmp_path / "a.npy", values)
    result = forecast_archive(network(), tmp_path / "a.npy", tmp_path / "f.zarr", every=10)
    assert result["forecast_reference_time"].values.tolist() == [1, 11, 21, 31]
    alone = network().forecast(torch.from_numpy(values[20:22]))
    np.testing.assert_allclose(result["forecast"].values[2], alone, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="a number of frames above 0"):
        forecast_archive(network(), tmp_path / "a.npy", tmp_path / "g.zarr", every="30min")


def test_months_have_valid_dates_of_the_calendar(tmp_path):
    import pandas

    dates = np.arange("2000-01", "2002-01", dtype="datetime64[M]").astype("datetime64[ns]")
    data = rain(steps=24).assign_coords(time=dates)
    model = network()
    model.preprocessing = dataclasses.replace(model.preprocessing, step="month")
    result = forecast_archive(model, data, tmp_path / "f.zarr", every=12)
    assert result["time"].values[0].astype("datetime64[D]").astype(str).tolist() == [
        "2000-03-01",
        "2000-04-01",
        "2000-05-01",
    ]
    assert result["lead_time"].attrs["units"] == "months"
    valid = [
        time + pandas.DateOffset(months=n)
        for time in pandas.DatetimeIndex(result["forecast_reference_time"].values)
        for n in result["lead_time"].values.tolist()
    ]
    assert pandas.DatetimeIndex(result["time"].values.ravel()).tolist() == valid
