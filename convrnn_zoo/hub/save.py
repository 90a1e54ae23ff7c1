"""Saving a model to a directory: model.safetensors, config.json and, for weights with metadata, README.md."""

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from timm.models import filter_pretrained_cfg
from torch import Tensor, nn

from .._atomic import write_bytes, write_text
from .._hints import some
from ..layers._base import Equations
from ..pretrained.config import CARD, CONFIG, WEIGHTS_CFG_KEYS, WEIGHTS_FILE, parse_config
from ..pretrained.errors import WeightsError
from ..pretrained.limits import build_on_meta, check_arguments
from ..pretrained.metadata import WeightsMetadata
from ..pretrained.registry import entry_points
from ..pretrained.state_dict import FLOATS, float_dtype, not_finite, to_safetensors, uncompiled
from .cards import describes_other_weights, valid_metadata, weights_card

logger = logging.getLogger("convrnn_zoo")


def save_pretrained(model: nn.Module, directory: str | os.PathLike[str], *, dtype: torch.dtype | None = None) -> Path:
    """Saves a model's weights and arguments in the format of timm and the Hub, and returns the directory.

    ``model.preprocessing`` and ``model.front_end`` are saved too. The metadata of the weights (``model.metadata``) and
    their card are saved only if they still apply: not after further training or with other arguments.

    Each file is written atomically. The config holds the checksum of the weights. So after an interrupted
    save, weights and config of different saves are not loaded together.

    Args:
        model: a model that :func:`~convrnn_zoo.create_model` or timm built by a name of the zoo.
        directory: created if it does not exist. Its ``model.safetensors`` and ``config.json`` are replaced. An
            existing ``README.md`` is kept, with a warning if it describes other weights.
        dtype: dtype of the saved weights, such as ``torch.bfloat16`` for half the size; by default that of the model.
            The model does not change. By default a model is loaded in the dtype of its file.

    Raises:
        WeightsError: the model was not built by its name or was changed, its attributes contradict each other, or its
            weights hold NaN or Inf, exceed the range of `dtype`, have dtypes that are loaded as a narrower one, or are
            on the meta device.
        TypeError: `dtype` is not float64, float32, float16 or bfloat16.
        OSError: the directory cannot be written, is a file, or has a ``config.json`` of something else than a model.

    Example:
        >>> import convrnn_zoo, tempfile
        >>> model = convrnn_zoo.create_model("convgru1d_1layer", hidden_channels=4, num_classes=2)
        >>> with tempfile.TemporaryDirectory() as d:
        ...     same = convrnn_zoo.from_pretrained(convrnn_zoo.save_pretrained(model, d))
        >>> torch.equal(model.head.weight, same.head.weight)
        True
    """
    model = uncompiled(model)
    directory, state = Path(directory).expanduser(), saved_state(model)
    if any(v.is_meta for v in state.values()):
        raise WeightsError(f"this {type(model).__name__} is on the meta device and has no weights; load some first")
    if broken := not_finite(state):
        raise WeightsError(f"{', '.join(broken)} hold NaN or Inf and cannot be saved; load an earlier checkpoint")
    if dtype is not None:
        if dtype not in FLOATS:
            raise TypeError(f"dtype must be one of {', '.join(map(str, FLOATS))}, got {dtype!r}")
        state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}
        if broken := not_finite(state):
            raise WeightsError(f"{', '.join(broken)} hold values beyond the range of {dtype}; use torch.bfloat16")
    loaded = float_dtype(state)
    if wider := [k for k, v in state.items() if v.dtype in FLOATS and torch.promote_types(v.dtype, loaded) != loaded]:
        raise WeightsError(f"{some(wider)} would be rounded to {loaded} on loading; pass dtype= or convert the model")
    config, path = model_config(model), directory / CARD
    stated: Any = getattr(model, "metadata", None)
    origin = stated and stated.origin
    content, config["weights_sha256"] = to_safetensors(state, origin)
    metadata = valid_metadata(model, config)
    if origin and metadata is None:  # the weights have changed
        content, config["weights_sha256"] = to_safetensors(state)
    text, fix = config_text(config, metadata), "correct the attributes of the model"
    parse_config(json.loads(text), f"this {type(model).__name__} cannot be saved", fix)
    check_replaceable(directory)
    write_bytes(directory / WEIGHTS_FILE, content)
    write_text(directory / CONFIG, text)
    if path.is_file():
        if describes_other_weights(path.read_text(encoding="utf-8", errors="replace"), config["weights_sha256"]):
            logger.warning("%s describes other weights and is kept; correct it, or remove it and save again", path)
    elif metadata is not None:
        write_text(path, weights_card(metadata, str(directory)))
    return directory


