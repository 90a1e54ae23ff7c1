"""Accuracy on groups that training excludes."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from convrnn_zoo.recipes import Recipe
from convrnn_zoo.train import train
from convrnn_zoo.train.classifier import ClassifierTrainer
from convrnn_zoo.train.groups import measure_groups
from tests.helpers.command_line import run
from tests.helpers.data.own_data import RAMPS, ramps, write_ramps

RECIPE = dataclasses.replace(Recipe.parse(RAMPS), epochs=2, seeds=(0, 1))


@pytest.fixture
def data(tmp_path):
    arrays, labels = ramps(24)
    np.savez(tmp_path / "a.npz", **arrays, labels=labels, groups=["ann", "ann", "bob", "bob"] * 6)
    return tmp_path / "a.npz"


def test_models_without_one_group_are_tested_on_it(data, tmp_path):
    total, *each = measure_groups(RECIPE, data, tmp_path, progress=False)
    assert [m.split for m in each] == ["all 12 recordings of ann", "all 12 recordings of bob"]
    assert total.value == total.mean == pytest.approx(sum(m.value for m in each) / 2, abs=0.01)
    assert total.runs == 2
    assert measure_groups(RECIPE, data, tmp_path, progress=False) == [total, *each]  # from their checkpoints


def test_groups_of_the_selection_are_measured_and_not_in_the_mean(data, tmp_path):
    total, ann, bob = measure_groups(RECIPE, data, tmp_path, ["ann"], progress=False)
    assert (total.value, total.runs) == (bob.value, 1)
    assert ann.name == "accuracy, ann unseen"
    assert total.note.endswith("without one of the groups bob")
    for wrong in (["ann", "bob"], ["eve"]):
        with pytest.raises(ValueError, match=r"--selected-on.*ann, bob"):
            measure_groups(RECIPE, data, tmp_path, wrong, progress=False)


@pytest.mark.parametrize("options", [{"validation": 0.25}, {"split": "group"}])
def test_all_recordings_of_every_group_are_measured(options, tmp_path):
    arrays, labels = ramps(24)
    np.savez(tmp_path / "a.npz", **arrays, labels=labels, groups=["ann", "ann", "bob", "bob", "eve", "eve"] * 4)
    recipe = dataclasses.replace(RECIPE, data=dataclasses.replace(RECIPE.data, **options), epochs=1)
    _, *each = measure_groups(recipe, tmp_path / "a.npz", tmp_path, progress=False)
    assert [m.split for m in each] == [f"all 8 recordings of {name}" for name in ("ann", "bob", "eve")]


def test_models_are_trained_on_all_other_groups_if_no_group_is_in_two_parts(tmp_path, monkeypatch):
    arrays, labels = ramps(24)
    np.savez(tmp_path / "a.npz", **arrays, labels=labels, groups=["ann", "ann", "bob", "bob", "eve", "eve"] * 4)
    trained, fit = [], ClassifierTrainer.fit
    monkeypatch.setattr(ClassifierTrainer, "fit", lambda self: trained.append(self.data.groups) or fit(self))
    for split in ("group", "random"):
        recipe = dataclasses.replace(RECIPE, data=dataclasses.replace(RECIPE.data, split=split), epochs=1)
        measure_groups(recipe, tmp_path / "a.npz", tmp_path / split, progress=False)
        for name, groups in zip(("ann", "bob", "eve"), trained, strict=True):
            assert set(groups) == {"ann", "bob", "eve"} - {name}
            assert (len(groups) == 16) == (split == "group")  # all of the others, or those of the training part
        trained.clear()


def test_the_command_prints_the_accuracy_on_each_group(data, tmp_path):
    train(dataclasses.replace(RECIPE, seeds=(0,)), data=data, out=tmp_path / "run", progress=False)
    runs = tmp_path / "runs"
    scores = json.loads(run("eval", tmp_path / "run", "--data", data, "--groups", runs, "--json", "--quiet"))
    total, *each = scores["groups"].values()
    assert list(scores["groups"]) == ["accuracy, unseen groups", "accuracy, ann unseen", "accuracy, bob unseen"]
    assert total == pytest.approx(sum(each) / 2, abs=0.01)
    assert "accuracy, bob unseen" in run("eval", tmp_path / "run", "--data", data, "--groups", runs, "--quiet")
    write_ramps(tmp_path / "other.npz")
    message = run("eval", tmp_path / "run", "--data", tmp_path / "other.npz", "--groups", runs, "--quiet", code=1)
    assert "group_pattern" in message


def test_models_are_trained_on_the_device_that_is_passed(data, tmp_path, monkeypatch):
    devices, fit = [], ClassifierTrainer.fit
    monkeypatch.setattr(ClassifierTrainer, "fit", lambda self: devices.append(self.processes.device) or fit(self))
    device = torch.device("cpu", 0)
    measure_groups(dataclasses.replace(RECIPE, epochs=1), data, tmp_path, progress=False, device=device)
    assert devices == [device] * 2


def test_names_of_groups_may_be_paths(data, tmp_path):
    arrays, labels = ramps(24)
    np.savez(data, **arrays, labels=labels, groups=["a/x", "a/x", "a_x", "a_x"] * 6)
    assert len(measure_groups(dataclasses.replace(RECIPE, epochs=1), data, tmp_path / "new", progress=False)) == 3
