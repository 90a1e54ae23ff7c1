"""Converts checkpoints of other projects to layers and models with equal outputs.

The result of a conversion is saved like any model of the zoo.
"""

from ..layers.keras import ActivatedConvLSTM, ResizingConvLSTM
from ._conversion import SOURCES, Conversion, Recognition, convert, load, recognise
from ._key_map import OptionError, Source
from ._to_model import to_model

__all__ = [
    "SOURCES",
    "ActivatedConvLSTM",
    "Conversion",
    "OptionError",
    "Recognition",
    "ResizingConvLSTM",
    "Source",
    "convert",
    "load",
    "recognise",
    "to_model",
]
