"""The data set ``rain``: its two events, in a directory with other composites."""

from datetime import datetime, timedelta

import numpy as np
import pytest
import torch

from convrnn_zoo.data import FRAME_DATASETS
from tests.helpers.made_data import write_fmi, write_odim, write_rain


def write_test_event(directory):
    """Writes composites of other days that are in the same example data, two products with the same time included."""
    for i in range(30):
        write_fmi(directory, datetime(2017, 5, 9, 12) + i * timedelta(minutes=5), np.full((160, 160), 120))
    for product in ("a.hdf", "b.hdf"):
        write_odim(directory / product, datetime(2024, 11, 26, 1), np.ones((8, 8)))


@pytest.mark.slow
@pytest.mark.parametrize("split", [pytest.param("train", marks=pytest.mark.slow), "test"])
def test_other_days_are_not_read(split, tmp_path):
    write_rain(tmp_path)
    data = FRAME_DATASETS["rain"]()
    expected = data.load(tmp_path, split, 3, 4)
    write_test_event(tmp_path)
    actual = data.load(tmp_path, split, 3, 4)
    assert len(actual) == len(expected)
    assert torch.equal(actual.fixed(4), expected.fixed(4))
