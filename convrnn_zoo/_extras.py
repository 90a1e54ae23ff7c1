"""Optional dependencies."""

import importlib
from typing import Any


def need(module: str, extra: str) -> Any:
    """Imports a module of an optional dependency; an ImportError states the command that installs it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as e:
        if e.name is None or not module.startswith(e.name.partition(".")[0]):
            raise
        raise ImportError(f"{module} is not installed; run: pip install 'convrnn-zoo[{extra}]'") from e
