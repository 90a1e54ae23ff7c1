"""Damaged files end in frames or in one error of one line that names the file, and need little memory."""

import gc
import random
import shutil
import warnings
from datetime import datetime, timedelta

import numpy as np
import pytest

from benchmarks.memory import rise
from tests.helpers.data.own_data import WRITERS, blobs, write_gif, write_pictures, write_video
from tests.helpers.made_data import write_fmi, write_knmi


def write_xarray(path, frames):
    """A NetCDF-4 file with attributes as xarray writes them."""
    import h5py

    with h5py.File(path, "w") as file:
        packed = file.create_dataset(
            "rate", data=np.nan_to_num(frames * 10, nan=-1).astype("int16"), compression="gzip"
        )
        packed.attrs.update(
            {
                "scale_factor": 0.1,
                "add_offset": 0.0,
                "_FillValue": np.int16(-1),
                "units": "mm h-1",
                "valid_range": np.array([0, 3000], "int16"),
                "_Unsigned": "false",
            }
        )
        file["time"] = np.arange(len(frames))
        file["time"].attrs["units"] = "hours since 2020-01-01 00:00:00 +01:00"


def write_zarr_2(path, frames):
    import zarr

    group = zarr.open_group(str(path), mode="w", zarr_format=2)
    array = group.create_array(
        "rate", shape=frames.shape, chunks=(4, *frames.shape[1:]), dtype="float32", fill_value=-1
    )
    array[:] = frames
    array.attrs.update({"scale_factor": 2.0, "units": "mm/h"})


def write_dimensions(path, frames):
    """A file whose dimensions have names: NetCDF-4, NetCDF-3 or Zarr, as xarray writes it."""
    xarray = pytest.importorskip("xarray", reason="the extra netcdf")
    y, x = (np.arange(n, dtype="float32") for n in frames.shape[1:])
    time = np.datetime64("2020-01-01", "ns") + np.arange(len(frames)) * np.timedelta64(5, "m")
    rate = xarray.DataArray(frames, {"time": time, "y": y, "x": x}, ("time", "y", "x"), "rate", {"units": "mm/h"})
    if path.suffix == ".zarr":
        rate.to_dataset().to_zarr(path, consolidated=False)
    else:
        rate.to_netcdf(path, engine="scipy" if path.name.endswith("3.nc") else "h5netcdf")


def write_tiff(path, frames):
    from PIL import Image

    first, *others = (Image.fromarray((np.nan_to_num(f) * 1000).astype("uint16")) for f in frames)
    first.save(path, save_all=True, append_images=others)


def write_radar(write):
    def make(path, frames):
        path.mkdir()
        for i in range(3):
            write(
                path, datetime(2010, 8, 26) + i * timedelta(minutes=5), (np.nan_to_num(frames[i]) * 9).astype("uint8")
            )

    return make


def as_bytes(frames):
    return (np.nan_to_num(frames) * 20).clip(0, 255).astype("uint8")


FORMATS = {
    **WRITERS,
    ".nc": write_xarray,
    "v2.zarr": write_zarr_2,
    "4.nc": write_dimensions,
    "3.nc": write_dimensions,
    "dimensions.zarr": write_dimensions,
    ".gif": lambda path, frames: write_gif(path, as_bytes(frames)),
    ".tif": write_tiff,
    ".avi": lambda path, frames: write_video(path, as_bytes(frames)),
    ".mp4": lambda path, frames: write_video(path, as_bytes(frames)),
    "images": lambda path, frames: write_pictures(path, as_bytes(frames)),
    "knmi": write_radar(write_knmi),
    "fmi": write_radar(write_fmi),
}


def mutate(path, rng):
    """Damages a file, or one of the files of a folder, in one of the ways in which files are damaged."""
    file = rng.choice(sorted(p for p in path.rglob("*") if p.is_file())) if path.is_dir() else path
    content = bytearray(file.read_bytes())
    way = rng.choice(["flip", "flip", "header", "number", "cut", "zeros", "swap", "append", "empty"])
    at = rng.randrange(len(content)) if content else 0
    if way == "flip":
        for _ in range(rng.choice([1, 4, 40])):
            content[rng.randrange(len(content))] = rng.randrange(256)
    elif way == "header":  # where sizes, types and offsets are
        for _ in range(rng.choice([1, 3])):
            content[rng.randrange(min(len(content), 400))] = rng.choice([0, 1, 127, 128, 255, rng.randrange(256)])
    elif way == "number":
        for digit in [i for i in range(min(len(content), 2000)) if chr(content[i]).isdigit()][:50]:
            content[digit] = ord(rng.choice("0123456789"))
    elif way == "cut":
        del content[at:]
    elif way == "zeros":
        content[at : at + 64] = bytes(len(content[at : at + 64]))
    elif way == "swap":
        other = rng.randrange(len(content))
        content[at : at + 16], content[other : other + 16] = content[other : other + 16], content[at : at + 16]
    elif way == "append":
        content += bytes(rng.randrange(256) for _ in range(100))
    else:
        content.clear()
    file.write_bytes(content)


def read(path):
    """Returns the message of the error that reading a file raises; None if it gives frames."""
    from convrnn_zoo.data.readers import ReadOptions, open_files

    try:
        frames = open_files([path], ReadOptions(variable="rate", variable_optional=True))
        values = frames.read(0, 8)
        assert values.dim() == 4
        assert frames.times is None or len(frames.times) == len(frames)
    except (ValueError, FileNotFoundError) as e:
        return str(e)
    return None


@pytest.mark.needs("linux")
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("count", [6, pytest.param(120, marks=pytest.mark.slow)])
def test_damaged_files_are_reported_in_one_line(name, count, tmp_path):
    if name.endswith("zarr"):
        pytest.importorskip("zarr", reason="the extra zarr")
    if name in (".avi", ".mp4"):
        pytest.importorskip("av", reason="the extra video")
    good, bad = tmp_path / f"good{name}", tmp_path / f"bad{name}"
    FORMATS[name](good, blobs(8))
    assert read(good) is None
    messages: list[str | None] = []
    assert rise(lambda: messages.extend(read_mutants(good, bad, count))) < 1_500_000_000
    assert any(messages) or name == ".avi"  # a video of damaged pixels is a video


def read_mutants(good, bad, count):
    """Yields what :func:`read` returns for `count` damaged copies of a file."""
    for seed in range(count):
        shutil.copytree(good, bad) if good.is_dir() else shutil.copy(good, bad)
        mutate(bad, random.Random(seed))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Cannot close a netcdf_file", RuntimeWarning)
            message = read(bad)
            if bad.suffix == ".nc":
                gc.collect()  # scipy closes a damaged NetCDF-3 file when the collector finds it, and then warns
        one_line = message is not None and "\n" not in message and str(bad) in message
        assert message is None or one_line, f"seed {seed}: {message}"
        yield message
        shutil.rmtree(bad) if bad.is_dir() else bad.unlink()
