"""The convolutional LSTM."""

from collections.abc import Sequence
from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor

from ._base import Size
from ._cell import CellArgs, ConvRNNCellBase
from ._inplace import InPlaceStep, Maps, sigmoid_backward, tanh_backward
from ._norm import NORMS, Normed
from ._sequence import ConvRNNBase, Kernels, LayerArgs, Widths

__all__ = [
    "Conv1dLSTM",
    "Conv1dLSTMCell",
    "Conv2dLSTM",
    "Conv2dLSTMCell",
    "Conv3dLSTM",
    "Conv3dLSTMCell",
    "ConvLSTM",
    "ConvLSTMCell",
]  # fmt: skip


class LSTMInPlace(InPlaceStep):
    """:meth:`LSTMEquations.step` and its derivative: of ``i, f, g, o`` the activated gates are kept."""

    def forward(self, parts: Sequence[Tensor], state: Maps, new: Maps) -> None:
        (gates,), (_, c), (h_next, c_next) = parts, state, new
        i, f, g, o = gates.chunk(4, dim=1)
        # On slices of few channels both functions are dear: tanh in a map of its own, one sigmoid over all gates.
        tanh_g = self.scratch("tanh", c.shape[0]).copy_(g)
        gates.sigmoid_()
        tanh_g.tanh_()
        torch.mul(f, c, out=c_next).addcmul_(i, tanh_g)
        torch.tanh(c_next, out=h_next).mul_(o)
        if self.keep:
            g.copy_(tanh_g)

    def backward(
        self, parts: Sequence[Tensor], state: Maps, new: Maps, grads: Maps, into: Sequence[Tensor]
    ) -> Sequence[Any]:
        (gates,), (_, c), (_, c_next), (dh, dc), (d_gates,) = parts, state, new, grads, into
        i, f, g, o = gates.chunk(4, dim=1)
        di, df, dg, do = d_gates.chunk(4, dim=1)
        tanh_c = torch.tanh(c_next, out=self.scratch("tanh", c.shape[0]))
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
    r"""Shi et al. 2015 without peepholes; ``*`` is a convolution, ``⊙`` a product pixel by pixel.

    .. math::
        i, f, o &= σ(W_{i·} * x + b_{i·} + W_{h·} * h + b_{h·}) \\
        g &= \tanh(W_{ig} * x + b_{ig} + W_{hg} * h + b_{hg}) \\
        c' &= f ⊙ c + i ⊙ g \\
        h' &= o ⊙ \tanh(c')

    The rows of ``weight_ih`` and ``weight_hh`` are in torch's order i, f, g, o. The state is ``(h, c)``.

    With ``norm="layer"`` or ``"group"`` each sum passes through a norm over channels and map before its activation,
    and ``h' = o ⊙ tanh(norm(c'))``; c' goes on as it is. ``weight_norm`` and ``bias_norm`` hold scale and shift, one a
    channel, for i, f, g, o and c'. A group is 16 channels.

    References:
        Shi, X. et al. (2015). Convolutional LSTM Network: A Machine Learning Approach for Precipitation
        Nowcasting. https://arxiv.org/abs/1506.04214
        Ba, J. L. et al. (2016). Layer Normalization, section 6.1 of the supplement.
        https://arxiv.org/abs/1607.06450
    """

    title = "convolutional LSTM (Shi et al. 2015, without peepholes)"
    gates, states, norms = 4, ("h", "c"), 5
    options: ClassVar = {"norm": NORMS}
    in_place = LSTMInPlace

    def step(self, gates: Tensor, state: tuple[Tensor, ...], extra: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        _, c = state
        norm = extra[:2] if self.norm else ()
        i, f, g, o = self.normed(gates, norm).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * self.normed(c, norm, first=4).tanh(), c


class ConvLSTMCell(LSTMEquations, ConvRNNCellBase):
    __doc__ = (LSTMEquations.__doc__ or "") + (ConvRNNCellBase.__doc__ or "")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        *args: Any,
        norm: str | None = None,
        **kwargs: Unpack[CellArgs],
    ) -> None:
        self._choose(norm=norm)
        super().__init__(in_channels, out_channels, kernel_size, *args, **kwargs)


