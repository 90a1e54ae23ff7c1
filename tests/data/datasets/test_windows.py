"""Zarr stores: windows listed once by importance, read lazily, in memory that does not grow."""

import csv
import dataclasses
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from convrnn_zoo.data import ArrayFrames, Window, WindowSelection, open_frames
from convrnn_zoo.data.datasets.windows import list_windows, read_windows, window_keys, write_windows
from convrnn_zoo.recipes import Recipe
from convrnn_zoo.train import forecaster as training
from tests.helpers.command_line import run
from tests.helpers.data.own_data import RADAR, blobs, write_zarr

zarr = pytest.importorskip("zarr", reason="the extra zarr")
KIND = ArrayFrames(name="blobs", unit="mm/h", step=5, crop=16, stride=4)
SIZES = Window(length=7, height=16, width=16, stride=4)


def listed(path, selection, sizes=SIZES):
    return torch.cat(list(list_windows(open_frames(path), sizes, selection)))


def test_windows_have_enough_present_values_and_no_gaps(tmp_path):
    frames = blobs(20, 24, 32)
    frames[5] = np.nan
    write_zarr(tmp_path / "a.zarr", frames)
    zarr.open_group(str(tmp_path / "a.zarr"))["time"][12:] = np.arange(12, 20) * 5 + 60
    result = listed(tmp_path / "a.zarr", WindowSelection())
    assert result[:, 0].unique().tolist() == [12, 13]  # neither over the empty frame nor over the gap
    assert result[:, 1].unique().tolist() == [0, 4, 8]
    assert result[:, 2].unique().tolist() == [0, 4, 8, 12, 16]


def test_windows_are_sampled_by_importance(tmp_path):
    frames = np.zeros((40, 40, 40), dtype="float32")
    frames[:, :, 20:] = 1.0
    write_zarr(tmp_path / "a.zarr", frames)
    sizes = Window(length=1, height=4, width=4, stride=4)
    result = listed(tmp_path / "a.zarr", WindowSelection(min_probability=0.1, scale=0.5), sizes)
    dry, wet = ((result[:, 2] >= 20).eq(rains).sum().item() / 2000 for rains in (False, True))
    assert dry == pytest.approx(0.1, abs=0.03)
    assert wet == pytest.approx(0.1 + 0.5 * (1 - np.exp(-1)), abs=0.04)
    assert torch.equal(result, listed(tmp_path / "a.zarr", WindowSelection(min_probability=0.1, scale=0.5), sizes))


@pytest.mark.parametrize("name", ["r.toml", "w.txt", "a.zarr/w.csv", "recipe.csv"])
def test_the_command_never_overwrites_its_inputs(name, tmp_path):
    write_zarr(tmp_path / "a.zarr", blobs(30, 24, 32))
    recipe = tmp_path / ("recipe.csv" if name == "recipe.csv" else "r.toml")
    recipe.write_text(RADAR)
    assert name in run("windows", recipe, "--data", tmp_path / "a.zarr", "-o", tmp_path / name, code=1)
    assert recipe.read_text() == RADAR
    assert not (tmp_path / "a.zarr" / "w.csv").exists()


def test_training_reads_the_windows_of_the_command(tmp_path):
    frames = blobs(30, 24, 32)
    write_zarr(tmp_path / "a.zarr", frames)
    recipe, table = tmp_path / "r.toml", tmp_path / "w.csv"
    recipe.write_text(RADAR + 'stride = 4\nwindows = "w.csv"\n')
    common = ("windows", recipe, "--data", tmp_path / "a.zarr")
    with pytest.raises(FileNotFoundError, match=r"w\.csv.*`convrnn-zoo windows"):
        dataclasses.replace(KIND, windows="w.csv").load(tmp_path / "a.zarr", "train", 3, 4)
    output = run(*common, "--min-probability", 0.5)
    keys, *lines = table.read_text().splitlines()
    rows = list(csv.DictReader(lines))
    assert f"{len(rows)} windows of 7 frames of 16×16 pixels" in output
    assert rows[0].keys() == {"t", "x", "y"}
    assert 20 < len(rows) < 24 * 15
    kind = dataclasses.replace(KIND, windows="w.csv")
    train, test = (kind.load(tmp_path / "a.zarr", split, 3, 4) for split in ("train", "test"))
    places = read_windows(table, window_keys(kind, 7))
    assert torch.equal(train.places[:, 1:], places[places[:, 0] + 7 <= 20])
    assert torch.equal(test.places[:, 1:], places[places[:, 0] + 3 >= 20])
    _, t, y, x = train.places[3].tolist()
    clip = train[3]
    torch.testing.assert_close(
        clip.frames[:, 0], torch.from_numpy(frames[t : t + 7, y : y + 16, x : x + 16]), equal_nan=True
    )
    assert torch.equal(clip.mask, clip.frames.isfinite())
    assert clip.time - train[0].time == 5 * (t - int(train.places[0, 1]))
    assert not train.files[0].is_loaded
    assert "moving_mnist" in run("windows", "moving_mnist", "--data", tmp_path / "a.zarr", code=1)
    table.write_text(f"{keys}\nt,y,x\n0,99,0\n")
    with pytest.raises(ValueError, match=r"w\.csv.* 7 frames of 16×16.*\(30, 24, 32\)"):
        kind.load(tmp_path / "a.zarr", "train", 3, 4)
    for broken, words in (("a,b,c\n", r"w\.csv.*t,x,y.*'a,b,c'"), ("t,y,x\n1,2\n3,4,5\n", r"w\.csv")):
        table.write_text(f"{keys}\n{broken}")
        with pytest.raises(ValueError, match=words):
            kind.load(tmp_path / "a.zarr", "train", 3, 4)


