"""Confusion matrices: counts, recall, tables and readable figures."""

import math

import pytest
import torch

from convrnn_zoo.verify.confusion import Confusion, draw_confusion, write_confusion
from tests.helpers.registry import slow_unless

LETTERS = "abcdefghijklmnopqrstuvwxyzäöüß"


@pytest.mark.parametrize("count", slow_unless((2).__eq__, [2, 12, 30]))
def test_every_count_fits_its_cell(count):
    counts = torch.arange(count**2).reshape(count, count)
    figure = draw_confusion(Confusion(counts, tuple(LETTERS[:count])), "letters")
    figure.canvas.draw()
    axis = figure.axes[0]
    assert [[int(text.get_text()) for text in axis.texts[i * count :][:count]] for i in range(count)] == counts.tolist()
    cell = axis.bbox.width / count
    assert all(text.get_window_extent().width < 0.9 * cell for text in axis.texts)
    assert [label.get_text() for label in axis.get_yticklabels()] == list(LETTERS[:count])
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("predicted class", "true class")


def test_other_suffixes_are_rejected(tmp_path):
    with pytest.raises(ValueError, match=r"a\.pdf.*\.png, \.svg or \.csv"):
        write_confusion(Confusion(torch.eye(2).long(), ("a", "b")), tmp_path / "a.pdf")
    assert not list(tmp_path.iterdir())


def test_without_samples_the_accuracy_is_unknown():
    assert math.isnan(Confusion(torch.zeros(2, 2).long(), ("a", "b")).accuracy)
