"""Names: registering them with timm, listing them, and building by them."""

import difflib
import fnmatch
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, overload

import timm
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model, resolve_pretrained_cfg
from timm.models import model_entrypoint as timm_entrypoint
from torch import nn

from ._base import ZooModel
from ._errors import WeightsError
from ._loading import OPENERS, Source, Stored, find, load, load_weights, refuse_detours
from ._meta import build_on_meta, size_limit
from ._weights import WEIGHTS

OF_RECORD = ("tag", "description", "origin_url")
"""What a cfg of timm's says of a set of weights, beside the labels of its head."""
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
        return _build(name, model, bare_cfg, pretrained, **kwargs)

    entry.__name__ = entry.__qualname__ = name
    entry.__module__, entry.__doc__ = module, doc
    bare_cfg = {**cfg, "architecture": name}
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
    bare_cfg: dict[str, Any],
    pretrained: bool,
    pretrained_cfg: Any = None,
    pretrained_cfg_overlay: dict[str, Any] | None = None,
    cache_dir: Any = None,
    source: Source | None = None,
    pretrained_model_args: Any = None,
    **kwargs: Any,
) -> nn.Module:
    """What timm calls, and :func:`create_model` with the source of an address that it has opened."""
    if not pretrained and not pretrained_cfg:
        pretrained_cfg = bare_cfg  # without weights, an architecture does not take on the sizes of those it has
    cfg = resolve_pretrained_cfg(name, pretrained_cfg, pretrained_cfg_overlay).to_dict()
    refuse_detours(cfg, name)
    has_config = cfg.get("source") in OPENERS  # which describes its weights, whatever record its tag has the name of
    if source is None and (pretrained or has_config):
        source = find(cfg, name, cache_dir)
    described = None
    if source is not None and source.args is not None:
        described = build_on_meta(model, source.args, f"the model of {source.origin}")
    preprocessing = source.preprocessing if source is not None else None
    if source is not None and has_config:
        kwargs = {**(source.args or {}), **kwargs}
    elif record := WEIGHTS.get(f"{name}.{cfg.get('tag')}"):
        kwargs, preprocessing = {**record.model_args, **kwargs}, record.preprocessing
    features: dict[str, Any] = {"feature_cls": "getter", "out_indices": kwargs.pop("out_indices", None)}
    fitted = False

    def construct(**args: Any) -> nn.Module:
        nonlocal fitted
        # Loaded here and not by timm, whose loader reads pickles and is lenient as soon as a head differs.
        built: Any = load(model, args, source, described) if pretrained and source is not None else model(**args)
        built.model_args = {k: v for k, v in args.items() if k not in ("device", "dtype")}
        built._model_args = dict(built.model_args)  # for timm's own export
        built.preprocessing = preprocessing
        fitted = source is not None and source.args not in (None, built.model_args)
        if pretrained and source is not None and not fitted:
            built.record = source.record
        if features["out_indices"] is None:
            features["out_indices"] = tuple(range(len(built.feature_info)))
        return built

    made = build_model_with_cfg(construct, name, pretrained=False, pretrained_cfg=cfg, feature_cfg=features, **kwargs)
    if fitted:  # to another head or other sizes: what was said of the weights is not said of these
        labels = () if made.num_classes == cfg["num_classes"] else ("label_names", "label_descriptions")
        for key in (*OF_RECORD, *labels):
            made.pretrained_cfg.pop(key, None)
    return made


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


