"""A model as files of a directory: model.safetensors, config.json and, where there is one, README.md."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from timm.models import filter_pretrained_cfg
from torch import Tensor, nn

from .._atomic import atomic_write
from ..models import Weights, WeightsError
from ..pretrained.config import CARD, CONFIG, WEIGHTS_CFG_KEYS, WEIGHTS_FILE
from ..pretrained.meta import build_on_meta, check_arguments
from ..pretrained.registry import entry_points
from ..pretrained.state_dict import FLOATS, not_finite, write_safetensors
from ._records import card_of, record_of


def save_pretrained(model: nn.Module, directory: str | os.PathLike[str], *, dtype: torch.dtype | None = None) -> Path:
    """Saves a model's weights and every argument it was built with, as timm, the Hub and this package read them.

    What a forecast needs beside the weights goes along (``model.preprocessing``), and so does what is claimed of them
    (``model.record``), with its card, as long as the model is what the record says: once it was trained on, built with
    other arguments or given another head, the record's tag, description, data set and metrics are left out.

    Each file is written whole or not at all. The config holds the checksum of the weights: a save that was cut between
    the two is refused when loaded, never mixed.

    Args:
        model: a model that :func:`~convrnn_zoo.create_model` or timm made by a name of the zoo.
        directory: made if it is not there; ``model.safetensors`` and ``config.json`` in it are replaced. In a
            ``README.md`` made by this package the facts between its markers are updated; any other is left alone.
        dtype: of the weights in the file, such as ``torch.bfloat16`` for half its size; as they are by default. The
            model keeps its own. What is loaded works in the dtype of the file unless it is asked for another.

    Returns:
        The directory.

    Raises:
        WeightsError: a model not built by its name, with NaN or Inf in its weights, or beyond the range of `dtype`.
        OSError: the directory cannot be written.

    Example:
        >>> import convrnn_zoo, tempfile
        >>> model = convrnn_zoo.create_model("convgru1d_1layer", hidden_channels=4, num_classes=2)
        >>> with tempfile.TemporaryDirectory() as d:
        ...     same = convrnn_zoo.from_pretrained(convrnn_zoo.save_pretrained(model, d))
        >>> torch.equal(model.head.weight, same.head.weight)
        True
    """
    directory, state = Path(directory).expanduser(), saved_state(model)
    if broken := not_finite(state):
        raise WeightsError(f"{', '.join(broken)} hold NaN or Inf; such weights are not saved; go back to a good step")
    if dtype is not None:
        if dtype not in FLOATS:
            raise TypeError(f"dtype must be one of {', '.join(map(str, FLOATS))}, got {dtype!r}")
        state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}
        if broken := not_finite(state):
            raise WeightsError(f"{', '.join(broken)} hold values beyond the range of {dtype}; take torch.bfloat16")
    config = model_config(model)
    sha256 = write_safetensors(state, directory / WEIGHTS_FILE)
    record = record_of(model, {**config, "weights_sha256": sha256})
    card = directory / CARD
    existing = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else None
    texts = {CONFIG: config_text(config, sha256, record), CARD: card_of(model, record, existing, str(directory))}
    for name, text in texts.items():
        if text is not None:
            with atomic_write(directory / name) as temporary:
                temporary.write_text(text, encoding="utf-8")
    return directory


def saved_state(model: nn.Module) -> dict[str, Tensor]:
    """The weights by the names that the architecture has: ``timm.utils.freeze`` drops the counters of batch norms."""
    state = dict(model.state_dict())
    for name, module in model.named_modules():
        if isinstance(getattr(module, "running_mean", None), Tensor) and not hasattr(module, "num_batches_tracked"):
            state[f"{name}.num_batches_tracked"] = torch.zeros((), dtype=torch.int64)
    return state


def config_text(config: Mapping[str, Any], sha256: str, record: Weights | None = None) -> str:
    """The config.json of a model whose file of weights has this checksum, with the record that holds of it, if any.

    Raises:
        WeightsError: the record holds what no reader would take.
    """
    config = {**config, "weights_sha256": sha256}
    if record is not None:
        config["record"] = record.plain()
        try:
            Weights.from_plain(json.loads(json.dumps(config["record"])))
        except ValueError as e:
            raise WeightsError(f"{record.name} cannot be saved: {e}; correct its record") from e
    elif "tag" in config["pretrained_cfg"]:
        config["pretrained_cfg"] = {k: v for k, v in config["pretrained_cfg"].items() if k not in WEIGHTS_CFG_KEYS}
    return json.dumps(config, indent=2, ensure_ascii=False) + "\n"


def model_config(model: nn.Module) -> dict[str, Any]:
    """What config.json says of a model, from which its architecture builds it again.

    Raises:
        WeightsError: a model that was not built by its name, or changed since so that it cannot be built again.
    """
    known: Mapping[str, Any] | None = getattr(model, "pretrained_cfg", None)
    built: Mapping[str, Any] | None = getattr(model, "model_args", None)
    if not known or built is None or known.get("architecture") not in entry_points():
        raise WeightsError(
            f"this {type(model).__name__} was not built by a name of the zoo, so no config could build it again; make "
            "it with convrnn_zoo.create_model(name, ...) and load_state_dict what it learned"
        )
    name = known["architecture"]
    args = {**built, "num_classes": model.num_classes, "in_chans": model.in_chans}
    if getattr(model, "global_pool", None) is not None:
        args["global_pool"] = model.global_pool
    try:
        args = check_arguments(json.loads(json.dumps(args)), name)
    except TypeError as e:
        raise WeightsError(f"{name}: its arguments cannot be written as JSON ({e}); build it from plain values") from e
    again = build_on_meta(entry_points()[name], args, name)
    if getattr(model, "horizon", None) != getattr(again, "horizon", None):  # which training sets after building
        args["horizon"] = model.horizon
    if {k: v.shape for k, v in again.state_dict().items()} != {k: v.shape for k, v in saved_state(model).items()}:
        raise WeightsError(
            f"{name}: the model was changed after it was built, so {args} would not build it again; make one with the "
            "changed arguments and load_state_dict what it learned"
        )
    cfg = filter_pretrained_cfg(dict(known), remove_source=True, remove_null=True)
    for key in ("architecture", "state_dict", "custom_load", "label_offset"):
        cfg.pop(key, None)
    labels = cfg.pop("label_names", None) if known.get("num_classes") == model.num_classes else None
    values = {k: v.to_json() for k in ("preprocessing", "front_end") if (v := getattr(model, k, None)) is not None}
    cfg.update(num_classes=model.num_classes, input_size=[model.in_chans, *cfg["input_size"][1:]])
    return {
        "architecture": name,
        "num_classes": model.num_classes,
        "num_features": model.num_features,
        **({"label_names": list(labels)} if labels else {}),
        "model_args": args,
        **values,
        "pretrained_cfg": cfg,
    }
