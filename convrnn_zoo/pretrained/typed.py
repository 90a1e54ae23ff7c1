"""Dataclasses from untrusted JSON. Every field is checked by its type; an error is one line."""

import dataclasses
import math
import re
from collections.abc import Mapping
from types import UnionType
from typing import Any, ClassVar, Literal, Self, TypeVar, Union, get_args, get_origin, get_type_hints

from .._hints import suggest

_LONGEST, _MOST, _LARGEST = 2**16, 2**16, 2**53
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # terminals interpret these
T = TypeVar("T")


class Entries:
    """Base class of dataclasses that are stored as JSON objects."""

    json_name: ClassVar[str]
    """Name of the object in error messages."""

    def to_json(self) -> dict[str, Any]:
        """Returns the fields that are set, as plain JSON."""
        values = ((f.name, getattr(self, f.name)) for f in dataclasses.fields(self))  # type: ignore[arg-type]
        return {k: _plain(v) for k, v in values if v not in (None, ())}

    @classmethod
    def from_json(cls, raw: object, name: str = "") -> Self:
        """Reads an untrusted JSON object.

        Args:
            raw: the object.
            name: its name in error messages.

        Raises:
            ValueError: it is not an object, or a field is unknown or invalid.
        """
        return read(cls, raw, name or cls.json_name)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return value.to_json() if isinstance(value, Entries) else value


def check_number(name: str, value: float, positive: bool = False) -> None:
    """Raises ValueError for a number that is not finite, or, if `positive`, not above 0."""
    if not (math.isfinite(value) and (value > 0 or not positive)):
        raise ValueError(f"{name} must be a finite number{' above 0' if positive else ''}, got {value}")


def read(cls: type[T], raw: object, name: str) -> T:
    """Reads a dataclass from a JSON object. Lists become tuples, and whole numbers are valid floats.

    Args:
        cls: the dataclass; a field is a number, string, bool, ``Literal``, dataclass, tuple or mapping, or optional.
        raw: the object, as :func:`json.loads` returns it.
        name: its name in error messages.

    Raises:
        ValueError: it is not an object; a field is missing, unknown or of another type; a number is not finite; a
            string or list is very long, or a string holds control characters.

    Example:
        >>> @dataclasses.dataclass
        ... class Point:
        ...     at: tuple[float, ...]
        ...     unit: str = "m"
        >>> read(Point, {"at": [1, 2.5]}, "a point")
        Point(at=(1.0, 2.5), unit='m')
        >>> read(Point, {"at": [1, "2"]}, "a point")
        Traceback (most recent call last):
        ValueError: a point: at[1] must be a finite number, got '2'
    """
    if not isinstance(raw, Mapping):
        raise ValueError(f"{name} must be an object, got {type(raw).__name__}")
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    none = dataclasses.MISSING
    missing = [n for n, f in fields.items() if f.default is none and f.default_factory is none and n not in raw]
    if unknown := [str(k) for k in raw if k not in fields]:
        raise ValueError(f"{name} has unknown fields: {', '.join(unknown)[:200]}; {suggest(unknown[0], fields)}")
    if missing:
        raise ValueError(f"{name} lacks {', '.join(missing)}")
    hints = get_type_hints(cls)
    values = {k: _value(hints[k], v, f"{name}: {k}") for k, v in raw.items()}
    try:
        return cls(**values)
    except (TypeError, ValueError, OverflowError) as e:
        raise ValueError(f"{name}: {e}") from e


def _value(expected: Any, value: object, name: str) -> Any:
    generic, args = get_origin(expected), get_args(expected)
    if expected is Any:
        return value
    if generic in (Union, UnionType):
        return _union(args, value, name)
    if dataclasses.is_dataclass(expected):
        return read(expected, value, name)  # type: ignore[arg-type]
    if generic is tuple:
        return tuple(_value(args[0], v, f"{name}[{i}]") for i, v in enumerate(_short(value, list, name)))
    if generic is not None and generic is not Literal:
        return {
            _value(str, k, name): _value(args[1], v, f"{name}[{k!r}]") for k, v in _short(value, dict, name).items()
        }
    if generic is Literal and value in args:
        return value
    if expected is float and isinstance(value, int | float) and not isinstance(value, bool) and _is_finite(value):
        return float(value)
    if expected is bool and isinstance(value, bool):
        return value
    if expected is int and type(value) is int and abs(value) <= _LARGEST:
        return value
    if expected is str and isinstance(value, str) and len(value) <= _LONGEST and not _CONTROL.search(value):
        return value
    names = {float: "a finite number", int: "a whole number", bool: "true or false", str: "plain words"}
    valid = f"one of {', '.join(map(repr, args))}" if args else names.get(expected, str(expected))
    hint = f"; {suggest(value, args)}" if args and isinstance(value, str) else ""
    raise ValueError(f"{name} must be {valid}, got {repr(value)[:80]}{hint}")


def _union(types: tuple[Any, ...], value: object, name: str) -> Any:
    if value is None and type(None) in types:
        return None
    errors = []
    for expected in (t for t in types if t is not type(None)):
        try:
            return _value(expected, value, name)
        except ValueError as e:
            errors.append(e)
    raise errors[0]


def _short(value: object, expected: type, name: str) -> Any:
    if not isinstance(value, expected) or len(value) > _MOST:  # type: ignore[arg-type]
        raise ValueError(f"{name} must be a short {'list' if expected is list else 'object'}, got {repr(value)[:80]}")
    return value


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond every float
        return False