class ConvLSTM(LSTMEquations, ConvRNNBase):
    __doc__ = (LSTMEquations.__doc__ or "") + (ConvRNNBase.__doc__ or "")

    def __init__(
        self,
        in_channels: int,
        out_channels: Widths,
        kernel_size: Kernels,
        *args: Any,
        norm: str | None = None,
        **kwargs: Unpack[LayerArgs],
    ) -> None:
        self._choose(norm=norm)
        super().__init__(in_channels, out_channels, kernel_size, *args, **kwargs)


class Conv1dLSTMCell(ConvLSTMCell):
    """One step of a 1-d :class:`ConvLSTM` on ``(N, C, L)``: ``(h, c) = cell(x, (h, c))``.

    Example:
        >>> h, c = Conv1dLSTMCell(3, 8, kernel_size=5)(torch.randn(2, 3, 16))
        >>> tuple(h.shape)
        (2, 8, 16)
    """

    ndim = 1


class Conv2dLSTMCell(ConvLSTMCell):
    """One step of a 2-d :class:`ConvLSTM` on ``(N, C, H, W)``: ``(h, c) = cell(x, (h, c))``.

    Example:
        >>> cell, state = Conv2dLSTMCell(1, 4, kernel_size=3), None
        >>> for frame in torch.randn(5, 2, 1, 8, 8):
        ...     state = cell(frame, state)
        >>> tuple(state[0].shape)
        (2, 4, 8, 8)
    """

    ndim = 2


class Conv3dLSTMCell(ConvLSTMCell):
    """One step of a 3-d :class:`ConvLSTM` on ``(N, C, D, H, W)``: ``(h, c) = cell(x, (h, c))``.

    Example:
        >>> h, c = Conv3dLSTMCell(1, 4, kernel_size=3)(torch.randn(2, 1, 4, 8, 8))
        >>> tuple(c.shape)
        (2, 4, 4, 8, 8)
    """

    ndim = 3


class Conv1dLSTM(ConvLSTM):
    """1-d :class:`ConvLSTM` over ``(T, N, C, L)``: ``output, (h_n, c_n) = rnn(input, (h_0, c_0))``.

    Example:
        >>> rnn = Conv1dLSTM(12, 16, kernel_size=3, num_layers=2, bidirectional=True)
        >>> output, (h_n, c_n) = rnn(torch.randn(7, 2, 12, 20))
        >>> tuple(output.shape), tuple(h_n.shape)
        ((7, 2, 32, 20), (4, 2, 16, 20))
    """

    ndim = 1


class Conv2dLSTM(ConvLSTM):
    """2-d :class:`ConvLSTM` over ``(T, N, C, H, W)``: ``output, (h_n, c_n) = rnn(input, (h_0, c_0))``.

    Example:
        >>> rnn = Conv2dLSTM(3, [16, 8], kernel_size=[(5, 5), (3, 3)], num_layers=2)  # one width and kernel a layer
        >>> output, (h_n, c_n) = rnn(torch.randn(7, 2, 3, 8, 8))
        >>> tuple(output.shape), [tuple(h.shape) for h in h_n]
        ((7, 2, 8, 8, 8), [(1, 2, 16, 8, 8), (1, 2, 8, 8, 8)])
    """

    ndim = 2


class Conv3dLSTM(ConvLSTM):
    """3-d :class:`ConvLSTM` over ``(T, N, C, D, H, W)``: ``output, (h_n, c_n) = rnn(input, (h_0, c_0))``.

    Example:
        >>> rnn = Conv3dLSTM(1, 4, kernel_size=3, batch_first=True)
        >>> output, (h_n, c_n) = rnn(torch.randn(2, 5, 1, 4, 8, 8))
        >>> tuple(output.shape)
        (2, 5, 4, 4, 8, 8)
    """

    ndim = 3
