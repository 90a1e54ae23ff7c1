"""The convolutional GRU."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from ._base import ConvRNNCellBase, DirectionWeights, Equations
from ._sequence import ConvRNNBase


class GRUEquations(Equations):
    r"""Cho et al. 2014 with convolutions (``*``) for products, as :class:`torch.nn.GRU` writes it.

    .. math::
        r, z &= σ(W_{i·} * x + b_{i·} + W_{h·} * h + b_{h·}) \\
        n &= \tanh(W_{in} * x + b_{in} + r ⊙ (W_{hn} * h + b_{hn})) \\
        h' &= n + z ⊙ (h - n)

    ``reset_after=False`` resets the state before its convolution, as Ballas et al. 2016 do:
    ``n = tanh(W_in * x + b_in + W_hn * (r ⊙ h) + b_hn)``. The rows of ``weight_ih`` and ``weight_hh`` are in
    torch's order r, z, n. The state is ``h``.

    References:
        Cho, K. et al. (2014). Learning Phrase Representations using RNN Encoder–Decoder for Statistical
        Machine Translation. https://arxiv.org/abs/1406.1078
        Ballas, N. et al. (2016). Delving Deeper into Convolutional Networks for Learning Video
        Representations. https://arxiv.org/abs/1511.06432
    """

    gates, states = 3, ("h",)
    options: ClassVar = {"reset_after": (True, False)}
    reset_after: bool

    def step(self, gates: Tensor, state: tuple[Tensor, ...], own: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        (h,) = state
        if self.reset_after:
            r, z, n, hn = gates.chunk(4, dim=1)
            n = (n + r.sigmoid() * hn).tanh()
        else:
            r, z, n = gates.chunk(3, dim=1)
            n = (n + self.conv(r.sigmoid() * h, *own)).tanh()
        return (n + z.sigmoid() * (h - n),)

    def join(self, ih: Tensor, hh: Tensor) -> Tensor:
        """r and z are sums; of n the input part, then the state part when the convolution of h has one."""
        both = ih.shape[1] // 3 * 2
        return torch.cat([ih[:, :both] + hh[:, :both], ih[:, both:], hh[:, both:]], dim=1)

    def split(self, w: DirectionWeights) -> DirectionWeights:
        """A reset before the convolution keeps the candidate's state weights for the step itself."""
        if self.reset_after:
            return w
        both = len(w.hh) // 3 * 2
        if w.b_hh is None:
            return w._replace(hh=w.hh[:both], own=(w.hh[both:],))
        return w._replace(hh=w.hh[:both], b_hh=w.b_hh[:both], own=(w.hh[both:], w.b_hh[both:]))


class ConvGRUCell(GRUEquations, ConvRNNCellBase):
    __doc__ = (GRUEquations.__doc__ or "") + (ConvRNNCellBase.__doc__ or "")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        bias: bool = True,
        stride: int | Sequence[int] = 1,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        *,
        hidden_kernel_size: int | Sequence[int] | None = None,
        padding_mode: str = "zeros",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        reset_after: bool = True,
    ) -> None:
        self._choose(reset_after=reset_after)
        super().__init__(
            in_channels, out_channels, kernel_size, bias, stride, dilation, groups,
            hidden_kernel_size=hidden_kernel_size, padding_mode=padding_mode, device=device, dtype=dtype,
        )  # fmt: skip


class ConvGRU(GRUEquations, ConvRNNBase):
    __doc__ = (GRUEquations.__doc__ or "") + (ConvRNNBase.__doc__ or "")

    def __init__(
        self,
        in_channels: int,
        out_channels: int | Sequence[int],
        kernel_size: int | Sequence[int] | Sequence[Sequence[int]],
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        stride: int | Sequence[int] = 1,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        *,
        hidden_kernel_size: int | Sequence[int] | Sequence[Sequence[int]] | None = None,
        padding_mode: str = "zeros",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        reset_after: bool = True,
    ) -> None:
        self._choose(reset_after=reset_after)
        super().__init__(
            in_channels, out_channels, kernel_size, num_layers, bias, batch_first, dropout, bidirectional,
            stride, dilation, groups,
            hidden_kernel_size=hidden_kernel_size, padding_mode=padding_mode, device=device, dtype=dtype,
        )  # fmt: skip


class Conv1dGRUCell(ConvGRUCell):
    """One step of a 1-d :class:`ConvGRU` on ``(N, C, L)``: ``h = cell(x, h)``.

    Example:
        >>> h = Conv1dGRUCell(3, 8, kernel_size=5)(torch.randn(2, 3, 16))
        >>> tuple(h.shape)
        (2, 8, 16)
    """

    ndim = 1


class Conv2dGRUCell(ConvGRUCell):
    """One step of a 2-d :class:`ConvGRU` on ``(N, C, H, W)``: ``h = cell(x, h)``.

    Example:
        >>> cell, h = Conv2dGRUCell(1, 4, kernel_size=3, reset_after=False), None
        >>> for frame in torch.randn(5, 2, 1, 8, 8):
        ...     h = cell(frame, h)
        >>> tuple(h.shape)
        (2, 4, 8, 8)
    """

    ndim = 2


class Conv3dGRUCell(ConvGRUCell):
    """One step of a 3-d :class:`ConvGRU` on ``(N, C, D, H, W)``: ``h = cell(x, h)``.

    Example:
        >>> h = Conv3dGRUCell(1, 4, kernel_size=3)(torch.randn(2, 1, 4, 8, 8))
        >>> tuple(h.shape)
        (2, 4, 4, 8, 8)
    """

    ndim = 3


class Conv1dGRU(ConvGRU):
    """1-d :class:`ConvGRU` over ``(T, N, C, L)``: ``output, h_n = rnn(input, h_0)``.

    Example:
        >>> rnn = Conv1dGRU(12, 16, kernel_size=3, num_layers=2, bidirectional=True)
        >>> output, h_n = rnn(torch.randn(7, 2, 12, 20))
        >>> tuple(output.shape), tuple(h_n.shape)
        ((7, 2, 32, 20), (4, 2, 16, 20))
    """

    ndim = 1


class Conv2dGRU(ConvGRU):
    """2-d :class:`ConvGRU` over ``(T, N, C, H, W)``: ``output, h_n = rnn(input, h_0)``.

    Example:
        >>> rnn = Conv2dGRU(3, 8, kernel_size=5, hidden_kernel_size=3)
        >>> output, h_n = rnn(torch.randn(7, 2, 3, 8, 8))
        >>> tuple(output.shape)
        (7, 2, 8, 8, 8)
    """

    ndim = 2


class Conv3dGRU(ConvGRU):
    """3-d :class:`ConvGRU` over ``(T, N, C, D, H, W)``: ``output, h_n = rnn(input, h_0)``.

    Example:
        >>> rnn = Conv3dGRU(1, 4, kernel_size=3, batch_first=True)
        >>> output, h_n = rnn(torch.randn(2, 5, 1, 4, 8, 8))
        >>> tuple(output.shape)
        (2, 5, 4, 4, 8, 8)
    """

    ndim = 3
