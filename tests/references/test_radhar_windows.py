"""Maps of radar points are histograms; the parts of RadHAR are those of its folders or days."""

import json
import re
from datetime import UTC, datetime

import numpy as np
import pytest
import torch

import convrnn_zoo
from convrnn_zoo.recipes import Recipe
from convrnn_zoo.train import train
from references.radhar import main
from references.radhar_windows import (
    ACTIVITIES,
    COLUMNS,
    HALF,
    ROWS,
    STEPS,
    STRIDE,
    VIEWS,
    center,
    draw_maps,
    load_windows,
    read_points,
)
from tests.helpers.command_line import run

BLOCK = """header:
  seq: 1
  stamp:
    secs: {secs}
    nsecs: 762439649
  frame_id: "ti_mmwave"
point_id: {number}
x: {x}
y: {y}
z: {z}
range: 1.5
velocity: {velocity}
doppler_bin: 8
bearing: -73.3
intensity: 30.7
---
"""
DAY = {day: int(datetime(2019, 6, day, 12, tzinfo=UTC).timestamp()) for day in (28, 30)}


def write_points(path, points, day=28):
    """Writes the points ``(frames, points, 4)`` of a recording as the radar's program does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    blocks = [
        BLOCK.format(secs=DAY[day], number=number, x=x, y=y, z=z, velocity=velocity)
        for frame in points
        for number, (x, y, z, velocity) in enumerate(frame)
    ]
    path.write_text("".join(blocks))


def person(frames, seed=0, x=2.0):
    """Five random points in each frame, near a distance `x`."""
    random = np.random.default_rng(seed)
    return random.normal((x, 0, 0, 0), (0.2, 0.2, 0.3, 1), (frames, 5, 4)).round(3)


@pytest.fixture
def directory(tmp_path):
    """A recording of each activity in both official parts: on 28 June for training, on 30 June for the test."""
    for part, day in (("Train", 28), ("Test", 30)):
        for k, name in enumerate(ACTIVITIES):
            write_points(tmp_path / "Data" / part / name / f"{name}_1.txt", person(130, k, x=1.5 + 0.2 * k), day)
    return tmp_path


def test_points_are_read_with_their_frames(tmp_path):
    points = person(7)
    points[3, 2] = (0.1, 0, 0, 0)  # on the radar
    points[6, :] = (9, 0, 0, 0)  # a wall
    write_points(tmp_path / "a.txt", points)
    cloud = read_points(tmp_path / "a.txt")
    assert (cloud.length, cloud.day) == (7, "28 June")
    assert np.bincount(cloud.frames).tolist() == [5, 5, 5, 4, 5, 5]
    assert cloud.points[:15] == pytest.approx(points[:3].reshape(15, 4))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text[: text.rindex("velocity")], "velocity"),
        (lambda text: text.replace("z:", "height:"), "0 z"),
        (lambda text: re.sub(r"\nx: .*", r"\nx: inf", text), "finite"),
        (lambda text: text.replace("x: ", "x: two", 1), "two"),
        (lambda text: text.replace("point_id: 0", "point_id: 1"), "point_id"),
        (lambda text: "", "points"),
    ],
)
def test_damaged_files_are_an_error(tmp_path, change, words):
    write_points(tmp_path / "a.txt", person(3))
    (tmp_path / "a.txt").write_text(change((tmp_path / "a.txt").read_text()))
    with pytest.raises(ValueError, match=rf"a\.txt.*{words}"):
        read_points(tmp_path / "a.txt")


def test_maps_are_histograms_of_the_points():
    random = np.random.default_rng(0)
    points, steps = random.normal(0, HALF, (400, 4)), random.integers(STEPS, size=400)
    maps = draw_maps(steps, points).numpy()
    velocity = points[:, 3]
    weights = (np.ones(400), velocity.clip(0), (-velocity).clip(0))
    expected = [(*view, w) for view in VIEWS for w in weights] + [(2, 3, velocity != 0)]
    for channel, (row, column, weight) in enumerate(expected):
        edges = [np.arange(STEPS + 1)] + [
            np.linspace(-HALF[k], HALF[k], n + 1) for k, n in ((row, ROWS), (column, COLUMNS))
        ]
        counts, _ = np.histogramdd(np.stack([steps, points[:, row], points[:, column]], 1), edges, weights=weight)
        assert maps[:, channel] == pytest.approx(np.log1p(counts), abs=1e-5)
    assert (maps[:, 10] == maps[:1, 10, :, :1]).all()  # height
    assert (maps[:, 11] == maps[:1, 11, :1]).all()


def test_the_place_of_a_person_does_not_change_the_maps(directory):
    cloud = read_points(directory / "Data/Train/walk/walk_1.txt")
    moved = center(cloud.points + np.array([0.25, -0.5, 0, 0], "float32"))
    assert moved == pytest.approx(center(cloud.points), abs=1e-6)
    wall = np.tile(np.array([3.9, 0, 0, 0], "float32"), (2000, 1))
    assert center(np.concatenate([cloud.points, wall]))[: len(cloud.points)] == pytest.approx(center(cloud.points))
    assert not len(center(cloud.points[:0]))


def test_test_windows_are_parts_of_the_recording(directory):
    test = load_windows(directory, draws=1)[1]
    assert test.labels.tolist() == [name for name in ACTIVITIES for _ in range(2)]
    assert test.groups[::2].tolist() == [f"Test/{name}/{name}_1.txt" for name in ACTIVITIES]
    assert test.x.shape == (2 * len(ACTIVITIES), STEPS, 12, ROWS, COLUMNS)
    count = np.expm1(test.x[0, :, :3]).sum((2, 3)).sum(0)
    assert count[0] == pytest.approx(5 * STEPS * STRIDE, abs=10)  # almost all points are inside the maps


def test_training_windows_are_random_and_have_the_seed_of_torch(directory):
    windows = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        windows.append(load_windows(directory, draws=3)[0].x)
    assert (windows[0] == windows[1]).all()
    assert (windows[0] != windows[2]).any()
    assert windows[0].shape == (3 * 2 * len(ACTIVITIES), STEPS, 12, ROWS, COLUMNS)


def test_a_day_is_tested_and_the_other_one_trained_on(directory):
    for test, parts in (("official", "Train Test"), ("30 June", "Train Test"), ("28 June", "Test Train")):
        loaded = [part.groups for part in load_windows(directory / "Data", test, draws=1)]
        assert [{name.split("/")[0] for name in groups} for groups in loaded] == [{p} for p in parts.split()]


def test_data_that_are_not_there_are_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="boxing"):
        load_windows(tmp_path)


def test_weights_that_are_trained_on_the_written_windows_classify_them(directory, tmp_path):
    pytest.importorskip("accelerate", reason="the extra train")
    maps = tmp_path / "maps"
    main(["write", str(directory), str(maps)], standalone_mode=False)
    fields = ["model.hidden_channels=2", "batch_size=4"]
    train(Recipe.read("radhar", fields), data=maps, out=tmp_path / "run", progress=False)
    rows = json.loads(run("predict", tmp_path / "run", maps / "test.npz", "--json"))
    assert len(rows) == 2 * len(ACTIVITIES)
    names = convrnn_zoo.create_model("convlstm2d_bi_2layer.radhar_example", pretrained=True).pretrained_cfg
    assert tuple(rows[0]["probabilities"]) == tuple(names["label_names"])
    scores = json.loads(run("eval", tmp_path / "run", "--data", maps, "--json", "--quiet"))
    assert "prediction" in json.dumps(scores)
