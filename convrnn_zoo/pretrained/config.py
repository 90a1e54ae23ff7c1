"""config.json: what a repository or directory says of its model, as timm writes and reads it. Read as a stranger's."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from timm.models import PretrainedCfg

from .errors import WeightsError
from .log_mel import LogMel
from .meta import check_arguments
from .preprocessing import Preprocessing
from .weights import Weights

HEAD_CFG_KEYS = ("label_names", "label_descriptions")
"""Keys of timm's cfg that describe the outputs of a classifier."""
WEIGHTS_CFG_KEYS = ("tag", "description", "origin_url")
"""Keys of timm's cfg that describe a set of weights."""

CONFIG, WEIGHTS_FILE, CARD = "config.json", "model.safetensors", "README.md"
MAX_TEXT = 2**20
"""Size limit of a text file of a repository in bytes."""
MAX_INPUT = 2**26
"""Limit of the values of one input that a config states, such as a map of 8,192 by 8,192 pixels."""
_DEFAULTS = {f.name: f.default for f in dataclasses.fields(PretrainedCfg)}


@dataclasses.dataclass(frozen=True)
class Config:
    """What is said of weights: by a config.json, checked as far as it can be without the model, or by a record."""

    architecture: str = ""
    cfg: dict[str, Any] = dataclasses.field(default_factory=dict)
    """timm's."""
    args: dict[str, Any] | None = None
    """The arguments of the model; None where nobody says."""
    sha256: str | None = None
    preprocessing: Preprocessing | None = None
    """Of a forecaster."""
    front_end: LogMel | None = None
    """Of a classifier of sound."""
    record: Weights | None = None
    """What is claimed of the weights."""

    @classmethod
    def of(cls, record: Weights, **cfg: Any) -> "Config":
        """What a record says, with entries of `cfg`."""
        facts = (record.sha256, record.preprocessing, record.front_end, record)
        return cls(record.architecture, {**record.cfg(), **cfg}, record.args, *facts)


def read_text(path: Path, name: str) -> str:
    """Reads a small text file.

    Raises:
        WeightsError: it is larger than 1 MiB.
        UnicodeDecodeError: it is not UTF-8.
    """
    if path.stat().st_size > MAX_TEXT:
        raise WeightsError(f"{name}: {path.name} is larger than {MAX_TEXT:,} bytes, which no such file is")
    return path.read_text(encoding="utf-8")


def read_config(path: Path, origin: str) -> Config:
    """Reads a config.json.

    Raises:
        WeightsError: not JSON, too long, without an architecture, contradicting itself, or with what none should hold.
    """

    def refuse(what: str) -> WeightsError:
        return WeightsError(
            f"{origin}: {what}; this is not a model that this zoo can read. Save it anew with "
            "convrnn_zoo.save_pretrained, or correct the name"
        )

    if not path.is_file():
        raise refuse(f"no {CONFIG}")
    try:
        raw = json.loads(read_text(path, origin))
    except (ValueError, RecursionError) as e:
        raise refuse(f"{CONFIG} is not JSON ({e})") from e
    if not isinstance(raw, dict):
        raise refuse(f"{CONFIG} is not an object but {type(raw).__name__}")
    architecture, cfg, sha256 = (raw.get(k) for k in ("architecture", "pretrained_cfg", "weights_sha256"))
    if not isinstance(architecture, str):
        raise refuse(f"{CONFIG} names no architecture")
    if not isinstance(cfg, dict | None):
        raise refuse("pretrained_cfg is not an object")
    if sha256 is not None and not (isinstance(sha256, str) and len(sha256) == 64):
        raise refuse("weights_sha256 is not a checksum")
    cfg = {**(cfg or {}), **{k: raw[k] for k in ("num_classes", "label_names", "label_descriptions") if k in raw}}
    labels = cfg.get("label_names") or []
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise refuse("label_names are not a list of words")
    if unknown := sorted(set(cfg) - set(_DEFAULTS)):
        raise refuse(f"pretrained_cfg has fields that timm does not know: {', '.join(unknown)[:200]}; upgrade timm if "
                     "they are newer than it")  # fmt: skip
    for key, least in (("mean", -math.inf), ("std", 0.0)):
        values = cfg.get(key) or ()
        numbers = isinstance(values, list | tuple) and all(isinstance(v, int | float) for v in values)
        if not numbers or not all(least < v < math.inf for v in values):
            kind = "finite numbers above 0" if key == "std" else "finite numbers"
            raise refuse(f"{key} must be a list of {kind}, got {str(values)[:80]}")
    args = check_arguments(raw.get("model_args", {}), origin)
    size = cfg.get("input_size", _DEFAULTS["input_size"])
    numbers = isinstance(size, list | tuple) and len(size) == 3 and all(type(n) is int and n > 0 for n in size)
    if not numbers or math.prod(size) > MAX_INPUT:
        raise refuse(
            f"input_size must be three positive numbers (C, H, W), at most {MAX_INPUT:,} values, got {size!r:.80}"
        )
    cfg["input_size"] = [args.get("in_chans", size[0]), *size[1:]]
    classes = cfg.get("num_classes", _DEFAULTS["num_classes"])
    claimed = check_arguments({"num_classes": classes, "in_chans": cfg["input_size"][0]}, origin)
    if args.get("num_classes", classes) != classes:
        raise refuse(f"{CONFIG} contradicts itself: {classes} classes, and model_args {args}")
    args = {**args, **claimed, **args}  # in the order of the file
    try:
        preprocessing = Preprocessing.from_json(raw["preprocessing"]) if raw.get("preprocessing") is not None else None
        front_end = LogMel.from_json(raw["front_end"]) if raw.get("front_end") is not None else None
        record = Weights.from_plain(raw["record"]) if raw.get("record") is not None else None
    except ValueError as e:
        raise refuse(f"{CONFIG}: {e}") from e
    if preprocessing is not None and len(preprocessing.mean) not in (0, 1, args["in_chans"]):
        raise refuse(f"{CONFIG} contradicts itself: {args['in_chans']} channels, and {len(preprocessing.mean)} means")
    if front_end is not None and front_end.bands != args["in_chans"]:
        raise refuse(f"{CONFIG} contradicts itself: {args['in_chans']} channels, and {front_end.bands} bands of sound")
    if record is not None:
        said = (record.architecture, record.args, record.sha256, record.preprocessing, record.front_end)
        if said != (architecture, args, sha256, preprocessing, front_end):
            raise refuse(f"{CONFIG} contradicts itself: its record is of another model, {record.name}")
    return Config(architecture, cfg, args, sha256, preprocessing, front_end, record)
