"""The architectures. Importing this registers each of them with timm; a file a family."""

from . import convrnn
from ._errors import ConvRNNHubError, HubAccessError, WeightsError
from ._loading import load_weights
from ._network import ConvRNNModel
from ._registry import create_model, list_models
from ._sketch import size_limit
from ._weights import WEIGHTS, Metric, Weights

__all__ = [
    "WEIGHTS",
    "ConvRNNHubError",
    "ConvRNNModel",
    "HubAccessError",
    "Metric",
    "Weights",
    "WeightsError",
    "convrnn",
    "create_model",
    "list_models",
    "load_weights",
    "size_limit",
]
