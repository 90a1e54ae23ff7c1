import os
import subprocess
from types import SimpleNamespace

import pytest

REAL = {"test_a_pickle_calls_no_function", "test_errors_advise_nobody_to_run_the_file"}
"""Tests in which the program that reads pickles is started as users start it."""


@pytest.fixture(autouse=True)
def forked_reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.name == "posix" and request.node.originalname not in REAL:
        from tests.helpers.interop.forked import run

        replaced = SimpleNamespace(run=run, DEVNULL=subprocess.DEVNULL)
        monkeypatch.setattr("convrnn_zoo.interop._checkpoint.subprocess", replaced)
