"""Convolutional LSTM."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from ._base import ConvRNNBase, ConvRNNCellBase
from ._in_place import InPlaceStep, Parts, sigmoid_backward, tanh_backward
from ._kernels import LSTM
from ._norm import NORMS, Normed
from ._run import Maps

__all__ = [
    "Conv1dLSTM",
    "Conv1dLSTMCell",
    "Conv2dLSTM",
    "Conv2dLSTMCell",
    "Conv3dLSTM",
    "Conv3dLSTMCell",
    "ConvLSTM",
    "ConvLSTMCell",
]


class LSTMInPlace(InPlaceStep):
    """In-place version of :meth:`LSTMEquations.step`. It stores the activated gates ``i, f, g, o``."""

    @staticmethod
    def find_kernel(cell: Any) -> Any:
        return LSTM

    def forward(self, parts: Parts, state: Maps, new: Maps) -> None:
        (gates,), (_, c), (h_next, c_next) = parts, state, new
        i, f, g, o = gates.chunk(4, dim=1)
        # Both functions are slow on slices of few channels: tanh runs in a separate map, sigmoid over all gates.
        tanh_g = self.scratch("tanh", c.shape[0]).copy_(g)
        gates.sigmoid_()
        self.tanh(tanh_g, out=tanh_g)
        torch.mul(f, c, out=c_next).addcmul_(i, tanh_g)
        self.tanh(c_next, out=h_next).mul_(o)
        if self.keep:
            g.copy_(tanh_g)

    def backward(self, parts: Parts, state: Maps, new: Maps, grads: Maps, into: Parts) -> tuple[Any, ...]:
        (gates,), (_, c), (_, c_next), (dh, dc), (d_gates,) = parts, state, new, grads, into
        i, f, g, o = gates.chunk(4, dim=1)
        di, df, dg, do = d_gates.chunk(4, dim=1)
        tanh_c = self.tanh(c_next, out=self.scratch("tanh", c.shape[0]))
        torch.mul(dh, tanh_c, out=do)
        dh.mul_(o)
        dc.add_(tanh_backward(dh, tanh_c, grad_input=dh))
        torch.mul(dc, g, out=di)
        torch.mul(dc, c, out=df)
        torch.mul(dc, i, out=dg)
        dc.mul_(f)
        if_, d_if = gates[:, : 2 * c.shape[1]], d_gates[:, : 2 * c.shape[1]]
        sigmoid_backward(d_if, if_, grad_input=d_if)
        sigmoid_backward(do, o, grad_input=do)
        tanh_backward(dg, g, grad_input=dg)
        return None, dc


class LSTMEquations(Normed):
    r"""Equations of Shi et al. 2015 without peepholes; ``*`` is a convolution, ``⊙`` an element-wise product.

    .. math::
        i, f, o &= σ(W_{i·} * x + b_{i·} + W_{h·} * h + b_{h·}) \\
        g &= \tanh(W_{ig} * x + b_{ig} + W_{hg} * h + b_{hg}) \\
        c' &= f ⊙ c + i ⊙ g \\
        h' &= o ⊙ \tanh(c')

    Rows of ``weight_ih`` and ``weight_hh`` are in torch's order i, f, g, o. ``·`` is a gate. The state is ``(h, c)``.

    With ``norm="layer"`` or ``"group"`` the pre-activation of each gate is normalised over channels and map, and
    ``h' = o ⊙ tanh(norm(c'))``; the state c' itself is not normalised. ``weight_norm`` and ``bias_norm`` hold one scale
    and shift per channel for i, f, g, o and c'. A group is 16 channels.

    References:
        Shi, X. et al. (2015). Convolutional LSTM Network: A Machine Learning Approach for Precipitation
        Nowcasting. https://arxiv.org/abs/1506.04214
        Ba, J. L. et al. (2016). Layer Normalization, section 6.1 of the supplement.
        https://arxiv.org/abs/1607.06450
    """

    title = "convolutional LSTM (Shi et al. 2015, without peepholes)"
    gates, states, norms = 4, ("h", "c"), 5
    options: ClassVar = {"norm": NORMS}
    in_place: ClassVar[type[InPlaceStep] | None] = LSTMInPlace

    def step(self, gates: Tensor, state: Maps, extra: Maps) -> Maps:
        _, c = state
        norm = extra[:2] if self.norm else ()
        i, f, g, o = self.normalize(gates, norm).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * self.normalize(c, norm, first=4).tanh(), c


class ConvLSTMCell(LSTMEquations, ConvRNNCellBase):
    """
    Example:
        >>> cell, state = Conv2dLSTMCell(1, 4, kernel_size=3), None
        >>> for frame in torch.randn(5, 2, 1, 8, 8):
        ...     state = cell(frame, state)
        >>> tuple(state[0].shape)
        (2, 4, 8, 8)
    """


class ConvLSTM(LSTMEquations, ConvRNNBase):
    """
    Example:
        >>> rnn = Conv2dLSTM(3, [16, 8], kernel_size=[(5, 5), (3, 3)], num_layers=2)  # one width and kernel per layer
        >>> output, (h_n, c_n) = rnn(torch.randn(7, 2, 3, 8, 8))
        >>> tuple(output.shape), [tuple(h.shape) for h in h_n]
        ((7, 2, 8, 8, 8), [(1, 2, 16, 8, 8), (1, 2, 8, 8, 8)])
    """


class Conv1dLSTMCell(ConvLSTMCell):
    ndim = 1


class Conv2dLSTMCell(ConvLSTMCell):
    ndim = 2


class Conv3dLSTMCell(ConvLSTMCell):
    ndim = 3


class Conv1dLSTM(ConvLSTM):
    ndim = 1


class Conv2dLSTM(ConvLSTM):
    ndim = 2


class Conv3dLSTM(ConvLSTM):
    ndim = 3
