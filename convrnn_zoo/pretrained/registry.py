"""Names: registering them with timm, listing them, and what timm then calls."""

import fnmatch
import inspect
import logging
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import timm
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model, resolve_pretrained_cfg
from timm.models import model_entrypoint as timm_entrypoint
from torch import nn

from .config import HEAD_CFG_KEYS, Config
from .errors import WeightsError
from .loading import OPENERS, Source, find, load, refuse_detours
from .meta import build_on_meta
from .published import PUBLISHED, Published
from .weights import WEIGHTS, Weights

logger = logging.getLogger("convrnn_zoo")

OF_RECORD = ("tag", "description", "origin_url")
"""What a cfg of timm's says of a set of weights."""
_ENTRIES: dict[str, Callable[..., nn.Module]] = {}


def register(
    module: str,
    name: str,
    model: Callable[..., nn.Module],
    *,
    doc: str,
    cfg: dict[str, Any],
    published: Published | None = None,
) -> None:
    """Registers an architecture with timm and the zoo.

    Args:
        module: ``__name__`` of the calling module, by whose last part timm files the name.
        name: the name, such as ``"convlstm2d_bi_2layer"``.
        model: builds the network from keyword arguments.
        doc: what ``help`` says of it.
        cfg: timm's cfg of the architecture without weights, beyond what most have in common; those of its weights come
            from their records.
        published: where others publish weights for it, if they do.

    Raises:
        ValueError: the name belongs to timm, or to another module.
    """
    if timm.is_model(name) and timm_entrypoint(name).__module__ != module:
        taken = timm_entrypoint(name).__module__
        raise ValueError(f"the name {name!r} is taken by {taken}; register {module}'s model under another")

    channels = cfg["input_size"][0]
    usual = {"num_classes": 0, "mean": (0.0,) * channels, "std": (1.0,) * channels}
    cfg = {**usual, "first_conv": (), "classifier": "head", "license": "mit", **cfg}

    def entry(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        return _build(name, model, bare_cfg, pretrained, **kwargs)

    entry.__name__ = entry.__qualname__ = name
    entry.__module__, entry.__doc__ = module, doc
    bare_cfg = {**cfg, "architecture": name}
    if published:
        PUBLISHED[name] = published
    home = sys.modules[module]
    own = sorted((w for w in WEIGHTS.values() if w.architecture == name), key=lambda w: not w.default)  # timm's first
    cfgs: dict[str, Any] = {name: cfg, **{w.name: {**cfg, **w.cfg()} for w in own}}
    home.default_cfgs = {**getattr(home, "default_cfgs", {}), **generate_default_cfgs(cfgs)}  # type: ignore[attr-defined]
    setattr(home, name, entry)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a module that is reloaded takes its own names again
        _ENTRIES[name] = register_model(entry)


def choose_weights(name: str, pretrained: bool | str, pretrained_cfg: Any = None) -> tuple[bool, Any]:
    """Whether an architecture takes weights, and which: ``pretrained="tag"`` names them, True takes the default.

    Raises:
        WeightsError: there are none of that name, or two names were given.
        TypeError: `pretrained` is neither a truth value nor a name.
    """
    if not isinstance(pretrained, bool | str):
        raise TypeError(f"pretrained must be True, False or the tag of weights, got {pretrained!r}")
    own = [w for w in WEIGHTS.values() if w.architecture == name]
    tag = pretrained if isinstance(pretrained, str) else pretrained_cfg if isinstance(pretrained_cfg, str) else None
    if isinstance(pretrained, str) and pretrained_cfg not in (None, "", pretrained):
        other = repr(pretrained_cfg) if isinstance(pretrained_cfg, str) else "weights of its own"
        raise WeightsError(f"{name} came with pretrained={pretrained!r} and {other}; give one of the two")
    if tag is not None and f"{name}.{tag}" not in WEIGHTS:
        having = ", ".join(w.name for w in own) or "none"
        raise WeightsError(f"{name} has no weights {tag!r}; it has: {having}; all: {', '.join(WEIGHTS)}")
    if tag is None and pretrained and not pretrained_cfg and len(own) > 1:
        tag = default_of(own).name.partition(".")[2]
        others = ", ".join(f"pretrained={w.name.partition('.')[2]!r}" for w in own if not w.default)
        logger.info("%s: loading its default weights, %s; others: %s", name, tag, others)
    return pretrained is not False, tag or pretrained_cfg


def default_of(records: Sequence[Weights]) -> Weights:
    """Of the weights of one architecture those that its untagged name takes."""
    return next((w for w in records if w.default), records[0])


def _build(
    name: str,
    model: Callable[..., nn.Module],
    bare_cfg: dict[str, Any],
    pretrained: bool | str,
    pretrained_cfg: Any = None,
    pretrained_cfg_overlay: dict[str, Any] | None = None,
    cache_dir: Any = None,
    source: Source | None = None,
    pretrained_model_args: Any = None,
    **kwargs: Any,
) -> nn.Module:
    """What timm calls, and :func:`build_stored` with the source of an address that was opened."""
    pretrained, pretrained_cfg = choose_weights(name, pretrained, pretrained_cfg)
    if not pretrained and not pretrained_cfg:
        pretrained_cfg = bare_cfg  # without weights, an architecture does not take on the sizes of those it has
    cfg = resolve_pretrained_cfg(name, pretrained_cfg, pretrained_cfg_overlay).to_dict()
    refuse_detours(cfg, name)
    has_config = cfg.get("source") in OPENERS  # which describes its weights, whatever record its tag has the name of
    if source is None and (pretrained or has_config):
        source = find(cfg, name, cache_dir)
    said = source.said if source else Config()
    described = None
    if source and said.args is not None:
        described = build_on_meta(model, said.args, f"the model of {source.origin}")
    values: Config | Weights = said  # which say what the model's numbers mean
    if has_config:
        kwargs = {**(said.args or {}), **kwargs}
    elif record := WEIGHTS.get(f"{name}.{cfg.get('tag')}"):
        kwargs, values = {**record.model_args, **kwargs}, record
    features: dict[str, Any] = {"feature_cls": "getter", "out_indices": kwargs.pop("out_indices", None)}
    untold: set[str] = set()

    def construct(**args: Any) -> nn.Module:
        # Loaded here and not by timm, whose loader reads pickles and is lenient as soon as a head differs.
        try:
            built: Any = load(model, args, source, described) if pretrained and source else model(**args)
        except TypeError as e:
            raise TypeError(f"{e}; {name} takes {_taken(name)}") from e
        unsaved = {"device", "dtype", *getattr(built, "unsaved_args", ())}
        built.model_args = {k: v for k, v in args.items() if k not in unsaved}
        built._model_args = dict(built.model_args)  # for timm's own export
        built.preprocessing = values.preprocessing or getattr(built, "preprocessing", None)  # set by some networks
        ear = values.front_end
        built.front_end = ear if ear and ear.bands == built.in_chans else None
        if said.args not in (None, built.model_args):
            # For another head or other sizes: what was said of the weights is not said of these.
            untold.update(OF_RECORD, () if built.num_classes == cfg["num_classes"] else HEAD_CFG_KEYS)
        elif pretrained:
            built.record = said.record
        if features["out_indices"] is None:
            features["out_indices"] = tuple(range(len(built.feature_info)))
        return built

    made = build_model_with_cfg(construct, name, pretrained=False, pretrained_cfg=cfg, feature_cfg=features, **kwargs)
    for key in untold:
        made.pretrained_cfg.pop(key, None)  # type: ignore[union-attr,operator]
    return made


def _taken(name: str) -> str:
    """The arguments of an architecture and their defaults, as its docstring lists them."""
    doc = (inspect.getdoc(_ENTRIES[name]) or "").partition("Args:")[2].partition("\n\n")[0]
    listed = " ".join(doc.rpartition("its default.")[2].split()).rstrip(".")
    return re.sub(r":\w+:`~?(?:\w+\.)*(\w+)`", r"\1", listed)


def list_models(filter: str = "", pretrained: bool = False) -> list[str]:
    """Names of the zoo's architectures, or with `pretrained` of its weights, that match a shell pattern.

    Example:
        >>> list_models("convgru2d_*")[:2]
        ['convgru2d_1layer', 'convgru2d_2layer']
    """
    names = sorted(WEIGHTS) if pretrained else sorted(_ENTRIES)
    return [n for n in names if fnmatch.fnmatch(n, filter or "*")]


def entry_points() -> dict[str, Callable[..., nn.Module]]:
    """Every registered name with the function that builds it."""
    return dict(_ENTRIES)


def build_stored(stored: Source, pretrained: bool | str = True, **kwargs: Any) -> Any:
    """The model of a repository or a directory, with the caller's arguments in place of the stored ones."""
    said = stored.said
    if said.architecture not in _ENTRIES:
        raise WeightsError(
            f"{stored.origin}: its architecture {said.architecture[:80]!r} is not one of this zoo; "
            "convrnn_zoo.list_models() lists them, and timm.create_model loads timm's own"
        )
    kwargs = {k: v for k, v in kwargs.items() if v is not None}
    return _ENTRIES[said.architecture](pretrained, pretrained_cfg=said.cfg, source=stored, **kwargs)
