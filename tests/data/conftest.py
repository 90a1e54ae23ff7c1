"""Data of all tests of data."""

from tests.helpers.made_data import digits, rain  # noqa: F401
