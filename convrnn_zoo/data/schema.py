"""Dataclasses from the tables of a recipe: every field is checked by its type and range."""

import dataclasses
import math
import operator
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, Union

from .._hints import suggest

Table = TypeVar("Table")
_TYPES: dict[Any, str] = {
    int: "a whole number", float: "a number", str: "a string", bool: "true or false", type(None): "nothing",
}  # fmt: skip
_BOUNDS = {"ge": ("at least", operator.ge), "gt": ("above", operator.gt), "le": ("at most", operator.le)}


def field(
    default: Any = dataclasses.MISSING, *, ge: float | None = None, gt: float | None = None, le: float | None = None,
    choices: Sequence[str] = (), nonempty: bool = False, factory: Any = dataclasses.MISSING,
) -> Any:  # fmt: skip
    """Declares a field of a dataclass, with the range of its values.

    Args:
        default: the default; without one, the field is required.
        ge, gt, le: bounds of a number, or of each number of a list: at least, greater than, at most.
        choices: the strings that are valid; lists of strings may hold others.
        nonempty: whether an empty string is invalid.
        factory: a function that returns the default.
    """
    rules = {"ge": ge, "gt": gt, "le": le, "choices": tuple(choices), "nonempty": nonempty}
    return dataclasses.field(default=default, default_factory=factory, metadata=rules)


def describe_type(kind: Any) -> str:
    """Describes a type for users of recipes.

    Example:
        >>> describe_type(int | tuple[str, ...])
        'a whole number or a list of strings'
    """
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(describe_type(a) for a in args if a is not type(None))
    if origin is tuple:
        return f"a list of {describe_type(args[0]).removeprefix('a ')}s"
    return _TYPES.get(kind, "a table")


def is_instance(value: Any, kind: Any) -> bool:
    """Returns whether a value of a recipe has a type; whole numbers are numbers, booleans are not."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        return any(is_instance(value, a) for a in args)
    if origin is tuple:
        return isinstance(value, tuple) and all(is_instance(v, args[0]) for v in value)
    if origin is not None:
        return isinstance(value, Mapping)
    if kind in (int, float):
        return isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
    return kind is Any or isinstance(value, kind)


def find_problem(name: str, value: Any, kind: Any, rules: Mapping[str, Any]) -> str | None:
    """Describes in one line why the value of a field is invalid; None if it is valid.

    Example:
        >>> find_problem("batch_size", 0, int, {"ge": 1})
        'batch_size must be at least 1, got 0'
    """
    if not is_instance(value, kind):
        return f"{name} must be {describe_type(kind)}, got {value!r}"
    if isinstance(value, str) and rules.get("choices") and value not in rules["choices"]:
        return f"{name} must be one of {', '.join(rules['choices'])}, got {value!r}"
    if isinstance(value, str) and rules.get("nonempty") and not value.strip():
        return f"{name} must not be empty"
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, bool) or not isinstance(number, int | float):
            continue
        if isinstance(number, int) and abs(number) >= 2**63:
            return f"{name} must have at most 64 bits, got {number.bit_length()}"
        if math.isinf(number) or (math.isnan(number) and any(rules.get(key) is not None for key in _BOUNDS)):
            return f"{name} must be finite, got {number}"
        for key, (words, holds) in _BOUNDS.items():
            bound = rules.get(key)
            if bound is not None and not holds(number, bound):
                return f"{name} must be {words} {bound:g}, got {value!r}"
    return None


def check(table: Any, where: str = "") -> None:
    """Checks every field of a dataclass that was declared by :func:`field`.

    Raises:
        ValueError: fields are invalid; the message has a line for each.
    """
    hints = typing.get_type_hints(type(table))
    problems = [
        find_problem(f"{where}{f.name}", getattr(table, f.name), hints[f.name], f.metadata)
        for f in dataclasses.fields(table)
    ]
    if lines := [f"the recipe's {problem}" for problem in problems if problem]:
        raise ValueError("\n".join(lines))


def read(cls: type[Table], raw: Mapping[str, Any], where: str = "") -> Table:
    """Reads a dataclass from a table; lists become tuples.

    Raises:
        ValueError: keys are missing, unknown or invalid.

    Example:
        >>> @dataclasses.dataclass
        ... class Point:
        ...     x: int = field(ge=0)
        >>> read(Point, {"x": 1, "y": 1}, "data.")
        Traceback (most recent call last):
        ValueError: the recipe has an unknown key data.y; expected one of x
    """
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    required = [
        n for n, f in fields.items()
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]  # fmt: skip
    lines = [f"the recipe has an unknown key {where}{k}; {suggest(k, fields)}" for k in raw if k not in fields]
    lines += [f"the recipe lacks the key {where}{n}" for n in required if n not in raw]
    if lines:
        raise ValueError("\n".join(lines))
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()})


def read_dataset(table: Mapping[str, Any], datasets: Mapping[str, type[Table]]) -> Table:
    """Reads the table ``[data]`` of a recipe as the dataset that its `kind` names.

    Raises:
        ValueError: the kind is unknown, or a key is missing, unknown or invalid.
    """
    keys = dict(table)
    kind = keys.pop("kind", None)
    if not isinstance(kind, str) or kind not in datasets:
        raise ValueError(f"the recipe's data.kind must be one of {', '.join(datasets)}, got {kind!r}")
    return read(datasets[kind], keys, "data.")
