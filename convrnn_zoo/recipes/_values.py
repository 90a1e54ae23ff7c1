"""Conversion of values to TOML."""

import json
import math
import re
from collections.abc import Mapping
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
