"""Optional packages: there, or an error that says which `pip install` brings them."""

import importlib
from typing import Any


def need(module: str, extra: str) -> Any:
    """The module, or an ImportError that names the extra that has it.

    Example:
        >>> need("json", "cli").dumps([1])
        '[1]'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as e:
        if e.name is None or not module.startswith(e.name.partition(".")[0]):
            raise
        raise ImportError(f"{module} is needed here and not installed; run: pip install 'convrnn-zoo[{extra}]'") from e
