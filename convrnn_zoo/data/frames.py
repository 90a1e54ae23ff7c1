"""Frames to forecast: the data sets of the shipped weights, and the kinds of one's own, asked for in one way."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from . import _entries
from ._set import RAIN_THRESHOLDS, FrameSource
from .clips import Clips
from .datasets.frame_sequences import CroppedSequences, Sampling, split_in_time
from .moving import load_moving
from .own import OWN_FRAMES
from .readers import COARSEN, ReadOptions
from .readers.radar import RADAR_FORMATS, read_events


@dataclass(frozen=True, kw_only=True)
class FrameSet(FrameSource):
    """A data set of the shipped weights."""

    title: str
    task: str
    url: str
    license: str
    where: str
    """One line on how a user gets the data."""
    reader: Callable[[Path, str, int, int, str], Clips]
    split_words: str
    unit: str = ""
    step: float | None = None
    encode: str = "none"
    thresholds: tuple[float, ...] = ()
    bounds: tuple[float | None, float | None] = (0.0, 1.0)
    summed_over: int | None = 64 * 64

    def read_options(self) -> ReadOptions:
        """See :class:`FrameSource`."""
        return ReadOptions(unit=self.unit, coarsen=COARSEN)

    def load(self, path: Path | None, split: str, inputs: int, horizon: int) -> Clips:
        """See :class:`FrameSource`.

        Raises:
            FileNotFoundError: no directory is given, or it does not hold the files.
        """
        if path is None:
            raise FileNotFoundError(f"no directory of the data given; pass --data DIR: {self.where}")
        return self.reader(path, split, inputs, horizon, self.where)


def load_rain(directory: Path, split: str, inputs: int, horizon: int, where: str) -> CroppedSequences:
    """Returns crops of 128×128 km at 2 km of every event below a directory; its last third in time is the test split.

    Raises:
        FileNotFoundError: the directory holds no radar file; `where` says how to get them.
    """
    events = read_events(directory, COARSEN)
    if not events:
        patterns = " or ".join(s.pattern for s in RADAR_FORMATS.values())
        raise FileNotFoundError(f"no file {patterns} below {directory}; {where}")
    parts = [split_in_time(e, split, inputs) for e in events]
    return CroppedSequences.search(parts, inputs + horizon, 64, 8, Sampling(known=1.0, wet=0.05), flip=split == "train")


_moving = partial(
    FrameSet,
    task="video prediction",
    reader=load_moving,
    split_words="fixed sample from the 10,000 test images; same generator as the published test file, other sample",
)
FRAME_SETS: dict[str, FrameSet] = {
    "moving_mnist": _moving(
        title="Moving MNIST",
        url="http://yann.lecun.com/exdb/mnist/",
        license="CC BY-SA 3.0",
        where="get the four idx files from https://ossci-datasets.s3.amazonaws.com/mnist/ (train-images-idx3-ubyte.gz "
        "and t10k-images-idx3-ubyte.gz are read)",
    ),
    "moving_fashion_mnist": _moving(
        title="Moving Fashion-MNIST",
        url="https://github.com/zalandoresearch/fashion-mnist",
        license="MIT",
        where="get the idx files from https://github.com/zalandoresearch/fashion-mnist/tree/master/data/fashion",
    ),
    "rain": FrameSet(
        title="radar composites of KNMI (2010-08-26) and FMI (2016-09-28)",
        task="precipitation nowcasting",
        url="https://github.com/pySTEPS/pysteps-data",
        license="CC BY 4.0",
        where="pysteps.datasets.download_pysteps_data(DIR) brings them, or clone "
        "https://github.com/pySTEPS/pysteps-data",
        reader=load_rain,
        split_words="crops of 128×128 km at 2 km from the last third of each event in time",
        unit="mm/h",
        step=5.0,
        encode="log",
        thresholds=RAIN_THRESHOLDS,
        bounds=(0.0, 300.0),
    ),
}
"""By what stands as ``kind`` in the recipe."""


def frames_of(table: Mapping[str, Any]) -> FrameSource:
    """The data that a recipe's table ``[data]`` tells of.

    Raises:
        ValueError: the kind is not known, or an entry will not do.

    Example:
        >>> frames_of({"kind": "moving_mnist"}).title
        'Moving MNIST'
    """
    return _entries.source_of(table, OWN_FRAMES, FRAME_SETS)
