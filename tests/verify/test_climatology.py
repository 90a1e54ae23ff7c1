"""The climatology: a baseline for data with a cycle of hours, days or months."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import torch

from convrnn_zoo.data import CroppedSequences, Frames, Window, split_in_time
from convrnn_zoo.verify.baselines import find_climatology

HOUR = 60.0


def frames(minutes, values, why=""):
    array = np.asarray(values, "float32")[:, None, None] + np.linspace(0, 0.5, 30, dtype="float32").reshape(5, 6)
    times = np.asarray(minutes).astype("int64") * np.timedelta64(1, "m")
    return Frames(path=Path("a"), array=array, times=times if why == "no dates" else np.datetime64(0, "m") + times)


def sequences(part, inputs=2, horizon=3):
    return CroppedSequences.search([part], Window(inputs + horizon, 4, 4, 1))


@pytest.mark.parametrize(
    ("step", "cycle", "count"), [(HOUR, 24, 120), (24 * HOUR, 365, 3 * 365)], ids=["time of day", "day of the year"]
)
def test_a_cycle_is_forecast_by_the_mean_of_the_training_part(step, cycle, count):
    numbers = np.arange(count)
    first = (datetime(1973, 1, 1) - datetime(1970, 1, 1)) / timedelta(minutes=1)  # three years without a leap day
    data = frames(first + numbers * step, np.sin(2 * np.pi * (numbers % cycle) / cycle))
    train, test = (sequences(split_in_time(data, part, 2)) for part in ("train", "test"))
    climatology = find_climatology(train, test)
    samples = torch.tensor([0, 7, len(test) - 1])
    forecast = climatology(samples, 3)
    assert forecast.shape == (3, 3, 1, 4, 4)
    torch.testing.assert_close(forecast, test.read(samples)[:, 2:])


def test_an_unknown_pixel_has_the_mean_of_its_other_values_or_of_the_map():
    data = frames(np.arange(120) * HOUR, np.arange(120) % 24)
    data.array[5:80:24, 0, 0] = data.array[:80, 1, 1] = np.nan  # in all frames of training at five o'clock, and always
    train, test = (sequences(split_in_time(data, part, 2)) for part in ("train", "test"))
    known = data.array[: len(train.files[0])]
    [from_four] = (test.places == torch.tensor([0, 98, 0, 0])).all(1).nonzero()  # two frames are read before
    at_five = find_climatology(train, test)(from_four, 3)[0, 1, 0]
    assert at_five[0, 0] == pytest.approx(np.nanmean(known[:, 0, 0]))
    assert at_five[1, 1] == pytest.approx(np.nanmean(known), abs=1e-3)
    assert at_five[2, 2] == pytest.approx(known[5, 2, 2])


@pytest.mark.parametrize("why", ["no dates", "too short", "another size"])
def test_it_is_left_out_where_it_is_not_defined(why):
    count = 12 if why == "too short" else 120
    data = frames(np.arange(count) * HOUR, np.zeros(count), why)
    train, test = (sequences(split_in_time(data, part, 2)) for part in ("train", "test"))
    if why == "another size":
        test.files = [Frames(path=Path("b"), array=np.zeros((40, 9, 9), "float32"), times=data.times[:40])]
    assert find_climatology(train, test) is None
    assert find_climatology(train, [1, 2]) is None
