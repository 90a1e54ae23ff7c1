"""MotionGRU, and the cell with a motion highway that it follows."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import _checks as check
from ._base import ConvRNNCellBase, Size
from ._run import DirectionWeights, Maps
from .stlstm import STLSTMCell
from .variants import OneBias
from .warp import warp


class MotionGRUCell(OneBias, ConvRNNCellBase):
    r"""One step of MotionGRU, which moves a map x ``(N, C, H, W)``: ``moved, (f, d) = cell(x, (f, d))``.

    The offsets f displace the K×K neighbours of every position. They are the sum of a transient variation and a trend
    d. A GRU computes the variation; the trend follows earlier offsets. ``*`` is a convolution, ``⊙`` an element-wise
    product, ``·`` a gate:

    .. math::
        u, r &= σ(W_{i·} * x + b_{·} + W_{h·} * f) \\
        n &= \tanh(W_{in} * x + b_n + W_{hn} * (r ⊙ f)) \\
        d' &= d + α (f - d) \\
        f' &= u ⊙ n + (1 - u) ⊙ f + d' \\
        \mathrm{moved}(p) &= \textstyle\sum_k W_w^k \, σ(W_m * x + b_m)_k(p) \; x(p + p_k + f'_k(p))

    where :math:`p_k` are the positions of a K×K kernel, and x between pixels is interpolated bilinearly, with zeros
    beyond the edge. Rows of ``weight_ih`` and ``weight_hh`` are u, r, n. The 2K² channels of f and d are pairs, one per
    neighbour: the displacement to the right and the displacement down, in pixels. ``weight_m`` ``(K², C, …)`` computes
    the mask :math:`σ(W_m * x + b_m)`, ``weight_w`` is ``(C, C, K, K)``. As in the authors' code, the weights of offsets
    and mask start at zero, so that all positions start with the same motion of less than a pixel.

    Args:
        channels: channels C of the map and of the result.
        kernel_size: kernel of the convolutions that compute offsets and mask.
        neighborhood: height and width K of the neighbourhood in pixels, an odd number.
        alpha: step α of the trend.
        device, dtype: of the parameters.

    References:
        Wu, H. et al. (2021). MotionRNN: A Flexible Model for Video Prediction with Spacetime-Varying Motions, section
        3.2. https://arxiv.org/abs/2103.02243

    Example:
        >>> cell, state = MotionGRUCell(4), None
        >>> for x in torch.randn(3, 2, 4, 8, 8):
        ...     moved, state = cell(x, state)
        >>> tuple(moved.shape), [tuple(s.shape) for s in state]
        ((2, 4, 8, 8), [(2, 18, 8, 8), (2, 18, 8, 8)])
    """

    ndim = 2
    gates, states = 3, ("f", "d")

    def __init__(
        self,
        channels: int,
        kernel_size: Size = 3,
        *,
        neighborhood: int = 3,
        alpha: float = 0.5,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.neighborhood = check.positive_int("neighborhood", neighborhood)
        if neighborhood % 2 == 0:
            raise ValueError(f"neighborhood must be odd, so that it has a centre, got {neighborhood}")
        self.alpha = check.number("alpha", alpha)
        super().__init__(channels, 2 * neighborhood**2, kernel_size, device=device, dtype=dtype)

    def extra_shapes(self, channels: int, kernel: tuple[int, ...]) -> dict[str, Any]:
        edge, maps = self.neighborhood, self.in_channels
        return {"weight_m": (edge**2, maps, *kernel), "bias_m": (edge**2,), "weight_w": (maps, maps, edge, edge)}

    def reset_parameters(self) -> None:
        """Samples biases and ``weight_w`` as every cell does, and sets the weights of offsets and mask to zero."""
        super().reset_parameters()
        for name in ("weight_ih", "weight_hh", "weight_m"):
            nn.init.zeros_(getattr(self, name))

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        """Returns the moved map and the next ``(f, d)``."""
        f, d, moved = super().forward(input, hx)
        return moved, (f, d)

    def advance(self, x: Tensor, state: Maps, w: DirectionWeights) -> Maps:
        (f, d), rows = state, 2 * self.out_channels
        ih = self.conv(x, w.ih, w.b_ih)
        u, r = (ih[:, :rows] + self.conv(f, w.hh[:rows])).sigmoid().chunk(2, dim=1)
        n = (ih[:, rows:] + self.conv(r * f, w.hh[rows:])).tanh()
        d = d + self.alpha * (f - d)
        f = u * n + (1 - u) * f + d
        return f, d, self.move(x, f, *w.extra)

    def move(self, x: Tensor, f: Tensor, w_m: Tensor, b_m: Tensor, w_w: Tensor) -> Tensor:
        """Samples `x` at the neighbours displaced by `f`, multiplies by mask and weights, and sums over neighbours."""
        edge = self.neighborhood
        taps = torch.arange(edge, device=x.device, dtype=x.dtype) - edge // 2
        grid = torch.stack([taps.expand(edge, edge), taps.unsqueeze(1).expand(edge, edge)], dim=-1)
        flows = f.unflatten(1, (edge**2, 2)) + grid.reshape(edge**2, 2, 1, 1)
        mask = self.conv(x, w_m, b_m).sigmoid().unsqueeze(1)
        return F.conv2d((mask * warp(x, flows)).flatten(1, 2), w_w.flatten(1)[..., None, None])


class MotionHighwaySTLSTMCell(STLSTMCell):
    r"""One step of an ST-LSTM with a motion highway on ``(N, C, H, W)``: ``h, c, m = cell(x, (h, c, m, v))``.

    The cell reads the map v of the layer before and does not return it:
    :math:`h' = o ⊙ \tanh(W_{cm} * [c', m']) + (1 - o) ⊙ v`. Everything else is as in :class:`~convrnn_zoo.STLSTMCell`.

    References:
        Wu, H. et al. (2021), section 3.1. https://arxiv.org/abs/2103.02243
    """

    states = ("h", "c", "m", "v")  # type: ignore[assignment]
    returned = 3  # v comes from another cell

    def output(self, o: Tensor, maps: Tensor, state: Maps) -> Tensor:
        return o * maps + (1 - o) * state[3]
