"""From a checkpoint into a model: what is described must be there, what is asked for must fit, all of it or nothing.

Every road takes this order: the described model is drawn on the meta device within the size limit; the file is
found, its size, checksum and header checked; its keys and shapes compared with the description and with the model
asked for; only then is anything allocated, read, found finite and loaded, strictly.
"""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from timm.models._manipulate import adapt_input_conv
from torch import Tensor, nn

from ._errors import WeightsError
from ._safetensors import Checkpoint, from_state, open_file, sha256_of
from ._sketch import check_stored, sketch
from ._weights import WEIGHTS, Weights

__all__ = ["SOURCES", "WeightsError", "choose_dtype", "describe", "find", "load_into", "load_weights", "sha256_of"]

logger = logging.getLogger("convrnn_zoo")

Locate = Callable[[dict[str, Any], Any, Weights | None], Checkpoint]
SOURCES: dict[str, Locate] = {}
"""Where weights may come from besides the package, by timm's name of the source: ``(cfg, cache_dir, record)`` to the
checkpoint. The Hub's client adds itself here."""


# ---- finding ---------------------------------------------------------------------------------------------------
def refuse_detours(cfg: Mapping[str, Any], name: str) -> None:
    """A cfg may say where the weights lie, and nothing of how they are to be read."""
    wrong = [k for k in ("custom_load", "hf_hub_filename", "url") if cfg.get(k)]
    if cfg.get("source") in SOURCES:
        wrong += [k for k in ("state_dict", "label_offset") if cfg.get(k)]
    if wrong:
        raise WeightsError(
            f"{cfg.get('hf_hub_id') or cfg.get('file') or name}: its config sets {', '.join(wrong)}, by which weights "
            "could be read from elsewhere or otherwise; this zoo reads model.safetensors as it is. Remove them, or "
            "save the model anew with convrnn_zoo.save_pretrained"
        )


def describe(cfg: Mapping[str, Any], name: str, stored: Any, record: Weights | None) -> dict[str, Any] | None:
    """The arguments of the model that the weights claim to be, or None for a file that nobody describes."""
    if cfg.get("source") in SOURCES:
        what = str(cfg.get("hf_hub_id") or cfg.get("file"))
        args = check_stored(stored or {}, what)
        size = cfg["input_size"]
        if not isinstance(size, list | tuple) or len(size) != 3:
            raise WeightsError(f"{what}: input_size must be three numbers (C, H, W), got {size!r}; save it anew")
        claimed = check_stored({"num_classes": cfg["num_classes"], "in_chans": size[0]}, what)
        if any(args.get(k, v) != v for k, v in claimed.items()):
            raise WeightsError(f"{what}: config.json contradicts itself: {claimed}, model_args {args}; save it anew")
        return {**claimed, **args}
    if record is not None and (cfg.get("file") in (None, str(record.file))):
        return {"in_chans": record.in_chans, "num_classes": record.num_classes, **record.model_args}
    return None


def find(cfg: dict[str, Any], name: str, cache_dir: Any, record: Weights | None) -> Checkpoint:
    """The checkpoint that a resolved cfg points to, by the one road of its source."""
    if cfg.get("source") in SOURCES:
        return SOURCES[cfg["source"]](cfg, cache_dir, None)
    if cfg.get("state_dict"):
        return from_state(cfg["state_dict"], "the given state_dict")
    if cfg.get("file"):
        path = Path(cfg["file"])
        mine = next((w for w in WEIGHTS.values() if w.file == path), None)
        return open_file(path, mine.name if mine else str(path), mine.sha256 if mine else None)
    if cfg.get("hf_hub_id") and "hf-hub" in SOURCES:
        return SOURCES["hf-hub"](cfg, cache_dir, record)
    having = ", ".join(WEIGHTS) or "none yet"
    raise WeightsError(f"{name} has no pretrained weights; pass pretrained=False, or use one that has: {having}")


# ---- fitting ---------------------------------------------------------------------------------------------------
def fit_input(state: dict[str, Tensor], model: nn.Module) -> list[str]:
    """Adapts the first layer's input weights to the model's `in_chans`, by timm's rule for image models."""
    target, notes = model.state_dict(), []
    for key in model.input_weights():  # type: ignore[operator]
        old = state.get(key)
        if old is None or old.dim() < 2 or old.dim() != target[key].dim() or old.shape[1] == target[key].shape[1]:
            continue
        flat = old.reshape(*old.shape[:2], -1, 1)  # timm's rule is for 4-D weights: one spatial axis is enough
        new = adapt_input_conv(target[key].shape[1], flat, base_chans=old.shape[1])
        state[key] = new.reshape(*new.shape[:2], *old.shape[2:])
        notes.append(f"{key} adapted from {old.shape[1]} to {new.shape[1]} input channels")
    return notes


