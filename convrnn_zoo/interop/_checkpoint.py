"""From what a caller has (a state dict, or a file of one of the known kinds) to checked tensors by name."""

import io
import json
import logging
import mmap
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ..models import WeightsError
from ..pretrained.state_dict import not_finite
from ._hdf5 import read_hdf5

logger = logging.getLogger("convrnn_zoo")

WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Under these names training scripts keep the weights, beside an optimizer and an epoch."""
CARRIERS = ("module.", "model.")
"""These stand before every key when the model was saved inside DataParallel or a trainer."""
STRIP = (
    "python -c \"import torch; c = torch.load({!r}, map_location='cpu', weights_only=False); "
    "torch.save(c['state_dict'], 'weights.pth')\""
)
"""Leaves the tensors of a trainer's checkpoint, in its owner's environment: it runs what the file holds."""


MAX_INFLATION = 8
"""Size of a file's content in memory over its size. Keras and torch do not compress; tied weights are stored once."""
MAX_CONFIG = 2**24
"""Bytes of a ``.keras`` file's description of its model."""
READ_ERRORS = (OSError, KeyError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error)
"""Exceptions that :mod:`zipfile` raises on damaged files."""


@dataclass(frozen=True)
class ForeignCheckpoint:
    """Tensors by name, where they come from (for messages), and what else the file says of itself."""

    state: Mapping[str, Tensor]
    origin: str
    config: Mapping[str, Any] = field(default_factory=dict)
    """Keras's description of the model; empty for files that have none."""
    version: str | None = None
    """The version of Keras that wrote the file, where it says."""

    def dtype(self) -> torch.dtype:
        """The one floating dtype of the tensors."""
        kinds = {v.dtype for v in self.state.values() if v.is_floating_point()}
        if len(kinds) != 1:
            raise WeightsError(
                f"{self.origin}: expected tensors of one floating dtype, got {sorted(map(str, kinds)) or 'none'}; "
                "convert them with .to(torch.float32)"
            )
        return kinds.pop()


def read(checkpoint: Mapping[str, Any] | str | os.PathLike[str], prefix: str = "") -> ForeignCheckpoint:
    """The tensors of a state dict or a file, those under `prefix` alone when it is given."""
    if isinstance(checkpoint, Mapping):
        found = ForeignCheckpoint(checkpoint, "the given state dict")
    else:
        found = _of_file(checkpoint)
    state, origin = _unwrapped(found.state, found.origin), found.origin
    if not state:
        raise WeightsError(f"{origin} holds no tensors; save model.state_dict() into it")
    state = _tensors(state, origin, None if isinstance(checkpoint, Mapping) else os.stat(checkpoint).st_size)
    if prefix:
        left = [k for k in state if not k.startswith(prefix)]
        state = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        if not state:
            raise WeightsError(f"{origin} has no entry under prefix={prefix!r}; it has {some(left)}")
        if left:
            logger.info("%s: left out, not under prefix=%r: %s", origin, prefix, ", ".join(left))
    for carrier in CARRIERS:
        if all(k.startswith(carrier) for k in state):
            logger.info("%s: %r dropped from the front of every key", origin, carrier)
            state = {k.removeprefix(carrier): v for k, v in state.items()}
    return replace(found, state=state)


