"""Baselines and their scores in the metadata."""

import dataclasses
import logging
import sys

import numpy as np
import pytest
import torch

from convrnn_zoo import Preprocessing
from convrnn_zoo.data import FRAME_DATASETS, ArrayFrames, CustomSequences
from convrnn_zoo.recipes import Recipe
from convrnn_zoo.train import train
from convrnn_zoo.train.forecaster import build
from convrnn_zoo.verify import (
    METRICS,
    MetricInfo,
    better,
    evaluate,
    evaluation,
    find_metric,
    frame_scores,
    make_metrics,
    skill,
)
from convrnn_zoo.verify.baselines import choose_baselines, last_frame, zero
from tests.helpers.train.tiny_recipes import PLAIN

RAIN = FRAME_DATASETS["rain"]()


SAMPLE = torch.zeros(1, 4, 1, 64, 64)


@pytest.mark.parametrize("missing", ["pysteps", "cv2"])
def test_without_pysteps_the_extrapolation_is_left_out_in_one_line(missing, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "cv2", torch)  # there, whether it is installed or not
    monkeypatch.setitem(sys.modules, missing, None)
    with caplog.at_level(logging.WARNING):
        baselines = choose_baselines([Preprocessing(unit="mm/h")], SAMPLE)
    assert baselines == {"last frame": last_frame, "zero": zero}
    (line,) = [r.getMessage() for r in caplog.records]
    assert "extrapolation" in line
    assert "\n" not in line
    assert "pip install 'convrnn-zoo[nowcast]'" in line


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (Preprocessing(unit="K"), ["last frame"]),
        (Preprocessing(lowest=0.0, highest=1.0), ["last frame", "zero"]),
        (Preprocessing(encoding="standardize", mean=(280.0,), std=(9.0,)), ["last frame"]),
    ],
)
def test_zero_is_a_baseline_where_it_means_that_nothing_is_there(values, names):
    assert list(choose_baselines([values], SAMPLE)) == names


NAN = float("nan")
CASES = [
    ("MSE", [1, 1, 1], [2, 2, 2], "at every lead time"),
    ("MSE", [2, 2, 2], [1, 1, 2], "at no lead time"),
    ("CSI 2 mm/h", [0.5, 0.4, 0.3], [0.6, 0.3, 0.2], "from frame 2 on"),
    ("CSI 2 mm/h", [0.7, 0.2, 0.3], [0.6, 0.3, 0.2], "at 2 of 3 lead times"),
    ("SSIM", [0.7, 0.2, 0.1], [0.6, 0.3, 0.2], "at 1 of 3 lead times"),
    ("FAR 2 mm/h", [0.1, NAN, 0.1], [0.2, 0.2, 0.2], "at every lead time"),
    ("POD 2 mm/h", [NAN, NAN, 0.1], [0.2, 0.2, NAN], "not defined"),
]


@pytest.mark.parametrize(("metric", "forecast", "baseline", "words"), CASES)
def test_from_which_lead_time_on_the_forecast_is_better(metric, forecast, baseline, words):
    assert better({"forecast": {metric: forecast}, "other": {metric: baseline}}, metric, "other") == words


def test_metadata_describe_every_baseline():
    scores = {
        "forecast": {"MSE": [3.0, 5.0], "FAR 10 mm/h": [NAN, NAN], "FAR 2 mm/h": [0.1, 0.2]},
        "last frame": {"MSE": [4.0, 8.0], "FAR 10 mm/h": [0.5, 0.5], "FAR 2 mm/h": [0.1, 0.3]},
        "zero": {"MSE": [9.0, 4.0], "FAR 10 mm/h": [NAN, NAN], "FAR 2 mm/h": [NAN, NAN]},
    }
    error, alarms = make_metrics(scores, RAIN)
    assert error.value == 4
    assert (error.baselines, error.summed_over) == ({"last frame": 6, "zero": 6.5}, 64 * 64)
    assert (alarms.baselines, alarms.summed_over) == ({"last frame": 0.2}, None)
    assert error.note == (
        "mean over 2 frames; better than last frame (6) at every lead time, zero (6.5) at 1 of 2 lead times"
    )
    assert alarms.note == "mean over 2 frames; better than last frame (0.2) from frame 2 on"


