"""The core family: convolutional RNN, LSTM, peephole LSTM and GRU in one, two and three dimensions."""

from ._base import ConvRNNCellBase
from ._fused import set_fused
from ._sequence import ConvRNNBase
from .gru import (
    Conv1dGRU,
    Conv1dGRUCell,
    Conv2dGRU,
    Conv2dGRUCell,
    Conv3dGRU,
    Conv3dGRUCell,
    ConvGRU,
    ConvGRUCell,
)
from .lstm import (
    Conv1dLSTM,
    Conv1dLSTMCell,
    Conv2dLSTM,
    Conv2dLSTMCell,
    Conv3dLSTM,
    Conv3dLSTMCell,
    ConvLSTM,
    ConvLSTMCell,
)
from .peephole import (
    Conv1dPeepholeLSTM,
    Conv1dPeepholeLSTMCell,
    Conv2dPeepholeLSTM,
    Conv2dPeepholeLSTMCell,
    Conv3dPeepholeLSTM,
    Conv3dPeepholeLSTMCell,
    ConvPeepholeLSTM,
    ConvPeepholeLSTMCell,
)
from .rnn import (
    Conv1dRNN,
    Conv1dRNNCell,
    Conv2dRNN,
    Conv2dRNNCell,
    Conv3dRNN,
    Conv3dRNNCell,
    ConvRNN,
    ConvRNNCell,
)

__all__ = [
    "Conv1dGRU",
    "Conv1dGRUCell",
    "Conv1dLSTM",
    "Conv1dLSTMCell",
    "Conv1dPeepholeLSTM",
    "Conv1dPeepholeLSTMCell",
    "Conv1dRNN",
    "Conv1dRNNCell",
    "Conv2dGRU",
    "Conv2dGRUCell",
    "Conv2dLSTM",
    "Conv2dLSTMCell",
    "Conv2dPeepholeLSTM",
    "Conv2dPeepholeLSTMCell",
    "Conv2dRNN",
    "Conv2dRNNCell",
    "Conv3dGRU",
    "Conv3dGRUCell",
    "Conv3dLSTM",
    "Conv3dLSTMCell",
    "Conv3dPeepholeLSTM",
    "Conv3dPeepholeLSTMCell",
    "Conv3dRNN",
    "Conv3dRNNCell",
    "ConvGRU",
    "ConvGRUCell",
    "ConvLSTM",
    "ConvLSTMCell",
    "ConvPeepholeLSTM",
    "ConvPeepholeLSTMCell",
    "ConvRNN",
    "ConvRNNBase",
    "ConvRNNCell",
    "ConvRNNCellBase",
    "set_fused",
]
