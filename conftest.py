"""Everything is drawn from one seed, whatever order the tests run in, on one thread."""

import collections
import gc
import logging
import os
import re
import shutil
import sys
import zlib
from importlib import metadata
from importlib.util import find_spec
from typing import Any

# The tests are many and tiny: waking a second thread costs more than it brings. Processes that they start inherit this.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A key of the configuration would be an error where pytest-timeout, which the tests do not need, is not installed.
os.environ.setdefault("PYTEST_TIMEOUT", "600")

import pytest
import torch

if find_spec("pyproj"):
    import pyproj  # noqa: F401 - before ecCodes: after it, both would free one libproj, and the process would crash as it ends

collect_ignore = [
    "tests/timm_contract",  # not tests: it puts the zoo's names in place of timm's, for all that follows
]


DEVICE = os.environ.get("CONVRNN_ZOO_TEST_DEVICE", "cpu")
"""Device of ``make test-device``; see tests/helpers/device.py."""


def _is_at_least(package: str, *numbers: int) -> bool:
    return tuple(int(n) for n in re.findall(r"\d+", metadata.version(package))[: len(numbers)]) >= numbers


# pytest adds its handlers to every logger that does not propagate, six times a test, and torch has about 55 of them:
# a third of the time of a small test. Nothing is lost, as what propagates is captured as well.
for _logger in logging.root.manager.loggerDict.values():
    if isinstance(_logger, logging.Logger) and _logger.name.partition(".")[0] == "torch":
        _logger.propagate = True

NEEDS = {
    "cpu_sharding": (_is_at_least("torch", 2, 13), "this torch shards no models on CPUs"),
    "loops": (_is_at_least("torch", 2, 13), "loops over time are exported by torch 2.13 or newer"),
    "cuda_without_card": (
        torch.version.cuda is not None and (torch.cuda.is_available() or _is_at_least("torch", 2, 15)),
        "needs a torch with CUDA; torch 2.6 also needs a driver, and 2.15 does not",
    ),
    "waits": (DEVICE in ("sim", "cuda"), "only CUDA and the simulated device of the tests report that something waits"),
    "cuda_graphs": (DEVICE == "cuda", "CUDA graphs are of CUDA"),
    "simulated_device": (
        DEVICE == "cpu" and _is_at_least("torch", 2, 13),
        "needs DEVICE=cpu, and a torch that has devices written in Python",
    ),
    "two_devices": (DEVICE == "cpu" or (DEVICE == "cuda" and torch.cuda.device_count() > 1), "needs two cards"),
    "exclude_filters": (_is_at_least("timm", 1, 0, 31), "this timm excludes architectures, and not their weights"),
    "linux": (sys.platform == "linux", "memory is limited and measured as on Linux"),
    "make": (shutil.which("make") is not None and os.name == "posix", "the Makefile is for Unix"),
    "signals": (os.name == "posix", "the signals of Unix end a process"),
    "symlinks": (os.name == "posix", "links and permissions are those of Unix"),
}
"""Features that not every system has: whether this one does, and the reason for skipping tests."""


def mark_repetitions(items: list[pytest.Item]) -> None:
    """Marks repetitions of functions with the marker ``sampled`` as ``slow``."""
    rules: dict[Any, int] = collections.Counter()
    for item in sorted(
        items, key=lambda item: getattr(_parameters(item).get("cls"), "ndim", 2) != 2
    ):  # 2-d layers first
        if (mark := item.get_closest_marker("sampled")) and not item.get_closest_marker("slow"):
            others = {k: repr(v) for k, v in _parameters(item).items() if k not in mark.args}
            rule = item.path, item.originalname, *sorted(others.items())  # type: ignore[attr-defined]
            rules[rule] += 1
            if rules[rule] > 2 and zlib.crc32(item.nodeid.encode()) % 40:
                item.add_marker(pytest.mark.slow)


def _parameters(item: pytest.Item) -> dict[str, Any]:
    return item.callspec.params if hasattr(item, "callspec") else {}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mark_repetitions(items)
    for item in items:
        for mark in item.iter_markers("needs"):
            for exists, reason in map(NEEDS.__getitem__, mark.args):
                if not exists:
                    item.add_marker(pytest.mark.skip(reason=reason))


def pytest_collection() -> None:
    gc.disable()  # twenty thousand tests are collected, none of which is garbage


def pytest_collection_finish() -> None:
    gc.enable()
    gc.freeze()  # such objects stay until the end, and need no search after every few tests
    gc.set_threshold(20_000, 10, 10)  # nor do those of a test that still runs


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):  # of a worker of pytest-xdist
        session.config.workeroutput["peak"] = _peak()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    PEAKS[node.gateway.id] = getattr(node, "workeroutput", {}).get("peak", 0.0)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    peaks = PEAKS or {"main": _peak()}
    text = ", ".join(f"{name} {peak:.1f}" for name, peak in sorted(peaks.items()))
    terminalreporter.write_line(f"peak memory in GiB, without processes that tests start: {text}")


PEAKS: dict[str, float] = {}
"""Peak memory of the workers. `make test` should need less than 4 GiB for each."""


def _peak() -> float:
    """Returns the peak memory of this process in GiB, or 0 on systems other than Linux."""
    if sys.platform != "linux":
        return 0.0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def pytest_report_header() -> str:
    packages = ("torch", "timm", "huggingface-hub", "safetensors", "numpy")
    return ", ".join(f"{package} {metadata.version(package)}" for package in packages)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.default_generator.manual_seed(0)  # torch.manual_seed looks for other devices as well, each time


@pytest.fixture
def device() -> torch.device:
    """The device of ``make test-device``. No other test names one."""
    from tests.helpers import device

    return device.DEVICE


@pytest.fixture(autouse=True)
def doctest_names(doctest_namespace: dict) -> None:
    doctest_namespace["torch"] = torch


@pytest.fixture(autouse=True)
def small_figures(request: pytest.FixtureRequest) -> None:
    """Training writes images of a few pixels, except in tests with the marker ``figures``."""
    if "convrnn_zoo.train.forecaster" in sys.modules and not request.node.get_closest_marker("figures"):
        from tests.helpers.train.small_figures import write_small_figures

        write_small_figures(request.getfixturevalue("monkeypatch").setattr)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Evaluations have a still frame for LINDA, which takes half a second each, unless a test is marked ``linda``.

    This is no fixture, so that it precedes those of a module that train.
    """
    if baselines := sys.modules.get("convrnn_zoo.verify.baselines"):
        linda = sys.modules["convrnn_zoo.verify"].linda
        baselines.linda = linda if item.get_closest_marker("linda") else _still_frame


def _still_frame(inputs: torch.Tensor, horizon: int, **scales: float) -> torch.Tensor:
    return inputs[:, -1:].expand(-1, horizon, -1, -1, -1)
