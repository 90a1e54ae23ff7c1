"""Checkpoints of other projects, read as layers and models with equal outputs, and written back.

Also adapters that make forecasters methods of pysteps and networks of mlcast.
"""

from ._conversion import SOURCES, Conversion, Recognition, convert, export, load, recognise, to_model
from ._key_map import OptionError, Source
from .keras_layers import ActivatedConvLSTM, ResizingConvLSTM
from .mlcast import MLCastNetwork
from .pysteps import nowcast_method
from .torchgeo import TorchGeoConvLSTM

__all__ = [
    "SOURCES", "ActivatedConvLSTM", "Conversion", "MLCastNetwork", "OptionError", "Recognition", "ResizingConvLSTM",
    "Source", "TorchGeoConvLSTM", "convert", "export", "load", "nowcast_method", "recognise", "to_model",
]  # fmt: skip