def some(names: Iterable[str], most: int = 6) -> str:
    """The first few names, for messages."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _of_file(path: str | os.PathLike[str]) -> ForeignCheckpoint:
    try:
        path = Path(path)
    except TypeError as e:
        raise TypeError(f"checkpoint must be a state dict or a path, got {type(path).__name__}") from e
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; correct the path of the checkpoint")
    if path.stat().st_size == 0:
        raise WeightsError(f"{path} is empty (0 bytes): nothing was saved, or its copy broke off; fetch it anew")
    if path.suffix not in CHECKPOINT_READERS:
        raise WeightsError(
            f"{path}: no reader for {path.suffix or 'a name without suffix'}; known: {', '.join(CHECKPOINT_READERS)}"
        )
    return CHECKPOINT_READERS[path.suffix](path)


def _of_safetensors(path: Path) -> ForeignCheckpoint:
    try:
        return ForeignCheckpoint(safetensors.torch.load_file(path), str(path))
    except safetensors.SafetensorError as e:
        raise WeightsError(f"{path} is not a valid safetensors file ({e}); fetch it anew") from e


def _of_pickle(path: Path) -> ForeignCheckpoint:
    """Reads a file of ``torch.save``, of which only tensors are read and no code is run."""
    is_zip = zipfile.is_zipfile(path)  # older files are a sequence of pickles
    try:
        if is_zip:
            _check_zip(path)
        _check_no_buffers(path)
        # A mapped file cannot claim storages that it does not contain.
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except Exception as e:  # torch raises almost any exception on a damaged pickle
        # torch's own message advises to run whatever the pickle contains.
        needed = re.search(r"GLOBAL (\S+)", str(e))
        why = f"it asks for {needed[1]}" if needed else "it is truncated, damaged or of another format"
        raise WeightsError(
            f"{path} is not a file of plain tensors, and nothing else in a pickle is run: {why}. If the model's own "
            "code is available, load it there and save model.state_dict(); otherwise download the file again. "
            "To strip a trainer's checkpoint that you trust, run this where the packages that wrote it are installed:\n"
            f"{STRIP.format(path.name)}"
        ) from e
    if not isinstance(state, Mapping):
        raise WeightsError(f"{path} holds a {type(state).__name__}, expected a state dict; save model.state_dict()")
    return ForeignCheckpoint(state, str(path))


def _of_hdf5(path: Path) -> ForeignCheckpoint:
    content = read_hdf5(path, str(path))
    config = {} if content.model_config is None else _json(content.model_config, f"{path}: its model_config")
    return ForeignCheckpoint(content.state, str(path), config, content.keras_version)


def _of_keras(path: Path) -> ForeignCheckpoint:
    try:
        _check_zip(path, MAX_INFLATION)
        with zipfile.ZipFile(path) as archive:
            for name, most in (("config.json", MAX_CONFIG), ("metadata.json", MAX_CONFIG)):
                if archive.getinfo(name).file_size > most:
                    raise ValueError(f"its {name} has more than {most} bytes")
            config, about, weights = (archive.read(n) for n in ("config.json", "metadata.json", "model.weights.h5"))
    except READ_ERRORS as e:
        raise WeightsError(
            f"{path} is not a file of Keras's .keras format ({e}); write it with model.save('name.keras')"
        ) from e
    version = _json(about, f"{path}: its metadata.json").get("keras_version")
    state = read_hdf5(io.BytesIO(weights), str(path)).state
    return ForeignCheckpoint(state, str(path), _json(config, f"{path}: its config.json"), version)


def _check_zip(path: Path, inflation: float = 1.0) -> None:
    """Raises ValueError if an archive's members would take more than `inflation` times its own size."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    allowed = {zipfile.ZIP_STORED} | ({zipfile.ZIP_DEFLATED} if inflation > 1 else set())
    if any(member.compress_type not in allowed for member in members):
        raise ValueError("it has members of an unexpected compression")
    if sum(member.file_size for member in members) > inflation * path.stat().st_size:
        raise ValueError(f"its members are more than {inflation:g} times as large as the file")


def _check_no_buffers(path: Path) -> None:
    """Raises ValueError for a pickle that makes a ``bytearray``, of any size that it likes."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content.find(b"\nbytearray\n") >= 0:
            raise ValueError("Unsupported GLOBAL bytearray")


def _json(text: str | bytes, what: str) -> Any:
    """Parses a JSON object."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise WeightsError(f"{what} is not JSON ({e}); save it again with model.save") from e
    if not isinstance(found, dict):
        raise WeightsError(f"{what} is no JSON object but a {type(found).__name__}; save it again with model.save")
    return found


CHECKPOINT_READERS: dict[str, Callable[[Path], ForeignCheckpoint]] = {
    ".safetensors": _of_safetensors,
    **dict.fromkeys((".pt", ".pth", ".ckpt", ".bin"), _of_pickle),
    ".h5": _of_hdf5,
    ".keras": _of_keras,
}
"""How a file is read, by the end of its name."""


def _unwrapped(state: Mapping[str, Any], origin: str) -> Mapping[str, Any]:
    for name in WRAPPERS:
        if isinstance(state.get(name), Mapping):
            beside = [str(k) for k in state if k != name]
            logger.info("%s: the weights are under %r; left out: %s", origin, name, ", ".join(beside) or "nothing")
            return state[name]
    return state


def _tensors(state: Mapping[str, Any], origin: str, file_size: int | None) -> dict[str, Tensor]:
    """Every entry as a finite CPU tensor under a string; what is neither is listed."""
    out: dict[str, Tensor] = {}
    foreign = []
    for key, value in state.items():
        try:
            out[key] = _tensor(key, value)
        except TypeError:
            foreign.append(f"{key!r} ({type(value).__name__})")
    if foreign:
        raise WeightsError(
            f"{origin}: expected names of tensors and nothing else, got {some(foreign)}; pass the state dict itself"
        )
    if file_size is not None and sum(v.nbytes for v in out.values()) > MAX_INFLATION * file_size:
        raise WeightsError(
            f"{origin}: its tensors are more than {MAX_INFLATION} times as large as the file; it is damaged"
        )
    if broken := not_finite(out):
        raise WeightsError(f"{origin}: NaN or Inf in {some(broken)}; these weights are of no use, fetch others")
    return out


def _tensor(key: object, value: Any) -> Tensor:
    """Returns an entry as a plain CPU tensor.

    Raises:
        TypeError: it is neither a dense tensor nor an array of numbers.
    """
    if not isinstance(key, str):
        raise TypeError("a key must be a string")
    if not isinstance(value, Tensor):
        if not hasattr(value, "astype"):
            raise TypeError("expected a tensor or an array")
        kind = "f8" if value.dtype.kind == "f" and value.dtype.itemsize > 8 else value.dtype.newbyteorder("=")
        return torch.from_numpy(value.astype(kind, order="C", copy=not value.flags.writeable))
    if value.layout != torch.strided or value.is_meta or value.is_quantized or value.is_nested:
        raise TypeError("expected a dense tensor with values")
    return value.detach().cpu()
