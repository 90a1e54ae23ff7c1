"""Reads the tensors in checkpoints of other projects. A checkpoint is a state dict or a file.

Files are untrusted: no code in them is run, no other file is read, and memory is limited to a few times the file size.
"""

import io
import json
import logging
import os
import re
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor
from torch.torch_version import __version__ as TORCH_VERSION

from .._extras import need
from .._hints import some
from ..pretrained.errors import HubAccessError, WeightsError
from ..pretrained.state_dict import check_content, not_finite
from ..values.tensors import to_tensor
from . import _unpickle
from ._hdf5 import CheckedFile
from ._unpickle import MAX_INFLATION, WRAPPERS, type_name

logger = logging.getLogger("convrnn_zoo")

MAX_CONFIG = 2**24
"""Maximum size in bytes of Keras's configuration of a model, which has some kilobytes per layer."""
MAX_NAME = 256
"""Maximum length of the name of a tensor, since names are matched with the patterns of all sources."""
MAX_DEPTH = 32
"""Maximum depth of nested groups in an HDF5 file. Files of Keras have about eight levels."""
READ_ERRORS = (
    OSError,
    KeyError,
    ValueError,
    TypeError,
    RuntimeError,
    OverflowError,
    MemoryError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
)
"""Exceptions that h5py and :mod:`zipfile` raise on damaged files."""


@dataclass(frozen=True)
class ForeignCheckpoint:
    """Tensors and file name of a checkpoint. For a Keras file, also the model's configuration and the Keras version."""

    state: Mapping[str, Tensor]
    name: str
    config: Mapping[str, Any] = field(default_factory=dict)
    version: str | None = None


def read_checkpoint(checkpoint: Mapping[str, Any] | str | os.PathLike[str], prefix: str = "") -> ForeignCheckpoint:
    """Reads the tensors of a state dict or a file. Keeps only names with `prefix`, and removes the prefix."""
    if isinstance(checkpoint, Mapping):
        content, max_bytes = ForeignCheckpoint(checkpoint, "the given state dict"), None
    else:
        content = _read_file(checkpoint)
        max_bytes = MAX_INFLATION * os.stat(checkpoint).st_size
    name = content.name
    state: Mapping[str, Any] = content.state
    for _ in WRAPPERS:  # one in another at most, and not for ever in a dict that contains itself
        wrapper = next((key for key in WRAPPERS if isinstance(state.get(key), Mapping)), None)
        if wrapper is None:
            break
        left_out = ", ".join(str(k) for k in state if k != wrapper) or "nothing"
        logger.info("%s: the weights are under %r; left out: %s", name, wrapper, left_out)
        state = state[wrapper]
    if not state and not content.config:  # a network of Keras without weights has a layer that the error names
        raise WeightsError(f"{name} contains no tensors; save model.state_dict() to it")
    if prefix:
        state = {key: value for key, value in state.items() if isinstance(key, str)}
        if not any(k.startswith(prefix) for k in state):
            state = _strip_common(state, name)  # a suggested prefix is one of the shortened keys
        others = [k for k in state if not k.startswith(prefix)]
        state = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        if not state:
            raise WeightsError(f"{name} has no entry under prefix={prefix!r}; it has {some(others)}")
        if others:
            logger.info("%s: left out, not under prefix=%r: %s", name, prefix, ", ".join(others))
    return replace(content, state=_strip_common(_to_tensors(state, name, max_bytes), name))


