"""Minimal convolutional RNNs, whose gates read the input only, so that training is parallel over time."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ._base import ConvRNNBase, ConvRNNCellBase, Equations
from ._run import Maps

__all__ = [
    "Conv1dMinExpLSTM", "Conv1dMinExpLSTMCell", "Conv1dMinGRU", "Conv1dMinGRUCell", "Conv1dMinLSTM",
    "Conv1dMinLSTMCell", "Conv2dMinExpLSTM", "Conv2dMinExpLSTMCell", "Conv2dMinGRU", "Conv2dMinGRUCell",
    "Conv2dMinLSTM", "Conv2dMinLSTMCell", "Conv3dMinExpLSTM", "Conv3dMinExpLSTMCell", "Conv3dMinGRU",
    "Conv3dMinGRUCell", "Conv3dMinLSTM", "Conv3dMinLSTMCell", "ConvMinExpLSTM", "ConvMinExpLSTMCell", "ConvMinGRU",
    "ConvMinGRUCell", "ConvMinLSTM", "ConvMinLSTMCell",
]  # fmt: skip


class MinimalEquations(Equations):
    """
    The gates read the input only: all steps are convolved at once, and a linear recurrence over time gives h. No
    convolution reads h, so that a state does not move between pixels within a layer. For data with motion, stack layers
    or use :class:`ConvGRU`. The function g is not applied to the initial state. Every h is positive
    if the initial state is positive.

    References:
        Horuz, C. C. et al. (2025). Minimal Convolutional RNNs Accelerate Spatiotemporal Learning.
        https://arxiv.org/abs/2508.03614
        Feng, L. et al. (2024). Were RNNs All We Needed? https://arxiv.org/abs/2410.01201
    """

    states, biases, is_linear = ("h",), ("bias_ih",), True

    def forget_logit(self, *gates: Tensor) -> Tensor:
        """Returns the logit of f in ``h' = f ⊙ h + (1 - f) ⊙ g(n)`` from the pre-activations of all gates but n."""
        raise NotImplementedError

    def coefficients(self, gates: Tensor) -> tuple[Tensor, Tensor]:
        *gate, n = gates.chunk(self.gates, dim=1)
        logit = self.forget_logit(*gate)
        # As sigmoids of a logit, neither f nor 1 - f loses its digits, also if it is the ratio of two vanishing gates.
        # f is at most 1, so that products of many steps cannot overflow.
        return logit.sigmoid(), (-logit).sigmoid() * torch.where(n >= 0, n + 0.5, n.sigmoid())

    def step(self, gates: Tensor, state: Maps, extra: Maps) -> Maps:
        f, b = self.coefficients(gates)
        return (torch.addcmul(b, f, state[0]),)


class MinGRUEquations(MinimalEquations):
    r"""Minimal GRU of Feng et al. 2024 with convolutions (``*``), as in Horuz et al. 2025.

    .. math::
        z &= σ(W_{iz} * x + b_{iz}) \\
        n &= g(W_{in} * x + b_{in}) \\
        h' &= (1 - z) ⊙ h + z ⊙ n \\
        g(x) &= x + 1/2 \text{ for } x ≥ 0, \text{ else } σ(x)

    Rows of ``weight_ih`` are z, n. ``⊙`` is an element-wise product.
    """

    title = "minimal convolutional GRU, without state-to-state convolution (Horuz et al. 2025)"
    gates = 2

    def forget_logit(self, *gates: Tensor) -> Tensor:
        return -gates[0]


class MinLSTMEquations(MinimalEquations):
    r"""Minimal LSTM of Feng et al. 2024 with convolutions (``*``), as in Horuz et al. 2025.

    .. math::
        f, i &= σ(W_{i·} * x + b_{i·}) \\
        n &= g(W_{in} * x + b_{in}) \\
        h' &= \frac{f}{f + i} ⊙ h + \frac{i}{f + i} ⊙ n \\
        g(x) &= x + 1/2 \text{ for } x ≥ 0, \text{ else } σ(x)

    Rows of ``weight_ih`` are f, i, n. There is no cell state. ``⊙`` is an element-wise product, ``·`` a gate.
    """

    title = "minimal convolutional LSTM, without state-to-state convolution (Horuz et al. 2025)"
    gates = 3

    def forget_logit(self, *gates: Tensor) -> Tensor:
        f, i = gates
        return F.logsigmoid(f) - F.logsigmoid(i)


