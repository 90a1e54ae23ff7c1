"""Convolutional LSTM with peepholes."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from ._base import ConvRNNBase, ConvRNNCellBase, Equations
from ._conv import conv_gradients
from ._in_place import InPlaceStep, Parts, sigmoid_backward, tanh_backward
from ._run import Maps

__all__ = [
    "Conv1dPeepholeLSTM",
    "Conv1dPeepholeLSTMCell",
    "Conv2dPeepholeLSTM",
    "Conv2dPeepholeLSTMCell",
    "Conv3dPeepholeLSTM",
    "Conv3dPeepholeLSTMCell",
    "ConvPeepholeLSTM",
    "ConvPeepholeLSTMCell",
]


class PeepholeLSTMInPlace(InPlaceStep):
    """In-place version of :meth:`PeepholeLSTMEquations.step`. It stores the activated gates ``i, f, g, o``."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        pi, pf, self.po = self.extra
        self.conv = self.cell.peephole == "conv"
        self.pif = torch.cat([pi, pf])  # one convolution in place of two

    def forward(self, parts: Parts, state: Maps, new: Maps) -> None:
        (gates,), (_, c), (h_next, c_next) = parts, state, new
        i, f, g, o = gates.chunk(4, dim=1)
        i_f = gates[:, : 2 * c.shape[1]]
        if self.conv:
            i_f.add_(self.cell.conv(c, self.pif))
        else:
            i.addcmul_(c, self.extra[0])
            f.addcmul_(c, self.extra[1])
        i_f.sigmoid_()
        self.tanh(g, out=g)
        torch.mul(f, c, out=c_next).addcmul_(i, g)
        if self.conv:
            o.add_(self.cell.conv(c_next, self.po))
        else:
            o.addcmul_(c_next, self.po)
        o.sigmoid_()
        self.tanh(c_next, out=h_next).mul_(o)

    def backward(self, parts: Parts, state: Maps, new: Maps, grads: Maps, into: Parts) -> tuple[Any, ...]:
        (gates,), (_, c), (_, c_next), (dh, dc), (d_gates,) = parts, state, new, grads, into
        i, f, g, o = gates.chunk(4, dim=1)
        di, df, dg, do = d_gates.chunk(4, dim=1)
        i_f, d_if = gates[:, : 2 * c.shape[1]], d_gates[:, : 2 * c.shape[1]]
        tanh_c = self.tanh(c_next, out=self.scratch("tanh", c.shape[0]))
        torch.mul(dh, tanh_c, out=do)
        sigmoid_backward(do, o, grad_input=do)
        dh.mul_(o)
        dc.add_(tanh_backward(dh, tanh_c, grad_input=dh))
        self._peephole_gradient(do, c_next, self.po, dc, 2)
        torch.mul(dc, g, out=di)
        torch.mul(dc, c, out=df)
        sigmoid_backward(d_if, i_f, grad_input=d_if)
        torch.mul(dc, i, out=dg)
        tanh_backward(dg, g, grad_input=dg)
        dc.mul_(f)
        if self.conv:
            self._peephole_gradient(d_if, c, self.pif, dc, 0)
        else:
            self._peephole_gradient(di, c, self.extra[0], dc, 0)
            self._peephole_gradient(df, c, self.extra[1], dc, 1)
        return None, dc

    def _peephole_gradient(self, grad: Tensor, c: Tensor, weight: Tensor, dc: Tensor, first: int) -> None:
        """Adds the gradients of ``weight ∘ c``: of c to `dc`, of the weight to `extra_grads` from index `first` on."""
        if self.conv:
            c_grad, weight_grad = conv_gradients(grad, c, weight, self.cell.geometry)
            dc.add_(c_grad)
            for total, part in zip(self.extra_grads[first:], weight_grad.split(c.shape[1]), strict=False):
                total.add_(part)
        else:
            dc.addcmul_(grad, weight)
            product = torch.mul(grad, c, out=self.scratch("product", c.shape[0]))
            self.extra_grads[first].add_(product.sum((0, *range(2, c.dim())), keepdim=True)[0])


