"""RadHAR: activities of people in the point clouds of a millimetre-wave radar."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import torch
from torch import Tensor

from ..._typed import field
from ...values.log_mel import LogMel
from ..files import FileError, list_files, reading
from ..readers.sequences import Recording
from .labelled_sequences import Labelled, LabelledDataset, LazySequences
from .splits import resolve_path, select_per_class

ACTIVITIES = {"boxing": "boxing", "jack": "jumping jacks", "jump": "jumping", "squats": "squats", "walk": "walking"}
"""Classes by the names of their folders."""
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


def window_starts(cloud: PointCloud) -> range:
    """Returns the first radar frame of each window of a recording."""
    return range(0, cloud.length - WINDOW + 1, WINDOW)


def encode_window(window: tuple[PointCloud, int]) -> Tensor:
    """Returns the maps ``(10, 12, 8, 6)`` of the window of a recording that begins with a radar frame."""
    cloud, start = window
    first, last = numpy.searchsorted(cloud.frames, (start, start + WINDOW))
    return draw_maps((cloud.frames[first:last] - start) // STRIDE, center(cloud.points[first:last]))


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


@dataclass(frozen=True)
class RadHAR(LabelledDataset):
    """RadHAR: people in front of a millimetre-wave radar, as maps ``(T, 12, 8, 6)`` with 5 steps per second.

    The recordings of 20 s show boxing, jumping jacks, jumping, squats and walking. The data are windows of two
    seconds, 10 steps: a window at a random time, with random changes, for each two seconds of training recordings,
    and all windows of test recordings. The group of a window is its recording.

    The same people in the same room, a few minutes apart, are in both parts of the official split. With a day as
    `test`, the room is arranged differently in training and test.
    """

    title = "RadHAR"
    task = "sensor classification"
    url = "https://github.com/nesl/RadHAR"
    license = "BSD-3-Clause"
    label_names = tuple(ACTIVITIES.values())
    test: str = field(
        "official",
        choices=("official", *DAYS),
        description="recordings of the test split: the official ones, or all of a day; the other ones are trained on.",
    )

    @property
    def split_words(self) -> str:  # type: ignore[override]
        """Description of the test split."""
        return f"{'official test split' if self.test == 'official' else f'recordings of {self.test}'}, windows of 2 s"

    def list_recordings(self, path: Path) -> list[Path]:
        """Lists the text files at or below a path."""
        files = list_files(path, [".txt"])
        if not files:
            raise FileError(f"{path} contains no recording; expected text files (.txt) of radar points")
        return files

    def read(self, path: Path) -> list[Recording]:
        """Reads the windows of a recording; the key of each is its time, such as ``"2-4 s"``.

        Raises:
            FileNotFoundError: `path` does not exist.
            ValueError: the file is damaged, or shorter than a window.
        """
        cloud = read_points(path)
        windows = [(f"{2 * i}-{2 * i + 2} s", (cloud, start)) for i, start in enumerate(window_starts(cloud))]
        if not windows:
            raise FileError(f"{path}: expected at least {WINDOW} radar frames (2 s), got {cloud.length}")
        return [Recording(str(path), key, encode_window(item)) for key, item in windows]

    def load(self, path: Path | None, split: str, front_end: LogMel | None = None) -> Labelled:
        """Reads the text files in the folders ``Train`` and ``Test`` of the repository, or of its folder ``Data``."""
        path = resolve_path(path, self.title, f"git clone {self.url}")
        path = path / "Data" if (path / "Data").is_dir() else path
        parts = ("Train", "Test") if self.test in DAYS else ("Test" if split == "test" else "Train",)
        folders = {path / part / name: k for part in parts for k, name in enumerate(ACTIVITIES)}
        files = [(file, label) for folder, label in folders.items() for file in list_files(folder, [".txt"])]
        clouds = [(file, read_points(file), label) for file, label in files]
        if self.test in DAYS:
            clouds = [row for row in clouds if (row[1].day == self.test) == (split == "test")]
        if self.validation and split != "test":  # no recording is divided
            held_out = select_per_class([label for *_, label in clouds], self.validation_count)
            clouds = [row for i, row in enumerate(clouds) if (i in held_out) == (split == "validation")]
        items, labels, groups = [], [], []
        for file, cloud, label in clouds:
            starts = window_starts(cloud)
            items += [cloud if split == "train" else (cloud, start) for start in starts]
            labels += [label] * len(starts)
            groups += [file.relative_to(path).as_posix()] * len(starts)
        if not items:
            raise FileNotFoundError(f"{path} contains no recordings for {split}; expected Train/boxing/*.txt and so on")
        read = draw_window if split == "train" else encode_window
        return Labelled(LazySequences(items, read), torch.tensor(labels), self.label_names, tuple(groups))
