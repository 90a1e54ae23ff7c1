"""A dataclass from JSON that may be a stranger's: every entry of the type that its field states, or one line on it."""

import dataclasses
import math
import re
from collections.abc import Mapping
from types import UnionType
from typing import Any, ClassVar, Literal, Self, TypeVar, Union, get_args, get_origin, get_type_hints

_LONGEST, _MOST, _LARGEST = 2**16, 2**16, 2**53
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # what a terminal would obey
T = TypeVar("T")


class Entries:
    """Of a dataclass: its entries as an object of JSON, and back."""

    json_name: ClassVar[str]
    """What errors call such an object."""

    def to_json(self) -> dict[str, Any]:
        """The entries that are set, as plain JSON."""
        entries = ((f.name, getattr(self, f.name)) for f in dataclasses.fields(self))  # type: ignore[arg-type]
        return {k: list(v) if isinstance(v, tuple) else v for k, v in entries if v not in (None, ())}

    @classmethod
    def from_json(cls, raw: object, what: str = "") -> Self:
        """From an object of JSON, which may be a stranger's; errors call it `what`.

        Raises:
            ValueError: it is no object, an entry is not known or of another type, or what the class refuses.
        """
        return read(cls, raw, what or cls.json_name)


def check_number(name: str, value: float, positive: bool = False) -> None:
    """Refuses a number that is not finite, or not above 0 where it has to be `positive`."""
    if not (math.isfinite(value) and (value > 0 or not positive)):
        raise ValueError(f"{name} must be a finite number{' above 0' if positive else ''}, got {value}")


def read(cls: type[T], raw: object, what: str) -> T:
    """The dataclass that an object of JSON holds: lists become tuples, whole numbers may stand for others.

    Args:
        cls: the dataclass; a field may be of a number, words, a truth value, a ``Literal``, a tuple or a mapping of
            such, of another dataclass, or optional.
        raw: what :func:`json.loads` gave.
        what: words for what it is.

    Raises:
        ValueError: it is no object, lacks an entry, has one that is not known, or one of another type; a number is not
            finite; a text or list is very long, or a text holds control characters.

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
        raise ValueError(f"{what} must be an object, got {type(raw).__name__}")
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    missing = dataclasses.MISSING
    lacking = [n for n, f in fields.items() if f.default is missing and f.default_factory is missing and n not in raw]
    if unknown := [str(k) for k in raw if k not in fields]:
        raise ValueError(f"{what} has entries that are not known: {', '.join(unknown)[:200]}")
    if lacking:
        raise ValueError(f"{what} lacks {', '.join(lacking)}")
    hints = get_type_hints(cls)
    values = {k: _value(hints[k], v, f"{what}: {k}") for k, v in raw.items()}
    try:
        return cls(**values)
    except (TypeError, ValueError) as e:
        raise ValueError(f"{what}: {e}") from e


def _value(kind: Any, value: object, what: str) -> Any:
    origin, args = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, UnionType):
        return _either(args, value, what)
    if dataclasses.is_dataclass(kind):
        return read(kind, value, what)  # type: ignore[arg-type]
    if origin is tuple:
        return tuple(_value(args[0], v, f"{what}[{i}]") for i, v in enumerate(_short(value, list, what)))
    if origin is not None and origin is not Literal:
        return {
            _value(str, k, what): _value(args[1], v, f"{what}[{k!r}]") for k, v in _short(value, dict, what).items()
        }
    if origin is Literal and value in args:
        return value
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool) and _finite(value):
        return float(value)
    if kind in (int, bool) and type(value) is kind and abs(value) <= _LARGEST:  # type: ignore[arg-type]
        return value
    if kind is str and isinstance(value, str) and len(value) <= _LONGEST and not _CONTROL.search(value):
        return value
    words = {float: "a finite number", int: "a whole number", bool: "true or false", str: "plain words"}
    wanted = f"one of {', '.join(map(repr, args))}" if args else words.get(kind, str(kind))
    raise ValueError(f"{what} must be {wanted}, got {repr(value)[:80]}")


def _either(kinds: tuple[Any, ...], value: object, what: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    errors = []
    for kind in (k for k in kinds if k is not type(None)):
        try:
            return _value(kind, value, what)
        except ValueError as e:
            errors.append(e)
    raise errors[0]


def _short(value: object, kind: type, what: str) -> Any:
    if not isinstance(value, kind) or len(value) > _MOST:  # type: ignore[arg-type]
        raise ValueError(f"{what} must be a short {'list' if kind is list else 'object'}, got {repr(value)[:80]}")
    return value


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond every float
        return False