# ---- undefined at some lead times ------------------------------------------------------------------------------
PARTIAL = {
    "forecast": {"FAR 10 mm/h": [NAN, 0.2, 0.4, NAN], "PSNR": [30.0, 20.0, 10.0, 10.0]},
    "last frame": {"FAR 10 mm/h": [0.9, 0.5, 0.5, 0.9], "PSNR": [float("inf"), 25.0, NAN, NAN]},
}


def test_metadata_compares_means_over_the_same_lead_times():
    alarms, noise = make_metrics(PARTIAL, RAIN)
    assert alarms.value == pytest.approx(0.3)
    assert "2 of 4" in alarms.note
    assert alarms.baselines == {"last frame": 0.5}  # where the forecast has values
    assert noise.value == 17.5
    assert noise.baselines == {}  # of one lead time only
    assert "1 of 4" in noise.note
    assert "25 to 20" in noise.note


def test_the_tables_of_eval_end_with_the_skill_against_the_best_baseline():
    from convrnn_zoo.cli.eval import format_scores

    scores = {
        "forecast": {"MSE": [1.0, 1.0], "PSNR": [20.0, 20.0]},
        "last frame": {"MSE": [4.0, 4.0], "PSNR": [14.0, 14.0]},
        "S-PROG": {"MSE": [3.0, 1.0], "PSNR": [15.0, 20.0]},
    }
    header, mse, psnr = (line.split("  ") for line in format_scores(scores).split("\n\n")[-1].splitlines())
    assert [cell.strip() for cell in header if cell.strip()] == ["best baseline", "skill against it"]
    assert [cell.strip() for cell in mse if cell.strip()] == ["MSE", "S-PROG", "+0.500"]
    assert [cell.strip() for cell in psnr if cell.strip()] == ["PSNR", "S-PROG"]


# ---- values outside 0 to 1 ---------------------------------------------------------------------------------------
def kelvin(seed):
    generator = torch.Generator().manual_seed(seed)
    return [280 + 10 * torch.rand(6, 1, 16, 16, generator=generator) for _ in range(4)]


@pytest.mark.parametrize("value", ["none", "standardize"])
def test_ssim_and_psnr_of_temperatures_refer_to_their_range(value, tmp_path):
    data = ArrayFrames(name="temperatures", unit="K", encoding=value)
    recipe = dataclasses.replace(PLAIN, data=data, max_steps=2, checkpoint_every=2, test_sequences=4)
    metadata = train(recipe, data={"train": kelvin(0), "test": kelvin(1)}, out=tmp_path, progress=False)
    metrics = {m.name: m for m in metadata.metrics}
    for score, most in (("SSIM", 0.5), ("PSNR", 20)):
        values = [metrics[score].value, *metrics[score].baselines.values()] if score in metrics else []
        assert all(-1 <= v < most for v in values), values  # noise against noise
        assert values


def test_one_value_everywhere_has_no_ssim_and_psnr():
    from convrnn_zoo.verify import find_value_range
    from convrnn_zoo.verify.metrics import frame_scores

    assert find_value_range(Preprocessing(unit="K"), torch.full((2, 1, 1, 8, 8), 280.0)) is None
    assert find_value_range(Preprocessing(unit="K"), torch.tensor([265.0, NAN, 290.0])) == (265, 290)
    assert set(frame_scores(torch.zeros(1, 1, 1, 8, 8), torch.zeros(1, 1, 1, 8, 8), None)) == {"MSE", "MAE"}


class Counted(CustomSequences):
    """Sequences that count how many are read at once."""

    most = 0

    def read(self, sampled):
        self.most = max(self.most, len(sampled))
        return super().read(sampled)


