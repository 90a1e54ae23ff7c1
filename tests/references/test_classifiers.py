"""The program that measures the value of lengths and groups that training never included."""

import dataclasses

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from convrnn_zoo.recipes import Recipe
from convrnn_zoo.train.classifier import ClassifierTrainer, accuracy, load_labelled
from references.classifiers import WithoutLengths, main, measure_groups, measure_padding
from tests.helpers.data.own_data import RAMPS, ramps, write_ramps

RECIPE = dataclasses.replace(Recipe.parse(RAMPS), epochs=2, seeds=(0, 1))


@pytest.fixture
def data(tmp_path):
    arrays, labels = ramps(24)
    np.savez(tmp_path / "a.npz", **arrays, labels=labels, groups=["ann", "ann", "bob", "bob"] * 6)
    return tmp_path / "a.npz"


def test_models_without_lengths_read_the_padding(data, tmp_path):
    withheld, without, alone = measure_padding(RECIPE, data, tmp_path, progress=False)
    assert [m.runs for m in (withheld, without, alone)] == [2, 2, 2]
    parts = load_labelled(RECIPE, data)
    x, lengths, labels = WithoutLengths(*parts[1]).batch([0, 1, 2])
    assert lengths is None
    assert torch.equal(x, parts[1].batch([0, 1, 2])[0])
    assert len(labels) == 3
    assert accuracy(RECIPE.create_model(in_chans=3, num_classes=2), WithoutLengths(*parts[1])) <= 1


@pytest.mark.parametrize("split", ["group", "random"])
def test_each_group_is_measured_by_a_model_that_was_trained_without_it(split, tmp_path, monkeypatch):
    arrays, labels = ramps(24)
    np.savez(tmp_path / "a.npz", **arrays, labels=labels, groups=["a/x", "a/x", "bob", "bob", "eve", "eve"] * 4)
    trained, fit = [], ClassifierTrainer.fit
    monkeypatch.setattr(ClassifierTrainer, "fit", lambda self: trained.append(self.data.groups) or fit(self))
    recipe = dataclasses.replace(RECIPE, data=dataclasses.replace(RECIPE.data, split=split), epochs=1)
    total, *each = measure_groups(recipe, tmp_path / "a.npz", tmp_path, ["bob"], progress=False)
    assert [m.split for m in each] == [f"all 8 recordings of {name}" for name in ("a/x", "bob", "eve")]
    assert (total.value, total.runs) == (pytest.approx((each[0].value + each[2].value) / 2, abs=0.01), 2)
    assert total.note.endswith("without one of the groups a/x, eve")
    for name, groups in zip(("a/x", "bob", "eve"), trained, strict=True):
        assert set(groups) == {"a/x", "bob", "eve"} - {name}
        assert (len(groups) == 16) == (split == "group")  # all of the others, or those of the training part
    with pytest.raises(ValueError, match=r"--selected-on.*a/x, bob, eve"):
        measure_groups(recipe, tmp_path / "a.npz", tmp_path, ["ann"], progress=False)


def test_data_without_groups_are_rejected_before_training(tmp_path):
    write_ramps(tmp_path / "a.npz")
    recipe = tmp_path / "a.toml"
    recipe.write_text(RAMPS)
    args = [
        recipe,
        "--data",
        tmp_path / "a.npz",
        "-o",
        tmp_path / "run",
        "--weights-dir",
        tmp_path / "into",
        "--groups",
    ]
    result = CliRunner().invoke(main, [str(a) for a in args])
    assert isinstance(result.exception, ValueError)
    assert "group_pattern" in str(result.exception)
    assert not (tmp_path / "run").exists()
