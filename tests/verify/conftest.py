"""Data of all tests of this folder."""

from tests.train.conftest import digits, radar, rain

__all__ = ["digits", "radar", "rain"]
