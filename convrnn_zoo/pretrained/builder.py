"""Building a registered model: resolve the source of its weights, build the network, load the tensors."""

import copy
import inspect
import itertools
import logging
import numbers
import statistics
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from timm.models import build_model_with_cfg, resolve_pretrained_cfg
from torch import Tensor, nn

from .._hints import suggest
from ..layers import KINDS
from .config import HEAD_CFG_KEYS, Config
from .download import HubFile
from .errors import WeightsError
from .limits import build_on_meta
from .metadata import WEIGHTS
from .published import PUBLISHED
from .registry import BASE_CFGS, weight_names
from .source import SOURCES_BY_SCHEME, WeightsSource, check_pretrained_cfg, read_state_dict, resolve_source
from .state_dict import (
    NoInitialization,
    adapt_state_dict,
    assign_state_dict,
    check_state_dict,
    clear_metadata,
    float_dtype,
    load_state_dict,
    load_weights,
)

logger = logging.getLogger("convrnn_zoo")
_SET_BY_MODELS = ("in_channels", "out_channels", "batch_first", "map_size", "norm_size")
"""Arguments of a layer that models set themselves."""
_NAMES_OF_TORCH = {"input_size": "in_chans", "hidden_size": "hidden_channels"}
"""Arguments of models by the names that torch.nn.RNN has for them."""


def build_model(
    constructor: Callable[..., nn.Module],
    name: str,
    pretrained: bool | str = False,
    *,
    pretrained_cfg: Any = None,
    pretrained_cfg_overlay: Mapping[str, Any] | None = None,
    cache_dir: Any = None,
    token: str | bool | None = None,
    source: WeightsSource | None = None,
    features_only: bool = False,
    out_indices: Any = None,
    feature_cls: str | None = None,
    checkpoint_path: str | Path | None = None,
    pretrained_model_args: Any = None,
    **kwargs: Any,
) -> Any:
    """Builds a registered model and loads its weights.

    Args:
        constructor: builds the network from keyword arguments.
        name: the registered name.
        pretrained: whether to load weights, or the tag of the weights to load.
        pretrained_cfg: tag of the weights, or a cfg of timm. Fields missing in a dict are those of the architecture.
        pretrained_cfg_overlay: fields that replace those of the cfg.
        cache_dir, token: as in :func:`~convrnn_zoo.from_pretrained`.
        source: the source of the weights, if it is already open.
        features_only: whether to wrap the model in timm's feature extractor.
        out_indices: indices of the layers whose outputs the extractor returns; all by default.
        feature_cls: class of the extractor, which is always ``"getter"``.
        checkpoint_path: safetensors file with exactly the tensors of the model, which is loaded last.
        pretrained_model_args: ignored. timm passes the arguments of a config here; the config is read again instead.
        **kwargs: arguments of the network. They override those of the source's config.

    Raises:
        TypeError: the network does not accept an argument, or `out_indices` or `feature_cls` is set without
            ``features_only``.
        ValueError: `feature_cls` is not ``"getter"``.
        WeightsError: there are no such weights, or they or `pretrained_cfg_overlay` do not fit the network.
    """
    if not features_only and (out_indices, feature_cls) != (None, None):
        raise TypeError(f"{name}: out_indices and feature_cls need features_only=True")
    overlay, has_weights = dict(pretrained_cfg_overlay or {}), pretrained is not False
    cfg = _resolve_cfg(name, pretrained, pretrained_cfg, overlay, source)
    has_config = cfg.get("source") in SOURCES_BY_SCHEME
    if source or not has_config:  # otherwise timm passes the arguments of a config
        _check_accepted(constructor, name, kwargs)

    # 1. Resolve the source, which gives the arguments of the network.
    tagged = f"{name}.{cfg.get('tag')}"
    if source is None and (has_weights or has_config or tagged in WEIGHTS or tagged in PUBLISHED):
        source = resolve_source(cfg, name, cache_dir, token, load=has_weights)
    config = source.config if source else Config()
    args = _merge_arguments(name, cfg, source, kwargs, overlay)
    placement = {key: args.pop(key) for key in ("device", "dtype") if key in args}

    # 2. Check the tensors against a network on the meta device, so that a config can neither ask for too much memory
    #    nor get memory for weights that do not fit.
    state, is_adapted = None, False
    if source is not None:
        target = build_on_meta(constructor, args, f"the model of {source.name}")
        if has_weights:
            state, is_adapted = _fit_weights(source, target, cfg)
            placement.setdefault("dtype", float_dtype(state))

    # 3. Build the network and load the tensors, all of them or none. On the meta device there are no values. Of a file
    #    that has all tensors, the model takes over the memory, and random values would be overwritten.
    is_file = source is not None and isinstance(source.weights, Path | HubFile)
    is_complete = is_file and state is not None and not any(v.is_meta for v in state.values())
    with NoInitialization() if is_complete else nullcontext():
        model: Any = build_model_with_cfg(constructor, name, pretrained=False, pretrained_cfg=cfg, **args, **placement)
    if state is not None and not any(p.is_meta for p in model.parameters()):
        (assign_state_dict if is_complete else load_state_dict)(model, state)
    set_model_attributes(model, args, config)
    if is_adapted or (state is None and config.args not in (None, model.model_args)):
        clear_metadata(model)
        if (config.args or cfg)["num_classes"] != model.num_classes:
            for key in HEAD_CFG_KEYS:
                model.pretrained_cfg.pop(key, None)
    elif state is not None:
        model.metadata = copy.deepcopy(config.metadata)  # else a change of its mappings would reach WEIGHTS
    if checkpoint_path:
        load_weights(model, checkpoint_path)
    return extract_features(model, out_indices, feature_cls) if features_only else model