def check_replaceable(directory: Path) -> None:
    """Raises FileExistsError if a path is a file, or a directory with a ``config.json`` of something else."""
    if directory.is_file():
        raise FileExistsError(f"{directory} is a file; pass a directory")
    file = directory / CONFIG
    if file.is_file():
        try:
            config = json.loads(file.read_text(encoding="utf-8", errors="replace"))
        except ValueError:
            config = None
        if not isinstance(config, dict) or "architecture" not in config:
            raise FileExistsError(f"{file} is not of a model, and would be replaced; choose another directory")


def saved_state(model: nn.Module) -> dict[str, Tensor]:
    """Returns the state dict of a model, with the counters of batch norms that ``timm.utils.freeze`` has removed."""
    state = dict(model.state_dict())
    for name, module in model.named_modules():
        if isinstance(getattr(module, "running_mean", None), Tensor) and not hasattr(module, "num_batches_tracked"):
            state[f"{name}.num_batches_tracked"] = torch.zeros((), dtype=torch.int64)
    return state


def config_text(config: Mapping[str, Any], metadata: WeightsMetadata | None = None) -> str:
    """Returns the text of config.json: a :func:`model_config` with checksum, and the metadata of the weights if any."""
    config = dict(config)
    if metadata is not None:
        config["metadata"] = metadata.plain()
    elif "tag" in config["pretrained_cfg"]:
        config["pretrained_cfg"] = {k: v for k, v in config["pretrained_cfg"].items() if k not in WEIGHTS_CFG_KEYS}
    return json.dumps(config, indent=2, ensure_ascii=False) + "\n"


def _rebuild(name: str, args: Mapping[str, Any]) -> tuple[dict[str, Any], nn.Module]:
    """Returns the arguments as a config stores them, and the model that they build, on the meta device."""
    try:
        args = check_arguments(json.loads(json.dumps(args)), name)
    except TypeError as e:
        raise WeightsError(f"{name}: its arguments cannot be written as JSON ({e}); build it from plain values") from e
    return args, build_on_meta(entry_points()[name], args, name)


def _layer_options(model: nn.Module) -> dict[str, Any]:
    """Returns the options of the recurrent layers on which the outputs in evaluation depend."""
    layers = {name: module for name, module in model.named_modules() if isinstance(module, Equations)}
    return {
        f"{name}.{option}": value
        for name, layer in layers.items()
        for option, value in layer.changed_options().items()
        if option not in ("dropout", "variational_dropout")
    }


def model_config(model: nn.Module) -> dict[str, Any]:
    """Returns the config from which the model can be built again, or raises WeightsError."""
    cfg: Mapping[str, Any] | None = getattr(model, "pretrained_cfg", None)
    built_with: Mapping[str, Any] | None = getattr(model, "model_args", None)
    if not cfg or built_with is None or cfg.get("architecture") not in entry_points():
        hint = "build it with convrnn_zoo.create_model(name, ...) and load its weights with load_state_dict"
        hint = "pass its module" if isinstance(getattr(model, "module", None), nn.Module) else hint
        raise WeightsError(f"this {type(model).__name__} was not built by a name of the zoo; {hint}")
    name = cfg["architecture"]
    args, rebuilt = _rebuild(name, {**built_with, "num_classes": model.num_classes, "in_chans": model.in_chans})
    keys = ("global_pool", "horizon", "max_memories")  # may be set after building, as training does
    if new := {k: getattr(model, k) for k in keys if getattr(model, k, None) != getattr(rebuilt, k, None)}:
        args, rebuilt = _rebuild(name, {**args, **new})
    shapes, rebuilt_shapes = ({k: v.shape for k, v in saved_state(m).items()} for m in (model, rebuilt))
    if shapes != rebuilt_shapes or _layer_options(model) != _layer_options(rebuilt):
        hint = "build one with the new arguments and load its weights with load_state_dict"
        raise WeightsError(f"{name}: the model was changed and {args} would not build it again; {hint}")
    saved_cfg = filter_pretrained_cfg(dict(cfg), remove_source=True, remove_null=True)
    for key in ("architecture", "state_dict", "custom_load", "label_offset"):
        saved_cfg.pop(key, None)
    labels = saved_cfg.pop("label_names", None) if cfg.get("num_classes") == model.num_classes else None
    saved_cfg.update(num_classes=model.num_classes, input_size=[model.in_chans, *saved_cfg["input_size"][1:]])
    values = {k: v.to_json() for k in ("preprocessing", "front_end") if (v := getattr(model, k, None)) is not None}
    return {
        "architecture": name,
        "num_classes": model.num_classes,
        "num_features": model.num_features,
        **({} if labels is None or not len(labels) else {"label_names": list(labels)}),
        "model_args": args,
        **values,
        "pretrained_cfg": saved_cfg,
    }
