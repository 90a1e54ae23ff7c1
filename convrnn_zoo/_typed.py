"""Reads dataclasses from tables of a recipe or untrusted JSON, and checks the type and range of every field.

No library does this in fewer lines. The metadata of weights need it, so it must be a dependency of every user, and
`strict` of huggingface_hub is the only one that is: it checks no frozen dataclass, accepts NaN, stops at the first
error, and takes neither a list for a tuple nor 1 for 1.0. cattrs and mashumaro read ``"2"`` as 2.0 and ``true`` as 1.0.
msgspec stops at the first error. pydantic comes closest; its messages would be translated to the words of recipes here.
"""

import dataclasses
import math
import numbers
import operator
import re
from collections.abc import Mapping, Sequence
from functools import cache
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, Self, TypeVar, Union, get_args, get_origin, get_type_hints

from . import _checks as check
from ._hints import suggest

MAX_STRING, MAX_VALUES, MAX_BITS = 2**16, 2**16, 63
"""Largest length of a string, length of a list or table, and number of bits of a whole number."""
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Control characters, which terminals interpret: an untrusted file may contain their escape sequences."""
_TYPES: dict[Any, str] = {
    int: "a whole number",
    float: "a finite number",
    bool: "true or false",
    str: "a string",
    NoneType: "nothing",
}
_BOUNDS = {
    "ge": ("at least", operator.ge),
    "gt": ("above", operator.gt),
    "le": ("at most", operator.le),
    "lt": ("below", operator.lt),
}
T = TypeVar("T")
_field_types = cache(get_type_hints)  # which takes longer than reading the values


class JsonObject:
    """Base class of dataclasses that are stored as JSON objects, and whose fields are checked when one is made."""

    json_name: ClassVar[str]
    """Name of the object in error messages."""

    def __post_init__(self) -> None:
        check_fields(self, name=self.json_name)

    def to_json(self) -> dict[str, Any]:
        """Returns the fields as plain JSON; fields that are None or an empty tuple are left out."""
        values = ((f.name, getattr(self, f.name)) for f in dataclasses.fields(self))  # type: ignore[arg-type]
        return {k: _plain(v) for k, v in values if v not in (None, ())}

    @classmethod
    def from_json(cls, raw: object) -> Self:
        """Reads an untrusted JSON object, or raises ValueError."""
        return read(cls, raw, cls.json_name)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return value.to_json() if isinstance(value, JsonObject) else value


def field(
    default: Any = dataclasses.MISSING,
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    choices: Sequence[str] = (),
    nonempty: bool = False,
    factory: Any = dataclasses.MISSING,
    description: str = "",
    repr: bool = True,
) -> Any:
    """Declares a dataclass field, its valid values and its meaning, in the markup of docstrings.

    A field without `default` and `factory` is required.

    The bounds (≥ `ge`, > `gt`, ≤ `le`, < `lt`) apply to a number, or to each number of a list. A string must be one of
    `choices`, if there are any. With `nonempty`, a string must not be blank. `choices` do not apply to lists.
    """
    rules: dict[str, Any] = {"ge": ge, "gt": gt, "le": le, "lt": lt, "choices": tuple(choices), "nonempty": nonempty}
    rules["description"] = description
    return dataclasses.field(default=default, default_factory=factory, metadata=rules, repr=repr)


def one_line(error: Exception) -> str:
    """Returns the message of an error of :func:`read` as a single line."""
    return str(error).replace("\n", "; ")


def read(cls: type[T], raw: object, name: str = "the recipe", where: str = "") -> T:
    """Reads a dataclass from a table of TOML or an object of JSON.

    Fields may be numbers, strings, bools, ``Literal``, dataclasses, tuples, mappings, and unions of these or with None.
    Lists become tuples. Whole numbers are valid floats. Numbers must be finite. Strings must not contain control
    characters. Raises ValueError if `raw` is not a table, or fields are missing, unknown, of another type or out of
    range. The message has one line per problem. It calls the object `name`, and prefixes keys with `where`, such as
    ``"data."``.
    """
    if not isinstance(raw, Mapping):
        raise ValueError(f"{name}{f': {where[:-1]}' if where else ''} must be an object, got {type(raw).__name__}")
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    none = dataclasses.MISSING
    lines = [f"{name} has an unknown key {where}{str(k)[:80]}; {suggest(k, fields)}" for k in raw if k not in fields]
    required = [n for n, f in fields.items() if f.default is none and f.default_factory is none]
    if missing := [f"{where}{n}" for n in required if n not in raw]:
        lines.append(f"{name} lacks the key{'s' if missing[1:] else ''} {', '.join(missing)}")
    values = _convert(fields, {k: raw[k] for k in fields if k in raw}, cls, name, where, lines)
    try:
        return cls(**values)
    except (ValueError, OverflowError) as e:
        if str(e).startswith(name):
            raise
        raise ValueError(f"{name}: {where}{e}") from e


def check_fields(table: Any, where: str = "", name: str = "the recipe") -> None:
    """Checks and converts the fields of a dataclass, as :func:`read` does."""
    fields = {f.name: f for f in dataclasses.fields(table)}
    values = _convert(fields, {k: getattr(table, k) for k in fields}, type(table), name, where, [])
    for key, value in values.items():
        object.__setattr__(table, key, value)


def _convert(
    fields: Mapping[str, Any], raw: Mapping[str, Any], cls: type, name: str, where: str, lines: list[str]
) -> dict[str, Any]:
    hints, values = _field_types(cls), {}
    for key, value in raw.items():
        try:
            values[key] = _value(hints[key], value, name, f"{where}{key}", fields[key].metadata)
        except ValueError as e:
            lines.append(str(e))
    if lines:
        raise ValueError("\n".join(lines))
    return values


def describe_type(kind: Any) -> str:
    """Describes the type of a field for users, such as ``"a whole number or a list of strings"``."""
    generic, args = get_origin(kind), get_args(kind)
    if generic is Literal:
        return f"one of {', '.join(map(str, args))}"
    if generic in (Union, UnionType):
        return " or ".join(describe_type(a) for a in args if a is not NoneType)
    if generic is tuple:
        kinds = get_args(args[0]) if get_origin(args[0]) in (Union, UnionType) else args[:1]
        return f"a list of {' or '.join(describe_type(k).removeprefix('a ') + 's' for k in kinds)}"
    return _TYPES.get(kind, "a table")


def _value(expected: Any, value: Any, name: str, path: str, rules: Mapping[str, Any]) -> Any:
    """Converts a value to the type of its field, or raises ValueError."""
    generic, args = get_origin(expected), get_args(expected)
    label = f"{name}'s {path}"
    if expected is Any:
        return value
    if generic in (Union, UnionType):
        return _union(expected, value, name, path, rules)
    if _is_table(expected) and not isinstance(value, expected):
        return read(expected, value, name, f"{path}.")
    if isinstance(value, list | tuple | Mapping) and len(value) > MAX_VALUES:
        raise ValueError(f"{label} must have at most {MAX_VALUES:,} values, got {len(value):,}")
    if generic is tuple and isinstance(value, list | tuple):
        if args[-1] is not Ellipsis and len(value) != len(args):
            raise ValueError(f"{label} must have {len(args)} values, got {len(value)}")
        inner = {**rules, "choices": ()}
        return tuple(_value(args[0], v, name, f"{path}[{i}]", inner) for i, v in enumerate(value))
    if generic not in (None, tuple, Literal) and isinstance(value, Mapping):
        return {_scalar(str, k, label, {}): _value(args[1], v, name, f"{path}[{k!r}]", {}) for k, v in value.items()}
    if generic is Literal or expected in _TYPES:
        return _scalar(expected, value, label, rules)
    if generic is None and isinstance(value, expected | Mapping | str):
        return value  # a table that the dataclass itself reads
    raise ValueError(f"{label} must be {describe_type(expected)}, got {repr(value)[:80]}")


def _is_table(kind: Any) -> bool:
    """Returns whether a type is a dataclass, and no base class of several, such as those of datasets."""
    return "__dataclass_fields__" in vars(kind)


def _scalar(expected: Any, value: Any, label: str, rules: Mapping[str, Any]) -> Any:
    """Checks a string, bool or number, and converts it to the type of its field, or raises ValueError."""
    choices = get_args(expected) or rules.get("choices", ())
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)  # NumPy's as well
    types: Any = {int: numbers.Integral, float: numbers.Real, bool: bool, NoneType: NoneType}.get(expected, str)
    if not isinstance(value, types) or (expected in (int, float) and not is_number):
        raise ValueError(f"{label} must be {describe_type(expected)}, got {repr(value)[:80]}")
    if isinstance(value, str):
        if choices:
            check.choice(label, value, choices)
        if len(value) > MAX_STRING or CONTROL.search(value):
            raise ValueError(f"{label} must be a short string without control characters, got {value[:80]!r}")
        if rules.get("nonempty") and not value.strip():
            raise ValueError(f"{label} must not be empty")
    if not is_number:
        return value
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise ValueError(f"{label} must have at most {MAX_BITS} bits, got {value.bit_length()}")
    if not math.isfinite(value):
        raise ValueError(f"{label} must be a finite number, got {value}")
    for key, (words, holds) in _BOUNDS.items():
        bound = rules.get(key)
        if bound is not None and not holds(value, bound):
            raise ValueError(f"{label} must be {words} {bound:,g}, got {value!r}")
    return expected(value)


def _union(expected: Any, value: Any, name: str, path: str, rules: Mapping[str, Any]) -> Any:
    types = [kind for kind in get_args(expected) if kind is not NoneType]
    if value is None and len(types) < len(get_args(expected)):
        return None
    kinds, is_list = (int, float) if type(value) is int else (type(value),), isinstance(value, list | tuple)
    tables = [kind for kind in types if isinstance(value, Mapping) and _is_table(kind)]
    meant = tables + [kind for kind in types if kind in kinds or (is_list and get_origin(kind) is tuple)]
    for kind in meant or types:
        try:
            return _value(kind, value, name, path, rules)
        except ValueError:
            if meant or len(types) == 1:
                raise
    raise ValueError(f"{name}'s {path} must be {describe_type(expected)}, got {repr(value)[:80]}")
