"""Reads radar composites as rain rates in mm/h: HDF5 files of KNMI and PGM files of FMI."""

import re
from collections.abc import Callable, Collection, Sequence
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..._extras import need
from ..._hdf5 import CheckedFile
from ..._units import is_rain
from ..files import FileError, is_hidden, natural_key, read_unpacked, reading
from ..frames import Frames, LazyArray, ReadOptions, split_at_gaps
from ..untrusted import check_hdf5


def scalar(value: Any) -> Any:
    """Returns the first value of an attribute, decoded; None if it is empty."""
    values = need("numpy", "cli").ravel([] if value is None or getattr(value, "shape", ()) is None else value).tolist()
    first = next(iter(values), None)
    return first.decode(errors="replace") if isinstance(first, bytes) else first


STEP = timedelta(minutes=5)
COARSEN = 2
"""Edge, in pixels of 1 km, of the blocks that are averaged in training and in `predict`."""


def read_knmi(path: Path) -> Tensor:
    """Reads a KNMI composite in HDF5 as mm/h ``(H, W)``, with pixels of 1 km and NaN outside of the radars' range.

    The file stores accumulations over five minutes as counts. It also stores the formula that converts counts to mm.
    """
    h5py = need("h5py", "radar")
    check_hdf5(path, "KNMI composite")
    with reading(path, "KNMI composite"), path.open("rb") as raw, h5py.File(CheckedFile(raw), "r") as file:
        counts = torch.from_numpy(file["image1/image_data"][:].astype("int32"))
        if counts.dim() != 2:
            raise FileError(f"{path}: expected an image (H, W), got {tuple(counts.shape)}; download the file again")
        parameter = str(scalar(file["image1"].attrs.get("image_geo_parameter")) or "[MM]")
        if not parameter.endswith("[MM]"):
            raise FileError(f"{path} holds {parameter}, expected the rain of five minutes in mm")
        calibration = file["image1/calibration"].attrs
        formula = str(scalar(calibration["calibration_formulas"]))
        outside = scalar(calibration["calibration_out_of_image"])
        if outside is None:
            raise FileError(f"{path}: expected the calibration to state the count out of the image")
        missing = scalar(calibration.get("calibration_missing_data")) or outside  # 0 is no rain
        terms = re.fullmatch(r"GEO\s*=\s*([\d.eE+-]+?)\s*\*\s*PV\s*\+\s*([\d.eE+-]+)", formula.strip())
        if terms is None:
            raise FileError(f"{path}: expected a calibration GEO=a*PV+b, got {formula!r}")
        millimetres = counts * float(terms[1]) + float(terms[2])
    return (millimetres * (timedelta(hours=1) / STEP)).masked_fill(counts.eq(outside) | counts.eq(missing), torch.nan)


def read_fmi(path: Path) -> Tensor:
    """Reads an FMI composite in PGM (or gzip) as mm/h ``(H, W)``, with pixels of 1 km and NaN outside of the range.

    The file stores reflectivity in bytes: ``10 log10(Z) = (byte - 64) / 2`` dBZ. The rain rate R in mm/h follows from
    ``Z = 223 R^1.53``. The byte 0 is no rain, and 255 is no data.

    Reference:
        Leinonen, J. et al. (2012). A Climatology of Disdrometer Measurements of Rainfall in Finland over Five Years
        with Implications for Global Radar Observations. https://doi.org/10.1175/JAMC-D-11-056.1
    """
    content = read_unpacked(path)
    head = re.match(rb"P5\s+(?:#[^\n]*\n\s*)*(\d{1,9})\s+(\d{1,9})\s+(?:#[^\n]*\n\s*)*(\d{1,9})\s", content)
    if head is None or int(head[3]) > 255:
        raise FileError(f"{path}: expected a PGM file (P5) of bytes, got one that begins {content[:8]!r}")
    width, height = int(head[1]), int(head[2])
    if len(content) - head.end() != width * height or not width * height:
        raise FileError(f"{path}: expected {width}×{height} bytes of image, got {len(content) - head.end()}")
    byte = torch.frombuffer(bytearray(content[head.end() :]), dtype=torch.uint8).reshape(height, width)
    rate = (10 ** ((byte.float() - 64) / 20) / 223) ** (1 / 1.53)
    return rate.masked_fill(byte == 0, 0).masked_fill(byte == 255, torch.nan)


