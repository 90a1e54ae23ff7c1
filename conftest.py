"""Everything is drawn from one seed, whatever order the tests run in, on one thread."""

import gc
import os
import re
import shutil
import sys
from importlib import metadata

# The tests are many and tiny: waking a second thread costs more than it brings. Processes that they start inherit this.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

collect_ignore = [
    "tests/timm_contract",  # not tests: it puts the zoo's names in place of timm's, for all that follows
    "tests/helpers/interop/make_keras_files.py",  # takes Keras, and writes files
    "tests/helpers/interop/make_keras_networks.py",
]


def _is_at_least(package: str, *numbers: int) -> bool:
    return tuple(int(n) for n in re.findall(r"\d+", metadata.version(package))[: len(numbers)]) >= numbers


NEEDS = {
    "cpu_sharding": (_is_at_least("torch", 2, 13), "this torch shards no models on CPUs"),
    "loops": (_is_at_least("torch", 2, 13), "loops over time are exported by torch 2.13 or newer"),
    "exclude_filters": (_is_at_least("timm", 1, 0, 31), "this timm excludes architectures, and not their weights"),
    "linux": (sys.platform == "linux", "memory is limited and measured as on Linux"),
    "make": (shutil.which("make") is not None and os.name == "posix", "the Makefile is for Unix"),
    "signals": (os.name == "posix", "the signals of Unix end a process"),
    "symlinks": (os.name == "posix", "links and permissions are those of Unix"),
}
"""Features that not every system has: whether this one does, and the reason for skipping tests."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for mark in item.iter_markers("needs"):
            for exists, reason in map(NEEDS.__getitem__, mark.args):
                if not exists:
                    item.add_marker(pytest.mark.skip(reason=reason))


def pytest_collection() -> None:
    gc.disable()  # twenty thousand tests are collected, none of which is garbage


def pytest_collection_finish() -> None:
    gc.enable()
    gc.freeze()  # what stays until the end is not searched after every few tests


def pytest_report_header() -> str:
    packages = ("torch", "timm", "huggingface-hub", "safetensors", "numpy")
    return ", ".join(f"{package} {metadata.version(package)}" for package in packages)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.default_generator.manual_seed(0)  # torch.manual_seed looks for other devices as well, each time


@pytest.fixture(autouse=True)
def doctest_names(doctest_namespace: dict) -> None:
    doctest_namespace["torch"] = torch
