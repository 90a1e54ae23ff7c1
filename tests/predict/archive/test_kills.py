"""Runs that are killed at random moments end with the store of an undisturbed run."""

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from convrnn_zoo.predict.archive import forecast_archive
from tests.helpers.predict.archives import network, rain, same

pytest.importorskip("dask", reason="the extra archive")


def write(archive, path):
    forecast_archive(network(), archive, path, batch_size=1)


def count(path):
    return sum(1 for file in path.rglob("*") if file.is_file())


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kills", [2, pytest.param(5, marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_killed_run_ends_with_the_store_of_an_undisturbed_one(kills, tmp_path):
    archive = tmp_path / "archive.zarr"
    rain(steps=60).to_zarr(archive, consolidated=False)
    write(archive, tmp_path / "whole.zarr")
    number, moments = count(tmp_path / "whole.zarr"), random.Random(kills)
    context, killed = multiprocessing.get_context("fork"), 0
    for kill in range(kills):  # each in its part of the files
        process, enough = (
            context.Process(target=write, args=(archive, tmp_path / "killed.zarr")),
            kill + moments.random(),
        )
        process.start()
        while process.exitcode is None and count(tmp_path / "killed.zarr") < number * enough / kills:
            time.sleep(0.001)
        killed += process.exitcode is None
        process.kill()
        process.join()
    assert killed
    write(archive, tmp_path / "killed.zarr")
    assert same(tmp_path / "whole.zarr", tmp_path / "killed.zarr")


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
