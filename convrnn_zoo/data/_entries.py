"""Tables of a recipe made dataclasses: every entry checked by its type and range, a line for each fault."""

import dataclasses
import math
import operator
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, Union

Table = TypeVar("Table")
Known = TypeVar("Known")
_WORDS: dict[Any, str] = {
    int: "a whole number", float: "a number", str: "words", bool: "true or false", type(None): "nothing",
}  # fmt: skip
_BOUNDS = {"least": ("at least", operator.ge), "above": ("above", operator.gt), "most": ("at most", operator.le)}


def entry(
    default: Any = dataclasses.MISSING, *, least: float | None = None, above: float | None = None,
    most: float | None = None, one_of: Sequence[str] = (), filled: bool = False, factory: Any = dataclasses.MISSING,
) -> Any:  # fmt: skip
    """A field of a dataclass with the range of its values.

    Args:
        default: without one, the entry must be there.
        least, above, most: bounds of a number, or of each number of a list; `above` itself is outside.
        one_of: the words that it may be; a list of words may be others.
        filled: whether words must be more than an empty string.
        factory: makes the default.
    """
    bounds = {"least": least, "above": above, "most": most, "one_of": tuple(one_of), "filled": filled}
    return dataclasses.field(default=default, default_factory=factory, metadata=bounds)


def words_of(kind: Any) -> str:
    """A type as a user of recipes calls it.

    Example:
        >>> words_of(int | tuple[str, ...])
        'a whole number or a list of words'
    """
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(words_of(a) for a in args if a is not type(None))
    if origin is tuple:
        return f"a list of {words_of(args[0]).removeprefix('a ').replace('number', 'numbers')}"
    return _WORDS.get(kind, "a table")


def is_a(value: Any, kind: Any) -> bool:
    """Whether a value of a recipe is of a type; a whole number is a number, true and false are none."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        return any(is_a(value, a) for a in args)
    if origin is tuple:
        return isinstance(value, tuple) and all(is_a(v, args[0]) for v in value)
    if origin is not None:
        return isinstance(value, Mapping)
    if kind in (int, float):
        return isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
    return isinstance(value, kind)


def faults_of(name: str, value: Any, kind: Any, bounds: Mapping[str, Any]) -> str | None:
    """What is wrong with the value of an entry, in a line; None where nothing is.

    Example:
        >>> faults_of("batch_size", 0, int, {"least": 1})
        'batch_size must be at least 1, got 0'
    """
    if not is_a(value, kind):
        return f"{name} must be {words_of(kind)}, got {value!r}"
    if isinstance(value, str) and bounds.get("one_of") and value not in bounds["one_of"]:
        return f"{name} must be one of {', '.join(bounds['one_of'])}, got {value!r}"
    if isinstance(value, str) and bounds.get("filled") and not value.strip():
        return f"{name} must not be empty"
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, bool) or not isinstance(number, int | float):
            continue
        if isinstance(number, int) and abs(number) >= 2**63:
            return f"{name} must be a number of at most 64 bits, got one of {number.bit_length()}"
        if math.isinf(number) or (math.isnan(number) and any(bounds.get(key) is not None for key in _BOUNDS)):
            return f"{name} must be finite, got {number}"
        for key, (words, holds) in _BOUNDS.items():
            bound = bounds.get(key)
            if bound is not None and not holds(number, bound):
                return f"{name} must be {words} {bound:g}, got {value!r}"
    return None


def check(table: Any, where: str = "") -> None:
    """Checks every field of a dataclass whose fields are :func:`entry`.

    Raises:
        ValueError: a line for each entry that will not do.
    """
    hints = typing.get_type_hints(type(table))
    found = [
        faults_of(f"{where}{f.name}", getattr(table, f.name), hints[f.name], f.metadata)
        for f in dataclasses.fields(table)
    ]
    if faults := [f"the recipe's {fault}" for fault in found if fault]:
        raise ValueError("\n".join(faults))


def read(cls: type[Table], raw: Mapping[str, Any], where: str = "") -> Table:
    """A dataclass from a table: no entry missing, none unknown; lists become tuples.

    Raises:
        ValueError: which entries are missing or unknown, or will not do.

    Example:
        >>> @dataclasses.dataclass
        ... class Point:
        ...     x: int = entry(least=0)
        >>> read(Point, {"y": 1}, "data.")
        Traceback (most recent call last):
        ValueError: missing entries ['data.x'], unknown entries ['data.y']; known: x
    """
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    required = {
        n for n, f in fields.items()
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    }  # fmt: skip
    missing, extra = ([where + k for k in sorted(ks)] for ks in (required - raw.keys(), raw.keys() - fields.keys()))
    if missing or extra:
        raise ValueError(f"missing entries {missing}, unknown entries {extra}; known: {', '.join(fields)}")
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()})


def source_of(table: Mapping[str, Any], own: Mapping[str, type[Table]], sets: Mapping[str, Known]) -> Table | Known:
    """The data that a recipe's table ``[data]`` tells of: a kind of one's own with its entries, or a known data set.

    Raises:
        ValueError: the kind is not known, or an entry will not do.
    """
    entries = dict(table)
    kind = entries.pop("kind", None)
    kind = kind if isinstance(kind, str) else repr(kind)
    if kind in own:
        return read(own[kind], entries, "data.")
    if kind not in sets:
        raise ValueError(f"the recipe's data.kind must be one of {', '.join([*own, *sets])}, got {kind!r}")
    if entries:
        raise ValueError(f"the recipe's data: {kind} takes no entry beside its kind, got {', '.join(entries)}")
    return sets[kind]
