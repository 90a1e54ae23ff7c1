"""Randomly damaged files of every format end in a result or in an error that names them, in little memory."""

import gc
import io
import random
import shutil
import warnings
import zipfile
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load, save_file

from benchmarks.memory import rise
from convrnn_zoo import ConvRNNHubError, LogMel, create_model, from_pretrained, interop, load_weights, size_limit
from convrnn_zoo.data import ReadOptions, read_dataset
from convrnn_zoo.data.readers import open_files
from convrnn_zoo.data.readers.sequences import read_recordings
from convrnn_zoo.recipes import Recipe
from tests.helpers.data.own_data import FRAMES, WRITERS, blobs, write_gif, write_pictures, write_video
from tests.helpers.hub.examples import files, make
from tests.helpers.interop.examples import STATES
from tests.helpers.interop.recorded import KERAS
from tests.helpers.made_data import write_fmi, write_knmi
from tests.helpers.registry import slow_unless
from tests.interop.conftest import forked_reader  # noqa: F401 - a fixture

pytestmark = pytest.mark.needs("linux")
NUMBERS = (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"99999999", b"nan", b"-1", b"'", b"(")


def damage(content, rng):
    """Returns bytes that are flipped, cut, overwritten, repeated or removed at random, often in the header."""
    content = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        size = len(content)
        at = rng.randrange(min(size, rng.choice((64, 2048, size)))) if size else 0
        match rng.randrange(7):
            case 0 if size:
                content[at] ^= 1 << rng.randrange(8)
            case 1:
                content[at : at + 4] = rng.choice(NUMBERS)
            case 2 if rng.random() < 0.3:
                del content[at:]
            case 3:
                del content[at : at + rng.choice((1, 4, 64, 1000))]
            case 4:
                content[at:at] = content[at : at + rng.choice((1, 8, 64))]
            case 5:
                for digit in [i for i in range(at, min(size, at + 200)) if chr(content[i]).isdigit()][:3]:
                    content[digit] = ord(rng.choice("0123456789"))
            case _:
                content[at : at + 64] = bytes(len(content[at : at + 64]))
    return bytes(content)


def damage_path(path, rng):
    """Damages a file, or one in a folder, or a member of an archive whose checksums then fit."""
    file = rng.choice(sorted(p for p in path.rglob("*") if p.is_file())) if path.is_dir() else path
    content = file.read_bytes()
    if not zipfile.is_zipfile(file) or rng.random() < 0.3:
        file.write_bytes(damage(content, rng))
        return
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(file, "w") as new:
        chosen = rng.choice(old.namelist())
        for name in old.namelist():
            member = old.read(name)
            new.writestr(name, damage(member, rng) if name == chosen else member)


def as_bytes(frames):
    return (np.nan_to_num(frames) * 20).clip(0, 255).astype("uint8")


def named_dimensions(path, frames):
    """A file whose dimensions have names: NetCDF-4, NetCDF-3 or Zarr, as xarray writes it, packed."""
    xarray = pytest.importorskip("xarray", reason="the extra netcdf")
    time = np.datetime64("2020-01-01", "ns") + np.arange(len(frames)) * np.timedelta64(5, "m")
    rate = xarray.DataArray(frames, {"time": time}, ("time", "y", "x"), "rate", {"units": "mm/h"})
    rate.encoding = {"dtype": "int16", "scale_factor": 0.1, "_FillValue": np.int16(-1)}
    if path.suffix == ".zarr":
        rate.to_dataset().to_zarr(path, consolidated=False, zarr_format=2)
    else:
        rate.to_netcdf(path, engine="scipy" if path.name.endswith("3.nc") else "h5netcdf")


def radar(write):
    def make_folder(path, frames):
        path.mkdir()
        for i in range(3):
            write(path, datetime(2010, 8, 26) + i * timedelta(minutes=5), as_bytes(frames)[i])

    return make_folder


def sound(path, frames):
    soundfile = pytest.importorskip("soundfile", reason="the extra sound")
    subtype = {".wav": "FLOAT", ".flac": "PCM_24", ".ogg": "VORBIS", ".mp3": "MPEG_LAYER_III"}[path.suffix]
    soundfile.write(path, 0.1 * np.random.default_rng(0).normal(size=4000), 8000, subtype=subtype)