class PeepholeLSTMEquations(Equations):
    r"""Equations of Shi et al. 2015, whose gates read the cell state.

    ``*`` is a convolution, ``⊙`` an element-wise product, ``·`` a gate, and ``∘`` depends on `peephole`.

    .. math::
        i, f &= σ(W_{i·} * x + b_{i·} + W_{h·} * h + b_{h·} + W_{p·} ∘ c) \\
        g &= \tanh(W_{ig} * x + b_{ig} + W_{hg} * h + b_{hg}) \\
        c' &= f ⊙ c + i ⊙ g \\
        o &= σ(W_{io} * x + b_{io} + W_{ho} * h + b_{ho} + W_{po} ∘ c') \\
        h' &= o ⊙ \tanh(c')

    With ``peephole="conv"``, ∘ is a convolution with ``weight_pi``, ``weight_pf`` and ``weight_po``, which have the
    state-to-state kernel. With ``"channel"``, ∘ is a product with one weight per channel, ``(C, 1, …)``; the parameter
    counts in the paper's tables are for this case. Rows of ``weight_ih`` and ``weight_hh`` are in torch's order
    i, f, g, o. The state is ``(h, c)``.

    References:
        Shi, X. et al. (2015). Convolutional LSTM Network: A Machine Learning Approach for Precipitation
        Nowcasting. https://arxiv.org/abs/1506.04214
        Gers, F. A. and Schmidhuber, J. (2000). Recurrent Nets that Time and Count.
        https://doi.org/10.1109/IJCNN.2000.861302
    """

    title = "convolutional LSTM with peepholes (Shi et al. 2015)"
    gates, states = 4, ("h", "c")
    options: ClassVar = {"peephole": ("conv", "channel")}
    peephole: str
    in_place: ClassVar[type[InPlaceStep] | None] = PeepholeLSTMInPlace

    def step(self, gates: Tensor, state: Maps, extra: Maps) -> Maps:
        _, c = state
        i, f, g, o = gates.chunk(4, dim=1)
        pi, pf, po = extra
        look = self.conv if self.peephole == "conv" else torch.mul
        i, f = i + look(c, pi), f + look(c, pf)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return (o + look(c, po)).sigmoid() * c.tanh(), c

    def extra_shapes(self, channels: int, kernel: tuple[int, ...]) -> dict[str, Any]:
        shape = (channels, channels // self.groups, *kernel)
        if self.peephole == "channel":
            shape = (channels, *(1,) * self.ndim)
        return {"weight_pi": shape, "weight_pf": shape, "weight_po": shape}


class ConvPeepholeLSTMCell(PeepholeLSTMEquations, ConvRNNCellBase):
    """
    Example:
        >>> cell, state = Conv2dPeepholeLSTMCell(1, 4, kernel_size=3, peephole="channel"), None
        >>> for frame in torch.randn(5, 2, 1, 8, 8):
        ...     state = cell(frame, state)
        >>> tuple(state[0].shape)
        (2, 4, 8, 8)
    """


class ConvPeepholeLSTM(PeepholeLSTMEquations, ConvRNNBase):
    """
    Example:
        >>> rnn = Conv2dPeepholeLSTM(16, 64, kernel_size=5, peephole="channel")
        >>> tuple(rnn.weight_pi_l0.shape)
        (64, 1, 1)
        >>> output, (h_n, c_n) = rnn(torch.randn(3, 2, 16, 8, 8))
        >>> tuple(output.shape)
        (3, 2, 64, 8, 8)
    """


class Conv1dPeepholeLSTMCell(ConvPeepholeLSTMCell):
    ndim = 1


class Conv2dPeepholeLSTMCell(ConvPeepholeLSTMCell):
    ndim = 2


class Conv3dPeepholeLSTMCell(ConvPeepholeLSTMCell):
    ndim = 3


class Conv1dPeepholeLSTM(ConvPeepholeLSTM):
    ndim = 1


class Conv2dPeepholeLSTM(ConvPeepholeLSTM):
    ndim = 2


class Conv3dPeepholeLSTM(ConvPeepholeLSTM):
    ndim = 3
