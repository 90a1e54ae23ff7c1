"""Reads rain rates of MRMS, the radar mosaic of the United States, and stores them as one byte per pixel."""

import itertools
import math
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from convrnn_zoo._extras import need
from convrnn_zoo.data.readers.numpy import read_arrays
from convrnn_zoo.verify.baselines import quiet_pysteps

DRIEST, RANGE, UNKNOWN = 0.05, 4000.0, 255
"""Lowest rain rate in mm/h that a byte represents, ratio of the highest to the lowest, and byte of unknown values."""


class CodedEvent(NamedTuple):
    """Frames at a constant time step, with one byte per pixel; :func:`rate_by_code` decodes them."""

    codes: Tensor
    """``(T, H, W)`` uint8."""
    minutes: float
    """Minutes between frames."""


def rate_by_code() -> Tensor:
    """Returns the rain rate in mm/h of each byte: 0 is dry, 1 to 254 are 0.05 to 200 in equal ratios, 255 is NaN.

    Example:
        >>> rate_by_code()[[0, 1, 254, 255]].tolist()
        [0.0, 0.05000000074505806, 200.0, nan]
    """
    rate = DRIEST * RANGE ** ((torch.arange(256.0) - 1) / 253)
    rate[0], rate[UNKNOWN] = 0, torch.nan
    return rate


def encode_rate(rate: Tensor) -> Tensor:
    """Returns the byte of :func:`rate_by_code` that is nearest to a rain rate in mm/h.

    Example:
        >>> encode_rate(torch.tensor([0.0, 0.04, 0.05, 200.0, 300.0, float("nan")])).tolist()
        [0, 0, 1, 254, 254, 255]
    """
    code = 1 + 253 * (rate.nan_to_num(0).clamp_min(1e-9) / DRIEST).log() / math.log(RANGE)
    code = code.round().clamp(1, 254).masked_fill(rate < DRIEST, 0)
    return code.masked_fill(~rate.isfinite(), UNKNOWN).to(torch.uint8)


def read_archive(path: Path) -> CodedEvent:
    """Reads a ``.npz`` file: bytes ``rate`` ``(T, H, W)``, and strings ``time`` (hhmmss) at a constant time step.

    Raises:
        ValueError: an array is missing or has another form, or the time step is not constant.
    """
    arrays = read_arrays(path)
    if not {"rate", "time"} <= arrays.keys() or arrays["rate"].dtype != "uint8" or arrays["rate"].ndim != 3:
        raise ValueError(f"{path}: expected rate, bytes (T, H, W), and time; got {', '.join(arrays)}")
    return CodedEvent(torch.from_numpy(arrays["rate"]), _distance(path, [str(word) for word in arrays["time"]]))


def read_gribs(paths: Sequence[Path]) -> CodedEvent:
    """Reads original files of MRMS, ``PrecipRate_00.00_YYYYMMDD-hhmmss.grib2``, as means of 2×2 pixels, about 2 km.

    pysteps reads them with pygrib, which takes a few seconds per file.

    Raises:
        ImportError: pysteps or pygrib is not installed.
        ValueError: a file name has no time, or the time step is not constant.
    """
    need("pygrib", "mrms")
    numpy, importers = need("numpy", "train"), quiet_pysteps("io.importers")
    words = []
    for path in paths:
        stamp = re.search(r"_(\d{8}-\d{6})", path.name)
        if stamp is None:
            raise ValueError(f"{path}: expected a name with the time as YYYYMMDD-hhmmss")
        words.append(stamp[1])
    codes = []
    for path in paths:
        rate, _, _ = importers.import_mrms_grib(str(path), window_size=2)
        codes.append(encode_rate(torch.from_numpy(numpy.ma.filled(rate, numpy.nan).astype("float32"))))
    return CodedEvent(torch.stack(codes), _distance(paths[0].parent, words))


def read_mrms(directory: Path) -> list[CodedEvent]:
    """Reads the MRMS events below a directory: every file ``mrms*.npz``, or else every folder of GRIB files."""
    archives = sorted(directory.rglob("mrms*.npz"))
    if archives:
        return [read_archive(path) for path in archives]
    files = sorted(directory.rglob("PrecipRate_*.grib2"))
    return [read_gribs(list(those)) for _, those in itertools.groupby(files, key=lambda path: path.parent)]


def _distance(where: Path, words: Sequence[str]) -> float:
    """Returns the minutes between consecutive times, or raises ValueError if the time step is not constant.

    Times have the form YYYYMMDD-hhmmss or hhmmss. Times without a date may continue after midnight.
    """
    times = [datetime.strptime(w, "%Y%m%d-%H%M%S" if "-" in w else "%H%M%S") for w in words]
    differences = [round((b - a).total_seconds()) for a, b in itertools.pairwise(times)]
    steps = {d if "-" in words[0] else d % 86400 for d in differences}
    if len(steps) != 1:
        raise ValueError(f"{where}: expected times at equal distances, got distances of {sorted(steps)} seconds")
    return steps.pop() / 60
