"""Spatiotemporal LSTM."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from ._base import ConvRNNCellBase
from ._norm import MapNormed
from ._run import DirectionWeights, Maps


class STLSTMCell(MapNormed, ConvRNNCellBase):
    r"""One step of the spatiotemporal LSTM on ``(N, C, H, W)``: ``h, c, m = cell(x, (h, c, m))``.

    In addition to the cell state c, which is passed through time, there is a memory m. It is passed up through the
    layers, and from the top layer of one step to the bottom layer of the next. ``*`` is a convolution, ``⊙`` an
    element-wise product, ``·`` a gate:

    .. math::
        i, f &= σ(W_{i·} * x + W_{h·} * h) \\
        g &= \tanh(W_{ig} * x + W_{hg} * h) \\
        i', f' &= σ(W_{i·'} * x + W_{h·'} * m) \\
        g' &= \tanh(W_{ig'} * x + W_{hg'} * m) \\
        c' &= f ⊙ c + i ⊙ g \\
        m' &= f' ⊙ m + i' ⊙ g' \\
        o &= σ(W_{io} * x + W_{ho} * h + W_{po} * [c', m']) \\
        h' &= o ⊙ \tanh(W_{cm} * [c', m'])

    where 1 is added to the pre-activations of f and f', so that a new cell starts by remembering. Rows of ``weight_ih``
    and ``weight_hh`` are i, f, g, o, i', f', g'. The rows i', f', g' of ``weight_hh`` read m, the others h.
    ``weight_po`` is ``(C, 2C, …)`` with the state-to-state kernel, ``weight_cm`` is ``(C, 2C, 1, 1)``. With
    ``bias=True`` every gate has torch's two biases.

    With ``return_deltas=True`` the step also returns ``i ⊙ g`` and ``i' ⊙ g'``, the increments of c and m, which the
    decoupling loss of PredRNN v2 reads.

    With `norm_size` every convolution except :math:`W_{cm}` is followed by a layer norm over all its channels and the
    map. The norms are ``weight_norm_ih`` for x (rows as in ``weight_ih``), ``…_hh`` for h, ``…_hm`` for m and ``…_po``
    for [c', m']. Scale and shift have one value per channel and pixel for maps of `norm_size`, and are resized
    bilinearly for maps of other sizes.

    Args:
        in_channels, out_channels, kernel_size, …: as for :class:`ConvRNNCellBase`. `groups` must be 1.
        norm_size: height and width of the map for which the norms are stored, or `None` for no norms.

    References:
        Wang, Y. et al. (2017). PredRNN: Recurrent Neural Networks for Predictive Learning using Spatiotemporal
        LSTMs. https://proceedings.neurips.cc/paper/2017/hash/e5f6ad6ce374177eef023bf5d0c018b6-Abstract.html
        Wang, Y. et al. (2023). PredRNN: A Recurrent Neural Network for Spatiotemporal Predictive Learning.
        https://arxiv.org/abs/2103.09504

    Example:
        >>> first, second = STLSTMCell(1, 4, 5, bias=False), STLSTMCell(4, 4, 5, bias=False)
        >>> h, c, m = first(torch.randn(2, 1, 8, 8))
        >>> h, c, m = second(h, (torch.zeros_like(h), torch.zeros_like(h), m))  # m is passed up
        >>> tuple(m.shape)
        (2, 4, 8, 8)
    """

    ndim = 2
    has_groups = False
    gates, states = 7, ("h", "c", "m")
    map_norms: ClassVar = {"ih": 7, "hh": 4, "hm": 3, "po": 1}
    has_memory_biases: ClassVar[bool] = False
    """Whether the convolutions of [c', m'] have biases as well, ``bias_po`` and ``bias_cm``."""

    def extra_shapes(self, channels: int, kernel: tuple[int, ...]) -> dict[str, Any]:
        memories: dict[str, Any] = {"weight_po": (channels, 2 * channels, *kernel)}
        memories["weight_cm"] = (channels, 2 * channels, 1, 1)
        if self.has_memory_biases:
            memories |= {"bias_po": (channels,), "bias_cm": (channels,)}
        return {**memories, **super().extra_shapes(channels, kernel)}

    def forward(self, input: Tensor, hx: Any = None, return_deltas: bool = False) -> Any:
        """Computes the next ``(h, c, m)``, and with `return_deltas` the increments of c and m."""
        new = super().forward(input, hx)
        return new if return_deltas else new[:3]

    def advance(self, x: Tensor, state: Maps, w: DirectionWeights) -> Maps:
        parts, rows = [], len(w.hh) // self.gates * 4
        sizes = (rows, len(w.hh) - rows)
        biases = (None, None) if w.b_hh is None else w.b_hh.split(sizes)
        sources = (("hh", state[0]), ("hm", state[2]))
        for (name, source), weight, bias in zip(sources, w.hh.split(sizes), biases, strict=True):
            parts.append(self.normalize_map(name, self.conv(source, weight, bias)))
        ih = self.normalize_map("ih", self.conv(x, w.ih, w.b_ih))
        return self.step(self.join(ih, torch.cat(parts, dim=1)), state, w.extra)

    def step(self, gates: Tensor, state: Maps, extra: Maps) -> Maps:
        (_, c, m, *_), (w_po, w_cm, *others) = state, extra
        biases: Any = others if self.has_memory_biases else (None, None)
        b_po, b_cm, *_ = biases
        i, f, g, o, im, fm, gm = gates.chunk(self.gates, dim=1)
        dc, dm = i.sigmoid() * g.tanh(), im.sigmoid() * gm.tanh()
        c, m = (f + 1).sigmoid() * c + dc, (fm + 1).sigmoid() * m + dm
        memories = torch.cat([c, m], dim=1)
        o = (o + self.normalize_map("po", self.conv(memories, w_po, b_po))).sigmoid()
        return self.output(o, self.conv(memories, w_cm, b_cm).tanh(), state), c, m, dc, dm

    def output(self, o: Tensor, maps: Tensor, state: Maps) -> Tensor:
        """Computes h' from the output gate o and from `maps`, which are ``tanh(W_cm * [c', m'])``."""
        return o * maps
