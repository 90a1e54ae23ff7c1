"""The convolutional GRU."""

from collections.abc import Sequence
from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor

from ._base import DirectionWeights, Size
from ._cell import CellArgs, ConvRNNCellBase
from ._conv import bias_gradient, conv_gradients
from ._inplace import InPlaceStep, Maps, sigmoid_backward, tanh_backward
from ._norm import NORMS, Normed
from ._sequence import ConvRNNBase, Kernels, LayerArgs, Widths

__all__ = [
    "Conv1dGRU",
    "Conv1dGRUCell",
    "Conv2dGRU",
    "Conv2dGRUCell",
    "Conv3dGRU",
    "Conv3dGRUCell",
    "ConvGRU",
    "ConvGRUCell",
]  # fmt: skip


class GRUInPlace(InPlaceStep):
    """:meth:`GRUEquations.step` and its derivative: its parts are r and z, n, and the n of h."""

    def forward(self, parts: Sequence[Tensor], state: Maps, new: Maps) -> None:
        (rz, n, *hn), (h,), (h_next,) = parts, state, new
        r, z = rz.sigmoid_().chunk(2, dim=1)
        if hn:
            n.addcmul_(r, hn[0])
        else:
            n.add_(self.cell.conv(torch.mul(r, h, out=self.scratch("reset h", h.shape[0])), *self.extra))
        self.activate(n)
        torch.lerp(n, h, z, out=h_next)

    def backward(
        self, parts: Sequence[Tensor], state: Maps, new: Maps, grads: Maps, into: Sequence[Tensor]
    ) -> Sequence[Any]:
        (rz, n, *hn), (h,), (dh,), (d_rz, d_n, *d_hn) = parts, state, grads, into
        (r, z), (dr, dz) = rz.chunk(2, dim=1), d_rz.chunk(2, dim=1)
        torch.sub(h, n, out=dz).mul_(dh)
        dh_direct = torch.mul(dh, z, out=self.scratch("dh", h.shape[0]))
        torch.sub(dh, dh_direct, out=d_n)
        self.activation_gradient(d_n, n)
        if hn:
            torch.mul(d_n, hn[0], out=dr)
            torch.mul(d_n, r, out=d_hn[0])
        else:
            reset_h, weight = torch.mul(r, h, out=dh), self.extra[0]  # dh has been read
            d_reset_h, of_weight = conv_gradients(d_n, reset_h, weight, self.cell.geometry)
            torch.mul(d_reset_h, h, out=dr)
            dh_direct.addcmul_(d_reset_h, r)
            self.extra_grads[0].add_(of_weight)
            if len(self.extra) > 1:
                self.extra_grads[1].add_(bias_gradient(d_n))
        sigmoid_backward(d_rz, rz, grad_input=d_rz)
        return (dh_direct,)

    def activate(self, n: Tensor) -> None:
        """The candidate's activation, in place."""
        n.tanh_()

    def activation_gradient(self, grad: Tensor, n: Tensor) -> None:
        """Its gradient by its result n, in place of `grad`."""
        tanh_backward(grad, n, grad_input=grad)


class GRUEquations(Normed):
    r"""Cho et al. 2014 with convolutions (``*``) for products, as :class:`torch.nn.GRU` writes it.

    .. math::
        r, z &= σ(W_{i·} * x + b_{i·} + W_{h·} * h + b_{h·}) \\
        n &= \tanh(W_{in} * x + b_{in} + r ⊙ (W_{hn} * h + b_{hn})) \\
        h' &= n + z ⊙ (h - n)

    ``reset_after=False`` resets the state before its convolution, as Ballas et al. 2016 do:
    ``n = tanh(W_in * x + b_in + W_hn * (r ⊙ h) + b_hn)``. The rows of ``weight_ih`` and ``weight_hh`` are in
    torch's order r, z, n. The state is ``h``.

    With ``norm="layer"`` or ``"group"`` the sums of r and z and both parts of n, the input's and the state's, each pass
    through a norm over channels and map; with ``reset_after=False`` the sum of the two parts does. ``weight_norm`` and
    ``bias_norm`` hold scale and shift, one a channel, in the order r, z, n, and the state's part. A group is 16
    channels.

    References:
        Cho, K. et al. (2014). Learning Phrase Representations using RNN Encoder–Decoder for Statistical
        Machine Translation. https://arxiv.org/abs/1406.1078
        Ballas, N. et al. (2016). Delving Deeper into Convolutional Networks for Learning Video
        Representations. https://arxiv.org/abs/1511.06432
        Ba, J. L. et al. (2016). Layer Normalization. https://arxiv.org/abs/1607.06450
    """

    title = "convolutional GRU (Cho et al. 2014; Ballas et al. 2016 with reset_after=False)"
    gates, summed, states, norms = 3, 2, ("h",), 4
    options: ClassVar = {"reset_after": (True, False), "norm": NORMS}
    reset_after: bool
    in_place = GRUInPlace

    def step(self, gates: Tensor, state: tuple[Tensor, ...], extra: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        (h,) = state
        norm, kernel = (extra[:2], extra[2:]) if self.norm else ((), extra)
        if self.reset_after:
            r, z, n, hn = self.normed(gates, norm).chunk(4, dim=1)
            n = (n + r.sigmoid() * hn).tanh()
        else:
            rz, n = gates.split((2 * h.shape[1], h.shape[1]), dim=1)
            if norm:  # under vmap torch takes a slice of a batch of one for contiguous, and then rejects it
                rz = rz.clone()
            r, z = self.normed(rz, norm).chunk(2, dim=1)
            n = self.normed(n + self.conv(r.sigmoid() * h, *kernel), norm, first=2).tanh()
        return (n + z.sigmoid() * (h - n),)

    def norm_rows(self) -> int:
        return self.norms if self.reset_after else self.norms - 1

    def split(self, w: DirectionWeights) -> DirectionWeights:
        """A reset before the convolution keeps the candidate's state weights for the step itself."""
        if self.reset_after:
            return w
        rz = len(w.hh) // 3 * 2
        bias, own = (None, ()) if w.b_hh is None else (w.b_hh[:rz], (w.b_hh[rz:],))
        return DirectionWeights(w.ih, w.hh[:rz], w.b_ih, bias, (*w.extra, w.hh[rz:], *own))


class ConvGRUCell(GRUEquations, ConvRNNCellBase):
    __doc__ = (GRUEquations.__doc__ or "") + (ConvRNNCellBase.__doc__ or "")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        *args: Any,
        reset_after: bool = True,
        norm: str | None = None,
        **kwargs: Unpack[CellArgs],
    ) -> None:
        self._choose(reset_after=reset_after, norm=norm)
        super().__init__(in_channels, out_channels, kernel_size, *args, **kwargs)


class ConvGRU(GRUEquations, ConvRNNBase):
    __doc__ = (GRUEquations.__doc__ or "") + (ConvRNNBase.__doc__ or "")

    def __init__(
        self,
        in_channels: int,
        out_channels: Widths,
        kernel_size: Kernels,
        *args: Any,
        reset_after: bool = True,
        norm: str | None = None,
        **kwargs: Unpack[LayerArgs],
    ) -> None:
        self._choose(reset_after=reset_after, norm=norm)
        super().__init__(in_channels, out_channels, kernel_size, *args, **kwargs)


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
