"""Synthetic data: drifting blobs in every file format, and recordings that rise or fall."""

import h5py
import numpy as np
import pytest


def blobs(steps=18, height=24, width=28, seed=0, missing=True):
    """Three blobs of up to 12 mm/h that drift over ``(T, H, W)``; a corner is never seen."""
    rng = np.random.default_rng(seed)
    y, x, t = np.mgrid[:height, :width][0], np.mgrid[:height, :width][1], np.arange(steps)[:, None, None]
    frames = np.zeros((steps, height, width), dtype="float32")
    for _ in range(3):
        top, left = rng.uniform(0, height), rng.uniform(0, width)
        frames += (12 * np.exp(-((y - top - t / 2) ** 2 + (x - left - t) ** 2) / 20)).astype("float32")
    if missing:
        frames[:, :3, :3] = np.nan
    return frames


def write_hdf5(path, frames, **attrs):
    with h5py.File(path, "w") as file:
        file["rate"] = frames
        file["rate"].attrs.update(attrs)
        file["time"] = np.arange(len(frames)) * 5
        file["time"].attrs["units"] = "minutes since 2020-01-01 00:00:00"
        file["quality"] = np.ones(frames.shape[1:])


def write_zarr(path, frames, step=5):
    import zarr

    group = zarr.open_group(str(path), mode="w")
    array = group.create_array("rate", shape=frames.shape, chunks=(1, *frames.shape[1:]), dtype=frames.dtype)
    array[:] = frames
    times = group.create_array("time", shape=(len(frames),), dtype="int64")
    times[:] = np.arange(len(frames)) * step
    times.attrs["units"] = "minutes since 2020-01-01"


def write_dataset(path, data):
    """Writes a Dataset of xarray as a NetCDF-4, NetCDF-3 or Zarr file by its suffix, and returns the path."""
    if path.suffix == ".zarr":
        pytest.importorskip("zarr", reason="the extra zarr")
        data.to_zarr(path, consolidated=False, zarr_format=2 if path.stem == "v2" else 3)
    else:
        data.to_netcdf(path, engine="scipy" if path.suffix == ".cdf" else "h5netcdf")
    return path


WRITERS = {
    ".npy": np.save,
    ".npz": lambda path, frames: np.savez(path, rate=frames, time=np.arange(len(frames)) * 5),
    ".h5": write_hdf5,
    ".nc": write_hdf5,
    ".zarr": write_zarr,
}


def write_video(path, frames, codec="mpeg4"):
    """Bytes ``(T, H, W)`` as a video."""
    import av

    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=10)
        stream.height, stream.width = frames.shape[1:]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for frame in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.repeat(frame[..., None], 3, -1), format="rgb24")))
        file.mux(stream.encode())


def ramps(count=24, channels=3, seed=0):
    """Recordings ``(T, C)`` of unequal length, every other one rising, by name; and their labels."""
    rng = np.random.default_rng(seed)
    recordings = {}
    for i in range(count):
        ramp = np.linspace(-1, 1, int(rng.integers(4, 12)))[:, None] * (1 if i % 2 else -1)
        recordings[f"r{i:02}"] = (ramp + 0.1 * rng.standard_normal((1, channels))).astype("float32")
    return recordings, np.array(["falling", "rising"] * (count // 2))


def write_ramps(path, **kwargs):
    recordings, labels = ramps(**kwargs)
    np.savez(path, labels=labels, **recordings)


def clips(count=6, edge=16, seed=0):
    """Bytes ``(T, H, W, 3)`` of unequal length, by class and name; the first of each class has one frame."""
    rng = np.random.default_rng(seed)
    for label, level in (("dark", 40), ("light", 200)):
        for i in range(count):
            steps = int(rng.integers(3, 8)) if i else 1
            frames = level + rng.integers(-30, 30, (steps, 1, edge + 8, 3)) + np.arange(edge)[None, :, None, None]
            yield label, f"{i:02}", frames.clip(0, 255).astype("uint8")


def write_pictures(path, frames):
    from PIL import Image

    path.mkdir()
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(path / f"{i:03}.png")


def write_gif(path, frames):
    from PIL import Image

    first, *others = map(Image.fromarray, frames)
    first.save(path, save_all=True, append_images=others)


CLIP_WRITERS = {
    ".npy": lambda path, frames: np.save(path, frames.transpose(0, 3, 1, 2)),
    ".gif": write_gif,
    "": write_pictures,
    ".avi": lambda path, frames: write_video(path, frames[..., 0]),
}


def write_clips(path, make=clips, **kwargs):
    """A folder a class of :func:`clips` or of others, in every form in turn."""
    for i, (label, name, frames) in enumerate(make(**kwargs)):
        suffix = list(CLIP_WRITERS)[i % 3]  # the fourth needs an extra
        (path / label).mkdir(parents=True, exist_ok=True)
        CLIP_WRITERS[suffix](path / label / f"{name}{suffix}", frames)


HEAD = """
kind = "forecaster"
weights = "convgru_forecaster.blobs"
description = "Forecasts drifting blobs."
license = "mit"
inputs = 3
horizon = 4
max_steps = 3
batch_size = 2
lr = 0.01
loss = "{loss}"
checkpoint_every = 3
test_sequences = 6
[model]
hidden_channels = [2, 2]
kernel_size = 3
[data]
name = "drifting blobs"
license = "CC0 1.0"
url = "https://example.org/blobs"
"""
RADAR = HEAD.format(loss="balanced_light") + 'kind = "frames"\nunit = "mm/h"\nstep = 5\nencoding = "log"\ncrop = 16\n'
FRAMES = HEAD.format(loss="mse") + 'kind = "frames"\nstep = 5\ncrop = 16\n'
VIDEO = HEAD.format(loss="mse") + 'kind = "video"\ncrop = 16\n'
RAMPS = """
kind = "classifier"
weights = "convgru1d_1layer.ramps"
description = "Tells rising from falling."
license = "mit"
epochs = 8
batch_size = 4
lr = 0.03
[model]
hidden_channels = 4
kernel_size = 1
global_pool = "last"
[data]
kind = "sequences"
name = "ramps"
license = "CC0 1.0"
"""
CLIPS = """
kind = "classifier"
weights = "video_convrnn.light"
description = "Tells dark from light."
license = "mit"
epochs = 4
batch_size = 3
lr = 0.01
[model]
encoder = "test_resnet"
rnn = "convgru"
levels = [1]
hidden_channels = 4
[data]
kind = "clips"
name = "lights"
license = "CC0 1.0"
size = 16
"""
