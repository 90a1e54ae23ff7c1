"""Values as TOML writes them, which the standard library reads and does not write, and as JSON may hold them."""

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


def finite(value: Any) -> Any:
    """A value with None for each number in it that is not finite, of which JSON knows none.

    Example:
        >>> finite({"a": [1.0, float("nan")]})
        {'a': [1.0, None]}
    """
    if isinstance(value, Mapping):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