def fit_head(state: dict[str, Tensor], model: nn.Module) -> list[str]:
    """Leaves the model's own fresh head in place where its number of classes is another, and says so."""
    target = model.state_dict()
    head = [k for k in {*state, *target} if k.startswith("head.")]
    if all(k in state and k in target and state[k].shape == target[k].shape for k in head):
        return []
    had = len(state["head.weight"]) if "head.weight" in state and state["head.weight"].dim() else 0
    wants = len(target["head.weight"]) if "head.weight" in target else 0
    if had == wants:
        return []  # not a matter of classes: the comparison will name it
    for key in head:
        state.pop(key, None)
        if key in target:
            state[key] = target[key]
    if not wants:
        return []
    return [f"the weights have {had} classes and the model {wants}: its head is random, train it before use"]


def compare(state: Mapping[str, Tensor], model: nn.Module, origin: str, exact: bool) -> None:
    """Every key, shape and, if `exact`, dtype must agree; what does not is listed."""
    target = model.state_dict()
    both = [(k, state[k], v) for k, v in target.items() if k in state]
    faults = {
        "missing": [k for k in target if k not in state],
        "unexpected": [k for k in state if k not in target],
        "of another shape": [f"{k} {tuple(s.shape)} for {tuple(v.shape)}" for k, s, v in both if s.shape != v.shape],
        "of another kind": [f"{k} {s.dtype} for {v.dtype}" for k, s, v in both if not _holds(v.dtype, s.dtype, exact)],
    }
    if any(faults.values()):
        listed = "; ".join(f"{what}: {', '.join(map(str, keys))}" for what, keys in faults.items() if keys)
        raise WeightsError(
            f"{origin} does not fit {type(model).__name__}: {listed}. Build the model as the weights were made "
            "(see `convrnn-zoo info`, or the config.json beside them), or pass pretrained=False"
        )


def _holds(dtype: torch.dtype, value: torch.dtype, exact: bool) -> bool:
    if dtype.is_floating_point and value.is_floating_point:
        return not exact or torch.promote_types(dtype, value) == dtype
    return dtype == value


# ---- loading ---------------------------------------------------------------------------------------------------
def choose_dtype(
    build: Callable[..., nn.Module], args: dict[str, Any], described: dict[str, Any] | None, weights: Checkpoint
) -> dict[str, Any]:
    """Compares without allocating, and gives `args` with the dtype of the weights where the caller named none."""
    what = f"the model of {weights.origin}"
    if described is not None:
        compare(weights.header, sketch(build, {"dtype": weights.dtype, **described}, what), weights.origin, exact=True)
    asked = args.get("dtype")
    args = {**args, "dtype": asked or weights.dtype}
    target, state = sketch(build, args, what), dict(weights.header)
    fit_input(state, target)
    fit_head(state, target)
    compare(state, target, weights.origin, exact=asked is None)
    return args


def load_into(model: nn.Module, weights: Checkpoint, exact: bool = False) -> None:
    """Loads into a model that the weights were compared with; on an error the model is as it was."""
    state = weights.read()
    for note in fit_input(state, model):
        logger.info("%s: %s", weights.origin, note)
    for note in fit_head(state, model):
        logger.warning("%s: %s", weights.origin, note)
    compare(state, model, weights.origin, exact)
    model.load_state_dict(state, strict=True)


def load_weights(model: nn.Module, path: str | Path) -> nn.Module:
    """Loads a safetensors file into a model: every key, shape and value checked, all of it or nothing.

    Args:
        model: a model of the zoo, built as the weights were made.
        path: the ``.safetensors`` file.

    Raises:
        WeightsError: a file that is not safetensors, is damaged, does not fit, or holds NaN or Inf.

    Example:
        >>> import convrnn_zoo, pathlib, tempfile
        >>> model = convrnn_zoo.create_model("convgru1d_1layer", hidden_channels=4)
        >>> with tempfile.TemporaryDirectory() as d:
        ...     _ = convrnn_zoo.save_pretrained(model, d)
        ...     _ = load_weights(model, pathlib.Path(d) / "model.safetensors")
    """
    weights = open_file(Path(path), str(path))
    compare(weights.header, model, weights.origin, exact=True)
    load_into(model, weights, exact=True)
    return model


def record_of(name: str, tag: str | None) -> Weights | None:
    """The record of ``name.tag``, if the package has one."""
    return WEIGHTS.get(f"{name}.{tag}") if tag else None
