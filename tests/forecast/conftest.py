"""Data of all tests of forecasters."""

from tests.made_data import digits, rain  # noqa: F401
