"""Checkpoints of other code bases: read into layers and models whose outputs equal theirs, and written back.

And models as other programs call them: pysteps and mlcast.

Example:
    >>> import torch
    >>> theirs = torch.nn.LSTM(4, 8, num_layers=2)
    >>> ours = load("torch", theirs.state_dict())
    >>> x = torch.randn(5, 3, 4)
    >>> torch.allclose(ours(x.unsqueeze(-1))[0].squeeze(-1), theirs(x)[0], atol=1e-6)
    True
    >>> again = export(ours, "torch")
    >>> all(torch.equal(again[key], value) for key, value in theirs.state_dict().items())
    True
"""

from ._convert import Conversion, convert, to_model
from ._keras_layers import ActivatedConvLSTM, ResizingConvLSTM
from ._load import SOURCES, export, load, recognise
from ._source import OptionError, Recognition, Source
from .mlcast import MLCastNetwork
from .pysteps import nowcast_method

__all__ = [
    "SOURCES",
    "ActivatedConvLSTM",
    "Conversion",
    "MLCastNetwork",
    "OptionError",
    "Recognition",
    "ResizingConvLSTM",
    "Source",
    "convert",
    "export",
    "load",
    "nowcast_method",
    "recognise",
    "to_model",
]
