"""Reads radar composites in the weather services' formats with the importers of pysteps."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy
import torch
import torch.nn.functional as F
from torch import Tensor

from ..._extras import need, need_pyproj, quiet
from ..._stores import Place
from ..files import FileError, read_unpacked, reading, walk
from .gridded import Array, check_links

if TYPE_CHECKING:
    import xarray as xr

COARSEN = 2
"""Edge, in pixels of 1 km, of the blocks that are averaged in training and in `predict`."""
HDF5_NAMES = ("*.h5", "*.hdf", "*.hdf5", "*hd5")
"""Patterns of file names that may be ODIM files."""
Composite = tuple[Tensor, dict[str, Any]]
"""Values ``(H, W)``, NaN where unknown, and the metadata of pysteps, whose `unit` is mm/h or dBZ."""


# ---- formats -------------------------------------------------------------------------------------------------------
def _import(importer: str, source: Any, **options: Any) -> tuple[Any, dict[str, Any]]:
    """Returns the values of a composite as float64 and the metadata of a function of ``pysteps.io.importers``."""
    need_pyproj()
    with quiet():
        values, _, metadata = getattr(need("pysteps.io.importers", "radar"), importer)(source, **options)
    return values, metadata


@contextlib.contextmanager
def _open_hdf5(path: Path) -> Iterator[tuple[Any, Any]]:
    """Opens an HDF5 file for h5py and for pysteps."""
    content, name = path.read_bytes(), "radar composite in HDF5"
    check_links(path, name)
    with reading(path, name), need("h5py", "radar").File(io.BytesIO(content), "r") as file:
        yield file, io.BytesIO(content)


def _text(attrs: Any, name: str) -> str:
    """Returns an attribute of an HDF5 object as text; empty if it is missing."""
    value = next(iter(numpy.atleast_1d(attrs.get(name, ""))), "")
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _per_hour(path: Path, values: Tensor, metadata: dict[str, Any], minutes: float) -> Composite:
    if not minutes > 0:
        raise FileError(f"{path} holds the rain of {minutes:g} minutes, expected an end after the start")
    return values * (60 / minutes), metadata | {"unit": "mm/h", "accutime": minutes}


def _read_knmi(path: Path) -> Composite:
    """Reads the sum of rain of KNMI. pysteps reads counts as hundredths of a millimetre in any file."""
    with _open_hdf5(path) as (file, content):
        parameter = _text(file["image1"].attrs, "image_geo_parameter") or "[MM]"
        formula = re.sub(r"\s", "", _text(file["image1/calibration"].attrs, "calibration_formulas"))
        match = re.fullmatch(r"GEO=([-+.\d]{1,20})\*PV([-+][.\d]{1,20})?", formula)
        if not parameter.endswith("[MM]") or match is None:
            raise FileError(f"{path} holds {parameter} as {formula}, expected the sum of rain in mm as GEO=0.01*PV+0.0")
        scale, offset = float(match[1]), float(match[2] or 0)
        missing = float(_text(file["image1/calibration"].attrs, "calibration_missing_data") or 65535) or 65535.0
        minutes = 5.0
        if "overview" in file:
            ends = [_text(file["overview"].attrs, f"product_datetime_{end}") for end in ("start", "end")]
            start, end = (parsedate_to_datetime(re.sub("[-;]|[.].*", " ", text)) for text in ends)
            minutes = (end - start) / timedelta(minutes=1)
        values, metadata = _import("import_knmi_hdf5", content)
        counts = torch.from_numpy(values * 100).round().float()  # float32 arithmetic on counts is exact to the bit
    rain = counts * scale + offset
    return _per_hour(path, rain.masked_fill(counts.eq(missing), torch.nan), metadata, minutes)


def _read_fmi(path: Path) -> Composite:
    """Reads the reflectivity of FMI as rain. pysteps provides the coefficients of ``Z = a R^b``.

    Reference:
        Leinonen, J. et al. (2012). A Climatology of Disdrometer Measurements of Rainfall in Finland over Five Years
        with Implications for Global Radar Observations. https://doi.org/10.1175/JAMC-D-11-056.1
    """
    content = read_unpacked(path)
    head = re.match(rb"P5\s+((?:#[^\n]*\n\s*)*)(\d{1,9})\s+(\d{1,9})\s+255\s", content)
    if head is None:
        raise FileError(f"{path}: expected a PGM file (P5) of bytes, got one that begins {content[:8]!r}")
    width, height = int(head[2]), int(head[3])
    if len(content) - head.end() != width * height or not width * height:
        raise FileError(f"{path}: expected {width}×{height} bytes of image, got {len(content) - head.end()}")
    if b"stereographic" not in head[1]:  # without a comment, pysteps would search for one forever
        raise FileError(f"{path}: expected a header with a stereographic projection; download the file again")
    with reading(path, "FMI composite"):
        values, metadata = _import("import_fmi_pgm", str(path), gzipped=path.suffix == ".gz")
    dbz = torch.from_numpy(values).float()
    a, b = metadata["zr_a"], metadata["zr_b"]
    rate = ((10 ** (dbz / 10) / a) ** (1 / b)).masked_fill(dbz.eq(-32), 0)  # the byte 0: no echo
    return rate, metadata | {"unit": "mm/h", "comment": f"from reflectivity by Z = {a:g} R^{b:g}"}


def _read_mch(path: Path) -> Composite:
    """Reads the sum of rain in five minutes of MeteoSwiss; the region of all its composites is the same."""
    content = path.read_bytes()[:10]
    size = int.from_bytes(content[6:8], "little"), int.from_bytes(content[8:10], "little")
    if content[:3] != b"GIF" or size != (710, 640):
        raise FileError(f"{path}: expected a GIF of MeteoSwiss, 710×640 pixels; got {content[:3]!r} {size}")
    need("PIL.Image", "radar")  # with which pysteps reads GIFs
    with reading(path, "MeteoSwiss composite"):
        values, metadata = _import("import_mch_gif", str(path), product="AQC", unit="mm", accutime=5.0)
    return _per_hour(path, torch.from_numpy(values).float(), metadata, 5.0)


def _read_odim(path: Path) -> Composite:
    """Reads an ODIM composite, such as those of OPERA and DWD: rain rate, sum of rain or reflectivity."""
    with _open_hdf5(path) as (file, content):
        if (kind := _text(file["what"].attrs, "object")) not in ("COMP", "IMAGE"):
            raise FileError(f"{path} is an ODIM file of {kind}, expected a composite; grid it first")
        found: list[str] = []
        file.visititems(lambda name, item: found.append(_text(item.attrs, "quantity")))
        quantity = next((q for q in ("RATE", "ACRR", "DBZH") if q in found), None)
        if quantity is None:
            listed = ", ".join(sorted(set(filter(None, found)))) or "none"
            raise FileError(f"{path}: expected a quantity RATE, ACRR or DBZH, got {listed}")
        source = _text(file["what"].attrs, "source")
        is_german = re.search(r"ORG:78\b|NOD:de\b|WMO:10\d{3}|DWD", source) is not None
        values, metadata = _import("import_dwd_hdf5" if is_german else "import_odim_hdf5", content, qty=quantity)
        metadata["institution"] = source
        ends = [
            datetime.strptime(_text(attrs, f"{end}date") + _text(attrs, f"{end}time"), "%Y%m%d%H%M%S")
            for end in ("start", "end")
            for attrs in (file["dataset1/what"].attrs,)
        ]
    rain = torch.from_numpy(values).float()
    minutes = (ends[1] - ends[0]) / timedelta(minutes=1)
    return _per_hour(path, rain, metadata, minutes) if quantity == "ACRR" else (rain, metadata)


class RadarFormat(NamedTuple):
    """Format of radar composites: pattern of file names, reader, and expression and format of the time in a name."""

    pattern: str
    read: Callable[[Path], Composite]
    stamp: str = ""
    time_format: str = "%Y%m%d%H%M"


_TWELVE_DIGITS = r"(?<!\d)(\d{12})(?!\d)"
FORMATS = (
    RadarFormat("RAD_NL25_*.h5", _read_knmi, _TWELVE_DIGITS),
    RadarFormat("*_fmi.radar.composite*.pgm*", _read_fmi, _TWELVE_DIGITS),
    RadarFormat("AQC*_00005.801.gif", _read_mch, r"^AQC(\d{9})", "%y%j%H%M"),
)
"""Formats that are recognised by the names of the files."""
ODIM = RadarFormat("*", _read_odim)
"""Format of HDF5 files whose attribute ``Conventions`` is ODIM, such as those of OPERA, DWD and MeteoSwiss."""


def find_format(path: Place) -> RadarFormat | None:
    """Returns the format of a radar composite; None if the file is none."""
    by_name = next((f for f in FORMATS if path.match(f.pattern)), None)
    if by_name is not None or not any(map(path.match, HDF5_NAMES)) or not path.is_file():
        return by_name
    h5py = need("h5py", "radar")
    # h5py raises exceptions of any type for damaged files, which another reader reports
    with contextlib.suppress(Exception), h5py.File(path) as file:
        return ODIM if _text(file.attrs, "Conventions").startswith("ODIM") else None
    return None


def read_time(path: Path) -> datetime:
    """Returns the time of a composite in UTC, from its file name or from an ODIM file.

    Example:
        >>> read_time(Path("RAD_NL25_RAP_5min_201008260410.h5")), read_time(Path("AQC151351545F_00005.801.gif"))
        (datetime.datetime(2010, 8, 26, 4, 10), datetime.datetime(2015, 5, 15, 15, 45))
    """
    form = find_format(path) or FORMATS[0]
    if form is ODIM:
        with _open_hdf5(path) as (file, _):
            attrs = file["what"].attrs
            return datetime.strptime(_text(attrs, "date") + _text(attrs, "time"), "%Y%m%d%H%M%S")
    stamp = re.search(form.stamp, path.name)
    try:
        return datetime.strptime(stamp[1] if stamp else "", form.time_format)
    except ValueError as e:
        raise FileError(f"{path}: expected a time as {form.time_format} in the name, as in {form.pattern}") from e


# ---- datasets ------------------------------------------------------------------------------------------------------
def _grid(metadata: Mapping[str, Any], height: int, width: int) -> dict[str, Any]:
    """Returns the coordinates y and x of the centres of pixels, and the grid mapping, by the CF conventions."""
    pyproj = need_pyproj()
    projection, scale = metadata["projection"], 1.0
    if metadata["cartesian_unit"] == "km":  # with the axes of the ellipsoid in km, which other programs read as m
        scale = 1000.0
        projection = re.sub(r"(?<=[+][abR]=)\d{4}(?!\d)[.\d]*", lambda axis: f"{float(axis[0]) * scale}", projection)
    coordinates = {}
    for axis, count in (("y", height), ("x", width)):
        start, end, size = (float(metadata[f"{axis}{key}"]) * scale for key in ("1", "2", "pixelsize"))
        # The corners are those of pixels or of their centres, depending on the importer.
        places = (start + end) / 2 + (numpy.arange(count) - (count - 1) / 2) * size
        attrs = {"standard_name": f"projection_{axis}_coordinate", "units": "m", "axis": axis.upper()}
        places = places[::-1] if axis == "y" and metadata["yorigin"] == "upper" else places
        coordinates[axis] = (axis, places, attrs)
    with quiet():  # CF has no name for some parameters, which the WKT states
        return {**coordinates, "crs": ((), 0, pyproj.CRS(projection).to_cf())}


def read_composite(path: Path, coarsen: int = 1) -> xr.Dataset:
    """Reads a radar composite as an ``xarray.Dataset`` with the dimensions time, y and x.

    Its variable is the rain rate in mm/h or the reflectivity in dBZ, NaN where unknown. Blocks of `coarsen` × `coarsen`
    pixels are averaged, those of reflectivity in mm⁶/m³.

    Raises:
        FileError: the file is damaged, of an unknown format or of another quantity, or its name states no time.
        ImportError: pysteps, pyproj or h5py is not installed.
    """
    xarray = need("xarray", "netcdf")
    form = find_format(path)
    if form is None:
        names = ", ".join(f.pattern for f in FORMATS)
        raise FileError(f"{path}: unknown format; radar files are ODIM files, or their names are like {names}")
    values, metadata = form.read(path)
    attrs = {"units": metadata["unit"], "grid_mapping": "crs"}
    if metadata["unit"] == "dBZ":
        name, attrs["standard_name"] = "reflectivity", "equivalent_reflectivity_factor"
    else:
        name, attrs["standard_name"] = "rain_rate", "rainfall_rate"
    notes = [*filter(None, [metadata.get("comment")])]
    notes += [f"means over {coarsen}×{coarsen} pixels of the radar composites"] if coarsen > 1 else []
    attrs |= {"comment": "; ".join(notes)} if notes else {}
    dataset = xarray.Dataset({name: (("y", "x"), values.numpy(), attrs)}, coords=_grid(metadata, *values.shape))
    if coarsen > 1:
        dataset = dataset.coarsen(y=coarsen, x=coarsen, boundary="trim").mean(keep_attrs=True)
        is_decibel = name == "reflectivity"
        means = F.avg_pool2d((10 ** (values / 10) if is_decibel else values)[None], coarsen)[0]  # NaN if one is unknown
        dataset[name].values = (10 * means.log10() if is_decibel else means).numpy()
    dataset = dataset.expand_dims(time=[numpy.datetime64(read_time(path), "ns")])
    dataset["time"].attrs["standard_name"] = "time"
    return dataset.assign_attrs(institution=metadata["institution"], Conventions="CF-1.10")


def _read_composites(paths: Sequence[Path], coarsen: int, empty: xr.DataArray, index: Any) -> numpy.ndarray:
    """Reads composites that have the quantity and the grid of `empty`, an ``xarray.DataArray``."""
    (time, *place) = index
    numbers = range(len(paths))[time]
    frames = []
    for i in numbers if isinstance(time, slice) else (numbers,):
        (values,) = read_composite(paths[i], coarsen).data_vars.values()
        if values.name != empty.name or not all(values[axis].equals(empty[axis]) for axis in ("y", "x")):
            expected, got = (f"{v.name} of {v.sizes['y']}×{v.sizes['x']} pixels" for v in (empty, values))
            raise FileError(f"{paths[i]}: expected the quantity and the region of {paths[0]}, {expected}; got {got}")
        frames.append(values.values[0][tuple(place)])
    return numpy.stack(frames) if isinstance(time, slice) else frames[0]


def open_composites(paths: Sequence[Path], coarsen: int = 1) -> xr.Dataset:
    """Opens the radar composites in several files as one Dataset in order of time; they are read when they are used."""
    paths = sorted(paths, key=read_time)
    times = numpy.array([read_time(path) for path in paths], "datetime64[ns]")
    if len(set(times.tolist())) < len(times):
        raise FileError(f"{paths[0]}: expected one radar file for each time, got two of the same; pass one archive")
    dataset = read_composite(paths[0], coarsen)
    if len(paths) == 1:
        return dataset
    ((name, first),) = dataset.data_vars.items()
    read = partial(_read_composites, paths, coarsen, first.isel(time=[]))
    array = Array(read, (len(paths), *first.shape[1:]), numpy.dtype("float32"))
    stacked = array.name_axes(first.dims, first.attrs, chunks=(1, *first.shape[1:]))
    dated = dataset.drop_vars([name, "time"]).assign_coords(time=("time", times, dataset["time"].attrs))
    return dated.assign({name: stacked})


def complete_gridded(data: xr.Dataset, path: Place, variables: Sequence[str] | None = None) -> xr.Dataset:
    """Adds to a Dataset of SAF or MRMS, which xarray opens, what these files do not state by the CF conventions.

    Files of SAF state the projection and the time as attributes, and their rain rate is selected without `variables`.
    Files of MRMS do not name the rain rate in mm/h, which is negative where it is unknown.
    """
    if path.match("PrecipRate_*.grib2") and list(data.data_vars) == ["unknown"]:
        rate = data["unknown"].where(~(data["unknown"] < 0)).variable
        rate.attrs = {"units": "mm/h", "standard_name": "rainfall_rate"}
        return data.drop_vars("unknown").assign(rain_rate=rate)
    if not {"gdal_projection", "nominal_product_time"} <= data.attrs.keys():
        return data
    with quiet():
        crs = need_pyproj().CRS(data.attrs["gdal_projection"]).to_cf()
    time = str(data.attrs["nominal_product_time"]).removesuffix("Z")
    data = data.assign_coords(crs=((), 0, crs), time=((), numpy.datetime64(time, "ns"), {"standard_name": "time"}))
    data = data.assign({n: v.assign_attrs(grid_mapping="crs") for n, v in data.data_vars.items() if v.ndim == 2})
    return data[["crr_intensity"]] if variables is None and "crr_intensity" in data else data


def find_composites(directory: Path) -> list[list[Path]]:
    """Returns the radar files at or below a directory: one list for each format that occurs."""
    files: dict[RadarFormat, list[Path]] = {}
    for path in walk(directory):
        if (form := find_format(path)) is not None:
            files.setdefault(form, []).append(path)
    return list(files.values())
