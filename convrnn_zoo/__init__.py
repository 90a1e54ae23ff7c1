"""A model zoo of convolutional RNNs: cells, sequence layers, architectures by name, and their weights.

Importing this package registers every architecture with timm.

A package imports only from those before it in this list: `layers`; `values`, which converts data to tensors;
`pretrained`, the files of weights; `models`; `hub`, `interop`, which saves with it, and `exporting`; `data`, readers
and datasets; `verify`, losses and scores; `recipes` of training; `train` and `predict`, which do not import each other;
and `cli`. Files `_NAME.py` are helpers of all packages. `weights/` has the shipped weights, `demo/` samples for them.

Example:
    >>> import torch, convrnn_zoo
    >>> model = convrnn_zoo.create_model("convlstm2d_bi_2layer", in_chans=1, hidden_channels=8)
    >>> tuple(model(torch.randn(2, 5, 1, 16, 16)).shape)  # (N, T, C, H, W)
    (2, 5, 16, 16, 16)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import data as data
    from . import exporting, hub, interop
    from .exporting.export import export
    from .exporting.spec import ExportError
    from .hub import push_to_hub, save_pretrained
    from .predict.archive import forecast_archive

from . import layers, models
from ._version import __version__
from .layers import *  # noqa: F403
from .layers.causallstm import CausalLSTMCell, GradientHighwayCell
from .layers.e3dlstm import E3DLSTMCell
from .layers.mau import MAUCell
from .layers.mim import MIMBlockCell, MIMCell
from .layers.motiongru import MotionGRUCell
from .layers.phycell import PhyCell
from .layers.saconvlstm import SAConvLSTMCell
from .layers.stlstm import STLSTMCell
from .layers.trajgru import TrajGRUCell
from .models import (
    AudioModel,
    AutoregressiveForecaster,
    ConvRNNForecaster,
    ConvRNNModel,
    EnsembleForecaster,
    Forecaster,
    Prediction,
    Rollout,
    Spot,
    Spotter,
    Stream,
    VideoModel,
    ZooModel,
    create_model,
    from_pretrained,
    list_models,
    video_model,
)
from .pretrained.errors import ConvRNNHubError, HubAccessError, WeightsError
from .pretrained.limits import size_limit
from .pretrained.metadata import WEIGHTS, Metric, WeightsMetadata
from .pretrained.state_dict import load_weights
from .values.log_mel import LogMel
from .values.preprocessing import Preprocessing, Variable

__all__ = [
    "WEIGHTS",
    "AudioModel",
    "AutoregressiveForecaster",
    "CausalLSTMCell",
    "ConvRNNForecaster",
    "ConvRNNHubError",
    "ConvRNNModel",
    "E3DLSTMCell",
    "EnsembleForecaster",
    "ExportError",
    "Forecaster",
    "GradientHighwayCell",
    "HubAccessError",
    "LogMel",
    "MAUCell",
    "MIMBlockCell",
    "MIMCell",
    "Metric",
    "MotionGRUCell",
    "PhyCell",
    "Prediction",
    "Preprocessing",
    "Rollout",
    "SAConvLSTMCell",
    "STLSTMCell",
    "Spot",
    "Spotter",
    "Stream",
    "TrajGRUCell",
    "Variable",
    "VideoModel",
    "WeightsError",
    "WeightsMetadata",
    "ZooModel",
    "__version__",
    "create_model",
    "export",
    "exporting",
    "forecast_archive",
    "from_pretrained",
    "hub",
    "interop",
    "layers",
    "list_models",
    "load_weights",
    "models",
    "push_to_hub",
    "save_pretrained",
    "size_limit",
    "video_model",
]
__all__ += layers.__all__  # type: ignore[attr-defined]  # computed

# Imported at the first use: they take as long as the rest of the package together.
_LATER = {
    **dict.fromkeys(("data", "exporting", "hub", "interop"), ""),
    **dict.fromkeys(("ExportError", "export"), ".exporting"),
    **dict.fromkeys(("push_to_hub", "save_pretrained"), ".hub"),
    "forecast_archive": ".predict.archive",
}


def _load_later(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if not _LATER[name]:
        return import_module(f".{name}", __name__)
    return getattr(import_module(_LATER[name], __name__), name)


if not TYPE_CHECKING:  # a type checker would accept any name
    __getattr__ = _load_later


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
