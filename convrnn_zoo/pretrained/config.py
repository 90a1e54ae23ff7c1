"""config.json: the description of a model in a repository or directory, as timm writes it. It is untrusted input."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from timm.models import PretrainedCfg

from .._typed import CONTROL, one_line
from ..values.log_mel import LogMel
from ..values.preprocessing import Preprocessing
from .errors import WeightsError
from .limits import MAX_INPUT, check_arguments
from .metadata import WeightsMetadata

HEAD_CFG_KEYS = ("label_names", "label_descriptions")
"""Keys of timm's cfg that describe the outputs of a classifier."""
WEIGHTS_CFG_KEYS = ("tag", "description", "origin_url", "license")
"""Keys of timm's cfg that describe a set of weights."""

CONFIG, WEIGHTS_FILE, CARD = "config.json", "model.safetensors", "README.md"
MAX_TEXT = 2**20
"""Size limit of a text file of a repository in bytes."""
_DEFAULTS = {f.name: f.default for f in dataclasses.fields(PretrainedCfg)}


@dataclasses.dataclass(frozen=True)
class Config:
    """Description of a model and its weights, read from a config.json or from the metadata of the weights."""

    architecture: str = ""
    cfg: dict[str, Any] = dataclasses.field(default_factory=dict)
    """timm's pretrained cfg."""
    args: dict[str, Any] | None = None
    """Arguments of the model; None if they are unknown."""
    sha256: str | None = None
    preprocessing: Preprocessing | None = None
    front_end: LogMel | None = None
    metadata: WeightsMetadata | None = None
    """Metadata of the weights."""

    @classmethod
    def of(cls, metadata: WeightsMetadata, **cfg: Any) -> "Config":
        """Returns the config for weights with this metadata; keyword arguments replace fields of timm's cfg."""
        values = (metadata.sha256, metadata.preprocessing, metadata.front_end, metadata)
        return cls(metadata.architecture, {**metadata.cfg(), **cfg}, metadata.args, *values)


def read_text(path: Path, name: str) -> str:
    """Reads a UTF-8 file. Raises WeightsError above 1 MiB, and UnicodeDecodeError for another character encoding."""
    if path.stat().st_size > MAX_TEXT:
        raise WeightsError(f"{name}: {path.name} is larger than {MAX_TEXT:,} bytes, expected a small text file")
    return path.read_text(encoding="utf-8")


FIX = "the zoo cannot read this model. Save it again with convrnn_zoo.save_pretrained, or correct the name"


def read_config(path: Path, name: str) -> Config:
    """Reads the config.json of a directory or repository `name`, or raises WeightsError for invalid values."""
    if not path.is_file():
        raise WeightsError(f"{name}: no {CONFIG}; {FIX}")
    try:
        raw = json.loads(read_text(path, name))
    except (ValueError, RecursionError) as e:
        raise WeightsError(f"{name}: {CONFIG} is not JSON ({e}); {FIX}") from e
    return parse_config(raw, name)


