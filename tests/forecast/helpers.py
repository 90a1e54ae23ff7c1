"""What the tests of the forecasters share: their names, found in the registry, and small versions of each."""

from typing import Any

import convrnn_zoo
from convrnn_zoo import AutoregressiveForecaster, Forecaster
from convrnn_zoo.models._pyramid import PyramidForecaster
from convrnn_zoo.models._registry import entry_points

FULL = {
    name: model
    for name, model in (
        (name, convrnn_zoo.create_model(name, device="meta"))
        for name, entry in entry_points().items()
        if not entry.__module__.endswith(".convrnn")
    )
    if isinstance(model, Forecaster)
}
"""Every forecaster as it is published, without memory for its weights."""

NAMES = sorted(FULL)
AUTOREGRESSIVE = [n for n in NAMES if isinstance(FULL[n], AutoregressiveForecaster)]


def tiny(name: str, width: int = 3, **kwargs: Any) -> Any:
    """The architecture with a handful of channels."""
    widths = (width, width + 1, width + 2) if isinstance(FULL[name], PyramidForecaster) else width
    return convrnn_zoo.create_model(name, **{"hidden_channels": widths, **kwargs})


def count(model: Any) -> int:
    return sum(p.numel() for p in model.parameters())
