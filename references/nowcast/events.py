"""Rain events of pysteps' example data for testing nowcasts; no weights of this package were trained on them."""

import itertools
import re
from collections.abc import Callable
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from convrnn_zoo.data.datasets.rain import STEP
from convrnn_zoo.data.formats import open_labelled
from convrnn_zoo.data.formats.radar import COARSEN, read_composite, read_time


def read_bom(path: Path) -> Tensor:
    """Reads rain rates in mm/h ``(H, W)`` of the Bureau of Meteorology, NaN where unknown, from sums of rain.

    Raises:
        FileError: the file is damaged.
    """
    with open_labelled(path) as data:
        seconds = float(data["valid_time"] - data["start_time"])
        return torch.from_numpy(data["precipitation"].values.astype("float32")) * (3600 / seconds)


def read_rates(path: Path) -> Tensor:
    """Reads rain rates in mm/h ``(H, W)`` of FMI and MeteoSwiss, NaN where unknown."""
    return torch.from_numpy(read_composite(path)["rain_rate"].values[0])


def read_time_in_name(path: Path, pattern: str, time_format: str, expected: str) -> datetime:
    """Returns the time that the group of `pattern` matches in a file name; raises ValueError without a match.

    Example:
        >>> BOM.read_time(Path("2_20180616_100600.prcp-cscn.nc"))
        datetime.datetime(2018, 6, 16, 10, 6)
    """
    stamp = re.search(pattern, path.name)
    if stamp is None:
        raise ValueError(f"{path}: expected a name with the time as {expected}")
    return datetime.strptime(stamp[1], time_format)


class Source(NamedTuple):
    """Source of radar composites: functions that read a file and its time, and the time between composites."""

    read: Callable[[Path], Tensor]
    read_time: Callable[[Path], datetime]
    step: timedelta = STEP
    coarsen: int = COARSEN
    """Number of pixels along the edge of a block of 2 km; the blocks are averaged."""


FMI = MCH = Source(read_rates, read_time)
BOM = Source(
    read_bom,
    partial(
        read_time_in_name,
        pattern=r"_(\d{8}_\d{6})\.",
        time_format="%Y%m%d_%H%M%S",
        expected="STATION_YYYYMMDD_hhmmss.prcp-cscn.nc",
    ),
    timedelta(minutes=6),
    4,
)
"""Accumulations of the Bureau of Meteorology, whose names have the end of the accumulation."""


class RainEvent(NamedTuple):
    """Rain event: name, day, title, pattern of the file names of its composites, and their source."""

    name: str
    day: date
    title: str
    pattern: str
    source: Source

    @property
    def minutes(self) -> float:
        """Minutes between frames."""
        return self.source.step / timedelta(minutes=1)


class Rain(NamedTuple):
    """Rain event with its frames ``(T, H, W)`` in mm/h, in pixels of 2 km and NaN where unknown, and their times."""

    event: RainEvent
    frames: Tensor
    times: list[datetime]


EVENTS = (
    RainEvent("fmi_20170509", date(2017, 5, 9), "Finland, small showers", "20170509*_fmi.radar.composite*.pgm*", FMI),
    RainEvent("mch_20150515", date(2015, 5, 15), "Switzerland, slow storms", "AQC15135*.gif", MCH),
    RainEvent("mch_20160711", date(2016, 7, 11), "Switzerland, thunderstorms", "AQC1619[34]*.gif", MCH),
    RainEvent("mch_20170131", date(2017, 1, 31), "Switzerland, winter rain", "AQC17031*.gif", MCH),
    RainEvent("bom_20180616", date(2018, 6, 16), "Melbourne, spreading rain", "2_20180616_*.prcp-cscn.nc", BOM),
)
TEST_DAYS = {event.day for event in EVENTS}
"""Days that are excluded from training."""


def load_event(directory: Path, event: RainEvent) -> Rain:
    """Reads the frames of an event from a directory and its subdirectories, such as ``radar`` of pysteps' example data.

    Raises:
        FileNotFoundError: the directory has no composites of the event.
        ValueError: a composite is missing between others, or is damaged.
    """
    read, read_time, step, coarsen = event.source
    paths = sorted(directory.rglob(event.pattern), key=read_time)
    if not paths:
        raise FileNotFoundError(
            f"no file {event.pattern} below {directory}; pysteps.datasets.download_pysteps_data(DIR) brings them"
        )
    times = [read_time(path) for path in paths]
    for earlier, later in itertools.pairwise(times):
        if later - earlier != step:
            raise ValueError(
                f"{directory}: expected composites {event.minutes:g} minutes apart, got {earlier} and then {later}"
            )
    frames = torch.stack([F.avg_pool2d(read(path)[None], coarsen)[0] for path in paths])
    return Rain(event, frames, times)
