"""Cells and sequence layers in one to three dimensions: RNN, LSTM, peephole LSTM, GRU and minimal RNNs.

They need torch only. To add a core cell, follow ``lstm.py`` and import it here: the names of its models are derived
from it. Cells of other papers are in modules of their own, such as :mod:`convrnn_zoo.layers.trajgru`.
"""
# ruff: noqa: F403, I001

from typing import TYPE_CHECKING

from ._base import ConvRNNBase as ConvRNNBase
from ._base import ConvRNNCellBase as ConvRNNCellBase

# One file and one line for each core cell. Names of models, forecasters, pages and converters are derived from them.
from .rnn import *
from .lstm import *
from .peephole import *
from .gru import *
from .minimal import *

KINDS: dict[str, dict[int, type[ConvRNNBase]]] = {
    kind.__name__.lower().replace("convmin", "minconv"): {cls.ndim: cls for cls in kind.__subclasses__()}
    for kind in ConvRNNBase.__subclasses__()
}
"""Layer class by cell and dimension, such as ``KINDS["convlstm"][2]``."""

if not TYPE_CHECKING:  # a type checker takes the names from the imports
    __all__ = sorted(name for name, value in vars().items() if isinstance(value, type))
