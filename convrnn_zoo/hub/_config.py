"""config.json: what a repository or directory says of its model, as timm writes and reads it. Read as a stranger's."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from timm.models import PretrainedCfg
from timm.models._pretrained import filter_pretrained_cfg
from torch import nn

from ..models import WeightsError
from ..models._registry import entry_points
from ..models._sketch import check_stored, sketch

CONFIG, WEIGHTS_FILE, CARD = "config.json", "model.safetensors", "README.md"
_LONGEST = 2**20
_FIELDS = {f.name for f in dataclasses.fields(PretrainedCfg)}


@dataclasses.dataclass(frozen=True)
class Config:
    """What a config.json holds, checked as far as it can be without the model."""

    architecture: str
    cfg: dict[str, Any]
    model_args: dict[str, Any]
    sha256: str | None

    def opened(self, **source: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
        """As the registry's openers give it; `source` says where the weights lie."""
        return self.architecture, {**self.cfg, **source}, self.model_args


def read_config(path: Path, origin: str) -> Config:
    """Reads a config.json.

    Raises:
        WeightsError: not JSON, too long, without an architecture of this zoo, or with what no config should hold.
    """

    def refuse(what: str) -> WeightsError:
        return WeightsError(
            f"{origin}: {what}; this is not a model that this zoo can read. Save it anew with "
            "convrnn_zoo.save_pretrained, or correct the name"
        )

    if not path.is_file():
        raise refuse(f"no {CONFIG}")
    if path.stat().st_size > _LONGEST:
        raise refuse(f"{CONFIG} is longer than {_LONGEST:,} bytes")
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as e:
        raise refuse(f"{CONFIG} is not JSON ({e})") from e
    if not isinstance(raw, dict):
        raise refuse(f"{CONFIG} is not an object but {type(raw).__name__}")
    architecture = raw.get("architecture")
    if not isinstance(architecture, str):
        raise refuse(f"{CONFIG} names no architecture")
    if architecture not in entry_points():
        raise refuse(f"its architecture {architecture[:80]!r} is not one of this zoo (convrnn_zoo.list_models())")
    cfg = raw.get("pretrained_cfg", {})
    if not isinstance(cfg, dict):
        raise refuse("pretrained_cfg is not an object")
    if unknown := sorted(set(cfg) - _FIELDS):
        raise refuse(f"pretrained_cfg has fields that timm does not know: {', '.join(unknown)[:200]}; upgrade timm if "
                     "they are newer than it")  # fmt: skip
    args = check_stored(raw.get("model_args", {}), origin)
    cfg = {**cfg, **{k: raw[k] for k in ("num_classes", "label_names", "label_descriptions") if k in raw}}
    if isinstance(args.get("in_chans"), int) and isinstance(cfg.get("input_size"), list):
        cfg["input_size"] = [args["in_chans"], *cfg["input_size"][1:]]
    sha256 = raw.get("weights_sha256")
    if sha256 is not None and not (isinstance(sha256, str) and len(sha256) == 64):
        raise refuse("weights_sha256 is not a checksum")
    return Config(architecture, cfg, args, sha256)


def model_config(model: nn.Module, sha256: str) -> dict[str, Any]:
    """The config.json of a model, from which its architecture builds it again.

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
        args = check_stored(json.loads(json.dumps(args)), name)
    except TypeError as e:
        raise WeightsError(f"{name}: its arguments cannot be written as JSON ({e}); build it from plain values") from e
    again = sketch(lambda **k: entry_points()[name](**k), args, name).state_dict()
    mine = model.state_dict()
    if {k: v.shape for k, v in again.items()} != {k: v.shape for k, v in mine.items()}:
        raise WeightsError(
            f"{name}: the model was changed after it was built, so {args} would not build it again; make one with the "
            "changed arguments and load_state_dict what it learned"
        )
    cfg = filter_pretrained_cfg(dict(known), remove_source=True, remove_null=True)
    for key in ("architecture", "state_dict", "custom_load", "label_offset"):
        cfg.pop(key, None)
    labels = cfg.pop("label_names", None) if known.get("num_classes") == model.num_classes else None
    cfg.update(num_classes=model.num_classes, input_size=[model.in_chans, *cfg["input_size"][1:]])
    return {
        "architecture": name,
        "num_classes": model.num_classes,
        "num_features": model.num_features,
        **({"label_names": list(labels)} if labels else {}),
        "model_args": args,
        "pretrained_cfg": cfg,
        "weights_sha256": sha256,
    }
