"""The spatiotemporal LSTM."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from ._base import DirectionWeights
from ._position import MapNormed


class STLSTMCell(MapNormed):
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

    where the pre-activations of both f have 1 added, so that a new cell begins by remembering. Rows of
    ``weight_ih`` and ``weight_hh`` are i, f, g, o, i', f', g': the last three of ``weight_hh`` act on m, not on h.
    ``weight_po`` is ``(C, 2C, …)`` of the state-to-state kernel, ``weight_cm`` ``(C, 2C, 1, 1)``. With
    ``bias=True`` every gate has torch's two biases.

    With ``return_deltas=True`` follow ``i ⊙ g`` and ``i' ⊙ g'``, what the step adds to its memories: the
    decoupling loss of PredRNN v2 keeps the two apart.

    With `norm_size` every convolution but :math:`W_{cm}` passes through a layer norm over all its channels and the map:
    that of x (``weight_norm_ih``, rows as of ``weight_ih``), that of h (``…_hh``), that of m (``…_hm``) and that of
    both memories (``…_po``). Scale and shift are one a channel and pixel, on maps of other sizes bilinear between them.

    Args:
        in_channels, out_channels, kernel_size, …: as of every cell.
        norm_size: height and width of the map that the norms are for; there are none where it is None.

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
    has_groups = False
    gates, states = 7, ("h", "c", "m")
    map_norms: ClassVar = {"ih": 7, "hh": 4, "hm": 3, "po": 1}

    def extra_shapes(self, channels: int, kernel: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """The output gate's look at both memories, and the way from them to h."""
        own = {"weight_po": (channels, 2 * channels, *kernel), "weight_cm": (channels, 2 * channels, 1, 1)}
        return {**own, **super().extra_shapes(channels, kernel)}

    def forward(self, input: Tensor, hx: Any = None, return_deltas: bool = False) -> Any:
        """The next ``(h, c, m)``, with `return_deltas` what was added to c and to m as well."""
        new = super().forward(input, hx)
        return new if return_deltas else new[:3]

    def split(self, w: DirectionWeights) -> DirectionWeights:
        """The weights, with the constant of the forget gates in the input's bias, unless a norm stands behind it."""
        if self.norm_size is not None:
            return w
        constant = w.ih.new_zeros(self.gates, len(w.ih) // self.gates)
        for gate in (1, 5):
            constant[gate] += 1
        constant = constant.flatten()
        return DirectionWeights(w.ih, w.hh, constant if w.b_ih is None else w.b_ih + constant, w.b_hh, w.extra)

    def advance(self, x: Tensor, state: tuple[Tensor, ...], w: DirectionWeights) -> tuple[Tensor, ...]:
        """One whole step; four gates see h and three see m."""
        parts, rows = [], len(w.hh) // self.gates * 4
        seen = (rows, len(w.hh) - rows)
        biases = (None, None) if w.b_hh is None else w.b_hh.split(seen)
        seeing = (("hh", state[0]), ("hm", state[2]))
        for (name, s), weight, bias in zip(seeing, w.hh.split(seen), biases, strict=True):
            parts.append(self.map_normed(name, self.conv(s, weight, bias)))
        of_x = self.map_normed("ih", self.conv(x, w.ih, w.b_ih))
        return self.step(self.join(of_x, torch.cat(parts, dim=1)), state, w.extra)

    def step(self, gates: Tensor, state: tuple[Tensor, ...], extra: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The next h, c, m, and what was added to c and to m."""
        (_, c, m), (look, merge, *_) = state, extra
        i, f, g, o, im, fm, gm = gates.chunk(self.gates, dim=1)
        if self.norm_size is not None:
            f, fm = f + 1, fm + 1
        dc, dm = i.sigmoid() * g.tanh(), im.sigmoid() * gm.tanh()
        c, m = f.sigmoid() * c + dc, fm.sigmoid() * m + dm
        both = torch.cat([c, m], dim=1)
        o = (o + self.map_normed("po", self.conv(both, look))).sigmoid()
        return o * self.conv(both, merge).tanh(), c, m, dc, dm