def parse_config(raw: Any, name: str, fix: str = FIX) -> Config:
    """Checks the content of a config.json, or raises WeightsError, whose message names the model and the fix."""

    def error(problem: str) -> WeightsError:
        return WeightsError(f"{name}: {problem}; {fix}")

    def require(condition: object, problem: str) -> None:
        if not condition:
            raise error(problem)

    require(isinstance(raw, dict), f"{CONFIG} must be an object, got {type(raw).__name__}")
    architecture, cfg, sha256 = (raw.get(k) for k in ("architecture", "pretrained_cfg", "weights_sha256"))
    require(isinstance(architecture, str), f"{CONFIG} names no architecture")
    require(isinstance(cfg, dict | None), "pretrained_cfg is not an object")
    is_checksum = sha256 is None or (isinstance(sha256, str) and len(sha256) == 64)
    require(is_checksum, "weights_sha256 is not a checksum")
    cfg = {**(cfg or {}), **{k: raw[k] for k in ("num_classes", *HEAD_CFG_KEYS) if k in raw}}
    labels = cfg.get("label_names") or []
    are_words = isinstance(labels, list) and all(isinstance(label, str) for label in labels)
    require(are_words, "label_names are not a list of words")
    require(not any(CONTROL.search(label) for label in labels), "label_names contain control characters")
    unknown = ", ".join(sorted(set(cfg) - set(_DEFAULTS)))[:200]
    require(not unknown, f"pretrained_cfg has fields that timm does not know: {unknown}; upgrade it if it is older")
    for key, minimum, expected in (("mean", -math.inf, "finite numbers"), ("std", 0.0, "finite numbers above 0")):
        values = cfg.get(key) or ()
        numbers = isinstance(values, list | tuple) and all(isinstance(v, int | float) for v in values)
        is_valid = numbers and all(minimum < v < math.inf for v in values)
        require(is_valid, f"{key} must be a list of {expected}, got {str(values)[:80]}")
    lengths = [len(cfg.get(key) or ()) for key in ("mean", "std")]
    require(lengths[0] == lengths[1], f"mean and std must be of the same channels, got {lengths[0]} and {lengths[1]}")
    for key in ("first_conv", "classifier"):
        modules = cfg.get(key) or ()
        are_names = isinstance(modules, str) or (
            isinstance(modules, list | tuple) and all(isinstance(module, str) for module in modules)
        )
        require(are_names, f"{key} must be the name of a module or a list of names, got {str(modules)[:80]}")
    args = check_arguments(raw.get("model_args", {}), name)
    size = cfg.get("input_size", _DEFAULTS["input_size"])
    numbers = isinstance(size, list | tuple) and len(size) == 3 and all(type(n) is int and n > 0 for n in size)
    limit = f"three positive numbers (C, H, W), at most {MAX_INPUT:,} values"
    require(numbers and math.prod(size) <= MAX_INPUT, f"input_size must be {limit}, got {size!r:.80}")
    cfg["input_size"] = [args.get("in_chans", size[0]), *size[1:]]
    classes = cfg.get("num_classes", _DEFAULTS["num_classes"])
    stated = check_arguments({"num_classes": classes, "in_chans": cfg["input_size"][0]}, name)
    contradiction = f"{CONFIG} contradicts itself: {classes} classes, and"
    require(args.get("num_classes", classes) == classes, f"{contradiction} model_args {args}")
    require(len(labels) in (0, classes), f"{contradiction} {len(labels)} label_names")
    args = {**args, **stated, **args}  # in the order of the file
    raw = {"metadata": raw.get("record"), **raw}  # the key of earlier versions
    readers = {
        "preprocessing": Preprocessing.from_json,
        "front_end": LogMel.from_json,
        "metadata": WeightsMetadata.from_plain,
    }
    try:
        parts: Any = {k: None if raw.get(k) is None else read(raw[k]) for k, read in readers.items()}
        preprocessing, front_end, metadata = parts.values()
        if preprocessing is not None:
            sizes = {"out_chans": args["in_chans"], "static_chans": 0, "future_chans": 0, **args}
            names = ("in_chans", "out_chans", "static_chans", "future_chans")
            preprocessing.check_channels(*(sizes[name] for name in names))
    except ValueError as e:
        raise error(f"{CONFIG}: {one_line(e)}") from e
    if front_end is not None and front_end.bands != args["in_chans"]:
        raise error(f"{CONFIG} contradicts itself: {args['in_chans']} channels, and {front_end.bands} bands of audio")
    config = Config(architecture, cfg, args, sha256, preprocessing, front_end, metadata)
    if metadata is not None and config != dataclasses.replace(Config.of(metadata), cfg=cfg):
        raise error(f"{CONFIG} contradicts itself: its metadata is of another model, {metadata.name}")
    return config