def _resolve_cfg(
    name: str, pretrained: bool | str, pretrained_cfg: Any, overlay: dict[str, Any], source: WeightsSource | None
) -> dict[str, Any]:
    """Returns timm's complete cfg of the chosen weights, or of the architecture without weights."""
    pretrained_cfg = choose_weights(name, pretrained, pretrained_cfg)
    if pretrained is False and not pretrained_cfg:
        pretrained_cfg = BASE_CFGS[name]  # without the sizes of the default weights
    elif isinstance(pretrained_cfg, dict) and source is None and not pretrained_cfg.get("source"):
        pretrained_cfg = {**BASE_CFGS[name], **pretrained_cfg}
    cfg: dict[str, Any] = resolve_pretrained_cfg(name, pretrained_cfg, overlay).to_dict()
    check_pretrained_cfg(cfg, name)
    return cfg


def _merge_arguments(
    name: str, cfg: Mapping[str, Any], source: WeightsSource | None, kwargs: Mapping[str, Any], overlay: dict[str, Any]
) -> dict[str, Any]:
    """Returns the arguments of the network: those of the caller, then of the source's config, then of the cfg."""
    config = source.config if source else Config()
    if config.architecture not in ("", name):
        raise WeightsError(f"{source}: its architecture is {config.architecture!r}, expected {name!r}")
    args = {key: plain_value(value) for key, value in {**(config.args or {}), **kwargs}.items()}
    stated = {"num_classes": ("num_classes", cfg["num_classes"]), "in_chans": ("input_size", cfg["input_size"][0])}
    for key, (field, value) in stated.items():
        if args.setdefault(key, value) != value and source and field in overlay:
            raise WeightsError(
                f"{source.name}: pretrained_cfg_overlay has {field}={cfg[field]} and the model {key}={args[key]}; pass "
                f"{key}={value} as well, or leave {field} out"
            )
    return args


def _fit_weights(source: WeightsSource, target: Any, cfg: Mapping[str, Any]) -> tuple[dict[str, Tensor], bool]:
    """Reads the tensors of a source and adapts them to a network; returns them, and whether any was changed.

    Raises:
        WeightsError: the tensors cannot be read, or do not fit the network.
    """
    stored, args = read_state_dict(source), source.config.args
    chans, classes = cfg["input_size"][0], cfg["num_classes"] or target.num_classes
    if args:
        chans, classes = args["in_chans"], args["num_classes"]
    if not (source.config.sha256 or target.input_weights):
        chans = target.in_chans  # a file that the caller passed may have other channels than the cfg
    state = adapt_state_dict(stored, target, cfg, chans, classes, source.name)
    check_state_dict(state, target, source.name, float_dtype(state))
    return state, state.keys() != stored.keys() or any(state[k] is not v for k, v in stored.items())


def choose_weights(name: str, pretrained: bool | str, pretrained_cfg: Any) -> Any:
    """Returns the tag of the weights, or the cfg if `pretrained_cfg` is a cfg.

    None means no weights, or the only weights of the architecture. An unknown tag raises WeightsError.
    """
    if not isinstance(pretrained, bool | str):
        raise TypeError(f"pretrained must be True, False or the tag of weights, got {pretrained!r}")
    tags = [n.partition(".")[2] for n in weight_names(name)]
    if isinstance(pretrained, str) and pretrained_cfg not in (None, "", pretrained):
        other = repr(pretrained_cfg) if isinstance(pretrained_cfg, str) else "a source with its own weights"
        raise WeightsError(f"{name}: got pretrained={pretrained!r} and {other}; pass one of them")
    tag = pretrained if isinstance(pretrained, str) else pretrained_cfg if isinstance(pretrained_cfg, str) else None
    if tag and tag not in tags:
        hint = suggest(tag, tags) if tags else "`convrnn-zoo list --pretrained` lists all weights"
        raise WeightsError(f"{name} has no weights {tag!r}; {hint}")
    if not tag and pretrained and not pretrained_cfg and len(tags) > 1:
        tag, *others = tags
        listed = ", ".join(f"pretrained={other!r}" for other in others)
        logger.info("%s: loading its default weights, %s; others: %s", name, tag, listed)
    return tag or pretrained_cfg  # None if there is one tag, whose weights timm chooses by its default cfg


