"""The architectures. Importing this registers each of them with timm; a file a family."""

from . import convrnn
from ._loading import WeightsError
from ._network import ConvRNNModel
from ._registry import create_model, list_models
from ._weights import WEIGHTS, Metric, Weights

__all__ = ["WEIGHTS", "ConvRNNModel", "Metric", "Weights", "WeightsError", "convrnn", "create_model", "list_models"]
