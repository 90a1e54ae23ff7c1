"""Reads OPERA, the radar mosaic of Europe, as maps of 2 km with one byte per pixel."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from convrnn_zoo.data.formats.radar import read_composite, read_time
from convrnn_zoo.values.units import conversion

from .mrms import CodedEvent, encode_rate

PRODUCTS = ("T_PAAH21_*.hdf", "T_PABV21_*.hdf")
"""Patterns of the rain rates until 2024, every 15 minutes, and of CIRRUS (reflectivity), every 5 minutes."""
ROWS = 2200
"""Rows of a map with pixels of 2 km."""


def read_rates(path: Path) -> Tensor:
    """Reads rain rates in mm/h ``(H, W)``, NaN where unknown, as means of pixels of 2 km."""
    data = read_composite(path)
    (name,) = {"rain_rate", "reflectivity"} & set(data)
    values = torch.from_numpy(data[name].values)  # (1, H, W)
    if name == "reflectivity":
        convert = conversion(data[name].attrs["units"], "mm/h")
        assert convert is not None
        values = convert(values)
    return F.avg_pool2d(values, values.shape[1] // ROWS)[0]


def read_opera(directory: Path) -> list[CodedEvent]:
    """Reads the OPERA events below a directory: every folder with files of one of :data:`PRODUCTS`.

    Raises:
        ValueError: the time step is not constant.
    """
    return [event for pattern in PRODUCTS for event in _read_product(directory, pattern)]


def _read_product(directory: Path, pattern: str) -> Iterator[CodedEvent]:
    for folder, paths in itertools.groupby(sorted(directory.rglob(pattern)), key=lambda path: path.parent):
        files = list(paths)
        steps = {b - a for a, b in itertools.pairwise(map(read_time, files))}
        if len(steps) != 1:
            raise ValueError(f"{folder}: expected times at equal distances, got distances of {sorted(steps)}")
        codes = torch.stack([encode_rate(read_rates(file)) for file in files])
        yield CodedEvent(codes, steps.pop().total_seconds() / 60)