RADAR_FORMATS: dict[str, Callable[[Path], Tensor]] = {
    "RAD_NL25_*.h5": read_knmi, "*_fmi.radar.composite*.pgm*": read_fmi,
}  # fmt: skip
"""Readers of composites of KNMI and FMI by the pattern of the file name."""


def is_radar(path: Path) -> bool:
    """Returns whether the name of a file matches a pattern of :data:`RADAR_FORMATS`."""
    return any(map(path.match, RADAR_FORMATS))


def read_time(path: Path) -> datetime:
    """Returns the time of a composite, from twelve digits in its file name.

    Example:
        >>> read_time(Path("RAD_NL25_RAP_5min_201008260410.h5"))
        datetime.datetime(2010, 8, 26, 4, 10)
    """
    stamp = re.search(r"(?<!\d)\d{12}(?!\d)", path.name)
    try:
        return datetime.strptime(stamp[0] if stamp else "", "%Y%m%d%H%M")
    except ValueError as e:
        raise FileError(f"{path}: expected a name with the time as YYYYMMDDhhmm, such as RAD_…_201008260410.h5") from e


def read_composite(path: Path, coarsen: int = 1) -> Tensor:
    """Reads a radar composite as mm/h ``(H, W)``; blocks of `coarsen` × `coarsen` pixels are averaged."""
    read = next((read for pattern, read in RADAR_FORMATS.items() if path.match(pattern)), None)
    if read is None:
        raise FileError(f"{path}: unknown format; names of radar files are like {', '.join(RADAR_FORMATS)}")
    return F.avg_pool2d(read(path)[None], coarsen)[0]


def _read_composites(paths: Sequence[Path], coarsen: int, size: tuple[int, ...], index: Any) -> Any:
    time, rows, columns = index
    frames = [read_composite(path, coarsen) for path in paths[time]]
    if sizes := sorted({tuple(f.shape) for f in frames} - {size}):
        raise FileError(f"{paths[0]}: expected composites of one size, got {size} and {sizes[0]}")
    return torch.stack(frames)[:, rows, columns].numpy()


def open_composites(paths: Sequence[Path], options: ReadOptions) -> Frames:
    """Opens the radar composites in several files as frames in order of time."""
    paths = sorted(paths, key=read_time)
    epoch, minute = datetime(1970, 1, 1), timedelta(minutes=1)
    times = need("numpy", "cli").array([(read_time(path) - epoch) / minute for path in paths])
    if len(set(times)) < len(times):
        raise FileError(f"{paths[0]}: expected one radar file for each time, got two of the same; pass one archive")
    size = tuple(read_composite(paths[-1], options.coarsen).shape)
    array = LazyArray(partial(_read_composites, paths, options.coarsen, size), (len(paths), *size))
    if not is_rain(options.unit or "mm/h"):
        raise FileError(f"{paths[0]} holds mm/h, which cannot be converted to {options.unit}; correct data.unit")
    return Frames(path=paths[0], array=array, times=times, is_dated=True, unit="mm/h", name=paths[0].name)


def find_composites(directory: Path) -> list[list[Path]]:
    """Returns the radar files at or below a directory: one list for each format that occurs."""
    files_by_format = ([p for p in directory.rglob(pattern) if not is_hidden(p)] for pattern in RADAR_FORMATS)
    return [sorted(files, key=natural_key) for files in files_by_format if files]


def read_events(directory: Path, coarsen: int = 1, days: Collection[date] = ()) -> list[Frames]:
    """Reads the composites below a directory: one :class:`Frames` in memory per event. A gap in time ends an event.

    If `days` are passed, only events with a composite of one of these days are read.
    """
    options = ReadOptions(coarsen=coarsen)
    archives = [open_composites(files, options) for files in find_composites(directory)]
    events = [event for frames in archives for event in split_at_gaps(frames, STEP / timedelta(minutes=1))]
    return [e.load() for e in events if not days or any(t.date() in days for t in e.dates)]
