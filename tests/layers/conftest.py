"""These tests are many and tiny."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """A second thread is slower on maps of a few pixels, in particular on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks errors of 1-d and 3-d layers as ``slow``: they repeat the thousands of checks of 2-d layers."""
    for item in items:
        cls = getattr(item, "callspec", None) and item.callspec.params.get("cls")
        if item.path.name.startswith("test_bad_") and getattr(cls, "ndim", 2) != 2:
            item.add_marker(pytest.mark.slow)
