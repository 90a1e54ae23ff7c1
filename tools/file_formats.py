"""Writes the table of file formats, from the readers of the package: commands, extras and labels."""

from convrnn_zoo.data import ArrayFrames, VideoFrames
from convrnn_zoo.data.datasets.video_folder import CLIP_READERS
from convrnn_zoo.data.formats.geotiff import TIFF
from convrnn_zoo.data.formats.gridded import GRIB, HDF5, STORE
from convrnn_zoo.data.formats.radar import FORMATS
from convrnn_zoo.data.readers import FRAME_SUFFIXES
from convrnn_zoo.data.readers.images import IMAGES, VIDEOS
from convrnn_zoo.data.readers.sequences import AUDIO, RECORDING_SUFFIXES

LABELS = "times, coordinates, projection, units, names"
ROWS: tuple[tuple[str, tuple[str, ...], str, str], ...] = (
    ("NumPy", (".npy",), "", "none; pass them as options"),
    ("NumPy, several arrays", (".npz",), "", "times, from an array `time`"),
    ("NetCDF", (".nc", ".nc4", ".cdf"), "netcdf; hdf5 for zstd, Blosc and bzip2", LABELS),
    ("HDF5", HDF5, "netcdf; hdf5 for zstd, Blosc and bzip2", "times and units, if dimensions have no names"),
    ("Zarr, versions 2 and 3", (STORE,), "zarr", LABELS),
    ("GRIB", GRIB, "grib", LABELS),
    ("GeoTIFF, one file for each time", TIFF, "geotiff", "coordinates, projection, units; dates from names or tags"),
    ("Videos", VIDEOS, "video", "none; brightness"),
    ("GIF", (".gif",), "draw", "none; brightness"),
    ("Folders of images", IMAGES, "draw", "none; brightness"),
    ("Tables", (".csv",), "", "none"),
    ("UCR and UEA archives", (".ts",), "data", "classes"),
    ("Sound", AUDIO, "sound", "sample rate"),
)
"""Name, suffixes, extra and labels that are kept, of each format."""


def files(page: str) -> str:
    """Returns the table of file formats. Raises ValueError if a suffix of the readers has no row."""
    listed = {suffix for _, suffixes, *_ in ROWS for suffix in suffixes}
    if missing := {*FRAME_SUFFIXES, *CLIP_READERS, *RECORDING_SUFFIXES} - listed:
        raise ValueError(f"add {', '.join(sorted(missing))} to ROWS of tools/file_formats.py")
    lines = ["| format | `predict` | `train`, `kind =` | `archive` | extra | labels |", "|---|---|---|---|---|---|"]
    kinds = {
        "frames": ArrayFrames.suffixes,
        "video": VideoFrames.suffixes,
        "clips": CLIP_READERS,
        "sequences": RECORDING_SUFFIXES,
    }
    for name, suffixes, extra, labels in ROWS:
        is_images = suffixes == IMAGES
        forecasts = is_images or any(suffix in FRAME_SUFFIXES for suffix in suffixes)
        classifies = is_images or any(suffix in (*CLIP_READERS, *RECORDING_SUFFIXES) for suffix in suffixes)
        jobs = ", ".join(["forecast"] * forecasts + ["classify"] * classifies)
        read = [k for k, known in kinds.items() if suffixes[0] in known or (is_images and k == "clips")]
        read = ["frames"] if suffixes == TIFF else read  # other TIFF files are images
        archive = "yes" if suffixes[0] in kinds["frames"] else "no"
        cells = (f"{name}: {' '.join(f'`{s}`' for s in suffixes)}", jobs, ", ".join(f"`{k}`" for k in read), archive)
        lines.append(f"| {' | '.join((*cells, extra or '–', labels))} |")
    patterns = " ".join(f"`{form.pattern}`" for form in FORMATS)
    radar = "forecast | `frames`, `rain` | yes | radar | times, coordinates, projection, units"
    lines.append(f"| Radar composites: {patterns}, ODIM | {radar} |")
    return "\n".join(lines)
