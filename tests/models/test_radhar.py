"""The accuracy of the RadHAR weights, recomputed on ten windows of each activity of the official test split."""

from pathlib import Path

import numpy as np
import pytest

import convrnn_zoo
from convrnn_zoo import WEIGHTS

NAME = "convlstm2d_bi_2layer.radhar"
CORRECT = 46
"""Number of the 50 windows that the weights classify correctly."""


def test_accuracy_matches_the_metadata():
    record, model = WEIGHTS[NAME], convrnn_zoo.create_model(NAME, pretrained=True)
    with np.load(Path(__file__).with_name("radhar.npz")) as sample:
        windows, labels = sample["x"].astype("float32"), sample["labels"]
    assert np.bincount(labels).tolist() == [10] * 5
    correct = [p.label == record.label_names[k] for p, k in zip(model.classify(windows), labels, strict=True)]
    assert sum(correct) == pytest.approx(CORRECT, abs=1)  # rounding depends on the hardware
    claimed = record.metrics[0].value / 100
    spread = 1.96 * (claimed * (1 - claimed) / len(labels)) ** 0.5
    assert np.mean(correct) == pytest.approx(claimed, abs=spread)


def test_the_metadata_has_the_accuracy_of_days_that_were_not_trained_on():
    by_name = {m.name: m for m in WEIGHTS[NAME].metrics}
    for kind, mean in (("windows", "accuracy, unseen days"), ("recordings", "accuracy, recordings of unseen days")):
        days = [by_name[f"accuracy, {kind}, {day} June unseen"] for day in (28, 30)]
        assert by_name[mean].value == pytest.approx(np.mean([m.value for m in days]), abs=0.01)
