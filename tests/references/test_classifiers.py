"""The program that measures the value of lengths and groups that training never included."""

import dataclasses

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from convrnn_zoo import WeightsMetadata
from convrnn_zoo.recipes import Recipe
from convrnn_zoo.train.classifier import accuracy, load_splits
from references.classifiers import WithoutLengths, main, measure_padding
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
    parts = load_splits(RECIPE, data)
    x, lengths, labels = WithoutLengths(*parts[1]).batch([0, 1, 2])
    assert lengths is None
    assert torch.equal(x, parts[1].batch([0, 1, 2])[0])
    assert len(labels) == 3
    assert accuracy(RECIPE.create_model(in_chans=3, num_classes=2), WithoutLengths(*parts[1])) <= 1


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


def test_metrics_are_added_to_the_metadata(data, tmp_path):
    recipe = tmp_path / "a.toml"
    recipe.write_text(RAMPS.replace("epochs = 8", "epochs = 1"))
    args = [recipe, "--data", data, "-o", tmp_path / "run", "--weights-dir", tmp_path / "into", "--groups", "--padding"]
    result = CliRunner().invoke(main, [str(a) for a in args], catch_exceptions=False)
    assert result.exit_code == 0
    (file,) = (tmp_path / "into").glob("*.json")
    metadata = WeightsMetadata.from_json(file.read_text())
    assert [m.name for m in metadata.metrics][:2] == ["accuracy", "accuracy, lengths withheld"]
    assert metadata.metrics[-1].name == "accuracy, bob unseen"
