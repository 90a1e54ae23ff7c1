"""The registry of architectures: functions by name, their timm cfgs, and where others publish weights for them."""

import fnmatch
import sys
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import timm
from timm.models import generate_default_cfgs, register_model_deprecations
from timm.models import model_entrypoint as timm_entrypoint
from timm.models import register_model as register_with_timm
from torch import nn

from .._deprecation import Deprecation
from .published import PUBLISHED, Published
from .weights import WEIGHTS, Weights

Function = TypeVar("Function", bound=Callable[..., nn.Module])
BASE_CFGS: dict[str, dict[str, Any]] = {}
"""timm's cfgs of the architectures without weights."""
_FUNCTIONS: dict[str, Callable[..., nn.Module]] = {}
_RENAMED: dict[str, Deprecation] = {}


def register_model(*, cfg: dict[str, Any], published: Published | None = None) -> Callable[[Function], Function]:
    """Decorator that registers a model function with timm and with the zoo, under the name of the function.

    The function takes `pretrained` and keyword arguments, and returns
    ``build_model(constructor, name, pretrained, **kwargs)``. The docstring of the function documents the model. timm
    gets `cfg`, and a further cfg for each set of weights of the architecture in :data:`~convrnn_zoo.WEIGHTS`.

    Args:
        cfg: timm's cfg of the architecture without weights. Its ``first_conv`` names the modules that read the input
            channels. Its ``classifier`` names the module that returns the class scores.
        published: where others publish weights for the architecture.

    Raises:
        ValueError: the name is already registered by another module.
    """

    def decorator(function: Function) -> Function:
        name, module = function.__name__, function.__module__
        if timm.is_model(name) and timm_entrypoint(name).__module__ != module:
            owner = timm_entrypoint(name).__module__
            raise ValueError(f"the name {name!r} is already registered by {owner}; register {module}'s under another")
        channels = cfg["input_size"][0]
        defaults = {"num_classes": 0, "mean": (0.0,) * channels, "std": (1.0,) * channels, "license": "mit"}
        full_cfg = {**defaults, "first_conv": (), "classifier": "head", **cfg}
        if published:
            PUBLISHED[name] = published
        cfgs: dict[str, Any] = {name: full_cfg, **{w.name: {**full_cfg, **w.cfg()} for w in find_weights(name)}}
        home: Any = sys.modules[module]
        home.default_cfgs = {**getattr(home, "default_cfgs", {}), **generate_default_cfgs(cfgs)}
        setattr(home, name, function)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # reloading a module registers its names again
            register_with_timm(function)
        _FUNCTIONS[name], BASE_CFGS[name] = function, {**full_cfg, "architecture": name}
        return function

    return decorator


def rename_model(old: str, new: str, removed_in: str) -> None:
    """Makes `old` a deprecated name of the registered architecture or weights `new`, for the zoo and for timm.

    Raises:
        ValueError: `old` is registered, or `new` is not.
    """
    architecture = new.partition(".")[0]
    if old in _FUNCTIONS or architecture not in _FUNCTIONS:
        raise ValueError(f"expected a free name and a registered one, got {old!r} and {new!r}")
    if "." not in old:
        register_model_deprecations(_FUNCTIONS[architecture].__module__, {old: new})
    _RENAMED[old] = Deprecation(f"the name {old}", new, removed_in)


def current_name(name: str, *, is_stored: bool = False) -> str:
    """Returns the current name of a model. A deprecated name gives a warning, unless it `is_stored` in a file."""
    architecture, dot, tag = name.partition(".")
    for old, rest in ((name, ""), (architecture, dot + tag)):
        if old in _RENAMED:
            if not is_stored:
                _RENAMED[old].warn()
            return _RENAMED[old].new + rest
    return name


def entry_points() -> dict[str, Callable[..., nn.Module]]:
    """Returns every registered name with the function that builds it."""
    return dict(_FUNCTIONS)


def list_models(filter: str = "", pretrained: bool = False) -> list[str]:
    """Lists the architectures of the zoo, or its sets of weights, whose names match a shell pattern.

    Args:
        filter: a pattern such as ``"convgru2d_*"``; all names by default.
        pretrained: whether to list weights, ``"architecture.tag"``, instead of architectures.

    Example:
        >>> list_models("convgru2d_*")[:2]
        ['convgru2d_1layer', 'convgru2d_2layer']
    """
    names = sorted(WEIGHTS) if pretrained else sorted(_FUNCTIONS)
    return [n for n in names if fnmatch.fnmatch(n, filter or "*")]


def find_weights(name: str) -> list[Weights]:
    """Returns all registered weights of an architecture; ``pretrained=True`` loads the first set."""
    return sorted((w for w in WEIGHTS.values() if w.architecture == name), key=lambda w: not w.default)
