"""The spatiotemporal LSTM, and cells whose forget gates carry a constant bias."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from ._base import ConvRNNCellBase, DirectionWeights, Equations
from .lstm import Conv2dLSTMCell


class ForgetBias(Equations):
    """A cell whose forget gates have a constant bias, ``forget_bias``, beside those that are learned.

    A model that starts by remembering trains sooner (Gers et al. 2000, https://doi.org/10.1162/089976600300015015);
    with ``bias=False`` there is no parameter that could be set so at the start.
    """

    forget_gates: ClassVar[tuple[int, ...]] = (1,)
    """Which of the gates forget, by their place in ``weight_ih``."""
    forget_bias: float = 1.0

    def split(self, w: DirectionWeights) -> DirectionWeights:
        """The weights, with the constant in the input's bias."""
        w = super().split(w)
        constant = w.ih.new_zeros(self.gates, len(w.ih) // self.gates)
        for gate in self.forget_gates:
            constant[gate] += self.forget_bias
        return w._replace(b_ih=constant.flatten() if w.b_ih is None else w.b_ih + constant.flatten())


class Conv2dForgetLSTMCell(ForgetBias, Conv2dLSTMCell):
    """One step of a 2-d :class:`ConvLSTM` on ``(N, C, H, W)`` whose forget gate has a constant bias of one.

    Example:
        >>> h, c = Conv2dForgetLSTMCell(1, 4, kernel_size=3, bias=False)(torch.randn(2, 1, 8, 8))
        >>> tuple(h.shape)
        (2, 4, 8, 8)
    """


class STLSTMCell(ForgetBias, ConvRNNCellBase):
    r"""One step of the spatiotemporal LSTM on ``(N, C, H, W)``: ``h, c, m = cell(x, (h, c, m))``.

    Beside the cell's memory c, which goes through time, stands a memory m, which goes through the layers and from
    the top layer of one step to the bottom layer of the next (``*`` a convolution, ``⊙`` a product pixel by pixel):

    .. math::
        i, f, g &= σ, σ, \tanh(W_{i·} * x + W_{h·} * h) \\
        i', f', g' &= σ, σ, \tanh(W_{i·'} * x + W_{h·'} * m) \\
        c' &= f ⊙ c + i ⊙ g \\
        m' &= f' ⊙ m + i' ⊙ g' \\
        o &= σ(W_{io} * x + W_{ho} * h + W_{po} * [c', m']) \\
        h' &= o ⊙ \tanh(W_{cm} * [c', m'])

    both f with a constant bias of one. Rows of ``weight_ih`` and ``weight_hh`` are i, f, g, o, i', f', g': the
    last three of ``weight_hh`` act on m, not on h. ``weight_po`` is ``(C, 2C, …)`` of the state-to-state kernel,
    ``weight_cm`` ``(C, 2C, 1, 1)``. With ``bias=True`` every gate has torch's two biases.

    With ``return_deltas=True`` follow ``i ⊙ g`` and ``i' ⊙ g'``, what the step adds to its memories: the
    decoupling loss of PredRNN v2 keeps the two apart.

    References:
        Wang, Y. et al. (2017). PredRNN: Recurrent Neural Networks for Predictive Learning using Spatiotemporal
        LSTMs. https://proceedings.neurips.cc/paper/2017/hash/e5f6ad6ce374177eef023bf5d0c018b6-Abstract.html
        Wang, Y. et al. (2023). PredRNN: A Recurrent Neural Network for Spatiotemporal Predictive Learning.
        https://arxiv.org/abs/2103.09504

    Example:
        >>> below, above, x = STLSTMCell(1, 4, 5, bias=False), STLSTMCell(4, 4, 5, bias=False), torch.randn(2, 1, 8, 8)
        >>> h, c, m = below(x)
        >>> h, c, m = above(h, (torch.zeros_like(h), torch.zeros_like(h), m))  # m goes up
        >>> tuple(m.shape)
        (2, 4, 8, 8)
    """

    ndim = 2
    gates, states = 7, ("h", "c", "m")
    forget_gates: ClassVar = (1, 5)

    def own_shapes(self, channels: int, kernel: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """The output gate's look at both memories, and the way from them to h."""
        return {"weight_po": (channels, 2 * channels, *kernel), "weight_cm": (channels, 2 * channels, 1, 1)}

    def forward(self, input: Tensor, hx: Any = None, return_deltas: bool = False) -> Any:
        """The next ``(h, c, m)``, with `return_deltas` what was added to c and to m as well."""
        new = super().forward(input, hx)
        return new if return_deltas else new[:3]

    def advance(self, x: Tensor, state: tuple[Tensor, ...], w: DirectionWeights) -> tuple[Tensor, ...]:
        """One whole step; four gates see h and three see m."""
        parts, rows = [], len(w.hh) // self.gates * 4
        biases = (None, None) if w.b_hh is None else (w.b_hh[:rows], w.b_hh[rows:])
        for s, weight, bias in zip((state[0], state[2]), (w.hh[:rows], w.hh[rows:]), biases, strict=True):
            parts.append(self.conv(s, weight, bias))
        return self.step(self.join(self.conv(x, w.ih, w.b_ih), torch.cat(parts, dim=1)), state, w.own)

    def step(self, gates: Tensor, state: tuple[Tensor, ...], own: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The next h, c, m, and what was added to c and to m."""
        (_, c, m), (look, merge) = state, own
        i, f, g, o, im, fm, gm = gates.chunk(self.gates, dim=1)
        dc, dm = i.sigmoid() * g.tanh(), im.sigmoid() * gm.tanh()
        c, m = f.sigmoid() * c + dc, fm.sigmoid() * m + dm
        both = torch.cat([c, m], dim=1)
        return (o + self.conv(both, look)).sigmoid() * self.conv(both, merge).tanh(), c, m, dc, dm
