"""Convolutional GRU."""

from functools import cached_property
from typing import Any, ClassVar

import torch

from ._base import ConvRNNBase, ConvRNNCellBase
from ._conv import bias_gradient, conv_gradients, in_layout
from ._in_place import InPlaceStep, Parts, sigmoid_backward
from ._kernels import GRU
from ._nonlinearities import NONLINEARITIES
from ._norm import NORMS, Normed
from ._run import DirectionWeights, Maps

__all__ = [
    "Conv1dGRU",
    "Conv1dGRUCell",
    "Conv2dGRU",
    "Conv2dGRUCell",
    "Conv3dGRU",
    "Conv3dGRUCell",
    "ConvGRU",
    "ConvGRUCell",
]


class GRUInPlace(InPlaceStep):
    """In-place version of :meth:`GRUEquations.step`.

    The first of `parts` is r and z in one tensor, the second the input contribution to n. With `reset_after`, the third
    is the state contribution to n.
    """

    @staticmethod
    def find_kernel(cell: Any) -> Any:
        return GRU if cell.reset_after and cell.nonlinearity == "tanh" else None

    @cached_property
    def weights(self) -> Maps:
        """Weight and bias that convolve r ⊙ h without `reset_after`, in the layout that would else be made per step."""
        weight, *bias = self.extra
        return in_layout(weight, self.buffers.channels_last), *bias

    def forward(self, parts: Parts, state: Maps, new: Maps) -> None:
        (rz, n, *hn), (h,), (h_next,) = parts, state, new
        r, z = rz.sigmoid_().chunk(2, dim=1)
        if hn:
            n.addcmul_(r, hn[0])
        else:
            n.add_(self.cell.conv(torch.mul(r, h, out=self.scratch("reset h", h.shape[0])), *self.weights))
        self.write(self.cell.nonlinearity, n, n)
        torch.lerp(n, h, z, out=h_next)

    def backward(self, parts: Parts, state: Maps, new: Maps, grads: Maps, into: Parts) -> tuple[Any, ...]:
        (rz, n, *hn), (h,), (dh,), (d_rz, d_n, *d_hn) = parts, state, grads, into
        (r, z), (dr, dz) = rz.chunk(2, dim=1), d_rz.chunk(2, dim=1)
        torch.sub(h, n, out=dz).mul_(dh)
        dh_direct = torch.mul(dh, z, out=self.scratch("dh", h.shape[0]))
        torch.sub(dh, dh_direct, out=d_n)
        NONLINEARITIES[self.cell.nonlinearity].gradient(d_n, n, grad_input=d_n)
        if hn:
            torch.mul(d_n, hn[0], out=dr)
            torch.mul(d_n, r, out=d_hn[0])
        else:
            reset_h, weight = torch.mul(r, h, out=dh), self.extra[0]  # dh has been read
            d_reset_h, weight_grad = conv_gradients(d_n, reset_h, weight, self.cell.geometry)
            torch.mul(d_reset_h, h, out=dr)
            dh_direct.addcmul_(d_reset_h, r)
            self.extra_grads[0].add_(weight_grad)
            if len(self.extra) > 1:
                self.extra_grads[1].add_(bias_gradient(d_n, self.extra_grads[1].dtype))
        sigmoid_backward(d_rz, rz, grad_input=d_rz)
        return (dh_direct,)


class GRUEquations(Normed):
    r"""Equations of Cho et al. 2014 as in :class:`torch.nn.GRU`, with convolutions (``*``) in place of products.

    .. math::
        r, z &= σ(W_{i·} * x + b_{i·} + W_{h·} * h + b_{h·}) \\
        n &= \tanh(W_{in} * x + b_{in} + r ⊙ (W_{hn} * h + b_{hn})) \\
        h' &= n + z ⊙ (h - n)

    ``reset_after=False`` resets the state before its convolution, as in Ballas et al. 2016:
    ``n = tanh(W_in * x + b_in + W_hn * (r ⊙ h) + b_hn)``. The rows of ``weight_ih`` and ``weight_hh`` are in
    torch's order r, z, n. The state is ``h``. ``⊙`` is an element-wise product, ``·`` a gate.

    With ``norm="layer"`` or ``"group"`` the pre-activations of r and z are normalised over channels and map. The input
    and the state contribution to n are normalised separately; with ``reset_after=False`` their sum is normalised.
    ``weight_norm`` and ``bias_norm`` hold one scale and shift per channel for these maps, in this order. A group is
    16 channels.

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
    nonlinearity: ClassVar[str] = "tanh"
    """Function of the candidate n, a key of :data:`NONLINEARITIES`."""
    in_place: ClassVar[type[InPlaceStep] | None] = GRUInPlace

    def step(self, gates: Maps, state: Maps, extra: Maps) -> Maps:
        (h,) = state
        norm, kernel = (extra[:2], extra[2:]) if self.norm else ((), extra)
        if self.reset_after:
            if norm:
                gates = self.normalize(torch.cat(gates, 1), norm).split([g.shape[1] for g in gates], dim=1)
            rz, n, hn = gates
            r, z = rz.chunk(2, dim=1)
            n = n + r.sigmoid() * hn
        else:
            rz, n = gates
            r, z = self.normalize(rz, norm).chunk(2, dim=1)
            n = self.normalize(n + self.conv(r.sigmoid() * h, *kernel), norm, first=2)
        n = NONLINEARITIES[self.nonlinearity].function(n)
        return (n + z.sigmoid() * (h - n),)

    @property
    def can_mask_h(self) -> bool:
        return self.reset_after and super().can_mask_h  # otherwise `step` convolves r ⊙ h

    def norm_rows(self) -> int:
        return self.norms if self.reset_after else self.norms - 1

    def split(self, w: DirectionWeights) -> DirectionWeights:
        """Moves the state weights of the candidate n to `extra` if the state is reset before its convolution."""
        if self.reset_after:
            return w
        sizes = [len(w.hh) // 3 * 2, len(w.hh) // 3]
        hh, candidate = w.hh.split(sizes)
        bias, *candidate_bias = (None,) if w.b_hh is None else w.b_hh.split(sizes)
        return DirectionWeights(w.ih, hh, w.b_ih, bias, (*w.extra, candidate, *candidate_bias))


class ConvGRUCell(GRUEquations, ConvRNNCellBase):
    """
    Example:
        >>> cell, h = Conv2dGRUCell(1, 4, kernel_size=3, reset_after=False), None
        >>> for frame in torch.randn(5, 2, 1, 8, 8):
        ...     h = cell(frame, h)
        >>> tuple(h.shape)
        (2, 4, 8, 8)
    """


class ConvGRU(GRUEquations, ConvRNNBase):
    """
    Example:
        >>> rnn = Conv2dGRU(3, 8, kernel_size=5, hidden_kernel_size=3, num_layers=2, bidirectional=True)
        >>> output, h_n = rnn(torch.randn(7, 2, 3, 8, 8))
        >>> tuple(output.shape), tuple(h_n.shape)
        ((7, 2, 16, 8, 8), (4, 2, 8, 8, 8))
    """


class Conv1dGRUCell(ConvGRUCell):
    ndim = 1


class Conv2dGRUCell(ConvGRUCell):
    ndim = 2


class Conv3dGRUCell(ConvGRUCell):
    ndim = 3


class Conv1dGRU(ConvGRU):
    ndim = 1


class Conv2dGRU(ConvGRU):
    ndim = 2


class Conv3dGRU(ConvGRU):
    ndim = 3
