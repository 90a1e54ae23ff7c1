"""From a safetensors file into a model: the checksum, the keys and shapes, the values. Nothing else is ever read."""

import hashlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from timm.models._manipulate import adapt_input_conv
from torch import Tensor, nn

from ._weights import WEIGHTS, Weights

logger = logging.getLogger("convrnn_zoo")


class WeightsError(RuntimeError, ValueError):
    """Weights that are missing, broken, or not of this model."""


def sha256_of(path: Path) -> str:
    """The checksum of a file, as a record states it."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def read_safetensors(path: Path, sha256: str | None = None) -> dict[str, Tensor]:
    """The tensors of a file, after its checksum and with every value finite."""
    if path.suffix != ".safetensors":
        raise WeightsError(f"{path}: weights are read from .safetensors files only; convert it with safetensors")
    if not path.is_file():
        raise WeightsError(f"{path}: no such file of weights; reinstall the package or correct the path")
    if sha256 is not None and (got := sha256_of(path)) != sha256:
        raise WeightsError(f"{path}: sha256 is {got}, expected {sha256}: the file is damaged; fetch or install it anew")
    try:
        state = safetensors.torch.load_file(path)
    except safetensors.SafetensorError as e:
        raise WeightsError(f"{path}: not a sound safetensors file ({e}); fetch it anew") from e
    for key, value in state.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise WeightsError(f"{path}: {key} holds NaN or Inf; these weights are of no use, fetch others")
    return state


def fit_input(state: dict[str, Tensor], model: nn.Module, origin: str) -> None:
    """Adapts the first layer's input weights to the model's `in_chans`, by timm's rule for image models."""
    target = model.state_dict()
    for key in model.input_weights():  # type: ignore[operator]
        old = state.get(key)
        if old is None or old.dim() != target[key].dim() or old.shape[1] == target[key].shape[1]:
            continue
        flat = old.reshape(*old.shape[:2], -1, 1)  # timm's rule is for 4-D weights: one spatial axis is enough
        new = adapt_input_conv(target[key].shape[1], flat, base_chans=old.shape[1])
        state[key] = new.reshape(*new.shape[:2], *old.shape[2:])
        logger.info("%s: %s adapted from %d to %d input channels", origin, key, old.shape[1], new.shape[1])


def fit_head(state: dict[str, Tensor], model: nn.Module, origin: str) -> None:
    """Leaves the model's own fresh head in place where its number of classes is another, and says so."""
    target = model.state_dict()
    head = [k for k in {*state, *target} if k.startswith("head.")]
    if all(k in state and k in target and state[k].shape == target[k].shape for k in head):
        return
    had = len(state["head.weight"]) if "head.weight" in state else 0
    wants = len(target["head.weight"]) if "head.weight" in target else 0
    if had == wants:
        return  # not a matter of classes: the strict load will name it
    if wants:
        logger.warning(
            "%s: the weights have %d classes and the model %d: its head starts from random values, train it before use",
            origin, had, wants,
        )  # fmt: skip
    for key in head:
        state.pop(key, None)
        if key in target:
            state[key] = target[key]


def load_strictly(model: nn.Module, state: Mapping[str, Tensor], origin: str) -> None:
    """Every key and shape must agree; what does not is listed, and the model is left as it was."""
    target = model.state_dict()
    faults = {
        "missing": [k for k in target if k not in state],
        "unexpected": [k for k in state if k not in target],
        "of another shape": [
            f"{k} {tuple(state[k].shape)} for {tuple(v.shape)}"
            for k, v in target.items()
            if k in state and state[k].shape != v.shape
        ],
        "of another kind": [
            f"{k} {state[k].dtype}"
            for k, v in target.items()
            if k in state and state[k].is_floating_point() != v.is_floating_point()
        ],
    }
    if any(faults.values()):
        listed = "; ".join(f"{what}: {', '.join(keys)}" for what, keys in faults.items() if keys)
        raise WeightsError(
            f"{origin} does not fit {type(model).__name__}: {listed}. Build the model as the weights were made "
            "(see `convrnn-zoo info`), or pass pretrained=False"
        )
    model.load_state_dict(dict(state), strict=True)


Fetch = Callable[[dict[str, Any], Any], tuple[dict[str, Tensor], str]]
SOURCES: dict[str, Fetch] = {}
"""Where weights may come from besides the package, by timm's name of the source: ``(cfg, cache_dir)`` to the tensors
and words for their origin. The Hub's client adds itself here."""


def fetch(cfg: dict[str, Any], name: str, cache_dir: Any) -> tuple[dict[str, Tensor], str]:
    """The tensors that a resolved cfg points to, by the one road of its source."""
    if cfg.get("source") in SOURCES:
        return SOURCES[cfg["source"]](cfg, cache_dir)
    if cfg.get("state_dict"):
        return dict(cfg["state_dict"]), "the given state_dict"
    if cfg.get("file"):
        path = Path(cfg["file"])
        record = next((w for w in WEIGHTS.values() if w.file == path), None)
        return read_safetensors(path, record.sha256 if record else None), record.name if record else str(path)
    if cfg.get("hf_hub_id") and "hf-hub" in SOURCES:
        return SOURCES["hf-hub"](cfg, cache_dir)
    having = ", ".join(WEIGHTS) or "none yet"
    raise WeightsError(f"{name} has no pretrained weights; pass pretrained=False, or use one that has: {having}")


def load_pretrained_weights(model: nn.Module, cfg: dict[str, Any], name: str, cache_dir: Any) -> None:
    """Loads what `cfg` points to into `model`, adapting input channels and head, strict in all else."""
    state, origin = fetch(cfg, name, cache_dir)
    fit_input(state, model, origin)
    fit_head(state, model, origin)
    load_strictly(model, state, origin)


def record_of(name: str, tag: str | None) -> Weights | None:
    """The record of ``name.tag``, if the package has one."""
    return WEIGHTS.get(f"{name}.{tag}") if tag else None
