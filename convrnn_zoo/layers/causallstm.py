"""Causal LSTM and gradient highway unit."""

from typing import Any

import torch
from torch import Tensor

from ._base import ConvRNNCellBase
from ._run import DirectionWeights, Maps


class CausalLSTMCell(ConvRNNCellBase):
    r"""One step of the causal LSTM on ``(N, C, H, W)``: ``h, c, m = cell(x, (h, c, m))``.

    The memory m is passed up through the layers, and from the top layer of one step to the bottom layer of the next. It
    is computed from the new cell state c'. So c and m are connected in series, not in parallel as in
    :class:`~convrnn_zoo.layers.stlstm.STLSTMCell`. ``*`` is a convolution, ``⊙`` an element-wise product, ``·`` a gate:

    .. math::
        i, f &= σ(W_{i·} * x + W_{h·} * h + W_{c·} * c) \\
        g &= \tanh(W_{ig} * x + W_{hg} * h + W_{cg} * c) \\
        c' &= f ⊙ c + i ⊙ g \\
        i', f' &= σ(W_{i·'} * x + W_{h·'} * m + W_{c·'} * c') \\
        g' &= \tanh(W_{ig'} * x + W_{cg'} * c') \\
        m' &= f' ⊙ \tanh(W_{hm} * m) + i' ⊙ g' \\
        o &= \tanh(W_{io} * x + W_{ho} * h + W_{co} * c' + W_{mo} * m') \\
        h' &= o ⊙ \tanh(W_{cm} * [c', m'])

    where 1 is added to the pre-activations of f and f'. The output gate is a tanh, as in the paper. Rows of
    ``weight_ih`` are i, f, g, o, i', f', g'. The first four rows of ``weight_hh``, i, f, g, o, read h. Its other
    rows, i', f' and :math:`W_{hm}`, read m. ``weight_ch`` reads c and has rows i, f, g; ``weight_cs`` reads c' and has
    rows i', f', g', o. ``weight_cm`` is 1×1, ``weight_mo`` has the state-to-state kernel. With ``bias=True`` the rows
    of ``weight_ih`` and ``weight_hh`` have biases.

    References:
        Wang, Y. et al. (2018). PredRNN++: Towards A Resolution of the Deep-in-Time Dilemma in Spatiotemporal Predictive
        Learning, section 4.1. https://arxiv.org/abs/1804.06300

    Example:
        >>> cell, state = CausalLSTMCell(1, 4, 5, bias=False), None
        >>> for frame in torch.randn(3, 2, 1, 8, 8):
        ...     state = cell(frame, state)
        >>> [tuple(s.shape) for s in state]
        [(2, 4, 8, 8), (2, 4, 8, 8), (2, 4, 8, 8)]
    """

    ndim = 2
    has_groups = False
    gates, states = 7, ("h", "c", "m")

    def extra_shapes(self, channels: int, kernel: tuple[int, ...]) -> dict[str, Any]:
        return {
            "weight_ch": (3 * channels, channels, *kernel),
            "weight_cs": (4 * channels, channels, *kernel),
            "weight_mo": (channels, channels, *kernel),
            "weight_cm": (channels, 2 * channels, 1, 1),
        }

    def advance(self, x: Tensor, state: Maps, w: DirectionWeights) -> Maps:
        (h, c, m), (w_ch, w_cs, w_mo, w_cm) = state, w.extra
        rows = len(w.hh) // self.gates * 4
        w_hh, w_mm = w.hh.split((rows, len(w.hh) - rows))  # the gradients of a split are joined, not padded and summed
        b_h, b_m = (None, None) if w.b_hh is None else w.b_hh.split((rows, len(w.hh) - rows))
        xi, xf, xg, xo, xi2, xf2, xg2 = self.conv(x, w.ih, w.b_ih).chunk(7, dim=1)
        hi, hf, hg, ho = self.conv(h, w_hh, b_h).chunk(4, dim=1)
        ci, cf, cg = self.conv(c, w_ch).chunk(3, dim=1)
        c = (xf + hf + cf + 1).sigmoid() * c + (xi + hi + ci).sigmoid() * (xg + hg + cg).tanh()
        mi, mf, mm = self.conv(m, w_mm, b_m).chunk(3, dim=1)
        ci2, cf2, cg2, co = self.conv(c, w_cs).chunk(4, dim=1)
        m = (xf2 + mf + cf2 + 1).sigmoid() * mm.tanh() + (xi2 + mi + ci2).sigmoid() * (xg2 + cg2).tanh()
        o = (xo + ho + co + self.conv(m, w_mo)).tanh()
        return o * self.conv(torch.cat([c, m], dim=1), w_cm).tanh(), c, m


class GradientHighwayCell(ConvRNNCellBase):
    r"""One step of the gradient highway unit on ``(N, C, H, W)``: ``z = cell(x, z)``.

    It is placed between two layers and passes a state z from step to step, so that gradients reach the first frames
    through few operations (``*`` is a convolution, ``⊙`` an element-wise product):

    .. math::
        p &= \tanh(W_{ip} * x + W_{hp} * z) \\
        s &= σ(W_{is} * x + W_{hs} * z) \\
        z' &= s ⊙ p + (1 - s) ⊙ z

    Rows of ``weight_ih`` and ``weight_hh`` are p, s.

    References:
        Wang, Y. et al. (2018). PredRNN++, section 4.2. https://arxiv.org/abs/1804.06300

    Example:
        >>> tuple(GradientHighwayCell(4, 4, 5, bias=False)(torch.randn(2, 4, 8, 8)).shape)
        (2, 4, 8, 8)
    """

    ndim = 2
    gates, states = 2, ("z",)

    def step(self, gates: Tensor, state: Maps, extra: Maps) -> Maps:
        p, s = gates.chunk(2, dim=1)
        s = s.sigmoid()
        return (s * p.tanh() + (1 - s) * state[0],)
