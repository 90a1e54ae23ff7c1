"""Errors of 2-d layers stand for those of the others."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks errors of 1-d and 3-d layers as ``slow``: they repeat the thousands of checks of 2-d layers."""
    for item in items:
        cls = getattr(item, "callspec", None) and item.callspec.params.get("cls")
        if item.path.name.startswith("test_bad_") and getattr(cls, "ndim", 2) != 2:
            item.add_marker(pytest.mark.slow)
