"""The registry of architectures: functions by name, their timm cfgs and their weights."""

import difflib
import sys
import warnings
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import timm
from timm.models import generate_default_cfgs
from timm.models import model_entrypoint as timm_entrypoint
from timm.models import register_model as register_with_timm
from torch import nn

from .._hints import suggest
from .metadata import WEIGHTS, WeightsMetadata
from .published import find_published

Function = TypeVar("Function", bound=Callable[..., nn.Module])
BASE_CFGS: dict[str, dict[str, Any]] = {}
"""timm's cfgs of the architectures without weights."""
SMALL: dict[str, dict[str, Any]] = {}
"""Arguments that make a small network of each architecture, for tests and tables."""
_FUNCTIONS: dict[str, Callable[..., nn.Module]] = {}


def register_model(*, cfg: dict[str, Any], small: dict[str, Any] | None = None) -> Callable[[Function], Function]:
    """Decorator that registers a model function with timm and with the zoo, under the name of the function.

    The function takes `pretrained` and keyword arguments, and returns
    ``build_model(constructor, name, pretrained, **kwargs)``. The docstring of the function documents the model. timm
    gets `cfg`, and a further cfg for each set of weights of the architecture: those of the package, and those that
    others publish.

    Args:
        cfg: timm's cfg of the architecture without weights. Its ``classifier`` names the module that returns the class
            scores.
        small: arguments that make a small network, of which every part is there, for tests and for the table of
            exports; ``{"hidden_channels": 4}`` by default.

    Raises:
        ValueError: the name is already registered by another module.
    """

    def decorator(function: Function) -> Function:
        name, module = function.__name__, function.__module__
        if timm.is_model(name) and timm_entrypoint(name).__module__ != module:
            owner = timm_entrypoint(name).__module__
            raise ValueError(f"the name {name!r} is already registered by {owner}; register {module}'s under another")
        channels = cfg["input_size"][0]
        defaults = {"num_classes": 0, "mean": (0.0,) * channels, "std": (1.0,) * channels}
        full_cfg = {**defaults, "first_conv": (), "classifier": "head", **cfg}
        cfgs: dict[str, Any] = {name: full_cfg, **{w.name: {**full_cfg, **w.cfg()} for w in find_weights(name)}}
        cfgs |= {p.name: {**full_cfg, **p.cfg(full_cfg["input_size"])} for p in find_published(name)}
        home: Any = sys.modules[module]
        home.default_cfgs = {**getattr(home, "default_cfgs", {}), **generate_default_cfgs(cfgs)}
        setattr(home, name, function)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # reloading a module registers its names again
            register_with_timm(function)
        _FUNCTIONS[name] = function
        BASE_CFGS[name] = {**full_cfg, "architecture": name}
        SMALL[name] = {"hidden_channels": 4} if small is None else small
        return function

    return decorator


def entry_points() -> dict[str, Callable[..., nn.Module]]:
    """Returns every name with the function that builds it."""
    return dict(_FUNCTIONS)


def list_models(
    filter: str | Iterable[str] | None = "",
    module: str | Iterable[str] | None = "",
    pretrained: bool = False,
    exclude_filters: str | Iterable[str] | None = "",
) -> list[str]:
    """Lists the architectures of the zoo, or its sets of weights. The arguments are those of :func:`timm.list_models`.

    Args:
        filter: a shell pattern or several, such as ``"convgru2d_*"``; names that match one of them are listed. All
            names by default. With `pretrained`, the pattern of an architecture matches all of its weights.
        module: name of a file of ``convrnn_zoo.models`` or several, such as ``"predrnn"``; all files by default.
        pretrained: whether to list weights, ``"architecture.tag"``, instead of architectures: those of the package, and
            those of other projects, which are downloaded when they are loaded.
        exclude_filters: a pattern or several; names that match one of them are left out.

    Raises:
        TypeError: `module` is a bool: it was the second argument of earlier versions, `pretrained`.
        ValueError: no architecture is defined in a file with the name `module`.

    Example:
        >>> list_models("convgru2d_*", exclude_filters="*_bi_*")
        ['convgru2d_1layer', 'convgru2d_2layer', 'convgru2d_3layer']
        >>> list_models(["convgru_*", "convlstm_*"], module="encoder_forecaster", pretrained=True)[:1]
        ['convgru_forecaster.moving_fashion_mnist']
    """
    if isinstance(module, bool):
        raise TypeError(f"module must be names, got {module}; pass pretrained={module} by its name")
    homes = {n: f.__module__.rpartition(".")[2] for n, f in _FUNCTIONS.items()}
    modules = _patterns(module)
    for name in modules:
        if name not in homes.values():
            raise ValueError(f"no module {name!r} in convrnn_zoo.models; {suggest(name, sorted(set(homes.values())))}")
    excluded = [p + end for p in _patterns(exclude_filters) for end in ("", ".*")]  # older versions of timm add no tag
    names = timm.list_models(_patterns(filter), pretrained=pretrained, exclude_filters=excluded)
    known = {n for n, home in homes.items() if not modules or home in modules}
    return sorted(n for n in names if n.partition(".")[0] in known and ("." in n) == pretrained)


def _patterns(value: str | Iterable[str] | None) -> list[str]:
    """Returns patterns or names as a list, which is empty for the empty text and None."""
    return [value] if value and isinstance(value, str) else list(value or ())


def find_weights(name: str) -> list[WeightsMetadata]:
    """Returns the weights of an architecture in the package; ``pretrained=True`` loads the first set."""
    return sorted((w for w in WEIGHTS.values() if w.architecture == name), key=lambda w: not w.default)


def weight_names(architecture: str) -> list[str]:
    """Returns the names of all weights of an architecture, the default first and those that others publish last."""
    return [w.name for w in find_weights(architecture)] + [p.name for p in find_published(architecture)]


def find_relatives(name: str, count: int = 3) -> list[str]:
    """Returns weights for the task of an architecture: first those of its file, then those of the most similar names.

    The tasks are forecasts, classes of sequences, and maps of classes or values, which have a number of classes.
    """

    def task(architecture: str) -> tuple[bool, bool]:
        cfg = BASE_CFGS[architecture]
        return bool(cfg["classifier"]), cfg["num_classes"] > 0

    def distance(other: str) -> tuple[bool, float]:
        is_other_file = _FUNCTIONS[other].__module__ != _FUNCTIONS[name].__module__
        return is_other_file, -difflib.SequenceMatcher(None, name, other).ratio()

    others = [n for n in _FUNCTIONS if weight_names(n) and task(n) == task(name)]
    return [weight_names(n)[0] for n in sorted(others, key=distance)[:count]]