@overload
def create_model(name: str, pretrained: bool = False, *, features_only: Literal[True], **kwargs: Any) -> nn.Module: ...
@overload
def create_model(name: str, pretrained: bool = False, **kwargs: Any) -> ZooModel: ...
def create_model(name: str, pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """A model of the zoo by name: ``"architecture"``, ``"architecture.tag"``, ``"hf-hub:…"`` or ``"local-dir:…"``.

    The same as :func:`timm.create_model`, for the zoo's names alone.

    Args:
        name: one of :func:`list_models`, or the address of what was pushed or saved.
        pretrained: whether to load weights: those of the tag or address, or the architecture's first.
        **kwargs: sizes and options of the model, such as `in_chans`, `num_classes`, `hidden_channels`, and timm's
            own, such as `cache_dir`. A `checkpoint_path` must be a safetensors file; it is loaded strictly. With
            `features_only`, the model is timm's around this one, which gives the output of each layer.

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
    if ":" in name and (address := address_of(name))[0]:
        scheme, rest = address
        return build_stored(OPENERS[scheme](rest, kwargs.get("cache_dir")), pretrained, **kwargs)
    architecture, _, tag = name.partition(".")
    if architecture not in _ENTRIES:
        near = difflib.get_close_matches(architecture, _ENTRIES, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "convrnn_zoo.list_models() lists them"
        raise ValueError(f"no model {name!r} in the zoo; {hint}")
    if tag and name not in WEIGHTS:
        having = ", ".join(w for w in WEIGHTS if w.startswith(f"{architecture}.")) or "none"
        raise WeightsError(f"{architecture} has no weights {tag!r}; it has: {having}; all: {', '.join(WEIGHTS)}")
    return timm.create_model(name, pretrained=pretrained, **kwargs)


def build_stored(stored: Stored, pretrained: bool = True, **kwargs: Any) -> Any:
    """The model of a repository or a directory, with the caller's arguments in place of the stored ones."""
    if stored.architecture not in _ENTRIES:
        raise WeightsError(
            f"{stored.source.origin}: its architecture {stored.architecture[:80]!r} is not one of this zoo; "
            "convrnn_zoo.list_models() lists them, and timm.create_model loads timm's own"
        )
    kwargs = {k: v for k, v in kwargs.items() if v is not None}
    return _ENTRIES[stored.architecture](pretrained, pretrained_cfg=stored.cfg, source=stored.source, **kwargs)


def from_pretrained(
    repo_id_or_dir: str | os.PathLike[str],
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    max_bytes: int | None = None,
    **kwargs: Any,
) -> ZooModel:
    """A model with its weights, by whatever names them: a name of the zoo, a directory, a record, or an address.

    Read are ``config.json`` and ``model.safetensors``, never a pickle. The architecture must be one of this zoo; the
    weights must be, key by key, those of the model that the config describes, undamaged and finite.

    Args:
        repo_id_or_dir: a directory as :func:`~convrnn_zoo.save_pretrained` or a training run makes it; the ``.json``
            file of a record, its weights beside it; weights of the zoo, ``"architecture.tag"``, or an architecture
            that has some; ``"owner/name"`` or ``"owner/name@revision"``, with or without ``hf-hub:``, for the Hub.
        revision: branch, tag or commit; ``main`` by default.
        token: a token of the Hub; by default that of ``hf auth login``; False for none.
        cache_dir: in place of the Hub's own cache.
        max_bytes: refuses larger models and files; 4 GiB by default.
        **kwargs: arguments in place of the stored ones: another `num_classes` gives a fresh head (a warning says so),
            another `in_chans` adapts the first layer; also `dtype`, which is otherwise that of the weights, and
            `device`.

    Raises:
        HubAccessError: (an OSError) the repository, the network or the disk would not do it.
        WeightsError: (a ValueError) what came is damaged, or not a model of this zoo.

    Example:
        >>> model = from_pretrained("owner/convlstm1d-vowels", revision="v1")  # doctest: +SKIP
    """
    scheme, name = address_of(repo_id_or_dir)
    if revision is not None and (scheme != "hf-hub" or "@" in name):
        one = "give one of the two" if scheme == "hf-hub" else "which is of the Hub alone; drop it"
        raise WeightsError(f"{name} came with revision={revision!r}; {one}")
    with size_limit(max_bytes):
        if not scheme:
            return create_model(name, pretrained=kwargs.pop("pretrained", True), cache_dir=cache_dir, **kwargs)
        stored = OPENERS[scheme](f"{name}@{revision}" if revision else name, cache_dir, token)
        return build_stored(stored, cache_dir=cache_dir, **kwargs)


def address_of(name: str | os.PathLike[str]) -> tuple[str, str]:
    """What a name is, ``"local-dir"``, ``"hf-hub"`` or ``""`` for one of the zoo, and the name without its scheme.

    A directory that is there comes before a name of the zoo.

    Example:
        >>> address_of("hf-hub:me/rain"), address_of("me/rain"), address_of("runs/rain.json"), address_of("predrnn")
        (('hf-hub', 'me/rain'), ('hf-hub', 'me/rain'), ('local-dir', 'runs/rain.json'), ('', 'predrnn'))
    """
    text = os.fspath(name)
    scheme, colon, rest = text.partition(":")
    if colon and (scheme := scheme.lower().replace("_", "-")) in OPENERS:
        return scheme, rest
    if isinstance(name, os.PathLike) or text.startswith((".", "/", "~")) or text.endswith(".json"):
        return "local-dir", text
    if Path(text).is_dir():
        return "local-dir", text
    return "hf-hub" if "/" in text else "", text
