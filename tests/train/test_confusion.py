"""Confusion matrices: counts by class, what they say of each, and a picture that stays readable."""

import json
import math

import pytest
import torch

from convrnn_zoo.data import Labelled
from convrnn_zoo.train.confusion import Confusion, confusion_of, drawn, write

LETTERS = "abcdefghijklmnopqrstuvwxyzäöüß"


def test_rows_are_true_classes_and_columns_answers():
    labels = torch.tensor([0, 0, 0, 1, 1])
    answers = torch.tensor([0, 2, 2, 1, 1])
    logits = torch.nn.functional.one_hot(answers, 3).float()
    found = confusion_of(logits, Labelled([], labels, ("a", "b", "c")))
    assert found.counts.tolist() == [[1, 0, 2], [0, 2, 0], [0, 0, 0]]
    assert found.accuracy == 3 / 5
    assert found.recall["a"] == pytest.approx(1 / 3)
    assert math.isnan(found.recall["c"])  # of which there is none
    plain = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert plain["recall"] == {"a": pytest.approx(100 / 3), "b": 100, "c": None}


@pytest.mark.parametrize("count", [2, 12, pytest.param(30, marks=pytest.mark.slow)])
def test_every_count_stands_in_its_cell_and_fits(count):
    counts = torch.arange(count**2).reshape(count, count)
    figure = drawn(Confusion(counts, tuple(LETTERS[:count])), "letters")
    figure.canvas.draw()
    axis = figure.axes[0]
    assert [[int(text.get_text()) for text in axis.texts[i * count :][:count]] for i in range(count)] == counts.tolist()
    cell = axis.bbox.width / count
    assert all(text.get_window_extent().width < 0.9 * cell for text in axis.texts)
    assert [label.get_text() for label in axis.get_yticklabels()] == list(LETTERS[:count])
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("answer", "true class")


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"a\.pdf: expected a name that ends in \.png, \.svg, \.csv"):
        write(Confusion(torch.eye(2).long(), ("a", "b")), tmp_path / "a.pdf")
    assert not list(tmp_path.iterdir())
