"""config.json: the description of a model in a repository or directory, as timm writes it. It is untrusted input."""

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from timm.models import PretrainedCfg

from .._typed import field, one_line, read
from ..values.log_mel import LogMel
from ..values.preprocessing import Preprocessing
from .errors import WeightsError
from .limits import MAX_INPUT, check_arguments, check_value
from .metadata import LONGEST_NAME, NAME, WeightsMetadata

HEAD_CFG_KEYS = ("label_names", "label_descriptions")
"""Keys of timm's cfg that describe the outputs of a classifier."""
WEIGHTS_CFG_KEYS = ("tag", "description", "origin_url", "license")
"""Keys of timm's cfg that describe a set of weights."""

CONFIG, WEIGHTS_FILE, CARD = "config.json", "model.safetensors", "README.md"
MAX_TEXT = 2**20
"""Size limit of a text file of a repository in bytes."""


@dataclasses.dataclass(frozen=True)
class _Cfg:
    """Fields of timm's pretrained cfg that the zoo reads, with timm's defaults."""

    input_size: tuple[int, int, int] = field(PretrainedCfg.input_size, ge=1)
    mean: tuple[float, ...] | None = PretrainedCfg.mean
    std: tuple[float, ...] | None = field(PretrainedCfg.std, gt=0)
    num_classes: int = PretrainedCfg.num_classes
    label_names: tuple[str, ...] | None = None
    label_descriptions: Mapping[str, str] | tuple[str, ...] | None = None
    first_conv: str | tuple[str, ...] | None = None
    classifier: str | tuple[str, ...] | None = None
    architecture: str | None = None
    tag: str | None = None
    license: str | None = None
    description: str | None = None
    origin_url: str | None = None

    def __post_init__(self) -> None:
        if len(self.mean or ()) != len(self.std or ()):
            raise ValueError(f"mean and std must be of the same channels, got {self.mean} and {self.std}")
        if self.tag and (not NAME.fullmatch(f"name.{self.tag}") or len(self.tag) > LONGEST_NAME):  # also names files
            raise ValueError(
                f"tag must be at most {LONGEST_NAME} letters, digits, _, - and ., got {self.tag[: LONGEST_NAME + 1]!r}"
            )
        if math.prod(self.input_size) > MAX_INPUT:
            raise ValueError(f"input_size must be (C, H, W), at most {MAX_INPUT:,} values, got {self.input_size}")


@dataclasses.dataclass(frozen=True)
class _ConfigFile:
    """Keys of a config.json that the zoo reads."""

    architecture: str
    pretrained_cfg: _Cfg
    model_args: Any = dataclasses.field(default_factory=dict)
    weights_sha256: str | None = None
    preprocessing: Preprocessing | None = None
    front_end: LogMel | None = None
    metadata: Any = None


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


def _names(cls: type[Any]) -> set[str]:
    """Returns the names of the fields of a dataclass."""
    return {f.name for f in dataclasses.fields(cls)}


def parse_config(raw: Any, name: str, fix: str = FIX) -> Config:
    """Checks the content of a config.json, or raises WeightsError, whose message names the model and the fix."""
    if not isinstance(raw, dict):
        raise WeightsError(f"{name}: {CONFIG} must be an object, got {type(raw).__name__}; {fix}")
    cfg = raw.get("pretrained_cfg") or {}
    raw = dict(raw)
    try:
        if isinstance(cfg, dict):
            cfg = {**cfg, **{k: raw[k] for k in ("num_classes", *HEAD_CFG_KEYS) if k in raw}}
            if unknown := cfg.keys() - _names(PretrainedCfg):
                listed = ", ".join(sorted(unknown))[:200]
                raise ValueError(
                    f"pretrained_cfg has fields that timm does not know: {listed}; upgrade it if it is older"
                )
            raw["pretrained_cfg"] = {k: v for k, v in cfg.items() if k in _names(_Cfg)}
            for key in cfg.keys() - _names(_Cfg):
                check_value(f"{name}: pretrained_cfg[{key!r}]", cfg[key])
        file = read(_ConfigFile, {k: v for k, v in raw.items() if k in _names(_ConfigFile)}, CONFIG)
        args = check_arguments(file.model_args, name)
        metadata = None if file.metadata is None else WeightsMetadata.from_plain(file.metadata)
        checked = file.pretrained_cfg
        cfg["architecture"] = file.architecture
        cfg["input_size"] = [args.get("in_chans", checked.input_size[0]), *checked.input_size[1:]]
        stated = check_arguments({"num_classes": checked.num_classes, "in_chans": cfg["input_size"][0]}, name)
        args = {**args, **stated, **args}  # in the order of the file
        contradiction = f"{CONFIG} contradicts itself: {checked.num_classes} classes, and"
        if args["num_classes"] != checked.num_classes:
            raise ValueError(f"{contradiction} model_args {args}")
        if (count := len(checked.label_names or ())) not in (0, checked.num_classes):
            raise ValueError(f"{contradiction} {count} label_names")
        if file.preprocessing is not None:
            sizes = {"out_chans": args["in_chans"], "static_chans": 0, "future_chans": 0, **args}
            names = ("in_chans", "out_chans", "static_chans", "future_chans")
            file.preprocessing.check_channels(*(sizes[name] for name in names))
        if file.front_end is not None and (bands := file.front_end.bands) != args["in_chans"]:
            raise ValueError(f"{CONFIG} contradicts itself: {args['in_chans']} channels, and {bands} bands of audio")
        parts = file.weights_sha256, file.preprocessing, file.front_end, metadata
        config = Config(file.architecture, cfg, args, *parts)
        if metadata is not None and config != dataclasses.replace(Config.of(metadata), cfg=cfg):
            raise ValueError(f"{CONFIG} contradicts itself: its metadata is of another model, {metadata.name}")
    except WeightsError:
        raise
    except ValueError as e:
        problem = one_line(e)
        raise WeightsError(f"{name}: {'' if problem.startswith(CONFIG) else f'{CONFIG}: '}{problem}; {fix}") from e
    return config
