"""Recordings are classified by all of their windows, and the mean of the days is that of their accuracies."""

import pytest
import torch

from convrnn_zoo.data import Labelled
from references.radhar import average, fit_linear, measure, to_metrics

LOGITS = torch.tensor([[5.0, 0], [0, 1], [0, 1], [1, 0], [0, 1]])
DATA = Labelled([torch.zeros(1)] * 5, torch.tensor([0, 0, 1, 1, 1]), ("a", "b"), ("x", "x", "y", "y", "y"))


def test_a_recording_has_the_class_of_its_mean_log_probability():
    correct = measure(LOGITS, DATA)
    assert correct["windows"].tolist() == [True, False, True, False, True]
    assert correct["recordings"].tolist() == [True, True]


def test_days_have_equal_weights_in_the_mean():
    worse = torch.tensor([[0.0, 5], [1, 0], [1, 0], [1, 0], [1, 0]])
    days = [to_metrics(", a day unseen", logits, LOGITS, DATA, "a split") for logits in (LOGITS, worse)]
    assert [m.value for m in days[0]] == [60, 100]
    assert days[0][1].interval[0] < 100
    mean = average([day[0] for day in days], "accuracy, unseen days")
    assert (mean.value, mean.baselines) == (pytest.approx((60 + 20) / 2), {"linear model": 60})


def test_the_linear_model_separates_maps_by_mean_and_deviation():
    labels = torch.arange(20) % 2
    maps = [
        torch.randn(10, 1, 2, 2, generator=torch.Generator().manual_seed(i)) * (1 + 3 * k) for i, k in enumerate(labels)
    ]
    data = Labelled(maps, labels, ("quiet", "loud"), tuple(map(str, range(20))))
    assert (fit_linear(data, data).argmax(1) == labels).all()
