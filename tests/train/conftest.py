"""Made-up data for all tests of training."""

from made_data import digits, rain  # noqa: F401
