"""The architectures. Importing this registers each of them with timm; a file a family."""

from . import (
    bcdunet,
    convgru_advection,
    convlstm_shi,
    convrnn,
    dgmr,
    e3d_lstm,
    forecaster,
    forecaster_ef,
    hko7,
    irene,
    mau,
    mim,
    openstl,
    phydnet,
    predrnn,
    predrnn_pp,
    rvm,
    utae,
    video,
)
from ._autoregressive import AutoregressiveForecaster, Rollout
from ._base import ZooModel
from ._classifying import Prediction
from ._create import create_model, from_pretrained
from ._ensemble import EnsembleForecaster
from ._errors import ConvRNNHubError, HubAccessError, WeightsError
from ._forecasting import Forecaster
from ._loading import load_weights
from ._log_mel import LogMel
from ._meta import size_limit
from ._network import ConvRNNModel
from ._preprocessing import Preprocessing
from ._registry import list_models
from ._stream import Stream
from ._video import VideoModel
from ._weights import WEIGHTS, Metric, Weights
from .forecaster import ConvRNNForecaster
from .video import video_model

__all__ = [
    "WEIGHTS",
    "AutoregressiveForecaster",
    "ConvRNNForecaster",
    "ConvRNNHubError",
    "ConvRNNModel",
    "EnsembleForecaster",
    "Forecaster",
    "HubAccessError",
    "LogMel",
    "Metric",
    "Prediction",
    "Preprocessing",
    "Rollout",
    "Stream",
    "VideoModel",
    "Weights",
    "WeightsError",
    "ZooModel",
    "bcdunet",
    "convgru_advection",
    "convlstm_shi",
    "convrnn",
    "create_model",
    "dgmr",
    "e3d_lstm",
    "forecaster",
    "forecaster_ef",
    "from_pretrained",
    "hko7",
    "irene",
    "list_models",
    "load_weights",
    "mau",
    "mim",
    "openstl",
    "phydnet",
    "predrnn",
    "predrnn_pp",
    "rvm",
    "size_limit",
    "utae",
    "video",
    "video_model",
]
