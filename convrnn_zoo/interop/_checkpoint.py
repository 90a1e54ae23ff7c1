"""From what a caller has (a state dict, or a file of one of the known kinds) to checked tensors by name."""

import json
import logging
import os
import pickle
import re
import warnings
import zipfile
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
    state = _tensors(state, origin)
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
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the pickle's protocol: it is read, or it is not, and that is said
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, AttributeError, EOFError, KeyError, RuntimeError, ValueError) as e:
        # Torch's own words advise to run whatever the pickle holds.
        asked = re.search(r"GLOBAL (\S+)", str(e))
        why = f"it asks for {asked[1]}" if asked else "it is cut, damaged, or of another kind"
        raise WeightsError(
            f"{path} is not a file of plain tensors, and nothing else in a pickle is run: {why}. Where the model's own "
            "code is at hand, load it there and save model.state_dict(); otherwise fetch the file anew. "
            f"A trainer's checkpoint that you trust is stripped, where the packages that wrote it are installed, by\n"
            f"{STRIP.format(path.name)}"
        ) from e
    if not isinstance(state, Mapping):
        raise WeightsError(f"{path} holds a {type(state).__name__}, expected a state dict; save model.state_dict()")
    return ForeignCheckpoint(state, str(path))


def _of_hdf5(path: Path) -> ForeignCheckpoint:
    content = read_hdf5(path, str(path))
    try:
        config = json.loads(content.attributes.get("model_config", "{}"))
    except ValueError as e:
        raise WeightsError(f"{path}: its model_config is not JSON ({e}); save it anew with model.save") from e
    return ForeignCheckpoint(content.state, str(path), config, content.attributes.get("keras_version"))


def _of_keras(path: Path) -> ForeignCheckpoint:
    try:
        with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as weights:
            config, about = (json.loads(archive.read(name)) for name in ("config.json", "metadata.json"))
            state = read_hdf5(weights, str(path)).state
    except (zipfile.BadZipFile, KeyError, ValueError) as e:
        if isinstance(e, WeightsError):
            raise
        raise WeightsError(
            f"{path} is not a file of Keras's .keras format ({e}); write it with model.save('name.keras')"
        ) from e
    return ForeignCheckpoint(state, str(path), config, about.get("keras_version"))


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


def _tensors(state: Mapping[str, Any], origin: str) -> dict[str, Tensor]:
    """Every entry as a finite CPU tensor under a string; what is neither is listed."""
    out: dict[str, Tensor] = {}
    foreign = []
    for key, value in state.items():
        try:
            if not isinstance(key, str):
                raise TypeError("a key must be a string")
            out[key] = value.detach().cpu() if isinstance(value, Tensor) else torch.from_numpy(value)
        except TypeError:
            foreign.append(f"{key!r} ({type(value).__name__})")
    if foreign:
        raise WeightsError(
            f"{origin}: expected names of tensors and nothing else, got {some(foreign)}; pass the state dict itself"
        )
    if broken := not_finite(out):
        raise WeightsError(f"{origin}: NaN or Inf in {some(broken)}; these weights are of no use, fetch others")
    return out
