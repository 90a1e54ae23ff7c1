"""Deprecated names, arguments, models and recipe keys, which keep working for at least one minor version.

Each use of a deprecated form gives a FutureWarning that states the replacement and the version that removes it:

* **a public name**: ``__getattr__ = renamed_names(__name__, removed_in="0.3", OldName="NewName")`` in the module that
  had it; a name that moved is ``Name="convrnn_zoo.new.Name"``;
* **an argument**: ``@renamed_arguments(removed_in="0.3", old="new")`` on the function or on ``__init__``;
* **a model or a set of weights**: ``rename_model("old", "new", removed_in="0.3")`` of
  :mod:`convrnn_zoo.pretrained.registry`;
* **removed weights**: an entry of ``REMOVED_WEIGHTS`` in the same module; the error for their name states another set;
* **a recipe key**: an entry of ``RENAMED_KEYS`` in :mod:`convrnn_zoo.recipes.recipe`.
"""

import dataclasses
import functools
import importlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ._hints import warn

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclasses.dataclass(frozen=True)
class Deprecation:
    """A deprecated form, its replacement, and the version that removes it."""

    old: str
    new: str
    removed_in: str

    def __post_init__(self) -> None:
        DEPRECATIONS.append(self)

    def warn(self) -> None:
        """Issues a FutureWarning for the line of the caller."""
        warn(
            f"{self.old} is deprecated and will be removed in version {self.removed_in}; use {self.new}", FutureWarning
        )


DEPRECATIONS: list[Deprecation] = []
"""All deprecations of the modules that are imported."""


def renamed_names(module: str, removed_in: str, **renamed: str) -> Callable[[str], Any]:
    """Returns the ``__getattr__`` of a module in which the keys of `renamed` are deprecated names of its values.

    A value ``module.Name`` is in another module, which is imported at the first use.
    """
    deprecations = {old: Deprecation(f"{module}.{old}", new, removed_in) for old, new in renamed.items()}

    def get(name: str) -> Any:
        if name not in deprecations:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        deprecations[name].warn()
        home, _, new = deprecations[name].new.rpartition(".")
        return getattr(importlib.import_module(home or module), new)

    return get


def renamed_arguments(removed_in: str, **renamed: str) -> Callable[[Function], Function]:
    """Decorator of a function that still accepts the keys of `renamed` as names of the arguments in its values.

    The function raises TypeError if an argument is passed under both names.
    """

    def decorator(function: Function) -> Function:
        name = function.__qualname__.removesuffix(".__init__")
        deprecations = {
            old: Deprecation(f"the argument {old} of {name}", new, removed_in) for old, new in renamed.items()
        }

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            for old in deprecations.keys() & kwargs.keys():
                new = deprecations[old].new
                if new in kwargs:
                    raise TypeError(f"{name}() got {new} and its old name {old}; pass {new} only")
                deprecations[old].warn()
                kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return call  # type: ignore[return-value]

    return decorator


def rename_keys(table: Mapping[str, Any], renamed: Mapping[str, Deprecation]) -> dict[str, Any]:
    """Returns a table with the keys of `renamed` replaced. A key of a nested table is written as a path with dots.

    Raises:
        ValueError: the table has a key under both names.
    """
    result = dict(table)
    for path, deprecation in renamed.items():
        *tables, old = path.split(".")
        parent: Any = result
        for key in tables:
            if not isinstance(parent.get(key), Mapping):
                break
            parent[key] = dict(parent[key])
            parent = parent[key]
        else:
            if old in parent:
                new = deprecation.new.rpartition(".")[2]
                if new in parent:
                    raise ValueError(f"{deprecation.new} is given twice, also by its old name {path}; leave {path} out")
                deprecation.warn()
                parent[new] = parent.pop(old)
    return result
