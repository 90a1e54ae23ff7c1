"""Data of all tests of data."""

from tests.made_data import digits, rain  # noqa: F401
