"""Crops of Zarr stores are found in all frames, read lazily, in memory that does not grow."""

import dataclasses
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from convrnn_zoo.data import ArrayFrames
from convrnn_zoo.recipes import Recipe
from convrnn_zoo.train import forecaster as training
from tests.helpers.data.own_data import blobs, write_zarr

zarr = pytest.importorskip("zarr", reason="the extra zarr")
KIND = ArrayFrames(name="blobs", unit="mm/h", step=5, crop=16, stride=4)


def test_windows_have_enough_present_values_and_no_gaps(tmp_path):
    frames = blobs(30, 24, 32)
    frames[5] = np.nan
    write_zarr(tmp_path / "a.zarr", frames)
    zarr.open_group(str(tmp_path / "a.zarr"))["time"][12:] = np.arange(12, 30) * 5 + 60
    clips = KIND.load(tmp_path / "a.zarr", "train", 3, 4)
    assert not clips.files[0].is_loaded
    series, first, top, left = (column.unique().tolist() for column in clips.places.T)
    assert (series, first) == ([1], [12, 13])  # neither over the empty frame nor over the gap
    assert (top, left) == ([0, 4, 8], [0, 4, 8, 12, 16])
    _, t, y, x = clips.places[3].tolist()
    expected = torch.from_numpy(frames[t : t + 7, y : y + 16, x : x + 16])
    torch.testing.assert_close(clips[3][:, 0], expected, equal_nan=True)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".npy", ".zarr"])
def test_a_search_of_large_data_has_a_limit(suffix, tmp_path, monkeypatch):
    path = tmp_path / f"a{suffix}"
    np.save(path, blobs()) if suffix == ".npy" else write_zarr(path, blobs())
    assert KIND.load(path, "train", 3, 4).files[0].is_loaded == (suffix == ".npy")
    monkeypatch.setattr("convrnn_zoo.data.datasets.frame_files.LARGE", 1000)
    assert not KIND.load(path, "train", 3, 4).files[0].is_loaded
    monkeypatch.setattr("convrnn_zoo.data.datasets.frame_files.MAX_WINDOWS", 20)
    with pytest.raises(ValueError, match=r"a\.(npy|zarr).* 20 windows.*data\.stride"):
        KIND.load(path, "train", 3, 4)


LARGE = """
import sys, numpy as np, torch, zarr
from pathlib import Path
from convrnn_zoo.data import ArrayFrames
path, steps = sys.argv[1], int(sys.argv[2])
group = zarr.open_group(path, mode="w")
array = group.create_array("rate", shape=(steps, 1024, 1024), chunks=(1, 1024, 1024), dtype="float32", fill_value=0)
array[0] = array[steps - 1] = np.random.default_rng(0).random((1024, 1024), dtype="float32")  # the others are sparse
clips = ArrayFrames(name="a", crop=256, stride=64).load(Path(path), "train", 4, 12)
for _ in range(20):
    assert clips.draw(4).shape == (4, 16, 1, 256, 256)
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(len(clips), int(status["VmHWM"].split()[0]) // 1024)  # ru_maxrss includes the peak of the parent process
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the peak of memory is read from Linux's /proc")
def test_memory_is_flat_on_a_store_larger_than_memory(tmp_path):
    peaks = {}
    for steps in (50, 450):  # the larger one is 1.9 GB as numbers, more than the process may hold
        done = subprocess.run(
            [sys.executable, "-c", LARGE, str(tmp_path / f"{steps}.zarr"), str(steps)],
            capture_output=True,
            text=True,
            check=True,
        )
        count, peaks[steps] = map(int, done.stdout.split())
        assert count > steps
    assert peaks[450] < 1500
    assert peaks[450] - peaks[50] < 100


@pytest.mark.slow
def test_a_batch_is_read_in_less_time_than_a_training_step_takes(tmp_path):
    """So that reading ahead hides it: crops of maps of a thousand pixels a side, for the recipe of rain."""
    frames = np.tile(np.nan_to_num(blobs(20, 256, 256)), (1, 4, 4))
    write_zarr(tmp_path / "a.zarr", frames)
    clips = dataclasses.replace(KIND, crop=64, stride=64).load(tmp_path / "a.zarr", "train", 4, 8)
    recipe = dataclasses.replace(Recipe.read("rain"), horizon=8, bf16=False)
    model = training.build(recipe, 1)
    objective, frames = partial(training.training_loss, recipe, model), clips.draw(8)

    def seconds(call):
        times = []
        for _ in range(3):
            begin = time.perf_counter()
            call()
            times.append(time.perf_counter() - begin)
        return min(times)

    assert seconds(lambda: clips.draw(8)) < seconds(lambda: objective(model, (frames, None)).backward())
