"""RadHAR: windows of two seconds of the point clouds of a millimetre-wave radar, as maps that a network reads.

A recording of 20 s shows a person who boxes, does jumping jacks, jumps, squats or walks. Each window has ten maps
``(12, 8, 6)``. Training windows are at random times, with random changes.
"""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import torch
from torch import Tensor

from convrnn_zoo.data.files import FileError, list_files, reading

ACTIVITIES = ("boxing", "jack", "jump", "squats", "walk")
"""Names of the classes and of their folders."""
KEYS = ("point_id", "x", "y", "z", "velocity")
"""Keys of a point that are read, each in a line such as ``x: 1.25``."""
DAYS = ("28 June", "30 June")
STRIDE, STEPS = 6, 10
"""Number of radar frames in a step, and of steps in a window of two seconds."""
WINDOW = STRIDE * STEPS
ROWS, COLUMNS = 8, 6
"""Height and width of the maps."""
X, Y, Z, VELOCITY = range(4)
"""Columns of points: metres in front of, to the right of and above the radar, and radial velocity in m/s."""
HALF = numpy.array([1.0, 1.0, 0.7, 4.0])
"""The maps show values between -HALF and HALF of each column."""
VIEWS = ((Z, Y), (Z, X), (X, Y))
"""Columns of points that are the rows and the columns of the maps of a view: from the front, the side and above."""
NEAREST, FARTHEST, HIGHEST = 0.5, 4.0, 1.6
"""Points nearer or farther in front of the radar than this, or higher or lower, are left out (m)."""
MIN_MOVING = 8
"""Smallest number of moving points whose median is used as the position of a person."""

SPEED, ANGLE, SCALE, SHIFT, JITTER = 0.4, 0.4, 0.2, (0.15, 0.15, 0.1), 0.02
"""Random changes of training windows: largest relative change of the speed, largest rotation about the vertical axis
(radians), largest relative change of the size along each axis, largest shift along each axis (m), and deviation
of the noise of each point (m)."""
MOST_DROPPED, MOST_STILL = 0.6, 0.4
"""Largest fractions of the points that are left out, and of those whose velocity is set to zero."""


class PointCloud(NamedTuple):
    """The points of a recording."""

    frames: Any
    """Radar frame of each point ``(N,)``, in ascending order from 0."""
    points: Any
    """The points ``(N, 4)``; see :data:`X`."""
    length: int
    """Number of radar frames."""
    day: str
    """Day and month in UTC, such as ``"28 June"``."""


def read_points(path: Path) -> PointCloud:
    """Reads the points that the ROS package of the radar prints: blocks of lines ``key: value``, one for each point.

    A point with the `point_id` 0 is the first of a radar frame. Raises FileError if the file is damaged or has none.
    """
    with reading(path, "text file of radar points"):
        text = b"\n" + path.read_bytes()
        found = [re.findall(rb"\n%s: (\S+)" % key.encode(), text) for key in KEYS]
        time = re.search(rb"\n *secs: (\d+)", text)
        if len({*map(len, found)}) > 1 or not found[0] or time is None:
            counts = ", ".join(f"{len(values)} {key}" for key, values in zip(KEYS, found, strict=True))
            raise FileError(f"{path}: expected points with secs, {', '.join(KEYS)}, got {counts}; is it complete?")
        number, *values = (numpy.array(column, float) for column in found)
        points, frames = numpy.stack(values, 1).astype("float32"), numpy.cumsum(number == 0) - 1
        if frames[0] < 0 or not numpy.isfinite(points).all():
            raise FileError(f"{path}: expected finite values, and 0 as the first point_id; record it again")
        date = datetime.fromtimestamp(int(time[1]), UTC)
    near = (points[:, X] > NEAREST) & (points[:, X] < FARTHEST) & (abs(points[:, Z]) < HIGHEST)
    return PointCloud(frames[near], points[near], int(frames[-1]) + 1, f"{date.day} {date:%B}")


def center(points: Any) -> Any:
    """Returns points whose `x` and `y` are relative to the median of the moving points; heights are unchanged.

    Walls and furniture do not move. If fewer than :data:`MIN_MOVING` points move, the median of all points is used.
    """
    moving = points[points[:, VELOCITY] != 0]
    some = moving if len(moving) >= MIN_MOVING else points
    points = points.copy()
    if len(some):
        points[:, : Y + 1] -= numpy.median(some[:, : Y + 1], 0)
    return points


