"""Rain events that nowcasts are tested on and that no weights of this package have seen: of pysteps' example data."""

import itertools
import re
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from convrnn_zoo.data.readers.radar import COARSEN, STEP, read_fmi, read_time
from convrnn_zoo.train.baselines import quiet_pysteps


def read_mch(path: Path) -> Tensor:
    """Rain rate in mm/h ``(H, W)`` of a MeteoSwiss composite in GIF (AQC): 1 km, NaN outside the radars' range.

    Read by pysteps, whose lookup table tells the mm of five minutes.

    Raises:
        ValueError: the file is broken.
    """
    importers = quiet_pysteps("io.importers")
    try:
        precip, _, _ = importers.import_mch_gif(str(path), product="AQC", unit="mm", accutime=5.0)
    except OSError as e:
        raise ValueError(f"{path} is not a valid MeteoSwiss composite ({e}); download it again") from e
    return torch.as_tensor(precip, dtype=torch.float32) * (timedelta(hours=1) / STEP)


def read_mch_time(path: Path) -> datetime:
    """When a MeteoSwiss composite was made, by its name: year, day of the year, hour, minute.

    Example:
        >>> read_mch_time(Path("AQC151351545F_00005.801.gif"))
        datetime.datetime(2015, 5, 15, 15, 45)
    """
    stamp = re.match(r"AQC(\d{9})", path.name)
    if stamp is None:
        raise ValueError(f"{path}: expected a name with the time as AQCyydddhhmm, such as AQC151351545F_00005.801.gif")
    return datetime.strptime(stamp[1], "%y%j%H%M")


class RainEvent(NamedTuple):
    """An event, and where its composites lie."""

    name: str
    day: date
    title: str
    pattern: str


class Rain(NamedTuple):
    """The frames of an event ``(T, H, W)`` in mm/h at 2 km, five minutes apart, NaN where unknown."""

    event: RainEvent
    frames: Tensor
    times: list[datetime]


EVENTS = (
    RainEvent("fmi_20170509", date(2017, 5, 9), "Finland, small showers", "20170509*_fmi.radar.composite*.pgm*"),
    RainEvent("mch_20150515", date(2015, 5, 15), "Switzerland, slow storms", "AQC15135*.gif"),
    RainEvent("mch_20160711", date(2016, 7, 11), "Switzerland, thunderstorms", "AQC1619[34]*.gif"),
    RainEvent("mch_20170131", date(2017, 1, 31), "Switzerland, winter rain", "AQC17031*.gif"),
)
TEST_DAYS = {event.day for event in EVENTS}
"""Days of which nothing is learnt."""


def load_event(directory: Path, event: RainEvent) -> Rain:
    """The frames of an event below a directory such as the ``radar`` of pysteps' example data.

    Raises:
        FileNotFoundError: its composites are not there.
        ValueError: one is missing in between, or broken.
    """
    swiss = event.pattern.startswith("AQC")
    time, read = (read_mch_time, read_mch) if swiss else (read_time, read_fmi)
    paths = sorted(directory.rglob(event.pattern), key=time)
    if not paths:
        raise FileNotFoundError(
            f"no file {event.pattern} below {directory}; pysteps.datasets.download_pysteps_data(DIR) brings them"
        )
    times = [time(path) for path in paths]
    for earlier, later in itertools.pairwise(times):
        if later - earlier != STEP:
            raise ValueError(f"{directory}: expected composites five minutes apart, got {earlier} and then {later}")
    frames = torch.stack([F.avg_pool2d(read(path)[None], COARSEN)[0] for path in paths])
    return Rain(event, frames, times)
