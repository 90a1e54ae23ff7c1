"""Checkpoints of other projects, read as layers and models with equal outputs, and written back.

Also adapters that make forecasters methods of pysteps and networks of mlcast.

Example:
    >>> import torch
    >>> original = torch.nn.LSTM(4, 8, num_layers=2)
    >>> layer = load("torch", original.state_dict())
    >>> x = torch.randn(5, 3, 4)
    >>> torch.allclose(layer(x.unsqueeze(-1))[0].squeeze(-1), original(x)[0], atol=1e-6)
    True
    >>> state = export(layer, "torch")
    >>> all(torch.equal(state[key], value) for key, value in original.state_dict().items())
    True
"""

from ._conversion import SOURCES, Conversion, convert, export, load, recognise, to_model
from ._key_map import OptionError, Recognition, Source
from .keras_layers import ActivatedConvLSTM, ResizingConvLSTM
from .mlcast import MLCastNetwork
from .pysteps import nowcast_method
from .torchgeo import TorchGeoConvLSTM

__all__ = [
    "SOURCES",
    "ActivatedConvLSTM",
    "Conversion",
    "MLCastNetwork",
    "OptionError",
    "Recognition",
    "ResizingConvLSTM",
    "Source",
    "TorchGeoConvLSTM",
    "convert",
    "export",
    "load",
    "nowcast_method",
    "recognise",
    "to_model",
]
