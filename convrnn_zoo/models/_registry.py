"""Names: registering them with timm, listing them, and building by them."""

import difflib
import fnmatch
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model, resolve_pretrained_cfg
from timm.models import model_entrypoint as timm_entrypoint
from torch import nn

from ._errors import WeightsError
from ._loading import SOURCES, choose_dtype, describe, find, load_into, load_weights, record_of, refuse_detours
from ._sketch import sketch
from ._weights import WEIGHTS

_ENTRIES: dict[str, Callable[..., nn.Module]] = {}


def register(module: str, name: str, model: Callable[..., nn.Module], *, doc: str, cfg: dict[str, Any]) -> None:
    """Registers an architecture with timm and the zoo.

    Args:
        module: ``__name__`` of the calling module, by whose last part timm files the name.
        name: the name, such as ``"convlstm2d_bi_2layer"``.
        model: builds the network from keyword arguments.
        doc: what ``help`` says of it.
        cfg: timm's cfg of the architecture without weights; those of its weights come from their records.

    Raises:
        ValueError: the name belongs to timm, or to another module.
    """
    if timm.is_model(name) and timm_entrypoint(name).__module__ != module:
        taken = timm_entrypoint(name).__module__
        raise ValueError(f"the name {name!r} is taken by {taken}; register {module}'s model under another")

    def entry(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        return _build(name, model, plain, pretrained, **kwargs)

    entry.__name__ = entry.__qualname__ = name
    entry.__module__, entry.__doc__ = module, doc
    plain = {**cfg, "architecture": name}
    home = sys.modules[module]
    cfgs: dict[str, Any] = {
        name: cfg,
        **{w.name: {**cfg, **w.cfg()} for w in WEIGHTS.values() if w.architecture == name},
    }
    home.default_cfgs = {**getattr(home, "default_cfgs", {}), **generate_default_cfgs(cfgs)}  # type: ignore[attr-defined]
    setattr(home, name, entry)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a module that is reloaded takes its own names again
        _ENTRIES[name] = register_model(entry)


def _build(
    name: str,
    model: Callable[..., nn.Module],
    plain: dict[str, Any],
    pretrained: bool,
    pretrained_cfg: Any = None,
    pretrained_cfg_overlay: dict[str, Any] | None = None,
    cache_dir: str | Path | None = None,
    **kwargs: Any,
) -> nn.Module:
    if not pretrained and not pretrained_cfg:
        pretrained_cfg = plain  # without weights, an architecture does not take on the sizes of those it has
    cfg = resolve_pretrained_cfg(name, pretrained_cfg, pretrained_cfg_overlay).to_dict()
    refuse_detours(cfg, name)
    # A repository tells of its weights itself, whatever record its tag may call to mind.
    record = None if cfg.get("source") in SOURCES else record_of(name, cfg.get("tag"))
    described = describe(cfg, name, kwargs.get("pretrained_model_args"), record)
    if described is not None:
        sketch(model, described, f"the model of {cfg.get('hf_hub_id') or cfg.get('file') or name}")
    if record is not None:
        kwargs = {**record.model_args, **kwargs}

    features: dict[str, Any] = {"feature_cls": "getter", "out_indices": kwargs.pop("out_indices", None)}

    def construct(**args: Any) -> nn.Module:
        # Loaded here and not by timm, whose loader reads pickles and is lenient as soon as a head differs.
        weights = find(cfg, name, cache_dir, record) if pretrained else None
        if weights is not None:
            args = choose_dtype(model, args, described, weights)
        built = model(**args)
        if weights is not None:
            load_into(built, weights)
        built.model_args = {k: v for k, v in args.items() if k not in ("device", "dtype")}  # type: ignore[assignment]
        built._model_args = dict(built.model_args)  # type: ignore[arg-type, assignment] # for timm's own export
        if features["out_indices"] is None:
            features["out_indices"] = tuple(range(len(built.feature_info)))  # type: ignore[arg-type]
        return built

    return build_model_with_cfg(construct, name, pretrained=False, pretrained_cfg=cfg, feature_cfg=features, **kwargs)


Opener = Callable[[str, Any], tuple[str, dict[str, Any], dict[str, Any]]]
OPENERS: dict[str, Opener] = {}
"""Reads what a name such as ``"hf-hub:owner/name"`` points to, by its part before the colon: ``(rest, cache_dir)`` to
the architecture, timm's cfg and the stored arguments. The Hub's client adds itself here."""


def build_stored(
    opened: tuple[str, dict[str, Any], dict[str, Any]], pretrained: bool = True, **kwargs: Any
) -> nn.Module:
    """The model that an opener told of, with the caller's arguments in place of the stored ones."""
    architecture, cfg, stored = opened
    if architecture not in _ENTRIES:
        raise WeightsError(
            f"{cfg.get('hf_hub_id') or cfg.get('file')}: its architecture {architecture!r} is not one of this zoo; "
            "convrnn_zoo.list_models() lists them, and timm.create_model loads timm's own"
        )
    kwargs = {k: v for k, v in kwargs.items() if v is not None}
    return timm.create_model(
        architecture, pretrained=pretrained, pretrained_cfg=cfg, pretrained_model_args=stored, **{**stored, **kwargs}
    )


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


def create_model(name: str, pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """A model of the zoo by name: ``"architecture"``, ``"architecture.tag"``, ``"hf-hub:…"`` or ``"local-dir:…"``.

    The same as :func:`timm.create_model`, for the zoo's names alone.

    Args:
        name: one of :func:`list_models`.
        pretrained: whether to load weights: those of the tag, or the architecture's first.
        **kwargs: sizes and options of the model, such as `in_chans`, `num_classes`, `hidden_channels`, and timm's
            own, such as `cache_dir`. A `checkpoint_path` must be a safetensors file; it is loaded strictly.

    Raises:
        ValueError: no such name in the zoo.
        WeightsError: `pretrained` for a name without weights, or weights that do not fit.

    Example:
        >>> model = create_model("convgru1d_1layer", in_chans=1, hidden_channels=8, num_classes=5)
        >>> tuple(model(torch.randn(2, 10, 1, 40)).shape)
        (2, 5)
    """
    checkpoint = kwargs.pop("checkpoint_path", None)
    if checkpoint:
        return load_weights(create_model(name, pretrained, **kwargs), checkpoint)
    scheme, colon, rest = name.partition(":")
    if colon and (scheme := scheme.lower().replace("_", "-")) in OPENERS:
        return build_stored(OPENERS[scheme](rest, kwargs.get("cache_dir")), pretrained, **kwargs)
    architecture, _, tag = name.partition(".")
    if not colon:
        if architecture not in _ENTRIES:
            near = difflib.get_close_matches(architecture, _ENTRIES, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else "convrnn_zoo.list_models() lists them"
            raise ValueError(f"no model {name!r} in the zoo; {hint}")
        if tag and name not in WEIGHTS:
            having = ", ".join(w for w in WEIGHTS if w.startswith(f"{architecture}.")) or "none"
            raise WeightsError(f"{architecture} has no weights {tag!r}; it has: {having}; all: {', '.join(WEIGHTS)}")
    return timm.create_model(name, pretrained=pretrained, **kwargs)
