"""Convolutional RNN."""

from typing import Any, ClassVar

from torch import Tensor

from ._base import ConvRNNBase, ConvRNNCellBase, Equations
from ._in_place import InPlaceStep, Parts
from ._nonlinearities import NONLINEARITIES
from ._run import Maps

__all__ = [
    "Conv1dRNN",
    "Conv1dRNNCell",
    "Conv2dRNN",
    "Conv2dRNNCell",
    "Conv3dRNN",
    "Conv3dRNNCell",
    "ConvRNN",
    "ConvRNNCell",
]


class RNNInPlace(InPlaceStep):
    """In-place version of :meth:`RNNEquations.step`, whose derivative reads only the new state."""

    saves_parts = False

    def forward(self, parts: Parts, state: Maps, new: Maps) -> None:
        self.write(self.cell.nonlinearity, parts[0], new[0])

    def backward(self, parts: Parts, state: Maps, new: Maps, grads: Maps, into: Parts) -> tuple[Any, ...]:
        NONLINEARITIES[self.cell.nonlinearity].gradient(grads[0], new[0], grad_input=into[0])
        return (None,)


class RNNEquations(Equations):
    r"""Simple recurrence of Elman 1990 with convolutions (``*``) in place of matrix products.

    .. math::
        h' = \tanh(W_{ih} * x + b_{ih} + W_{hh} * h + b_{hh})

    with a ReLU in place of tanh for ``nonlinearity="relu"``. The state is ``h``.

    References:
        Elman, J. L. (1990). Finding Structure in Time. https://doi.org/10.1207/s15516709cog1402_1
    """

    title = "convolutional RNN (Elman 1990)"
    gates, states = 1, ("h",)
    options: ClassVar = {"nonlinearity": ("tanh", "relu")}
    nonlinearity: str
    in_place: ClassVar[type[InPlaceStep] | None] = RNNInPlace

    def __init__(
        self,
        in_channels: int,
        out_channels: Any,
        kernel_size: Any,
        nonlinearity: str = "tanh",
        *args: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, *args, nonlinearity=nonlinearity, **kwargs)

    def step(self, gates: Tensor, state: Maps, extra: Maps) -> Maps:
        return (NONLINEARITIES[self.nonlinearity].function(gates),)


class ConvRNNCell(RNNEquations, ConvRNNCellBase):
    """
    Example:
        >>> cell, h = Conv2dRNNCell(1, 4, kernel_size=3, nonlinearity="relu"), None
        >>> for frame in torch.randn(5, 2, 1, 8, 8):
        ...     h = cell(frame, h)
        >>> tuple(h.shape)
        (2, 4, 8, 8)
    """


class ConvRNN(RNNEquations, ConvRNNBase):
    """
    Example:
        >>> rnn = Conv2dRNN(1, 4, kernel_size=3, padding_mode="circular")  # a map without edges
        >>> output, h_n = rnn(torch.randn(7, 2, 1, 8, 8))
        >>> torch.equal(output[-1], h_n[0])
        True
    """


class Conv1dRNNCell(ConvRNNCell):
    ndim = 1


class Conv2dRNNCell(ConvRNNCell):
    ndim = 2


class Conv3dRNNCell(ConvRNNCell):
    ndim = 3


class Conv1dRNN(ConvRNN):
    ndim = 1


class Conv2dRNN(ConvRNN):
    ndim = 2


class Conv3dRNN(ConvRNN):
    ndim = 3
