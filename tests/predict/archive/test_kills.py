"""Runs that are killed at random moments end with the store of an undisturbed run."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.helpers.predict.archives import rain, same

pytest.importorskip("dask", reason="the extra archive")


def count(path):
    return sum(1 for file in path.rglob("*") if file.is_file())


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.skipif(os.name == "nt", reason="processes are killed by a signal")
def test_a_command_with_two_processes_that_is_killed_five_times(tmp_path):
    rain(steps=300, size=(64, 64)).to_zarr(tmp_path / "archive.zarr", consolidated=False)

    def command(name):
        words = ["archive", "convgru_forecaster.rain", "archive.zarr", "--every", "1", "--batch-size", "4", "--quiet"]
        return [sys.executable, "-m", "convrnn_zoo", *words, "--jobs", "2", "--threads", "1", "-o", name]

    subprocess.run(command("whole.zarr"), cwd=tmp_path, check=True)
    number, moments = count(tmp_path / "whole.zarr"), random.Random(0)
    for _ in range(5):  # a kill after a random number of new files, and some milliseconds
        until = count(tmp_path / "killed.zarr") + moments.randrange(number // 8)
        process = subprocess.Popen(command("killed.zarr"), cwd=tmp_path, stderr=subprocess.DEVNULL)
        while process.poll() is None and count(tmp_path / "killed.zarr") <= until:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    subprocess.run(command("killed.zarr"), cwd=tmp_path, check=True)
    assert same(tmp_path / "whole.zarr", tmp_path / "killed.zarr")
