"""Rain rates in mm/h from radar composites, as pysteps' example data has them: files of KNMI and FMI."""

import itertools
import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .._extras import need
from ._unpack import read_unpacked
from .clips import Crops, Event, part_of

STEP = timedelta(minutes=5)
COARSEN = 2
"""Pixels of 1 km a side of which one is made, in training and in use alike."""
OUTSIDE_FMI = 255
ZR_FMI = (223.0, 1.53)


def read_knmi(path: Path) -> Tensor:
    """Rain rate in mm/h ``(H, W)`` of a KNMI composite in HDF5: 1 km, NaN outside the radars' range.

    The file holds accumulations over five minutes, in counts that its calibration turns into mm.

    Raises:
        ValueError: the file is broken, or of another product.
    """
    h5py = need("h5py", "radar")
    try:
        with h5py.File(path) as file:
            counts = torch.from_numpy(file["image1/image_data"][:].astype("int32"))
            calibration = file["image1/calibration"].attrs
            formula = calibration["calibration_formulas"].decode()
            outside = int(calibration["calibration_out_of_image"][0])
    except (OSError, KeyError) as e:
        raise ValueError(f"{path} is not a valid KNMI composite ({e}); download it anew") from e
    terms = re.fullmatch(r"GEO\s*=\s*([\d.eE+-]+?)\s*\*\s*PV\s*\+\s*([\d.eE+-]+)", formula.strip())
    if terms is None:
        raise ValueError(f"{path}: expected a calibration GEO=a*PV+b, got {formula!r}")
    millimetres = counts * float(terms[1]) + float(terms[2])
    return (millimetres * (timedelta(hours=1) / STEP)).masked_fill(counts == outside, torch.nan)


def read_fmi(path: Path) -> Tensor:
    """Rain rate in mm/h ``(H, W)`` of an FMI composite in PGM, packed or not: 1 km, NaN outside the radars' range.

    The file holds reflectivity, dBZ = (byte - 64) / 2, made a rate by Z = 223·R^1.53.

    Raises:
        ValueError: the file is broken, or of another kind.

    Reference:
        Leinonen, J. et al. (2012). A Climatology of Disdrometer Measurements of Rainfall in Finland over Five Years
        with Implications for Global Radar Observations. https://doi.org/10.1175/JAMC-D-11-056.1
    """
    content = read_unpacked(path)
    head = re.match(rb"P5\s+(?:#[^\n]*\n\s*)*(\d+)\s+(\d+)\s+(?:#[^\n]*\n\s*)*(\d+)\s", content)
    if head is None or int(head[3]) > 255:
        raise ValueError(f"{path}: expected a PGM file (P5) of bytes, got one that begins {content[:8]!r}")
    width, height = int(head[1]), int(head[2])
    if len(content) - head.end() != width * height:
        raise ValueError(f"{path}: expected {width}×{height} bytes of image, got {len(content) - head.end()}")
    byte = torch.frombuffer(bytearray(content[head.end() :]), dtype=torch.uint8).reshape(height, width)
    a, b = ZR_FMI
    rate = (10 ** ((byte.float() - 64) / 20) / a) ** (1 / b)
    return rate.masked_fill(byte == 0, 0).masked_fill(byte == OUTSIDE_FMI, torch.nan)


class RadarFormat(NamedTuple):
    """A kind of radar file: the pattern of its names, and its reader."""

    pattern: str
    read: Callable[[Path], Tensor]


RADAR_FORMATS = {
    "KNMI": RadarFormat("RAD_NL25_*.h5", read_knmi),
    "FMI": RadarFormat("*_fmi.radar.composite*.pgm*", read_fmi),
}


def time_of(path: Path) -> datetime:
    """When a composite was made, by the twelve digits of its name.

    Example:
        >>> time_of(Path("RAD_NL25_RAP_5min_201008260410.h5"))
        datetime.datetime(2010, 8, 26, 4, 10)
    """
    stamp = re.search(r"(?<!\d)\d{12}(?!\d)", path.name)
    if stamp is None:
        raise ValueError(f"{path}: expected a name with the time as YYYYMMDDhhmm, such as RAD_…_201008260410.h5")
    return datetime.strptime(stamp[0], "%Y%m%d%H%M")


def check_steps(times: Sequence[datetime], what: str) -> None:
    """Raises ValueError where one of the times does not follow five minutes after the one before."""
    for earlier, later in itertools.pairwise(times):
        if later - earlier != STEP:
            raise ValueError(f"{what} five minutes apart, got {earlier} and then {later}")


def read_composite(path: Path, coarsen: int = 1) -> Tensor:
    """Rain rate in mm/h ``(H, W)`` of one file of a known kind; `coarsen` pixels a side become their mean.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: it is of no known kind, or broken.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there")
    for radar_format in RADAR_FORMATS.values():
        if path.match(radar_format.pattern):
            frame = radar_format.read(path)
            return F.avg_pool2d(frame[None], coarsen)[0] if coarsen > 1 else frame
    patterns = ", ".join(s.pattern for s in RADAR_FORMATS.values())
    raise ValueError(f"{path}: of no known kind; names of radar files are like {patterns}")


def read_events(directory: Path, coarsen: int = 1) -> list[Event]:
    """Every event of KNMI and FMI below a directory, in order of time; a gap divides one from the next."""
    events = []
    for radar_format in RADAR_FORMATS.values():
        paths = sorted(directory.rglob(radar_format.pattern), key=time_of)
        times = [time_of(p) for p in paths]
        cuts = [0, *(i for i in range(1, len(paths)) if times[i] - times[i - 1] != STEP), len(paths)]
        for begin, end in itertools.pairwise(cuts):
            if end > begin:
                frames = torch.stack([read_composite(p, coarsen) for p in paths[begin:end]])
                events.append(Event(frames, times[begin:end]))
    return events


def load_rain(directory: Path, split: str, inputs: int, horizon: int, where: str) -> Crops:
    """Crops of 128×128 km at 2 km of every event below a directory; its last third in time is the test split.

    Raises:
        FileNotFoundError: the directory holds no radar file; with `where` a user gets them.
    """
    events = read_events(directory, COARSEN)
    if not events:
        patterns = " or ".join(s.pattern for s in RADAR_FORMATS.values())
        raise FileNotFoundError(f"no file {patterns} below {directory}; {where}")
    return Crops([part_of(e, split, inputs) for e in events], inputs + horizon, turn=split == "train")
