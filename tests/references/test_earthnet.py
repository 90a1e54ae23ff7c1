"""Scores of EarthNet2021's test cubes: the command on cubes of the test, and the recorded scores of the page."""

import json
from statistics import fmean

import pytest
import torch
from click.testing import CliRunner

from convrnn_zoo import save_pretrained
from convrnn_zoo.data import MiniCube
from convrnn_zoo.interop import load
from convrnn_zoo.pretrained.published import PUBLISHED
from references.earthnet import (
    evaluate,
    last_clear,
    mean_of_clear,
    mean_of_inputs,
    ndvi,
    score,
)
from tests.helpers.data.minicubes import arrays, save
from tests.helpers.interop.recorded import recorded
from tools import recorded as from_file
from tools.docs.models import EARTHNET


@pytest.fixture
def cubes(tmp_path):
    """Two test cubes in the folders of EarthNet2021."""
    for i, tile in enumerate(("29SND", "32UQC")):
        for part, steps in (("context", 10), ("target", 20)):
            folder = tmp_path / "data" / "iid_test_split" / part / tile
            folder.mkdir(parents=True)
            save(folder / f"{part}_{tile}_{i}.npz", **arrays(steps, seed=i))
    return tmp_path / "data"


def cube(frames, mask):
    """A cube of ten inputs and the given truth, of 1×1 pixels with the same value in all bands."""
    maps = [torch.tensor(values)[:, None, None, None] for values in (frames, mask)]
    return MiniCube(maps[0].expand(-1, 4, 1, 1), maps[1], torch.zeros(1, 1, 1), torch.zeros(150, 5, 2, 2))


def test_baselines_and_scores_leave_out_clouds():
    frames = [0.0] * 7 + [0.2, 0.4, 0.9] + [0.5, 0.9, 2.0]
    mask = [1.0] * 7 + [0.0, 0.0, 1.0] + [0.0, 1.0, 0.0]
    example = cube(frames, mask)
    assert last_clear(example)[0] == pytest.approx(0.4)
    assert mean_of_clear(example)[0] == pytest.approx(0.3)
    assert mean_of_inputs(example)[0] == pytest.approx(0.15)
    result = score(last_clear(example), example)  # of 0.5 and of 2, which is clipped to 1
    assert result["MAE"] == pytest.approx((0.1 + 0.6) / 2)
    never = cube([0.1] * 9 + [0.6] + [0.5], [1.0] * 10 + [0.0])
    assert last_clear(never)[0] == mean_of_clear(never)[0] == pytest.approx(0.15)


def test_the_ndvi_is_of_red_and_near_infrared():
    bands = torch.tensor([0.9, 0.9, 0.1, 0.3])[:, None, None]
    assert ndvi(bands).item() == pytest.approx(0.5, abs=1e-5)


@pytest.mark.slow
def test_the_command_scores_models_and_baselines(cubes, tmp_path):
    for name in ("weather2land", "sg_convlstm"):
        save_pretrained(load(name, recorded(name).state), tmp_path / name)
    names = [str(tmp_path / name) for name in ("weather2land", "sg_convlstm")]
    done = CliRunner().invoke(evaluate, [*names, "--data", str(cubes), "-o", str(tmp_path / "scores.json")])
    assert done.exit_code == 0, done.output
    results = json.loads((tmp_path / "scores.json").read_text())
    assert list(results) == ["29SND_0", "32UQC_1"]
    assert list(results["29SND_0"]) == [
        "convlstm_weather2land",
        "sg_convlstm",
        "last clear pixel",
        "mean of the clear inputs",
        "mean of the inputs",
    ]
    mean = fmean(cube["sg_convlstm"]["MAE"] for cube in results.values())
    assert f"{mean:.4f}" in next(line for line in done.output.splitlines() if line.startswith("sg_convlstm"))
    assert "of 2" in done.output


@pytest.mark.parametrize("name", ["convlstm_weather2land", "sg_convlstm"])
def test_published_scores_are_the_recorded_ones(name):
    results = from_file(EARTHNET)
    assert len(results) == 6
    for method, text in ((name, "MAE {}"), ("last clear pixel", "{} for the last clear pixel")):
        mean = fmean(cube[method]["MAE"] for cube in results.values())
        assert text.format(f"{mean:.4f}") in PUBLISHED[f"{name}.earthnet2021"].score