def _strip_common(state: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Removes the prefixes of DataParallel and of trainers, if every key has them."""
    for common in ("module.", "model."):
        if all(k.startswith(common) for k in state):
            logger.info("%s: removed %r from the start of every key", name, common)
            state = {k.removeprefix(common): v for k, v in state.items()}
    return state


def _to_tensors(state: Mapping[str, Any], name: str, max_bytes: int | None) -> dict[str, Tensor]:
    """Converts tensors and arrays to CPU tensors. Raises WeightsError for other types, NaN, Inf or non-string keys."""
    tensors: dict[str, Any] = {key: _to_tensor(value) if isinstance(key, str) else None for key, value in state.items()}
    if invalid := [f"{k!r} ({type_name(state[k])})" for k, v in tensors.items() if v is None]:
        fix = "pass the state dict itself, with dense tensors: load a model on the meta device, dequantize() others"
        raise WeightsError(f"{name}: expected names of dense tensors and nothing else, got {some(invalid)}; {fix}")
    if long := next((key for key in tensors if len(key) > MAX_NAME), None):
        raise WeightsError(
            f"{name}: names of tensors have at most {MAX_NAME} characters, got {long[:40]!r}…; shorten it"
        )
    if max_bytes is not None and sum(v.nbytes for v in tensors.values()) > max_bytes:
        raise WeightsError(f"{name}: its tensors are over {MAX_INFLATION} times as large as the file; it is damaged")
    if broken := not_finite(tensors):
        raise WeightsError(f"{name}: NaN or Inf in {some(broken)}; these weights are unusable, download others")
    return tensors


def _to_tensor(value: Any) -> Tensor | None:
    """Returns an entry as a plain CPU tensor, or None if it is neither a dense tensor nor an array."""
    if isinstance(value, Tensor):
        is_dense = value.layout == torch.strided and not (value.is_meta or value.is_quantized or value.is_nested)
        return value.detach().cpu() if is_dense else None
    try:
        return to_tensor("entry", value) if hasattr(value, "astype") else None
    except TypeError:  # no numbers
        return None


# ---- files -----------------------------------------------------------------------------------------------------
def _read_file(path: str | os.PathLike[str]) -> ForeignCheckpoint:
    try:
        path = Path(path)
    except TypeError as e:
        raise TypeError(f"checkpoint must be a state dict or a path, got {type(path).__name__}") from e
    if not path.is_file():
        raise HubAccessError(f"{path}: no such file; correct the path of the checkpoint")
    if path.stat().st_size == 0:
        raise WeightsError(f"{path} is empty (0 bytes): nothing was saved, or its copy broke off; download it again")
    check_content(path, str(path))
    if path.suffix not in CHECKPOINT_READERS:
        raise WeightsError(
            f"{path}: no reader for {path.suffix or 'a name without suffix'}; known: {', '.join(CHECKPOINT_READERS)}"
        )
    return CHECKPOINT_READERS[path.suffix](path)


def _read_safetensors(path: Path) -> ForeignCheckpoint:
    try:
        return ForeignCheckpoint(safetensors.torch.load_file(path), str(path))
    except safetensors.SafetensorError as e:
        raise WeightsError(f"{path} is not a valid safetensors file ({e}); download it again") from e


def _read_pickle(path: Path) -> ForeignCheckpoint:
    """Reads the tensors of a file of ``torch.save`` in another process; see :mod:`._unpickle`. No code in it is run."""
    if TORCH_VERSION < "2.10":
        raise WeightsError(
            f"{path} is a pickle, which torch {TORCH_VERSION} reads without checking it (CVE-2026-24747); install "
            "torch 2.10 or newer, or convert a .safetensors file, which any version reads"
        )
    with tempfile.TemporaryDirectory(prefix="convrnn_zoo_") as directory:
        output = Path(directory) / "tensors.safetensors"
        program = [sys.executable, "-P", "-W", "ignore", _unpickle.__file__, str(path.absolute()), str(output)]
        done = subprocess.run(program, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
        kind, _, reason = (done.stderr.splitlines() or [""])[-1].partition(" ")
        if done.returncode and kind == "CONTENT":
            raise WeightsError(f"{path} {reason}")
        if done.returncode:
            reason = reason if kind == "DAMAGED" else f"reading it ended with status {done.returncode}: {kind} {reason}"
            raise WeightsError(
                f"{path} is not a file of tensors, or is damaged: {reason}. No code in a pickle is run. Download the "
                "file again; if you have the model's own code, load it there and save model.state_dict()"
            )
        with safetensors.safe_open(output, "pt") as file:
            described = json.loads(file.metadata()["content"])
        tensors = safetensors.torch.load(output.read_bytes())  # a mapped file could not be removed on Windows
    return ForeignCheckpoint(_restore(described, tensors), str(path))


def _restore(described: list[Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Returns the content that :func:`._unpickle.describe` describes. An object of another type is an empty one."""
    content: dict[str, Any] = {}
    for key, value in described:
        if "tensor" in value:
            content[key] = tensors[str(value["tensor"])]
        else:
            content[key] = _restore(value["mapping"], tensors) if "mapping" in value else type(value["type"], (), {})()
    return content


def _read_keras(path: Path) -> ForeignCheckpoint:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if any(member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for member in members):
                raise ValueError("it has members of an unexpected compression")
            if sum(member.file_size for member in members) > MAX_INFLATION * path.stat().st_size:
                raise ValueError(f"its members are more than {MAX_INFLATION} times as large as the file")
            for name in ("config.json", "metadata.json"):
                if archive.getinfo(name).file_size > MAX_CONFIG:
                    raise ValueError(f"its {name} has more than {MAX_CONFIG} bytes")
            config, metadata, weights = map(archive.read, ("config.json", "metadata.json", "model.weights.h5"))
    except READ_ERRORS as e:
        raise WeightsError(
            f"{path} is not a file of Keras's .keras format ({e}); write it with model.save('name.keras')"
        ) from e
    version = _parse_json(metadata, f"{path}: its metadata.json").get("keras_version")
    content = _read_keras_hdf5(path, io.BytesIO(weights))
    return replace(content, config=_parse_json(config, f"{path}: its config.json"), version=version)


CHECKPOINT_READERS: dict[str, Callable[[Path], ForeignCheckpoint]] = {
    ".safetensors": _read_safetensors,
    **dict.fromkeys((".pt", ".pth", ".ckpt", ".bin", ".tar"), _read_pickle),  # .pth.tar is no archive
    ".h5": lambda path: _read_keras_hdf5(path, path.open("rb")),
    ".keras": _read_keras,
}
"""Readers of files by suffix."""


def _parse_json(text: str | bytes, name: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise WeightsError(f"{name} is not JSON ({e}); save it again with model.save") from e
    if not isinstance(content, dict):
        raise WeightsError(f"{name} is no JSON object but a {type(content).__name__}; save it again with model.save")
    return content


# ---- Keras's HDF5 files ----------------------------------------------------------------------------------------
CELL_VARIABLES = {"0": "kernel", "1": "recurrent_kernel", "2": "bias"}
"""Names of the variables of a recurrent cell, by the numbers that ``.weights.h5`` files use instead."""


def _read_keras_hdf5(path: Path, file: IO[bytes]) -> ForeignCheckpoint:
    """Reads the arrays of a Keras ``.weights.h5`` file (any version) or of a model's ``.h5`` file, by variable path.

    All datasets must be stored inside the file and uncompressed. The file can therefore neither make h5py read other
    files nor require more memory than its size.
    """
    name = str(path)
    state: dict[str, Any] = {}
    dropped: list[str] = []
    try:
        with CheckedFile(file) as checked, need("h5py", "interop").File(checked, "r") as root:
            bytes_left = checked.seek(0, io.SEEK_END)
            config, version = (_text_attribute(root, name) for name in ("model_config", "keras_version"))
            for variable, dataset in _datasets(root, (), {root}, dropped):
                bytes_left -= dataset.nbytes
                _check_dataset(dataset, bytes_left)
                state[variable] = dataset[...]
            is_legacy = "layer_names" in root.attrs or "model_weights" in root
    except READ_ERRORS as e:
        reason = " ".join(str(e.args[0] if e.args else "").split()) or type(e).__name__
        raise WeightsError(f"{name} is not a valid HDF5 file ({reason}); download or save it again") from e
    if is_legacy:  # each top layer has a group; its name is kept if nested models have layers of the same name
        state = {key.removeprefix("model_weights/"): value for key, value in state.items()}
        short = {key.partition("/")[2]: value for key, value in state.items()}
        state = short if len(short) == len(state) else state
    if dropped:
        logger.info("%s: left out, not part of the model: %s", name, ", ".join(dropped))
    description = {} if config is None else _parse_json(config, f"{name}: its model_config")
    return ForeignCheckpoint(state, name, description, version)


def _datasets(group: Any, path: tuple[str, ...], visited: set[Any], dropped: list[str]) -> Iterator[tuple[str, Any]]:
    """Yields path and dataset of every variable under `group`. Paths contain the names that layers have in Keras."""
    children = {key: _child(group, key) for key in group}
    for key, child in children.items():
        if re.fullmatch(r"optimizer(_weights)?|seed_generator(_\d+)?", key):  # not of the model
            dropped.append("/".join((*path, key)))
            continue
        if child in visited or len(path) > MAX_DEPTH:
            raise OSError(f"{child.name} leads elsewhere: it is linked twice, or its groups contain each other")
        visited.add(child)
        if hasattr(child, "items"):
            name = _text_attribute(_child(child, "vars"), "name") if "vars" in child else None
            yield from _datasets(child, (*path, name or key), visited, dropped)
        elif not hasattr(child, "nbytes"):
            raise OSError(f"{child.name} is a {type(child).__name__}, which Keras never writes")
        elif group.name.endswith("/cell/vars") and key in CELL_VARIABLES:
            yield "/".join((*path[:-1], CELL_VARIABLES[key])), child
        else:
            yield "/".join((*path, key.removesuffix(":0"))), child


def _child(group: Any, key: str) -> Any:
    """Returns a member of a group; raises OSError for a soft or external link, which may lead to another file."""
    link = type(group.get(key, getlink=True)).__name__
    if link != "HardLink":
        raise OSError(f"{group.name} leads elsewhere by the {link} {key}, which Keras never writes")
    return group[key]


def _check_dataset(dataset: Any, bytes_left: int) -> None:
    """Raises OSError unless all numbers of a dataset are stored in the file, uncompressed."""
    h5d, layout = need("h5py", "interop").h5d, dataset.id.get_create_plist()
    is_stored = (
        layout.get_layout() in (h5d.CONTIGUOUS, h5d.CHUNKED)
        and not layout.get_external_count()  # in other files
        and not layout.get_nfilters()  # a compressed chunk expands without a bound
        and dataset.id.get_storage_size() >= dataset.nbytes
    )
    if dataset.shape is None or dataset.dtype.kind not in "fiuV" or not is_stored or bytes_left < 0:
        raise OSError(
            f"{dataset.name} of shape {dataset.shape} and {dataset.dtype} is no plain array that the file contains in "
            "full. Virtual, external, compressed and unwritten datasets are not read; `h5repack -f NONE -l CONTI` "
            "makes a plain file from one that you trust"
        )


def _text_attribute(node: Any, name: str) -> str | None:
    if name not in node.attrs:
        return None
    if node.attrs.get_id(name).get_storage_size() > MAX_CONFIG:
        raise OSError(f"its attribute {name} has more than {MAX_CONFIG} bytes")
    value = node.attrs[name]
    return value.decode() if isinstance(value, bytes) else value if isinstance(value, str) else None
