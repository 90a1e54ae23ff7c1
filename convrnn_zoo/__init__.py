"""A model zoo of convolutional RNNs: cells, sequence layers, architectures by name, and their weights.

Importing this package registers every architecture with timm.

Example:
    >>> import convrnn_zoo
    >>> model = convrnn_zoo.create_model("convlstm2d_bi_2layer", in_chans=1, hidden_channels=8)
    >>> tuple(model(torch.randn(2, 5, 1, 16, 16)).shape)  # (N, T, C, H, W)
    (2, 5, 16, 16, 16)
"""

from . import interop, layers, models
from ._version import __version__
from .layers import *  # noqa: F403
from .models import WEIGHTS, ConvRNNModel, Metric, Weights, WeightsError, create_model, list_models

__all__ = [
    *layers.__all__,
    "WEIGHTS",
    "ConvRNNModel",
    "Metric",
    "Weights",
    "WeightsError",
    "__version__",
    "create_model",
    "interop",
    "layers",
    "list_models",
    "models",
]
