"""Targets of the fuzzer: the readers of untrusted input, valid inputs to start from, and the errors that may come."""

import contextlib
import io
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import torch
import xarray

import convrnn_zoo
from convrnn_zoo import interop
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