def test_an_evaluation_reads_one_batch_at_a_time():
    recipe = dataclasses.replace(PLAIN, data=ArrayFrames(name="noise", unit="K"), test_sequences=20)
    generator = torch.Generator().manual_seed(0)
    clips = Counted(280 + torch.rand(20, 6, 1, 8, 8, generator=generator))
    model = build(recipe, 1).eval()
    expected = evaluate(model, recipe, clips, batch_size=20).scores
    assert clips.most == 20
    clips.most = 0
    scores = evaluate(model, recipe, clips, batch_size=3).scores
    assert clips.most == 3
    for method, by_metric in expected.items():
        assert set(by_metric) == {"MSE", "MAE", "SSIM", "PSNR"}
        for metric, values in by_metric.items():
            assert scores[method][metric] == pytest.approx(values, rel=1e-4, abs=1e-6), (method, metric)


@pytest.mark.parametrize(("stated", "expected"), [(None, 0.5), (3.0, 3.0)])
def test_baselines_know_the_pixel_size_of_the_files(stated, expected, tmp_path, monkeypatch):
    xarray = pytest.importorskip("xarray", reason="the extra netcdf")
    pytest.importorskip("h5netcdf", reason="the extra netcdf")
    seen, place = [], np.arange(16) * 0.5
    axes = {n: (n, place, {"units": "km", "standard_name": f"projection_{n}_coordinate"}) for n in ("y", "x")}
    times = np.datetime64("2020-01-01", "ns") + np.arange(40) * np.timedelta64(5, "m")
    values = np.random.default_rng(0).random((40, 16, 16)).astype("float32")
    data = xarray.DataArray(values, {"time": times, **axes}, ("time", "y", "x"), "rain", {"units": "mm/h"})
    data.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    recipe = dataclasses.replace(PLAIN, data=ArrayFrames(name="a", unit="mm/h", pixel_km=stated), test_sequences=2)
    clips = recipe.data.load(tmp_path / "a.nc", "test", recipe.inputs, recipe.horizon)
    monkeypatch.setattr(evaluation, "choose_baselines", lambda *args, pixel_km, **kwargs: seen.append(pixel_km) or {})
    evaluate(build(recipe, 1).eval(), recipe, clips)
    assert seen == [pytest.approx(expected)]


# ---- the table of metrics ----------------------------------------------------------------------------------------
def test_every_metric_is_in_the_table_with_its_direction():
    for name, info in METRICS.items():
        assert info.rank(info.perfect) < info.rank(0.5), (
            f"{name}: CONTRIBUTING.md, Add a loss, a metric or an optimizer"
        )
    scores = {"forecast": {"bias": [0.1, -0.2]}, "last frame": {"bias": [5.0, -5.0]}}
    assert better(scores, "bias", "last frame") == "at every lead time"
    assert skill({"forecast": {"bias": [-0.1]}, "last frame": {"bias": [5.0]}}, "bias")[1] == pytest.approx(0.98)
    for function in (
        lambda: better({"forecast": {"RMS": [1.0]}, "a": {"RMS": [2.0]}}, "RMS", "a"),
        lambda: find_metric("RMS"),
    ):
        with pytest.raises(KeyError, match="RMS"):
            function()


def test_a_recipe_names_metrics_of_the_table(monkeypatch):
    def maximum(forecast, truth):
        truth.zero_()  # of its own copy
        return forecast.amax((2, 3, 4))

    monkeypatch.setitem(METRICS, "maximum", MetricInfo("nearest", 1.0, "{unit}", of=maximum))
    truth = torch.rand(3, 2, 1, 8, 8)
    scores = frame_scores(truth + 1, truth, None, ("maximum", "bias"))
    assert torch.equal(scores["maximum"], (truth + 1).amax((2, 3, 4)))
    torch.testing.assert_close(scores["bias"], torch.ones(3, 2))
    recipe = dataclasses.replace(Recipe.read("rain"), metrics=("maximum",))
    assert recipe.metrics == ("maximum",)
    with pytest.raises(ValueError, match=r"metrics.*'maxim'.*maximum"):
        dataclasses.replace(recipe, metrics=("maxim",))
