"""Radar composites of KNMI and FMI: the training data of the shipped rain model."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from ..formats.radar import COARSEN, FORMATS, find_composites, read_time
from ..frames import Frames, ReadOptions, split_at_gaps
from .frame_dataset import RAIN_THRESHOLDS, FrameDataset
from .frame_sequences import CroppedSequences, Window, split_in_time
from .splits import resolve_path

STEP = timedelta(minutes=5)
DAYS = (date(2010, 8, 26), date(2016, 9, 28))
"""Days of the two events. pysteps' example data also have other days, on which nowcasts are tested."""


def read_events(directory: Path, coarsen: int = 1, days: Collection[date] = ()) -> list[Frames]:
    """Reads the composites below a directory: one :class:`Frames` in memory per event. A gap in time ends an event.

    If `days` are passed, only composites of these days are read, and other archives may be in the directory.
    """
    options = ReadOptions(unit="mm/h", coarsen=coarsen)
    archives = [[f for f in files if not days or read_time(f).date() in days] for files in find_composites(directory)]
    frames = [Frames.from_files(files, options) for files in archives if files]
    return [event.load() for each in frames for event in split_at_gaps(each, STEP / timedelta(minutes=1))]


@dataclass(frozen=True, kw_only=True)
class RainComposites(FrameDataset):
    """``kind = "rain"``: radar composites of two rain events in pysteps' example data, averaged to pixels of 2 km.

    One event is from KNMI, one from FMI. Composites of other days are not read.
    """

    title = "radar composites of KNMI (2010-08-26) and FMI (2016-09-28)"
    task = "precipitation nowcasting"
    url = "https://github.com/pySTEPS/pysteps-data"
    license = "CC BY 4.0"
    split_words = "crops of 128×128 km at 2 km from the last third of each event in time"
    unit = "mm/h"
    step = 5.0
    pixel_km = 2.0
    encoding = "log"
    thresholds = RAIN_THRESHOLDS
    valid_min = 0.0
    valid_max = 300.0
    summed_over = 64 * 64
    hint = f"pysteps.datasets.download_pysteps_data(DIR) downloads them, or clone {url}"

    def read_options(self) -> ReadOptions:
        """Returns the options for reading radar files: rain rates in mm/h, averaged to 2 km."""
        return ReadOptions(unit=self.unit, coarsen=COARSEN)

    def load_splits(
        self, path: Path | None, splits: Sequence[str], inputs: int, horizon: int
    ) -> Sequence[CroppedSequences]:
        """Returns the 128×128 km crops of several splits. The test split is the last third of each rain event."""
        path = resolve_path(path, self.title, self.hint)
        events = read_events(path, COARSEN, DAYS)
        if not events:
            files = f"no file {' or '.join(f.pattern for f in FORMATS[:2])} of {' or '.join(map(str, DAYS))}"
            raise FileNotFoundError(f"{files} below {path}; {self.hint}")
        window = Window(inputs + horizon, 64, 64, stride=8, min_valid=1.0, min_wet=0.05)
        return [
            CroppedSequences.search(
                [split_in_time(e, split, inputs, self.validation) for e in events], window, flip=split == "train"
            )
            for split in splits
        ]
