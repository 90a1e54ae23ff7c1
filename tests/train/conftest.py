"""Data of all tests of training."""

from tests.made_data import digits, rain  # noqa: F401
