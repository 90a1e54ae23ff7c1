"""Reading and writing of TOML: files that extend others, overrides of single keys, and values as text."""

import json
import math
import re
import tomllib
from collections.abc import Mapping
from datetime import date, time
from pathlib import Path
from typing import Any


def toml(value: Any) -> str:
    """Returns a value in the syntax of TOML.

    Example:
        >>> toml(["a", 1.5, True, float("nan"), {"b": 1}])
        '["a", 1.5, true, nan, {b = 1}]'
    """
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{toml_key(k)} = {toml(v)}' for k, v in value.items())}}}"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return json.dumps(value, ensure_ascii=False)


def toml_key(name: str) -> str:
    """Returns a key in the syntax of TOML, in quotes if it has characters that a bare key must not have."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)


def format_toml(table: Mapping[str, Any]) -> str:
    """Returns a table as TOML, tables in it as sections. Values that are None are left out, as are empty sections."""
    sections = {k: v for k, v in table.items() if isinstance(v, Mapping)}
    lines = [f"{k} = {toml(v)}" for k, v in table.items() if not (k in sections or v is None)]
    for section, values in sections.items():
        if values:
            lines += ["", f"[{section}]", *(f"{toml_key(k)} = {toml(v)}" for k, v in values.items() if v is not None)]
    return "\n".join(lines) + "\n"


def read_toml(path: Path, depth: int = 0) -> dict[str, Any]:
    """Reads a TOML file, and merges its keys into those of the file that it extends."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # Windows may write a byte order mark
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as e:
        raise ValueError(f"{path} is not valid TOML: {e}") from e
    base = table.pop("extends", None)
    if base is None:
        return table
    file = path.parent / base if isinstance(base, str) and Path(base).name == base else path
    if depth > 4 or not file.is_file() or file == path or not _is_beside(file, path):
        raise ValueError(f"{path}: extends must name a .toml file next to it that does not extend it, got {base!r}")
    merged = read_toml(file, depth + 1)
    for key, value in table.items():
        is_table = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = {**merged[key], **value} if is_table else value
    return merged


def override(table: dict[str, Any], assignment: str) -> None:
    """Sets the key of ``KEY=VALUE``, a path with dots, in a table of a recipe.

    A value that is not TOML is a string if it is one word, such as ``~/run``. So is a date, which no key takes.
    """
    path, sign, text = (part.strip() for part in assignment.partition("="))
    *tables, key = path.split(".")
    if not sign or not all((*tables, key)):
        raise ValueError(f"expected KEY=VALUE, such as lr=0.001 or data.crop=64, got {assignment!r}")
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError as e:
        if not re.fullmatch(r"[^\s\[{\"']\S*", text):
            quoted = f"""a string needs quotes, such as --set '{path}="a b"'"""
            raise ValueError(f"the value of {path} is not valid TOML ({e}), got {text!r}; {quoted}") from e
        parsed = {"value": text}  # shells remove the quotes of a string
    if isinstance(parsed["value"], date | time):
        parsed["value"] = text
    if len(parsed) > 1:
        raise ValueError(f"the value of {path} must be one value, got {text!r}")
    parent = table
    for name in tables:
        inner = parent.get(name, {})
        if isinstance(inner, str) and name == "data":  # short for its kind
            inner = {"kind": inner}
        if not isinstance(inner, dict):
            raise ValueError(f"{path} cannot be set, because the recipe's {name} is not a table")
        parent[name] = parent = dict(inner)
    parent[key] = parsed["value"]


def _is_beside(file: Path, path: Path) -> bool:
    """Returns whether a .toml file is in the directory of `path`, also if symbolic links are followed."""
    return file.suffix == ".toml" and file.resolve().parent in (path.parent.resolve(), path.resolve().parent)
