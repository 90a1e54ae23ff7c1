"""Converts checkpoints of other projects to layers and models with equal outputs, and back.

The result of a conversion is saved like any model of the zoo. ``pysteps`` gives forecasters the interface of pysteps.
"""

from ..layers.keras import ActivatedConvLSTM, ResizingConvLSTM
from ._conversion import SOURCES, Conversion, Recognition, convert, export, load, recognise, to_model
from ._key_map import OptionError, Source
from .pysteps import nowcast_method, register_nowcast_method
from .torchgeo import TorchGeoConvLSTM

__all__ = [
    "SOURCES",
    "ActivatedConvLSTM",
    "Conversion",
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
    "register_nowcast_method",
    "to_model",
]