TS = "@problemName a\n@timestamps false\n@univariate true\n@equalLength true\n@classLabel true 1 2\n@data\n"


def series(path, frames):
    pytest.importorskip("aeon", reason="the extra data")
    path.write_text(TS + "".join(f"{i},{i}.5,3,4:{i % 2 + 1}\n" for i in range(6)))


def read_frames(path):
    frames = open_files([path], ReadOptions(variable="rate", variable_optional=True))
    assert frames.read(0, 8).dim() == 4


def read_recording(path):
    """Reads a recording as training and as `predict` do."""
    model = create_model("convgru1d_1layer", in_chans=40, hidden_channels=2, kernel_size=1, num_classes=2)
    model.front_end = LogMel(rate=8000)
    if path.suffix in (".npz", ".ts"):
        read_dataset({"kind": "sequences", "name": "a"}).load(path, "train")
    read_recordings(path, model)


def read_clip(path):
    read_dataset({"kind": "clips", "name": "a"}).read(path)


FRAME_FORMATS = {
    **WRITERS,
    "4.nc": named_dimensions,
    "3.nc": named_dimensions,
    "named.zarr": named_dimensions,
    ".gif": lambda path, frames: write_gif(path, as_bytes(frames)),
    ".avi": lambda path, frames: write_video(path, as_bytes(frames)),
    "images": lambda path, frames: write_pictures(path, as_bytes(frames)),
    "knmi": radar(write_knmi),
    "fmi": radar(write_fmi),
}
RECORDINGS = {
    **dict.fromkeys((".wav", ".flac", ".ogg", ".mp3"), sound),
    ".npz": lambda path, frames: np.savez(path, X=np.ones((6, 5, 2)), y=list("ababab"), lengths=[5, 4, 3, 5, 4, 3]),
    ".csv": lambda path, frames: path.write_text("a,b\n" + "".join(f"{i},{i / 7:.3f}\n" for i in range(20))),
    ".ts": series,
}
CLIPS = {
    ".mkv": lambda path, frames: write_video(path, as_bytes(frames)),
    ".gif": lambda path, frames: write_gif(path, as_bytes(frames)),
    ".npy": lambda path, frames: np.save(path, as_bytes(frames)[:, None]),
}
CASES = [
    (read, suffix, write)
    for read, formats in ((read_frames, FRAME_FORMATS), (read_recording, RECORDINGS), (read_clip, CLIPS))
    for suffix, write in formats.items()
]


def read_mutants(read, good, count, errors, change=damage_path):
    """Reads so many damaged copies, and returns the messages of errors."""
    messages, bad = [], good.with_name(f"bad{good.name.removeprefix('good')}")
    for seed in range(count):
        shutil.copytree(good, bad) if good.is_dir() else shutil.copy(good, bad)
        change(bad, random.Random(seed))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Cannot close a netcdf_file", RuntimeWarning)
            try:
                read(bad)
            except errors as error:
                messages.append(f"{error}")
            if bad.suffix == ".nc":
                gc.collect()  # scipy closes a damaged NetCDF-3 file when the collector finds it, and then warns
        shutil.rmtree(bad) if bad.is_dir() else bad.unlink()
    return messages


