"""Physical cell of PhyDNet."""

import math
from typing import Any

import torch
from torch import Tensor

from .. import _checks as check
from ._base import ConvRNNCellBase, Size
from ._norm import affine
from ._run import DirectionWeights, Maps
from .variants import OneBias


class PhyCell(OneBias, ConvRNNCellBase):
    r"""One step of the physical cell on ``(N, C, H, W)``: ``h = cell(x, h)``.

    Filters predict the change of the state, as in a partial differential equation, and the input then corrects the
    prediction, as in a Kalman filter. ``*`` is a convolution, ``⊙`` an element-wise product:

    .. math::
        p &= h + W_p * \mathrm{GN}(W_f * h + b_f) + b_p \\
        k &= σ(W_i * x + W_h * h + b) \\
        h' &= p + k ⊙ (x - p)

    ``weight_f`` has `filters` filters of `filter_size`. GN is a group norm with 7 groups if 7 divides the number of
    filters, otherwise with one. ``weight_p`` is 1×1 and combines the filters' outputs. A term of PhyDNet's loss moves
    the moments of the filters towards those of partial derivatives; see :func:`moments`.

    Args:
        channels: channels of input and state.
        kernel_size: kernel of the gate k.
        filters, filter_size: number of filters, and their height and width.
        device, dtype: of the parameters.

    References:
        Le Guen, V. and Thome, N. (2020). Disentangling Physical Dynamics from Unknown Factors for Unsupervised Video
        Prediction, section 3.2. https://arxiv.org/abs/2003.01460

    Example:
        >>> cell, h = PhyCell(4, filters=14), None
        >>> for z in torch.randn(3, 2, 4, 8, 8):
        ...     h = cell(z, h)
        >>> tuple(h.shape)
        (2, 4, 8, 8)
    """

    ndim = 2
    gates, states = 1, ("h",)

    def __init__(
        self,
        channels: int,
        kernel_size: Size = 3,
        *,
        filters: int = 49,
        filter_size: Size = 7,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.filters = check.positive_int("filters", filters)
        self.filter_size = check.ntuple("filter_size", filter_size, self.ndim)
        super().__init__(channels, channels, kernel_size, device=device, dtype=dtype)

    def extra_shapes(self, channels: int, kernel: tuple[int, ...]) -> dict[str, Any]:
        n = self.filters
        return {
            "weight_f": (n, channels, *self.filter_size),
            "bias_f": (n,),
            **affine("norm", (n,)),
            "weight_p": (channels, n, 1, 1),
            "bias_p": (channels,),
        }

    def advance(self, x: Tensor, state: Maps, w: DirectionWeights) -> Maps:
        (h,), (w_f, b_f, scale, shift, w_p, b_p) = state, w.extra
        groups = 7 if self.filters % 7 == 0 else 1
        filtered = torch.group_norm(self.conv(h, w_f, b_f), groups, scale, shift)
        p = h + self.conv(filtered, w_p, b_p)
        k = (self.conv(x, w.ih, w.b_ih) + self.conv(h, w.hh)).sigmoid()
        return (p + k * (x - p),)


def moments(filters: Tensor) -> Tensor:
    r"""Computes the moments :math:`\sum_{u,v} u^i v^j / (i!\, j!) \, w_{uv}` of filters ``(…, K, K)``, K odd.

    Entry (i, j) of the result ``(…, K, K)`` is the moment of order i down and j to the right; u and v are the row and
    the column relative to the middle. A filter whose moments are zero except for a one at (i, j) acts as the partial
    derivative of order i down and j to the right, in pixels.
    """
    size = filters.shape[-1]
    if filters.dim() < 2 or filters.shape[-2] != size or size % 2 == 0:
        raise ValueError(f"expected square filters (…, K, K) of odd K, got {tuple(filters.shape)}")
    place = torch.arange(size, dtype=torch.float64) - size // 2
    power = torch.stack([place**i / math.factorial(i) for i in range(size)]).to(filters)
    return power @ filters @ power.T
