"""`eval` reads each file once, and notices that weights were trained on another part of the data."""

import json
import logging

import numpy as np
import pytest

from convrnn_zoo.data import Frames
from tests.helpers.command_line import run
from tests.helpers.data.own_data import FRAMES, RAMPS, WRITERS, blobs, ramps, write_ramps


@pytest.fixture
def warned(tmp_path, caplog):
    """Returns whether `eval` of the weights in ``run`` warns."""

    def warned(data, *options):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            run("eval", tmp_path / "run", "--data", data, *options, "--quiet")
        return any("data.split" in message for message in caplog.messages)

    return warned


def test_of_recordings(tmp_path, warned):
    (tmp_path / "r.toml").write_text(RAMPS)
    write_ramps(tmp_path / "a.npz")
    run("train", tmp_path / "r.toml", "--data", tmp_path / "a.npz", "-o", tmp_path / "run", "--quiet")
    assert not warned(tmp_path / "a.npz")
    assert not warned((tmp_path / "a.npz").rename(tmp_path / "b.npz"))
    recordings, labels = ramps(30)
    np.savez(tmp_path / "more.npz", labels=labels, **recordings)
    assert warned(tmp_path / "more.npz")
    (tmp_path / "listed.toml").write_text(RAMPS + 'split = ["r02", "r03"]\n')
    assert not warned(tmp_path / "more.npz", "--recipe", tmp_path / "listed.toml")


def test_of_frames(tmp_path, warned):
    (tmp_path / "r.toml").write_text(FRAMES)
    frames = np.nan_to_num(blobs(40))
    for name, count in (("a", 40), ("short", 30)):
        np.save(tmp_path / f"{name}.npy", frames[:count])
    run("train", tmp_path / "r.toml", "--data", tmp_path / "a.npy", "-o", tmp_path / "run", "--quiet")
    assert not warned(tmp_path / "a.npy")
    assert warned(tmp_path / "short.npy")  # of which the test part was trained on


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".nc", ".npy"])
def test_each_file_is_read_once(suffix, tmp_path, monkeypatch):
    pytest.importorskip("h5netcdf", reason="the extra netcdf")
    file = tmp_path / f"a{suffix}"
    WRITERS[suffix](file, np.nan_to_num(blobs(30)))
    recipe = tmp_path / "r.toml"
    recipe.write_text(FRAMES + ('variable = "rate"\nunit = "mm/h"\n' if suffix == ".nc" else ""))
    run("train", recipe, "--data", file, "-o", tmp_path / "run", "--quiet")
    loads, load = [], Frames.load
    monkeypatch.setattr(Frames, "load", lambda self: loads.append(self.name) or load(self))
    run("eval", tmp_path / "run", "--data", file, "-o", tmp_path / "scores.json", "--quiet")
    assert loads == [file.name]
    assert {"forecast", "last frame"} < json.loads((tmp_path / "scores.json").read_text()).keys()
    run("eval", tmp_path / "run", "--data", file, "--baseline", "last frame", "-o", tmp_path / "one.json", "--quiet")
    assert json.loads((tmp_path / "one.json").read_text()).keys() == {"forecast", "last frame"}
    assert "'mean'" in run("eval", tmp_path / "run", "--data", file, "--baseline", "mean", "--quiet", code=1)
