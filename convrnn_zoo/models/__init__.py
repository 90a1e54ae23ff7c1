"""The architectures. Importing this registers each of them with timm; a file a family."""

from . import convgru_advection, convlstm_shi, convrnn, forecaster, forecaster_ef, hko7, openstl, predrnn
from ._autoregressive import AutoregressiveForecaster, Rollout
from ._base import ZooModel
from ._classifying import Prediction
from ._create import create_model, from_pretrained
from ._errors import ConvRNNHubError, HubAccessError, WeightsError
from ._forecasting import Forecaster
from ._loading import load_weights
from ._meta import size_limit
from ._network import ConvRNNModel
from ._preprocessing import Preprocessing
from ._registry import list_models
from ._weights import WEIGHTS, Metric, Weights
from .forecaster import ConvRNNForecaster

__all__ = [
    "WEIGHTS",
    "AutoregressiveForecaster",
    "ConvRNNForecaster",
    "ConvRNNHubError",
    "ConvRNNModel",
    "Forecaster",
    "HubAccessError",
    "Metric",
    "Prediction",
    "Preprocessing",
    "Rollout",
    "Weights",
    "WeightsError",
    "ZooModel",
    "convgru_advection",
    "convlstm_shi",
    "convrnn",
    "create_model",
    "forecaster",
    "forecaster_ef",
    "from_pretrained",
    "hko7",
    "list_models",
    "load_weights",
    "openstl",
    "predrnn",
    "size_limit",
]
