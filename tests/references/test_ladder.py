"""The ladder finds a rate for every family, trains it once, and goes on where it was interrupted."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner

from benchmarks.memory import in_a_fresh_process
from convrnn_zoo.data import CroppedSequences, Window
from convrnn_zoo.train import train
from references import ladder
from tests.helpers.made_data import write_digits
from tests.helpers.train.tiny_recipes import PLAIN

pytestmark = pytest.mark.slow
SMALL = {"hidden_channels": [2, 2], "kernel_size": 3}
FAMILIES = {"convgru_forecaster": SMALL, "predrnn": {"hidden_channels": 2, "kernel_size": 3}}


@pytest.fixture
def climb(tmp_path, monkeypatch, small_figures):
    """Climbs a ladder of two small families, and returns the rows of its file and the names of the runs."""
    write_digits(tmp_path)
    constants = {
        "RESULTS": tmp_path / "ladder.json",
        "FAMILIES": FAMILIES,
        "SEQUENCES": 16,
        "BATCH": 2,
        "RATES": (1e-6, 0.02),
        "BEST": 1,
        "SEEDS": (0, 1),
        "in_a_fresh_process": lambda function, *args: {"seconds": 1},
    }
    for name, value in constants.items():
        monkeypatch.setattr(ladder, name, value)
    recipe = dataclasses.replace(PLAIN, validation_sequences=4)
    monkeypatch.setattr(ladder, "Recipe", SimpleNamespace(read=lambda name: recipe, parse=ladder.Recipe.parse))

    def climb(*families, most=99, costs=False):
        trained = []

        def count(recipe, data, out, threads):
            if len(trained) == most:
                raise KeyboardInterrupt
            trained.append(out.name)
            return train(recipe, data=data, out=out, threads=threads, progress=False)

        monkeypatch.setattr(ladder, "train", count)
        args = ["--dataset", "moving_mnist", "--data", str(tmp_path), "--runs", str(tmp_path / "runs")]
        args += ["--costs"] if costs else []
        result = CliRunner().invoke(ladder.main, args + [word for name in families for word in ("--family", name)])
        assert (result.exit_code, isinstance(result.exception, SystemExit | None)) == (most < 99, True), result
        return json.loads(ladder.RESULTS.read_text()) if ladder.RESULTS.exists() else [], trained

    return climb


def test_every_family_has_the_best_rate_and_the_best_family_all_seeds(climb):
    rows, trained = climb()
    assert {(row["family"], row["seed"]) for row in rows} >= {(name, 0) for name in FAMILIES}
    best = min(rows[:2], key=lambda row: row["validation_loss"])
    assert [(row["family"], row["seed"], row["rate"]) for row in rows[2:]] == [(best["family"], 1, best["rate"])]
    assert len(trained) == 2 * (2 + 1) + 1
    for row in rows:
        assert row["rate"] == 0.02  # with the other one, nothing is learned
        assert row["sequences"] == 16
        assert row["scores"]["MSE"] > 0


def test_an_interrupted_ladder_goes_on(climb):
    rows, before = climb(most=4)
    assert [row["family"] for row in rows] == ["convgru_forecaster"]
    assert len(before) == 4
    rows, after = climb()
    assert len(rows) == 3
    assert not set(before) & set(after)
    assert climb() == (rows, [])


def test_a_run_of_another_size_is_not_taken_for_the_same_run(climb, monkeypatch):
    climb("predrnn")
    ladder.RESULTS.unlink()
    family = {"predrnn": FAMILIES["predrnn"] | {"hidden_channels": 3}}
    monkeypatch.setattr(ladder, "FAMILIES", {**FAMILIES, **family})
    with pytest.raises(AssertionError, match="another recipe"):
        climb("predrnn")


def test_families_of_one_call_keep_the_rows_of_another_and_leave_the_seeds_to_a_call_with_all(climb):
    assert [(row["family"], row["seed"]) for row in climb("predrnn")[0]] == [("predrnn", 0)]
    rows, trained = climb("convgru_forecaster")
    assert [(row["family"], row["seed"]) for row in rows] == [("predrnn", 0), ("convgru_forecaster", 0)]
    assert len(trained) == 2 + 1
    assert len(climb()[0]) == 3


def test_a_network_has_its_parameters_and_costs():
    costs = in_a_fresh_process(ladder.measure, "rain", "convgru_forecaster")
    assert 0.9e6 < costs["parameters"] < 1.1e6
    assert 0 < costs["seconds"] < 10
    assert costs["bytes"] > 16 * 12 * 64 * 64 * 4  # that of the forecasts


def test_rain_is_validated_on_rows_that_no_training_sequence_reads():
    window = Window(16, 64, 64, stride=8)
    places = torch.cartesian_prod(torch.arange(2), torch.arange(3), torch.arange(0, 401, 8), torch.arange(0, 41, 8))
    places = places[(places[:, 0] == 1) | (places[:, 2] <= 240)]  # the first event has smaller maps
    whole, test = (CroppedSequences([None, None], window, places, flip) for flip in (True, False))
    data = SimpleNamespace(load_splits=lambda *args: (whole, test))
    splits = ladder.split_by_place(SimpleNamespace(data=data, inputs=4, horizon=12), Path("radar"))
    assert splits["test"] is test
    assert [splits[name].flip for name in ("train", "validation")] == [True, False]
    for event in range(2):
        train, validation = ([p for p in splits[n].places.tolist() if p[0] == event] for n in ("train", "validation"))
        assert len(train) > len(validation) > 0
        assert max(top for _, _, top, _ in train) + window.height <= min(top for _, _, top, _ in validation)
