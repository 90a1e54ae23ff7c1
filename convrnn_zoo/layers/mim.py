"""Cells of Memory In Memory networks."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from .. import _checks as check
from ._base import ConvRNNCellBase, Size
from ._norm import MapNormed, resize_weight
from ._run import DirectionWeights, Maps


class MIMCell(MapNormed, ConvRNNCellBase):
    r"""One step of a convolutional LSTM with a peephole weight for each pixel: ``h, c = cell(x, (h, c))``.

    The modules MIM-N and MIM-S of a MIM block are such cells. ``*`` is a convolution, ``⊙`` an element-wise product:

    .. math::
        i &= σ(W_{ii} * x + W_{hi} * h + w_{pi} ⊙ c) \\
        f &= σ(W_{if} * x + W_{hf} * h + w_{pf} ⊙ c + 1) \\
        g &= \tanh(W_{ig} * x + W_{hg} * h) \\
        c' &= f ⊙ c + i ⊙ g \\
        h' &= σ(W_{io} * x + W_{ho} * h + w_{po} ⊙ c') ⊙ \tanh(c')

    Rows of ``weight_ih`` and ``weight_hh`` are i, f, g, o. The peephole weights ``weight_pi``, ``weight_pf`` and
    ``weight_po`` are ``(C, H, W)`` for maps of `map_size`, and are resized bilinearly for maps of other sizes.

    Args:
        in_channels, out_channels, kernel_size, …: as for :class:`ConvRNNCellBase`.
        map_size: height and width of the map for which the peephole weights are stored.
        norm_size: height and width of the map for a layer norm after each convolution, or `None` for no norms.

    References:
        Wang, Y. et al. (2019). Memory In Memory: A Predictive Neural Network for Learning Higher-Order Non-Stationarity
        from Spatiotemporal Dynamics, section 3.2. https://arxiv.org/abs/1811.07490

    Example:
        >>> h, c = MIMCell(1, 4, 5, map_size=8, bias=False)(torch.randn(2, 1, 8, 8))
        >>> tuple(h.shape)
        (2, 4, 8, 8)
    """

    ndim = 2
    gates, states = 4, ("h", "c")

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Size, *, map_size: Size, **kwargs: Any
    ) -> None:
        self.map_size = check.ntuple("map_size", map_size, self.ndim)
        super().__init__(in_channels, out_channels, kernel_size, **kwargs)

    def extra_shapes(self, channels: int, kernel: tuple[int, ...]) -> dict[str, Any]:
        peepholes = {f"weight_p{gate}": (channels, *self.map_size) for gate in "ifo"}
        return {**peepholes, **super().extra_shapes(channels, kernel)}

    def step(self, gates: Tensor, state: Maps, extra: Maps) -> Maps:
        _, c = state
        i, f, g, o = gates.chunk(4, dim=1)
        pi, pf, po = (resize_weight(p, c.shape[-2:]) for p in extra[:3])
        c = (f + pf * c + 1).sigmoid() * c + (i + pi * c).sigmoid() * g.tanh()
        return (o + po * c).sigmoid() * c.tanh(), c


class MIMBlockCell(MapNormed, ConvRNNCellBase):
    r"""One step of a MIM block on ``(N, C, H, W)``: ``h, c, m, s = cell(x, (h, c, m, s, d))``.

    It is a spatiotemporal LSTM (:class:`~convrnn_zoo.layers.stlstm.STLSTMCell`) in which the recurrent module MIM-S
    replaces the forget gate of c. The submodule ``stationary`` is MIM-S, a :class:`MIMCell` that reads the differences
    d. ``*`` is a convolution, ``⊙`` an element-wise product:

    .. math::
        m' &= σ(W_{if} * x + W_{hf} * m + 1) ⊙ m + σ(W_{ii} * x + W_{hi} * m) ⊙ \tanh(W_{ig} * x + W_{hg} * m) \\
        t, s' &= \text{MIM-S}(d, (c, s)) \\
        c' &= t + σ(W_{ii} * x + W_{ti} * h) ⊙ \tanh(W_{ig} * x + W_{tg} * h) \\
        h' &= σ(W_{io} * x + W_{ho} * m + W_{to} * h) ⊙ \tanh(W_{cm} * [c', m'])

    ``weight_ih`` reads x and ``weight_hh`` reads m; both have rows i, f, g, o. ``weight_th`` reads h and has rows i, g,
    o. ``weight_cm`` is ``(C, 2C, 1, 1)``. The cell state c is the state h of MIM-S, and s is the cell state of MIM-S.
    The differences d are an input and not an output: they are the h of MIM-N, a separate :class:`MIMCell`. The first
    MIM-N of a network reads the difference between the new and the previous h of the layer before it. Each later MIM-N
    reads the output of the MIM-N before it.

    Args:
        in_channels, out_channels, kernel_size, …: as for :class:`ConvRNNCellBase`. `groups` must be 1.
        map_size: height and width of the map for which the peephole weights of MIM-S are stored.
        norm_size: height and width of the map for a layer norm after every convolution except :math:`W_{cm}`, or `None`
            for no norms. The norms are ``…_norm_ih`` for x, ``…_norm_hh`` for m and ``…_norm_th`` for h. MIM-S then has
            norms too.

    References:
        Wang, Y. et al. (2019), section 3. https://arxiv.org/abs/1811.07490

    Example:
        >>> cell = MIMBlockCell(1, 4, 5, map_size=8, bias=False)
        >>> x, d = torch.randn(2, 1, 8, 8), torch.randn(2, 4, 8, 8)
        >>> h, c, m, s = cell(x)
        >>> h, c, m, s = cell(x, (h, c, m, s, d))
        >>> tuple(s.shape)
        (2, 4, 8, 8)
    """

    ndim = 2
    has_groups = False
    gates, states = 4, ("h", "c", "m", "s", "d")
    returned = 4  # d comes from another cell
    map_norms: ClassVar = {"ih": 4, "hh": 4, "th": 3}

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Size, *, map_size: Size, **kwargs: Any
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, **kwargs)
        self.stationary = MIMCell(out_channels, out_channels, kernel_size, map_size=map_size, **kwargs)

    def extra_shapes(self, channels: int, kernel: tuple[int, ...]) -> dict[str, Any]:
        shapes = {"weight_th": (3 * channels, channels, *kernel), "weight_cm": (channels, 2 * channels, 1, 1)}
        return {**shapes, **super().extra_shapes(channels, kernel)}

    def advance(self, x: Tensor, state: Maps, w: DirectionWeights) -> Maps:
        (h, c, m, s, d), (w_th, w_cm, *_) = state, w.extra
        xi, xf, xg, xo = self.normalize_map("ih", self.conv(x, w.ih, w.b_ih)).chunk(4, dim=1)
        mi, mf, mg, mo = self.normalize_map("hh", self.conv(m, w.hh, w.b_hh)).chunk(4, dim=1)
        hi, hg, ho = self.normalize_map("th", self.conv(h, w_th)).chunk(3, dim=1)
        t, s = self.stationary(d, (c, s))
        m = (xf + mf + 1).sigmoid() * m + (xi + mi).sigmoid() * (xg + mg).tanh()
        c = t + (xi + hi).sigmoid() * (xg + hg).tanh()
        return (xo + mo + ho).sigmoid() * self.conv(torch.cat([c, m], dim=1), w_cm).tanh(), c, m, s