@pytest.mark.parametrize("count", [2, pytest.param(150, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("read", "suffix", "write"),
    slow_unless(lambda c: c[1] not in (".nc", "3.nc"), CASES),
    ids=[f"{c[0].__name__}-{c[1]}" for c in CASES],
)
def test_damaged_data_are_read_or_rejected(read, suffix, write, count, tmp_path):
    if suffix.endswith("zarr"):
        pytest.importorskip("zarr", reason="the extra zarr")
    if suffix in (".avi", ".mkv"):
        pytest.importorskip("av", reason="the extra video")
    write(good := tmp_path / f"good{suffix}", blobs(8, 16, 16))
    read(good)
    messages = []
    assert rise(lambda: messages.extend(read_mutants(read, good, count, (ValueError, FileNotFoundError)))) < 1.5e9
    assert messages or count < 9 or suffix in (".avi", ".mkv", ".mp3", ".wav")  # some mutants are valid
    assert all("\n" not in message and f"bad{suffix}" in message for message in messages), messages


def damaged_state(path, rng):
    """Removes, renames or replaces a tensor, or damages the file."""
    if path.suffix != ".safetensors" or rng.random() < 0.3:
        damage_path(path, rng)
        return
    state = load(path.read_bytes())
    key = rng.choice(sorted(state))
    value = state.pop(key)
    shapes = (value[:0], value[..., :1], value.flatten(), value[None], torch.cat([value, value]), value * torch.nan)
    state |= rng.choice([{}, {key[:-1]: value}, {f"{key}9": value}, {key: rng.choice(shapes)}, {key: value.int()}])
    save_file({k: v.contiguous().clone() for k, v in state.items()}, path)


@pytest.mark.parametrize("count", [2, pytest.param(60, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("source", "form"),
    [*((s, ".safetensors") for s in sorted(STATES)), ("torch", ".pth"), ("torch", ".legacy.pth"), ("keras", ".keras")],
)
def test_damaged_checkpoints_are_converted_or_rejected(source, form, count, tmp_path):
    good, (state, options) = tmp_path / f"good{form}", STATES[source]
    plain = {key: value.contiguous().clone() for key, value in state.items()}
    if form == ".keras":
        options = {"layer": "first"}
        shutil.copy(KERAS / "stack.keras", good)
    elif form == ".safetensors":
        save_file(plain, good)
    else:
        torch.save(plain, good, _use_new_zipfile_serialization=form == ".pth")

    def convert(path):
        interop.convert(source, path, tmp_path / "converted", **options)
        shutil.rmtree(tmp_path / "converted")

    messages = []
    assert rise(lambda: messages.extend(read_mutants(convert, good, count, ValueError, damaged_state))) < 1.5e9
    assert all(messages)
    assert not (tmp_path / "converted").exists()


@pytest.mark.parametrize("count", [60, pytest.param(3000, marks=pytest.mark.slow)])
def test_damaged_weights_are_rejected_or_loaded_exactly(count, tmp_path):
    model, good = make(), tmp_path / "good.safetensors"
    good.write_bytes(files(make(), tmp_path / "saved")["model.safetensors"])

    def read(path):
        before = {k: v.clone() for k, v in model.state_dict().items()}
        try:
            with size_limit(2**20):
                load_weights(model, path)
            expected = load(path.read_bytes())
            assert all(v.isfinite().all() for v in expected.values())
        except ConvRNNHubError:
            expected = before
            raise
        finally:
            assert all(torch.equal(v, expected[k].to(v.dtype)) for k, v in model.state_dict().items())

    assert rise(lambda: read_mutants(read, good, count, ConvRNNHubError, damaged_state)) < 2**28
    content = good.read_bytes()
    (tmp_path / "saved" / "model.safetensors").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ConvRNNHubError, match=r"model\.safetensors"):  # with a checksum, every change is found
        from_pretrained(tmp_path / "saved")


def test_a_changed_config_is_rejected_or_means_the_same(tmp_path):
    content, expected = files(make(), tmp_path)["config.json"], make().state_dict()
    for i in range(0, len(content), 7):
        Path(tmp_path / "config.json").write_bytes(content[:i] + bytes([content[i] ^ 1 << i % 8]) + content[i + 1 :])
        try:
            state = from_pretrained(tmp_path).state_dict()
        except ConvRNNHubError:
            continue
        assert all(torch.equal(v, state[k]) for k, v in expected.items())


@pytest.mark.parametrize("count", [300, pytest.param(9000, marks=pytest.mark.slow)])
def test_damaged_recipes_are_read_or_rejected(count):
    rng, rejected = random.Random(0), 0
    for _ in range(count):
        text = damage(FRAMES.encode(), rng).decode(errors="replace")
        try:
            Recipe.parse(text)
        except ValueError:
            rejected += 1
    assert 0 < rejected < count
