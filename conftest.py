"""Everything is drawn from one seed, whatever order the tests run in."""

import pytest
import torch


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def doctest_names(doctest_namespace: dict) -> None:
    doctest_namespace["torch"] = torch