def draw_maps(steps: Any, points: Any) -> Tensor:
    """Counts centered points in maps ``(10, 12, 8, 6)``; `steps` ``(N,)`` is the step of each point.

    Of each view, the channels are the logarithms of one plus the number of points, the sum of the velocities of
    receding points, and that of approaching points. Channel 9 counts moving points by height and velocity. Channels 10
    and 11 are the height and the distance from the middle column, which tell a network the position of a pixel.
    """
    velocity = points[:, VELOCITY]
    places = (points / HALF + 1) / 2  # from 0 to 1 inside the maps

    def count_points(row: int, column: int, weights: Any) -> Any:
        u, v = (numpy.floor(places[:, k] * size).astype("int64") for k, size in ((row, ROWS), (column, COLUMNS)))
        inside = (u >= 0) & (u < ROWS) & (v >= 0) & (v < COLUMNS)
        pixels = ((steps * ROWS + u) * COLUMNS + v)[inside]
        sums = numpy.bincount(pixels, weights[inside], STEPS * ROWS * COLUMNS)
        return numpy.log1p(sums).reshape(STEPS, ROWS, COLUMNS)

    one = numpy.ones(len(points))
    maps = [count_points(*view, w) for view in VIEWS for w in (one, velocity.clip(0), (-velocity).clip(0))]
    maps.append(count_points(Z, VELOCITY, velocity != 0))
    up, right = numpy.linspace(-1, 1, ROWS)[:, None], abs(numpy.linspace(-1, 1, COLUMNS))
    maps += [numpy.broadcast_to(x, (STEPS, ROWS, COLUMNS)) for x in (up, right)]
    return torch.from_numpy(numpy.stack(maps, 1).astype("float32"))


def encode_windows(cloud: PointCloud) -> list[Tensor]:
    """Returns the maps ``(10, 12, 8, 6)`` of the successive windows of a recording."""
    windows = []
    for start in range(0, cloud.length - WINDOW + 1, WINDOW):
        first, last = numpy.searchsorted(cloud.frames, (start, start + WINDOW))
        windows.append(draw_maps((cloud.frames[first:last] - start) // STRIDE, center(cloud.points[first:last])))
    return windows


def draw_window(cloud: PointCloud) -> Tensor:
    """Returns the maps of a window at a random time, with random changes of its points, for training.

    The window may be faster, slower, mirrored (right and left) or played backwards. Its points are rotated about the
    vertical axis, scaled along each axis, shifted and jittered. Some points, and some velocities, are left out.
    """
    random = numpy.random.default_rng(int(torch.randint(2**31, ())))
    length = min(round(WINDOW * (1 + random.uniform(-SPEED, SPEED))), cloud.length)
    start = random.integers(cloud.length - length + 1)
    first, last = numpy.searchsorted(cloud.frames, (start, start + length))
    steps = (cloud.frames[first:last] - start) * STEPS // length
    points = center(cloud.points[first:last])
    if random.random() < 0.5:
        points[:, Y] *= -1
    if random.random() < 0.5:
        steps = STEPS - 1 - steps
        points[:, VELOCITY] *= -1
    angle = random.uniform(-ANGLE, ANGLE)
    rotation = numpy.array([[numpy.cos(angle), numpy.sin(angle)], [-numpy.sin(angle), numpy.cos(angle)]])
    points[:, : Y + 1] = points[:, : Y + 1] @ rotation
    points[:, : Z + 1] *= 1 + random.uniform(-SCALE, SCALE, 3)
    points[:, : Z + 1] += random.uniform(-1, 1, 3) * SHIFT + random.normal(0, JITTER, (len(points), 3))
    kept = random.random(len(points)) > random.uniform(0, MOST_DROPPED)
    steps, points = steps[kept], points[kept]
    points[random.random(len(points)) < random.uniform(0, MOST_STILL), VELOCITY] = 0
    return draw_maps(steps, points)


class Windows(NamedTuple):
    """Windows ``(N, 10, 12, 8, 6)``, their activities, and their recordings, such as ``Test/squats/a.txt``."""

    x: Any
    labels: Any
    groups: Any


def load_windows(path: Path, test: str = "official", draws: int = 6) -> tuple[Windows, Windows]:
    """Returns the training and the test windows of a checkout of RadHAR.

    Args:
        path: the checkout, or its folder ``Data``.
        test: recordings of the test part: the ``"official"`` ones, or all of one of the :data:`DAYS`.
        draws: number of random windows for each two seconds of training recordings.
    """
    path = path / "Data" if (path / "Data").is_dir() else path
    parts: list[list[tuple[Any, ...]]] = [[], []]
    for part in ("Train", "Test"):
        for name in ACTIVITIES:
            for file in list_files(path / part / name, [".txt"]) if (path / part / name).is_dir() else ():
                cloud = read_points(file)
                is_test = cloud.day == test if test in DAYS else part == "Test"
                windows = encode_windows(cloud)
                if not is_test:
                    windows = [draw_window(cloud) for _ in range(draws * len(windows))]
                group = file.relative_to(path).as_posix()
                parts[is_test] += [(window.numpy(), name, group) for window in windows]
    if not all(parts):
        raise FileNotFoundError(f"{path} lacks recordings; expected Train/boxing/*.txt, Test/boxing/*.txt and so on")
    train, tested = (Windows(*map(numpy.array, zip(*part, strict=True))) for part in parts)
    return train, tested
