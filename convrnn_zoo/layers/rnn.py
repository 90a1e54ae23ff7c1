"""The convolutional RNN."""

from collections.abc import Sequence
from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor

from ._base import Equations, Size
from ._cell import CellArgs, ConvRNNCellBase
from ._inplace import InPlaceStep, Maps, tanh_backward, threshold_backward
from ._sequence import ConvRNNBase, Kernels, LayerArgs, Widths

__all__ = [
    "Conv1dRNN",
    "Conv1dRNNCell",
    "Conv2dRNN",
    "Conv2dRNNCell",
    "Conv3dRNN",
    "Conv3dRNNCell",
    "ConvRNN",
    "ConvRNNCell",
]  # fmt: skip


class RNNInPlace(InPlaceStep):
    """:meth:`RNNEquations.step` and its derivative, for which the new state is enough."""

    keeps_parts = False

    def forward(self, parts: Sequence[Tensor], state: Maps, new: Maps) -> None:
        (gates,), (h_next,) = parts, new
        if self.cell.nonlinearity == "tanh":
            torch.tanh(gates, out=h_next)
        else:
            torch.clamp_min(gates, 0, out=h_next)

    def backward(
        self, parts: Sequence[Tensor], state: Maps, new: Maps, grads: Maps, into: Sequence[Tensor]
    ) -> Sequence[Any]:
        (h_next,), (dh,), (d_gates,) = new, grads, into
        if self.cell.nonlinearity == "tanh":
            tanh_backward(dh, h_next, grad_input=d_gates)
        else:
            threshold_backward(dh, h_next, 0, grad_input=d_gates)
        return (None,)


class RNNEquations(Equations):
    r"""The simple recurrence of Elman 1990 with convolutions (``*``) for products.

    .. math::
        h' = \tanh(W_{ih} * x + b_{ih} + W_{hh} * h + b_{hh})

    with ReLU for tanh when ``nonlinearity="relu"``. The state is ``h``.

    References:
        Elman, J. L. (1990). Finding Structure in Time. https://doi.org/10.1207/s15516709cog1402_1
    """

    title = "convolutional RNN (Elman 1990)"
    gates, states = 1, ("h",)
    options: ClassVar = {"nonlinearity": ("tanh", "relu")}
    nonlinearity: str
    in_place = RNNInPlace

    def step(self, gates: Tensor, state: tuple[Tensor, ...], extra: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (gates.tanh() if self.nonlinearity == "tanh" else gates.relu(),)


class ConvRNNCell(RNNEquations, ConvRNNCellBase):
    __doc__ = (RNNEquations.__doc__ or "") + (ConvRNNCellBase.__doc__ or "")

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Size, nonlinearity: str = "tanh", *args: Any,
        **kwargs: Unpack[CellArgs],
    ) -> None:  # fmt: skip
        self._choose(nonlinearity=nonlinearity)
        super().__init__(in_channels, out_channels, kernel_size, *args, **kwargs)


class ConvRNN(RNNEquations, ConvRNNBase):
    __doc__ = (RNNEquations.__doc__ or "") + (ConvRNNBase.__doc__ or "")

    def __init__(
        self, in_channels: int, out_channels: Widths, kernel_size: Kernels, nonlinearity: str = "tanh", *args: Any,
        **kwargs: Unpack[LayerArgs],
    ) -> None:  # fmt: skip
        self._choose(nonlinearity=nonlinearity)
        super().__init__(in_channels, out_channels, kernel_size, *args, **kwargs)


class Conv1dRNNCell(ConvRNNCell):
    """One step of a 1-d :class:`ConvRNN` on ``(N, C, L)``: ``h = cell(x, h)``.

    Example:
        >>> h = Conv1dRNNCell(3, 8, kernel_size=5)(torch.randn(2, 3, 16))
        >>> tuple(h.shape)
        (2, 8, 16)
    """

    ndim = 1


class Conv2dRNNCell(ConvRNNCell):
    """One step of a 2-d :class:`ConvRNN` on ``(N, C, H, W)``: ``h = cell(x, h)``.

    Example:
        >>> cell, h = Conv2dRNNCell(1, 4, kernel_size=3, nonlinearity="relu"), None
        >>> for frame in torch.randn(5, 2, 1, 8, 8):
        ...     h = cell(frame, h)
        >>> tuple(h.shape)
        (2, 4, 8, 8)
    """

    ndim = 2


class Conv3dRNNCell(ConvRNNCell):
    """One step of a 3-d :class:`ConvRNN` on ``(N, C, D, H, W)``: ``h = cell(x, h)``.

    Example:
        >>> h = Conv3dRNNCell(1, 4, kernel_size=3)(torch.randn(1, 4, 8, 8))  # one map alone
        >>> tuple(h.shape)
        (4, 4, 8, 8)
    """

    ndim = 3


class Conv1dRNN(ConvRNN):
    """1-d :class:`ConvRNN` over ``(T, N, C, L)``: ``output, h_n = rnn(input, h_0)``.

    Example:
        >>> rnn = Conv1dRNN(12, 16, kernel_size=3, bidirectional=True)
        >>> output, h_n = rnn(torch.randn(7, 2, 12, 20))
        >>> tuple(output.shape), tuple(h_n.shape)
        ((7, 2, 32, 20), (2, 2, 16, 20))
    """

    ndim = 1


class Conv2dRNN(ConvRNN):
    """2-d :class:`ConvRNN` over ``(T, N, C, H, W)``: ``output, h_n = rnn(input, h_0)``.

    Example:
        >>> rnn = Conv2dRNN(1, 4, kernel_size=3, padding_mode="circular")  # a map without edges
        >>> output, h_n = rnn(torch.randn(7, 2, 1, 8, 8))
        >>> torch.equal(output[-1], h_n[0])
        True
    """

    ndim = 2


class Conv3dRNN(ConvRNN):
    """3-d :class:`ConvRNN` over ``(T, N, C, D, H, W)``: ``output, h_n = rnn(input, h_0)``.

    Example:
        >>> rnn = Conv3dRNN(1, 4, kernel_size=3, batch_first=True)
        >>> output, h_n = rnn(torch.randn(2, 5, 1, 4, 8, 8))
        >>> tuple(output.shape)
        (2, 5, 4, 4, 8, 8)
    """

    ndim = 3
