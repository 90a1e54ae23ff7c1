"""The program that measures the value of the order of frames."""

import pytest
import torch
from click.testing import CliRunner

from convrnn_zoo.data.datasets.digit_motion import DigitMotion
from references.digit_motion import backwards, main, measure_parts, middle_frame
from tests.data.datasets.test_digit_motion import write_squares


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


def test_other_data_are_rejected(tmp_path):
    result = CliRunner().invoke(main, ["japanese_vowels", "--data", "x", "-o", "y", "--weights-dir", str(tmp_path)])
    assert result.exit_code == 2
    assert "digit_motion" in result.output
