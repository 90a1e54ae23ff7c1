"""Confusion matrices: counts, recall, tables and readable figures."""

import json
import math

import pytest
import torch

from convrnn_zoo.verify.confusion import Confusion, count_confusions, draw_confusion, write_confusion

LETTERS = "abcdefghijklmnopqrstuvwxyzäöüß"


def test_rows_are_true_classes_and_columns_predictions():
    labels = torch.tensor([0, 0, 0, 1, 1])
    predictions = torch.tensor([0, 2, 2, 1, 1])
    logits = torch.nn.functional.one_hot(predictions, 3).float()
    confusion = count_confusions(logits, labels, ("a", "b", "c"))
    assert confusion.counts.tolist() == [[1, 0, 2], [0, 2, 0], [0, 0, 0]]
    assert confusion.accuracy == 3 / 5
    assert confusion.recall["a"] == pytest.approx(1 / 3)
    assert math.isnan(confusion.recall["c"])  # of which there is none
    plain = json.loads(json.dumps(confusion.to_json(), allow_nan=False))
    assert plain["recall"] == {"a": pytest.approx(100 / 3), "b": 100, "c": None}


@pytest.mark.parametrize("count", [2, 12, pytest.param(30, marks=pytest.mark.slow)])
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
