"""Data of all tests of training."""

import numpy as np
import pytest

from tests.helpers.data.own_data import blobs
from tests.helpers.made_data import digits, rain  # noqa: F401


@pytest.fixture
def radar(tmp_path):
    """Directory of two arrays of drifting rain."""
    (tmp_path / "radar").mkdir()
    for i in range(2):
        np.save(tmp_path / "radar" / f"{i}.npy", blobs(seed=i))
    return tmp_path / "radar"
