"""Values as TOML writes them, which the standard library reads and does not write."""

import json
import math
from collections.abc import Mapping
from typing import Any


def toml(value: Any) -> str:
    """A value as TOML writes it.

    Example:
        >>> toml(["a", 1.5, True, float("nan"), {"b": 1}])
        '["a", 1.5, true, nan, {b = 1}]'
    """
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{k} = {toml(v)}' for k, v in value.items())}}}"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return json.dumps(value, ensure_ascii=False)
