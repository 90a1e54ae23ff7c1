"""Documentation of the keys of recipes, from the fields of the classes, and recipes with a comment on every key."""

import dataclasses
import re
import textwrap
import typing
from collections.abc import Mapping
from typing import Any, NamedTuple

from .._typed import describe_type
from ._toml import toml
from .augment import Augment
from .recipe import RECIPE_KINDS
from .sampling import SAMPLINGS


class FieldDoc(NamedTuple):
    """Key of a recipe; `default` is the default as TOML, or ``"required"`` or ``"none"``."""

    name: str
    type: str
    default: str
    meaning: str


def describe_fields(cls: type[Any]) -> list[FieldDoc]:
    """Describes the keys of a recipe or of one of its tables, from the fields of the class and of its bases.

    A field that a class declares again, such as with another default, keeps its description. Keys that a class inherits
    but rejects, and therefore lists in `excluded`, are left out.
    """
    meanings: dict[str, str] = {}
    for base in reversed([b for b in cls.__mro__ if dataclasses.is_dataclass(b)]):
        described = {f.name: f.metadata.get("description", "") for f in dataclasses.fields(base)}
        meanings |= {name: text for name, text in described.items() if text}
    hints = typing.get_type_hints(cls)
    fields = []
    for f in dataclasses.fields(cls):
        if f.name in getattr(cls, "excluded", ()):
            continue
        value = f.default if f.default_factory is dataclasses.MISSING else f.default_factory()
        default = "required" if value is dataclasses.MISSING else "none" if value is None else toml(value)
        kind = describe_type(hints[f.name]).removeprefix("a ").replace("finite number", "number")
        meaning = re.sub(r":\w+:`~?[\w.]*?(\w+)`|``(.*?)``|`(.*?)`", r"\1\2\3", meanings.get(f.name, ""))
        if choices := [c for c in f.metadata.get("choices", ()) if c and c not in meaning]:
            meaning = f"{meaning.rstrip('.')}: {', '.join(choices)}."
        fields.append(FieldDoc(f.name, "table or string" if f.name == "data" else kind, default, meaning))
    return fields


def format_recipe(values: dict[str, Any], arguments: list[str]) -> list[str]:
    """Returns the lines of a recipe with all keys; `arguments` are those that the comment of ``[model]`` names."""
    kind, sampling = RECIPE_KINDS[values["kind"]], values.get("sampling") or {}
    tables: dict[str, tuple[Any, Mapping[str, Any]]] = {
        "data": (kind.datasets[values["data"]["kind"]], values["data"]),
        "augment": (Augment, values.get("augment") or {}),
        "sampling": (SAMPLINGS[sampling.get("name", "own")], sampling),
    }
    lines = _format_keys(kind, {k: v for k, v in values.items() if k not in (*tables, "model")}, (*tables, "model"))
    named = f", such as {', '.join(arguments)}" if arguments else ""
    lines += ["", f"# arguments of the architecture{named}", "[model]"]
    lines += [f"{k} = {toml(v)}" for k, v in values.get("model", {}).items() if v is not None]
    for name, (cls, table) in tables.items():
        lines += ["", f"[{name}]", *_format_keys(cls, table)] if table else []
    return lines


def _format_keys(cls: type[Any], table: Mapping[str, Any], left_out: tuple[str, ...] = ()) -> list[str]:
    """Returns the lines of a table: each key with its meaning, commented out if its value is the default."""
    fields = {f.name: f for f in describe_fields(cls) if f.name not in left_out}
    lines = [f"{k} = {toml(v)}" for k, v in table.items() if k not in fields]  # which select the class
    for name, field in fields.items():
        lines += textwrap.wrap(field.meaning, 120, initial_indent="# ", subsequent_indent="#   ")
        value = table.get(name)
        if field.default == "required" or (value is not None and toml(value) != field.default):
            lines.append(f"{name} = {toml('' if value is None else value)}")
        else:
            lines.append(f"# {name} = {'' if field.default == 'none' else field.default}".rstrip())
    return lines
