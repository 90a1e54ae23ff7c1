"""Targets of the fuzzer: the readers of untrusted input, valid inputs to start from, and the errors that may come."""

import contextlib
import io
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numcodecs
import numpy as np
import torch
import xarray
import zarr
import zarr.codecs

import convrnn_zoo
from convrnn_zoo import interop
from convrnn_zoo.data import ReadOptions, open_frames
from convrnn_zoo.data.readers import FileError
from convrnn_zoo.recipes import RECIPES, Recipe
from convrnn_zoo.values.labels.times import decode_time
from convrnn_zoo.values.units import conversion

ARCHITECTURE = "convlstm1d_1layer"
MODEL_ARGS = {"in_chans": 1, "hidden_channels": 2, "kernel_size": 3, "num_classes": 2}
LIMIT = 2**22
"""Bytes that a model from untrusted input may have here."""
KERAS_OPTIONS = {"padding": "same", "recurrent_activation": "sigmoid"}


class Target(NamedTuple):
    """A reader that is fed with mutated bytes.

    Attributes:
        run: reads the bytes; the directory is empty.
        errors: the exceptions that the reader documents. Any other is a finding.
        seeds: valid inputs.
    """

    run: Callable[[bytes, Path], object]
    errors: tuple[type[Exception], ...]
    seeds: Callable[[], Mapping[str, bytes]]


def _saved() -> dict[str, bytes]:
    """Returns the files of a small model by name."""
    torch.manual_seed(0)
    model = convrnn_zoo.create_model(ARCHITECTURE, **MODEL_ARGS)
    with tempfile.TemporaryDirectory() as directory:
        convrnn_zoo.save_pretrained(model, directory)
        return {path.name: path.read_bytes() for path in Path(directory).iterdir() if path.suffix != ".md"}


# ---- config.json ---------------------------------------------------------------------------------------------------
def load_config(data: bytes, directory: Path) -> object:
    """Builds the model that a config.json describes, and loads weights of another one into it."""
    for name, content in {**SAVED, "config.json": data}.items():
        (directory / name).write_bytes(content)
    with convrnn_zoo.size_limit(LIMIT):
        return convrnn_zoo.from_pretrained(directory)


def config_seeds() -> dict[str, bytes]:
    """Returns a valid config.json, one without a checksum, and one with metadata of weights."""
    config = json.loads(SAVED["config.json"])
    unchecked = {k: v for k, v in config.items() if k != "weights_sha256"}
    rain = convrnn_zoo.create_model("convgru_forecaster.rain", pretrained=True)
    with tempfile.TemporaryDirectory() as directory:
        convrnn_zoo.save_pretrained(rain, directory)
        described = (Path(directory) / "config.json").read_bytes()
    return {"plain": SAVED["config.json"], "unchecked": json.dumps(unchecked).encode(), "described": described}


# ---- safetensors ---------------------------------------------------------------------------------------------------
def load_safetensors(data: bytes, directory: Path) -> object:
    """Loads a safetensors file into a model."""
    path = directory / "model.safetensors"
    path.write_bytes(data)
    with convrnn_zoo.size_limit(LIMIT):
        return convrnn_zoo.load_weights(convrnn_zoo.create_model(ARCHITECTURE, **MODEL_ARGS), path)


# ---- Keras ---------------------------------------------------------------------------------------------------------
def load_keras(data: bytes, directory: Path) -> object:
    """Loads a Keras file; or, if the first byte is ``{``, a layer from a JSON map of variable paths to shapes."""
    if not data.startswith(b"{"):
        path = directory / "model.h5"
        path.write_bytes(data)
        return interop.load("keras", path, **KERAS_OPTIONS)
    try:
        shapes = json.loads(data)
        arrays = {str(name): np.zeros(shape, "float32") for name, shape in shapes.items() if np.prod(shape) < 2**16}
    except (ValueError, TypeError, RecursionError, MemoryError, OverflowError, AttributeError):
        return None  # not a map of shapes
    return interop.load("keras", arrays, **KERAS_OPTIONS)


def keras_seeds() -> dict[str, bytes]:
    """Returns an HDF5 file of one direction and of two, and the same as maps of shapes."""
    seeds = {}
    for bidirectional in (False, True):
        layer = convrnn_zoo.Conv1dLSTM(1, 2, kernel_size=3, bidirectional=bidirectional, batch_first=True)
        arrays = interop.export(layer, "keras")
        file = io.BytesIO()
        with h5py.File(file, "w") as root:
            for path, value in arrays.items():
                root[path] = value
        seeds[f"file{bidirectional:d}"] = file.getvalue()
        seeds[f"map{bidirectional:d}"] = json.dumps({k: v.shape for k, v in arrays.items()}).encode()
    return seeds


# ---- recipes -------------------------------------------------------------------------------------------------------
def read_recipe(data: bytes, directory: Path) -> object:
    """Reads a recipe and builds its model on the meta device."""
    path = directory / "recipe.toml"
    path.write_bytes(data)
    recipe = Recipe.read(path)
    with convrnn_zoo.size_limit(LIMIT):
        return recipe.create_model(device="meta")


def recipe_seeds() -> dict[str, bytes]:
    """Returns the recipes of the package, complete with the values of every field."""
    return {name: Recipe.read(name).to_toml().encode() for name in RECIPES}


# ---- Zarr ----------------------------------------------------------------------------------------------------------
def read_frames(path: Path) -> object:
    """Opens a file of frames and reads two frames, unless they are large."""
    frames = open_frames(path, ReadOptions(variable_optional=True))
    return frames.read(0, 2) if np.prod(frames.array.shape[1:]) < LIMIT else frames


