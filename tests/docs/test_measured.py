"""Tests that measure again the results that pages show, if that is quick."""

import json

import pytest
from click.testing import CliRunner

from benchmarks.comparisons import COMPARISONS, main
from tools import precision, recorded

RECORD = recorded(precision.MEASURED)
IN_FLOATS = ("float32", "bfloat16", "float16")


@pytest.fixture(scope="module", autouse=True)
def only_floats():
    """Excludes int8 weights, which need torchao."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precision, "PRECISIONS", {k: precision.PRECISIONS[k] for k in IN_FLOATS})
        yield


@pytest.mark.slow
def test_the_accuracy_of_a_classifier_in_reduced_precision_is_as_recorded():
    name = "convlstm1d_bi_1layer.japanese_vowels"
    assert precision.measure_classifier(name, None) == [row for row in RECORD[name] if row["precision"] in IN_FLOATS]


def test_the_error_of_a_forecaster_in_reduced_precision_is_as_recorded():
    name = "convgru_forecaster.moving_mnist"
    for row, before in zip(precision.measure_forecaster(name, None), RECORD[name], strict=False):
        assert row["precision"] == before["precision"]
        assert row["bytes"] == before["bytes"]
        assert row["mse"] == pytest.approx(before["mse"], rel=0.01)
        assert row["difference"] == pytest.approx(before["difference"], rel=0.5)  # rounding depends on the hardware


@pytest.mark.parametrize(("name", "case"), [("norms", "tiny"), ("half", "tiny"), ("joint", "1x3-8x2d")])
def test_a_comparison_times_every_implementation(name, case, tmp_path):
    done = CliRunner().invoke(main, [name, "--case", case, "--rounds", "1", "-o", str(tmp_path / "times.json")])
    assert done.exit_code == 0, done.output
    (case,) = json.loads((tmp_path / "times.json").read_text())["cases"]
    assert case["training"].keys() == COMPARISONS[name].implementations.keys()
    assert all(0 < seconds < 10 for seconds in case["training"].values())
