"""Names of all forecasters in the registry, and small versions of each."""

from collections.abc import Callable
from typing import Any

import convrnn_zoo
from convrnn_zoo import AutoregressiveForecaster, Forecaster
from convrnn_zoo.models.pyramid_forecaster import PyramidForecaster
from convrnn_zoo.pretrained.registry import entry_points
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


def widths(name: str, width: int) -> dict[str, Any]:
    """The arguments of a network of a handful of channels, by the name that its widths have."""
    if isinstance(FULL[name], PyramidForecaster):
        return {"hidden_channels": (width, width + 1, width + 2)}
    return {"hidden_channels": width}


SMALL: dict[str, Callable[[int], dict[str, Any]]] = {
    "convgru_irene": lambda width: {"num_blocks": 2},
    "dgmr": lambda width: {
        "context_channels": 32,
        "latent_channels": 64 if width > 8 else 96,
        "noise_channels": 2,
        "input_frames": 2,
    },
    **{
        name: (lambda width: {"hidden_channels": width, "num_layers": 2})
        for name in ("predrnn_pp", "mim", "mau", "e3d_lstm", "sa_convlstm", "convlstm_weather2land", "sg_convlstm")
    },
    "motionrnn_predrnn": lambda width: {"hidden_channels": 4 * width, "num_layers": 2},  # motion has a quarter of them
}
"""The arguments of networks that have no `hidden_channels`, or many parts; some of each ReLU must be alive."""


def tiny(name: str, width: int = 3, **kwargs: Any) -> Any:
    """The architecture with a handful of channels."""
    small = SMALL[name](width) if name in SMALL else widths(name, width)
    return convrnn_zoo.create_model(name, **{"in_chans": 1, **small, **without_known_inputs(name), **kwargs})


def count(model: Any) -> int:
    return sum(p.numel() for p in model.parameters())