class MinExpLSTMEquations(MinLSTMEquations):
    r"""Minimal LSTM with exponential gates of Horuz et al. 2025; ``*`` is a convolution, ``·`` a gate.

    .. math::
        f, i &= \exp(W_{i·} * x + b_{i·})

    Everything else is as in :class:`ConvMinLSTM`.
    """

    title = "minimal convolutional LSTM with exponential gates, without state-to-state convolution (Horuz et al. 2025)"

    def forget_logit(self, *gates: Tensor) -> Tensor:
        f, i = gates
        return f - i


class ConvMinGRUCell(MinGRUEquations, MinimalEquations, ConvRNNCellBase):
    """
    Example:
        >>> cell, h = Conv2dMinGRUCell(1, 4, kernel_size=3), None
        >>> for frame in torch.randn(5, 2, 1, 8, 8):
        ...     h = cell(frame, h)
        >>> tuple(h.shape)
        (2, 4, 8, 8)
    """


class ConvMinGRU(MinGRUEquations, MinimalEquations, ConvRNNBase):
    """
    Example:
        >>> rnn = Conv2dMinGRU(3, 8, kernel_size=5, num_layers=2, bidirectional=True)
        >>> output, h_n = rnn(torch.randn(7, 2, 3, 8, 8))
        >>> tuple(output.shape), tuple(h_n.shape)
        ((7, 2, 16, 8, 8), (4, 2, 8, 8, 8))
    """


class ConvMinLSTMCell(MinLSTMEquations, MinimalEquations, ConvRNNCellBase):
    """
    Example:
        >>> cell, h = Conv2dMinLSTMCell(1, 4, kernel_size=3), None
        >>> for frame in torch.randn(5, 2, 1, 8, 8):
        ...     h = cell(frame, h)
        >>> tuple(h.shape)
        (2, 4, 8, 8)
    """


class ConvMinLSTM(MinLSTMEquations, MinimalEquations, ConvRNNBase):
    pass


class ConvMinExpLSTMCell(MinExpLSTMEquations, MinimalEquations, ConvRNNCellBase):
    """
    Example:
        >>> cell, h = Conv2dMinExpLSTMCell(1, 4, kernel_size=3), None
        >>> for frame in torch.randn(5, 2, 1, 8, 8):
        ...     h = cell(frame, h)
        >>> tuple(h.shape)
        (2, 4, 8, 8)
    """


class ConvMinExpLSTM(MinExpLSTMEquations, MinimalEquations, ConvRNNBase):
    pass


class Conv1dMinGRUCell(ConvMinGRUCell):
    ndim = 1


class Conv1dMinGRU(ConvMinGRU):
    ndim = 1


class Conv2dMinGRUCell(ConvMinGRUCell):
    ndim = 2


class Conv2dMinGRU(ConvMinGRU):
    ndim = 2


class Conv3dMinGRUCell(ConvMinGRUCell):
    ndim = 3


class Conv3dMinGRU(ConvMinGRU):
    ndim = 3


class Conv1dMinLSTMCell(ConvMinLSTMCell):
    ndim = 1


class Conv1dMinLSTM(ConvMinLSTM):
    ndim = 1


class Conv2dMinLSTMCell(ConvMinLSTMCell):
    ndim = 2


class Conv2dMinLSTM(ConvMinLSTM):
    ndim = 2


class Conv3dMinLSTMCell(ConvMinLSTMCell):
    ndim = 3


class Conv3dMinLSTM(ConvMinLSTM):
    ndim = 3


class Conv1dMinExpLSTMCell(ConvMinExpLSTMCell):
    ndim = 1


class Conv1dMinExpLSTM(ConvMinExpLSTM):
    ndim = 1


class Conv2dMinExpLSTMCell(ConvMinExpLSTMCell):
    ndim = 2


class Conv2dMinExpLSTM(ConvMinExpLSTM):
    ndim = 2


class Conv3dMinExpLSTMCell(ConvMinExpLSTMCell):
    ndim = 3


class Conv3dMinExpLSTM(ConvMinExpLSTM):
    ndim = 3
