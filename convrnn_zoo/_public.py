"""The public names that are imported with the package. Importing them registers every architecture with timm."""

from . import layers, models
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

__all__ = [
    *layers.__all__,  # type: ignore[attr-defined]
    "WEIGHTS",
    "AutoregressiveForecaster",
    "CausalLSTMCell",
    "ConvRNNForecaster",
    "ConvRNNModel",
    "E3DLSTMCell",
    "EnsembleForecaster",
    "Forecaster",
    "GradientHighwayCell",
    "ConvRNNHubError",
    "HubAccessError",
    "MAUCell",
    "MIMBlockCell",
    "MIMCell",
    "LogMel",
    "Metric",
    "MotionGRUCell",
    "PhyCell",
    "Prediction",
    "Preprocessing",
    "Rollout",
    "SAConvLSTMCell",
    "STLSTMCell",
    "Stream",
    "TrajGRUCell",
    "Variable",
    "VideoModel",
    "Weights",
    "WeightsError",
    "ZooModel",
    "create_model",
    "from_pretrained",
    "layers",
    "list_models",
    "load_weights",
    "models",
    "size_limit",
    "video_model",
]