def plain_value(value: Any) -> Any:
    """Converts a NumPy number, or those in a list, to the Python number, which a config can store."""
    if isinstance(value, list | tuple):
        return type(value)(map(plain_value, value))
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return value
    return int(value) if isinstance(value, numbers.Integral) else float(value)


def channel_fields(cfg: Mapping[str, Any], in_chans: int) -> dict[str, Any]:
    """Returns the fields of a cfg that depend on the number of input channels, for `in_chans` channels.

    Like the weights that read the input, the mean and std are repeated for more channels. One channel gets their means.
    A mean or std that does not have a number for each channel of the cfg is an error of the caller and not adapted.
    """
    before, *size = cfg["input_size"]
    fields: dict[str, Any] = {"input_size": (in_chans, *size)}
    for key in ("mean", "std"):
        values = cfg.get(key) or ()
        if len(values) == before != in_chans:
            repeated = itertools.islice(itertools.cycle(values), in_chans)
            fields[key] = (statistics.fmean(values),) if in_chans == 1 else tuple(repeated)
    return fields


def set_model_attributes(model: Any, args: Mapping[str, Any], config: Config) -> None:
    """Sets the attributes of a model that hold its arguments and the parts of its config that apply to it."""
    model.pretrained_cfg.update(channel_fields(model.pretrained_cfg, args["in_chans"]))
    unsaved = getattr(model, "unsaved_args", ())
    model.model_args = {k: v for k, v in args.items() if k not in unsaved}
    model._model_args = dict(model.model_args)  # timm's own export reads these
    if config.preprocessing is not None:
        model.preprocessing = config.preprocessing
    front_end = config.front_end
    model.front_end = front_end if front_end and front_end.bands == model.in_chans else None


def extract_features(model: Any, out_indices: Any = None, feature_cls: str | None = None) -> nn.Module:
    """Wraps a model in timm's feature extractor, which returns the outputs of the layers `out_indices`.

    By default it returns the outputs of all layers. `feature_cls` may be ``"getter"``, which is the default.
    """
    architecture = model.pretrained_cfg["architecture"]
    if feature_cls not in (None, "getter"):
        raise ValueError(f"{architecture}: feature_cls must be 'getter', got {feature_cls!r}")
    if out_indices is None:
        out_indices = tuple(range(len(model.feature_info)))
    extractor = build_model_with_cfg(
        lambda **_: model,
        architecture,
        pretrained=False,
        pretrained_cfg=model.pretrained_cfg,
        features_only=True,
        feature_cfg={"feature_cls": "getter", "out_indices": out_indices},
    )
    extractor.register_forward_pre_hook(_reject_other_inputs, with_kwargs=True)
    return extractor


def _reject_other_inputs(extractor: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Raises TypeError for inputs other than `x`, which timm's feature extractor does not pass to the model."""
    if len(args) + len(kwargs) > 1:
        names = ", ".join(kwargs) or "more inputs"
        hint = f"{names}; call model.model.forward_intermediates(x, …, intermediates_only=True)"
        raise TypeError(f"a model with features_only=True takes one input, x, and got also {hint}")


def _check_accepted(constructor: Callable[..., nn.Module], name: str, kwargs: Mapping[str, Any]) -> None:
    accepted = accepted_arguments(constructor)
    if accepted is not None and (unknown := [key for key in kwargs if key not in accepted]):
        hint = suggest(_NAMES_OF_TORCH.get(unknown[0], unknown[0]), accepted)
        raise TypeError(f"{name}() got an unexpected argument {unknown[0]!r}; {hint}")


def accepted_arguments(constructor: Callable[..., nn.Module]) -> list[str] | None:
    """Returns the names of the arguments that a class or a partial of one accepts, or None for another constructor.

    A class passes ``**kwargs`` on to its base class and ``**layer_args`` to the layers that it builds; their arguments
    are included, except for those that the class sets itself, its ``fixed_args``.
    """
    bound: tuple[Any, ...] = ()
    if isinstance(constructor, partial):
        bound, constructor = constructor.args, constructor.func
    if not isinstance(constructor, type):
        return None
    names: list[str] = []
    fixed = set(getattr(constructor, "fixed_args", ())).difference(inspect.signature(constructor).parameters)
    for cls in (c for c in constructor.__mro__ if "__init__" in vars(c)):
        parameters = list(inspect.signature(vars(cls)["__init__"]).parameters.values())[1:]
        names += [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        var_keyword = next((p.name for p in parameters if p.kind is p.VAR_KEYWORD), None)
        if var_keyword == "layer_args":
            cells = [constructor.cell] if hasattr(constructor, "cell") else [kind[2] for kind in KINDS.values()]
            layers = [a for a in bound if isinstance(a, type)] or cells
            names += [n for layer in layers for n in inspect.signature(layer).parameters if n not in _SET_BY_MODELS]
        if var_keyword != "kwargs":
            break
    return [name for name in list(dict.fromkeys(names))[len(bound) :] if name not in fixed]
