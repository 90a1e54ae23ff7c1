"""Everything is drawn from one seed, whatever order the tests run in, on one thread."""

import os
from importlib import metadata

# The tests are many and tiny: waking a second thread costs more than it brings. Processes that they start inherit this.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

collect_ignore = ["tests/timm_contract"]  # not tests: it puts the zoo's names in place of timm's, for all that follows


def pytest_report_header() -> str:
    packages = ("torch", "timm", "huggingface-hub", "safetensors", "numpy")
    return ", ".join(f"{package} {metadata.version(package)}" for package in packages)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.default_generator.manual_seed(0)  # torch.manual_seed looks for other devices as well, each time


@pytest.fixture(autouse=True)
def doctest_names(doctest_namespace: dict) -> None:
    doctest_namespace["torch"] = torch
