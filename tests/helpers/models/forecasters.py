"""Names of all forecasters in the registry, and small versions of each."""

from typing import Any

import convrnn_zoo
from convrnn_zoo import AutoregressiveForecaster, Forecaster
from convrnn_zoo.pretrained.registry import SMALL, entry_points
from tests.helpers.registry import on_meta, without_known_inputs

FULL = {
    name: model
    for name, model in (
        (name, on_meta(name)) for name, entry in entry_points().items() if not entry.__module__.endswith(".convrnn")
    )
    if isinstance(model, Forecaster)
}
"""Every forecaster at its defaults, on the meta device."""

NAMES = sorted(FULL)
AUTOREGRESSIVE = [n for n in NAMES if isinstance(FULL[n], AutoregressiveForecaster)]


def tiny(name: str, **kwargs: Any) -> Any:
    """The architecture with a handful of channels, which reads one channel of frames only."""
    return convrnn_zoo.create_model(name, **{"in_chans": 1, **SMALL[name], **without_known_inputs(name), **kwargs})


def count(model: Any) -> int:
    return sum(p.numel() for p in model.parameters())
