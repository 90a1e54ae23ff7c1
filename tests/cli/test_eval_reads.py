"""`eval` reads the frames of each file once, also for the climatology of dated frames."""

import json

import numpy as np
import pytest

from convrnn_zoo.data import Frames
from tests.helpers.command_line import run
from tests.helpers.data.own_data import FRAMES, WRITERS, blobs


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
