"""Converts checkpoints of other projects to layers and models with equal outputs, and back.

Also contains adapters for using forecasters as methods of pysteps and as networks of mlcast.
"""

from ..layers.keras import ActivatedConvLSTM, ResizingConvLSTM
from ._conversion import SOURCES, Conversion, Recognition, convert, export, load, recognise, to_model
from ._key_map import OptionError, Source
from .mlcast import MLCastNetwork
from .pysteps import nowcast_method
from .torchgeo import TorchGeoConvLSTM

__all__ = [
    "SOURCES", "ActivatedConvLSTM", "Conversion", "MLCastNetwork", "OptionError", "Recognition", "ResizingConvLSTM",
    "Source", "TorchGeoConvLSTM", "convert", "export", "load", "nowcast_method", "recognise", "to_model",
]  # fmt: skip
