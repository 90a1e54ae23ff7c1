"""A model zoo of convolutional RNNs: cells, sequence layers, architectures by name, and their weights.

Importing this package registers every architecture with timm.

Example:
    >>> import torch, convrnn_zoo
    >>> model = convrnn_zoo.create_model("convlstm2d_bi_2layer", in_chans=1, hidden_channels=8)
    >>> tuple(model(torch.randn(2, 5, 1, 16, 16)).shape)  # (N, T, C, H, W)
    (2, 5, 16, 16, 16)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import layers, models
from ._version import __version__
from .layers import *  # noqa: F403
from .layers.causallstm import CausalLSTMCell, GradientHighwayCell
from .layers.e3dlstm import E3DLSTMCell
from .layers.mau import MAUCell
from .layers.mim import MIMBlockCell, MIMCell
from .layers.phycell import PhyCell
from .layers.stlstm import STLSTMCell
from .layers.trajgru import TrajGRUCell
from .models import (
    WEIGHTS,
    AutoregressiveForecaster,
    ConvRNNForecaster,
    ConvRNNHubError,
    ConvRNNModel,
    EnsembleForecaster,
    Forecaster,
    HubAccessError,
    LogMel,
    Metric,
    Prediction,
    Preprocessing,
    Rollout,
    Stream,
    Variable,
    VideoModel,
    Weights,
    WeightsError,
    ZooModel,
    create_model,
    from_pretrained,
    list_models,
    load_weights,
    size_limit,
    video_model,
)

if TYPE_CHECKING:
    from . import data as data
    from . import hub, interop, onnx
    from .hub import push_to_hub, save_pretrained
    from .onnx import ExportError, export

__all__ = [
    *layers.__all__,  # type: ignore[attr-defined]
    "WEIGHTS",
    "AutoregressiveForecaster",
    "CausalLSTMCell",
    "ConvRNNForecaster",
    "ConvRNNModel",
    "E3DLSTMCell",
    "EnsembleForecaster",
    "ExportError",
    "Forecaster",
    "GradientHighwayCell",
    "ConvRNNHubError",
    "HubAccessError",
    "MAUCell",
    "MIMBlockCell",
    "MIMCell",
    "LogMel",
    "Metric",
    "PhyCell",
    "Prediction",
    "Preprocessing",
    "Rollout",
    "STLSTMCell",
    "Stream",
    "TrajGRUCell",
    "Variable",
    "VideoModel",
    "Weights",
    "WeightsError",
    "ZooModel",
    "__version__",
    "create_model",
    "export",
    "from_pretrained",
    "hub",
    "interop",
    "layers",
    "list_models",
    "load_weights",
    "models",
    "onnx",
    "push_to_hub",
    "save_pretrained",
    "size_limit",
    "video_model",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """What is imported when it is first used."""
        if name in ("data", "hub", "interop", "onnx"):
            return import_module(f".{name}", __name__)
        homes = {"push_to_hub": ".hub", "save_pretrained": ".hub", "ExportError": ".onnx", "export": ".onnx"}
        if name in homes:
            return getattr(import_module(homes[name], __name__), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
