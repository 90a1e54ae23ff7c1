"""The program that measures the value of the order of frames."""

import dataclasses

import pytest
import torch
from click.testing import CliRunner

from convrnn_zoo import WeightsMetadata
from convrnn_zoo.data.datasets.digit_motion import DigitMotion
from convrnn_zoo.recipes import Recipe
from convrnn_zoo.train.classifier import load_labelled
from references.digit_motion import backwards, main, measure_order, measure_parts, middle_frame
from tests.data.datasets.test_digit_motion import write_squares

TEXT = """
kind = "classifier"
weights = "convgru2d_1layer.tiny"
description = "Tiny."
license = "mit"
epochs = 1
batch_size = 16
lr = 0.01
data = {kind = "digit_motion", validation = 0.5}
model = {hidden_channels = 2}
"""
RECIPE = Recipe.parse(TEXT)


class Oracle(torch.nn.Module):
    """Classifier that reads the digit from the brightness, and always answers "left"."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def normalize(self, x):
        return x

    def forward(self, x, lengths):
        digit = (x.amax((1, 2, 3, 4)) * 255).round().long() // 20
        return torch.nn.functional.one_hot(4 * digit, 40).float()


@pytest.fixture
def mnist(tmp_path):
    write_squares(tmp_path)
    return tmp_path


def test_frames_are_chosen_and_reversed():
    clip = torch.arange(5.0).reshape(5, 1, 1, 1)
    assert middle_frame(clip).flatten().tolist() == [2]
    assert backwards(clip).flatten().tolist() == [4, 3, 2, 1, 0]


def test_accuracies_of_digits_and_directions(mnist):
    test = DigitMotion().load(mnist, "test")
    metrics = {m.name: m for m in measure_parts(Oracle(), test, "test clips")}
    assert metrics["accuracy, digit only"].value == 100
    assert metrics["accuracy, direction only"].value == 25
    assert [metrics[f"accuracy, digit {i}"].value for i in range(10)] == [25] * 10
    assert {m.split for m in metrics.values()} == {"test clips"}
    assert all(m.interval[0] <= m.value <= m.interval[1] for m in metrics.values())


def test_a_network_is_trained_on_middle_frames(mnist, tmp_path):
    parts = load_labelled(RECIPE, mnist, splits=("train", "test", "validation"))
    values = measure_order(RECIPE, Oracle(), parts, tmp_path)
    assert values["frames in reverse order"] == 25
    assert 0 <= values["middle frame only"] <= 100
    assert measure_order(RECIPE, Oracle(), parts, tmp_path) == values  # from its checkpoint


def test_metrics_are_added_to_the_metadata(mnist, tmp_path):
    (tmp_path / "a.toml").write_text(TEXT)
    args = ["a.toml", "--data", ".", "-o", "run", "--weights-dir", "into"]
    args = [args[0], *(str(tmp_path / a) if not a.startswith("-") else a for a in args[1:])]
    args[0] = str(tmp_path / "a.toml")
    result = CliRunner().invoke(main, args, catch_exceptions=False)
    assert result.exit_code == 0
    metadata = WeightsMetadata.from_json((tmp_path / "into" / "convgru2d_1layer.tiny.json").read_text())
    assert len(metadata.metrics) == 1 + 2 + 10
    assert metadata.metrics[0].baselines.keys() == {"commonest class", "middle frame only", "frames in reverse order"}
    assert dataclasses.replace(metadata.metrics[0], interval=None) != metadata.metrics[0]


def test_other_data_are_rejected(tmp_path):
    result = CliRunner().invoke(main, ["japanese_vowels", "--data", "x", "-o", "y", "--weights-dir", str(tmp_path)])
    assert result.exit_code == 2
    assert "digit_motion" in result.output