def test_stores_with_too_many_windows_need_a_list(tmp_path, monkeypatch):
    write_zarr(tmp_path / "a.zarr", blobs())
    monkeypatch.setattr("convrnn_zoo.data.datasets.frame_files.MAX_WINDOWS", 20)
    with pytest.raises(ValueError, match=r"a\.zarr.* 20 windows.*`convrnn-zoo windows"):
        KIND.load(tmp_path / "a.zarr", "train", 3, 4)


def test_a_memory_map_has_the_limits_of_a_store(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", blobs())
    assert KIND.load(tmp_path / "a.npy", "train", 3, 4).files[0].is_loaded
    monkeypatch.setattr("convrnn_zoo.data.datasets.frame_files.LARGE", 1000)
    clips = KIND.load(tmp_path / "a.npy", "train", 3, 4)
    assert not clips.files[0].is_loaded
    monkeypatch.setattr("convrnn_zoo.data.datasets.frame_files.MAX_WINDOWS", 20)
    with pytest.raises(ValueError, match=r"a\.npy.* 20 windows.*data\.stride"):
        KIND.load(tmp_path / "a.npy", "train", 3, 4)


LARGE = """
import sys, numpy as np, torch, zarr
path, steps = sys.argv[1], int(sys.argv[2])
group = zarr.open_group(path, mode="w")
array = group.create_array("rate", shape=(steps, 1024, 1024), chunks=(1, 1024, 1024), dtype="float32", fill_value=0)
array[0] = array[steps - 1] = np.random.default_rng(0).random((1024, 1024), dtype="float32")  # the others are sparse
from convrnn_zoo.data import ArrayFrames, WindowSelection, Window, open_frames
from convrnn_zoo.data.datasets.windows import list_windows, window_keys, write_windows
from pathlib import Path
selection = WindowSelection(min_probability=0.02, scale=0.1)
result = list_windows(open_frames(Path(path)), Window(16, 256, 256, 64), selection)
kind = ArrayFrames(name="a", crop=256, windows="w.csv")
count = write_windows(result, Path(path).with_name("w.csv"), window_keys(kind, 16))
clips = kind.load(Path(path), "train", 4, 12)
for _ in range(20):
    assert clips.draw(4).shape == (4, 16, 1, 256, 256)
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(count, int(status["VmHWM"].split()[0]) // 1024)  # ru_maxrss includes the peak of the process that starts this one
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the peak of memory is read from Linux's /proc")
def test_memory_is_flat_on_a_store_larger_than_memory(tmp_path):
    peaks = {}
    for steps in (50, 450):  # the larger one is 1.9 GB as numbers, more than the process may hold
        done = subprocess.run(
            [sys.executable, "-c", LARGE, str(tmp_path / f"{steps}.zarr"), str(steps)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
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


def test_the_list_of_windows_is_next_to_the_store(tmp_path):
    write_zarr(tmp_path / "a.zarr", blobs(30))
    kind = ArrayFrames(name="a", unit="mm/h", variable="rate", step=5, crop=16, windows="w.csv")
    opened = dataclasses.replace(kind, windows="").open(tmp_path / "a.zarr")
    listed = list_windows(opened[0], Window(7, 16, 16, 2), WindowSelection())
    write_windows(listed, tmp_path / "w.csv", window_keys(kind, 7))
    assert len(kind.load(tmp_path, "train", 3, 4)) == len(kind.load(tmp_path / "a.zarr", "train", 3, 4))


def test_no_windows_are_an_error_and_leave_no_file(tmp_path):
    write_zarr(tmp_path / "a.zarr", blobs(3))
    kind = ArrayFrames(name="a", unit="mm/h", variable="rate", step=5, crop=16, windows="w.csv")
    listed = list_windows(kind.open(tmp_path / "a.zarr")[0], Window(7, 16, 16, 2), WindowSelection())
    with pytest.raises(ValueError, match=r"w\.csv"):
        write_windows(listed, tmp_path / "w.csv", window_keys(kind, 7))
    assert not (tmp_path / "w.csv").exists()


CHANGES = {
    "sel": {"time": ["2020-01-01T01:00", "2020-01-01T02:00"]},
    "crop": 8,
    "stride": 2,
    "variable": "rate",
    "unit": "mm/min",
    "rain_relation": (300.0, 1.4),
    "step": 10.0,
    "fill_value": -1.0,
    "min_valid_fraction": 0.9,
    "min_wet_fraction": 0.1,
}


@pytest.mark.parametrize("key", [*CHANGES, "frames"])
def test_windows_of_another_recipe_are_rejected(key, tmp_path):
    group, frames = zarr.open_group(str(tmp_path / "a.zarr"), mode="w"), blobs(30)
    named = {"dimension_names": ("time", "y", "x")}
    group.create_array("rate", shape=frames.shape, chunks=(1, 24, 28), dtype="float32", **named)[:] = frames
    group.create_array("time", shape=(30,), dtype="int64", dimension_names=("time",))[:] = np.arange(30) * 5
    group["time"].attrs["units"] = "minutes since 2020-01-01"
    recipe, table = tmp_path / "r.toml", tmp_path / "w.csv"
    recipe.write_text(RADAR + 'stride = 4\nwindows = "w.csv"\n')
    run("windows", recipe, "--data", tmp_path / "a.zarr", "--min-probability", 1)
    data = Recipe.read(recipe).data
    expected = data.load(tmp_path / "a.zarr", "train", 3, 4)
    other = dataclasses.replace(data, thresholds=(4.0,), validation=0.1, flip=True, encoding="none")
    assert len(other.load(tmp_path / "a.zarr", "test", 2, 5))  # keys that do not determine the windows
    changed = data if key == "frames" else dataclasses.replace(data, **{key: CHANGES[key]})
    horizon = 3 if key == "frames" else 4
    with pytest.raises(ValueError, match=rf"w\.csv.*\b{key} = .*convrnn-zoo windows"):
        changed.load(tmp_path / "a.zarr", "train", 3, horizon)
    table.write_text("\n".join(table.read_text().splitlines()[1:]))
    with pytest.raises(ValueError, match=r"w\.csv.*convrnn-zoo windows"):  # of an earlier version
        data.load(tmp_path / "a.zarr", "train", 3, 4)
    assert len(expected)


def test_other_programs_read_the_columns(tmp_path):
    pandas = pytest.importorskip("pandas", reason="of xarray and aeon")
    windows = torch.tensor([[1, 2, 3], [4, 5, 6]])
    write_windows(iter([windows]), tmp_path / "w.csv", window_keys(KIND, 7))
    table = pandas.read_csv(tmp_path / "w.csv", comment="#")
    assert table[["t", "y", "x"]].values.tolist() == windows.tolist()


def test_windows_of_a_store_from_south_to_north_have_its_positions(tmp_path):
    """Other programs read the file and the store, too."""
    pytest.importorskip("zarr", reason="the extra zarr")
    xarray = pytest.importorskip("xarray", reason="the extra netcdf")
    frames = np.zeros((9, 16, 12), "float32")
    frames[:, 2:6, 4:8] = 5.0
    coords = {"lat": np.arange(16.0), "lon": np.arange(12.0)}
    data = xarray.DataArray(frames, coords, ("time", "lat", "lon"), "rain", {"units": "mm/h"})
    data.to_dataset().to_zarr(tmp_path / "a.zarr", consolidated=False)
    kind = ArrayFrames(name="a", unit="mm/h", crop=4, stride=2, windows="w.csv", min_wet_fraction=1.0)
    (opened,) = kind.open(tmp_path / "a.zarr")
    window = kind.window(tmp_path, [opened], 3)
    write_windows(list_windows(opened, window, kind.selection), tmp_path / "w.csv", window_keys(kind, 3))
    assert read_windows(tmp_path / "w.csv", window_keys(kind, 3))[:, 1:].unique(dim=0).tolist() == [[2, 4]]
    clips = kind.load(tmp_path / "a.zarr", "train", 2, 1)
    assert clips.fixed(9).unique().tolist() == [5]
