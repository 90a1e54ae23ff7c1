"""The core family: convolutional RNN, LSTM, peephole LSTM and GRU in one, two and three dimensions."""
# ruff: noqa: F403, I001

from . import gru, lstm, peephole, rnn
from ._cell import ConvRNNCellBase
from ._sequence import ConvRNNBase

# A kind of cell is a file, and its lines here: names of models, forecasters, pages and converters follow.
from .rnn import *
from .lstm import *
from .peephole import *
from .gru import *

__all__ = ["ConvRNNBase", "ConvRNNCellBase"]
__all__ += rnn.__all__
__all__ += lstm.__all__
__all__ += peephole.__all__
__all__ += gru.__all__

KINDS: dict[str, dict[int, type[ConvRNNBase]]] = {
    kind.__name__.lower(): {cls.ndim: cls for cls in kind.__subclasses__()} for kind in ConvRNNBase.__subclasses__()
}
"""The layer of each kind and dimension, such as ``KINDS["convlstm"][2]``."""