def read_zarr(data: bytes, directory: Path) -> object:
    """Reads a store of one array: JSON of its metadata, a zero byte, and the content of its first chunk."""
    metadata, _, chunk = data.partition(b"\0")
    is_new = b'"codecs"' in metadata
    array = directory / "a.zarr" / "x"
    array.mkdir(parents=True)
    (array / ("zarr.json" if is_new else ".zarray")).write_bytes(metadata)
    group = {"zarr_format": 3, "node_type": "group", "attributes": {}} if is_new else {"zarr_format": 2}
    (array.parent / ("zarr.json" if is_new else ".zgroup")).write_text(json.dumps(group))
    first = array / ("c/0/0/0" if is_new else "0.0.0")
    first.parent.mkdir(parents=True, exist_ok=True)
    first.write_bytes(chunk)
    return read_frames(array.parent)


def zarr_seeds() -> dict[str, bytes]:
    """Returns arrays of both versions of the format with the usual codecs, and a shard."""
    frames, seeds = np.arange(4 * 8 * 8, dtype="f4").reshape(4, 8, 8), {}
    codecs: dict[str, tuple[int, dict[str, Any]]] = {
        "plain2": (2, {"compressors": None}),
        "blosc2": (2, {"compressors": numcodecs.Blosc()}),
        "filters2": (2, {"filters": [numcodecs.Shuffle(4), numcodecs.Delta("<f4")], "compressors": numcodecs.Zlib()}),
        "lz4": (2, {"compressors": numcodecs.LZ4()}),
        "zstd2": (2, {"compressors": numcodecs.Zstd()}),
        "zstd3": (3, {}),
        "gzip3": (3, {"compressors": zarr.codecs.GzipCodec()}),
        "blosc3": (3, {"compressors": zarr.codecs.BloscCodec()}),
        "shard": (3, {"shards": (4, 8, 8), "chunks": (2, 8, 8)}),
    }
    for name, (version, options) in codecs.items():
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "x"
            options = {"chunks": frames.shape, **options}
            zarr.create_array(path, shape=frames.shape, dtype="f4", zarr_format=version, **options)[:] = frames
            metadata = (path / ("zarr.json" if version == 3 else ".zarray")).read_bytes()
            chunk = (path / ("c/0/0/0" if version == 3 else "0.0.0")).read_bytes()
        seeds[name] = json.dumps(json.loads(metadata)).encode() + b"\0" + chunk
    return seeds


# ---- HDF5 ----------------------------------------------------------------------------------------------------------
def read_hdf5(data: bytes, directory: Path) -> object:
    """Reads an HDF5 file of frames."""
    path = directory / "a.h5"
    path.write_bytes(data)
    return read_frames(path)


def hdf5_seeds() -> dict[str, bytes]:
    """Returns files with the usual filters, text attributes and links."""
    frames, seeds = np.arange(4 * 8 * 8, dtype="f4").reshape(4, 8, 8), {}
    filters: dict[str, dict[str, Any]] = {
        "plain": {},
        "chunks": {"chunks": (2, 8, 8)},
        "lzf": {"compression": "lzf"},
        "gzip": {"compression": "gzip", "shuffle": True, "fletcher32": True},
        "scale": {"scaleoffset": 2},
        "growing": {"maxshape": (None, 8, 8), "chunks": (8, 8, 8)},
    }
    for name, options in filters.items():
        file = io.BytesIO()
        with h5py.File(file, "w", libver="latest" if name == "lzf" else "earliest") as root:
            root.create_dataset("x", data=frames, **options).attrs["units"] = "mm/h"
            root["time"] = np.arange(4.0)
            root["time"].attrs["units"] = "hours since 2020-01-01"
            root["names"] = ["a", "bc"]
            root["soft"] = h5py.SoftLink("/x")
        seeds[name] = file.getvalue()
    return seeds


# ---- units ---------------------------------------------------------------------------------------------------------
def read_units(data: bytes, directory: Path) -> object:
    """Reads a text as a unit of values, a unit of times, and a time."""
    text = data.decode(errors="replace")
    found = conversion(text, "mm/h") or conversion(text, "K") or conversion("K", text)
    for values, attrs in (([0.0, 1.0], {"units": text}), ([0.0, 1.0], {"units": f"days since {text}"}), ([text], {})):
        with contextlib.suppress(ValueError):
            found = decode_time(xarray.Variable("time", values, attrs))
    if found is None:
        raise ValueError("not a unit")
    return found


def unit_seeds() -> dict[str, bytes]:
    """Returns units and times of each form that is understood."""
    texts = (
        "mm/h",
        "mm (5 min)-1",
        "kg m-2 s-1",
        "inches per hour",
        "degrees_C",
        "hours since 2020-01-01 00:00 +02:00",
        "2020-01-01T00:00:00.5Z",
    )
    return {str(i): text.encode() for i, text in enumerate(texts)}


SAVED = _saved()
TARGETS = {
    "config": Target(load_config, (convrnn_zoo.ConvRNNHubError,), config_seeds),
    "safetensors": Target(
        load_safetensors, (convrnn_zoo.ConvRNNHubError,), lambda: {"model": SAVED["model.safetensors"]}
    ),
    "keras": Target(load_keras, (ValueError,), keras_seeds),
    "recipe": Target(read_recipe, (ValueError,), recipe_seeds),
    "zarr": Target(read_zarr, (FileError,), zarr_seeds),
    "hdf5": Target(read_hdf5, (FileError,), hdf5_seeds),
    "units": Target(read_units, (ValueError,), unit_seeds),
}


def check(target: str, data: bytes) -> bool:
    """Feeds one input to a target, and returns whether it was read. Exceptions that are not documented pass through."""
    with tempfile.TemporaryDirectory() as directory:
        try:
            TARGETS[target].run(data, Path(directory))
        except TARGETS[target].errors:
            return False
        return True
