"""Eidetic 3-d LSTM."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import _checks as check
from ._base import Constant, ConvRNNCellBase, Size
from ._norm import MapNormed, affine, map_norm, resize_weight
from ._run import DirectionWeights, Maps


class E3DLSTMCell(MapNormed, ConvRNNCellBase):
    r"""One step of the eidetic 3-d LSTM on ``(N, C, D, H, W)``: ``h, *cells = cell(x, (h, *cells))``.

    It stores every previous cell state c, the newest first, and attends to all of them. attend(r; …) is the attention
    of the query r to the listed maps. The state grows by one map with every step, and the cost of a step grows with it.
    ``*`` is a convolution, ``⊙`` an element-wise product, ``·`` a gate, N a layer norm over channels and map:

    .. math::
        i, r &= σ(W_{i·} * x + W_{h·} * h) \\
        g &= \tanh(W_{ig} * x + W_{hg} * h) \\
        c' &= N(c + \mathrm{attend}(r; c, c_{-1}, …)) + i ⊙ g \\
        m &= σ(W_{mi} * x) ⊙ \tanh(W_{mg} * x) \\
        o &= σ(\tanh(W_{io} * x + W_{ho} * h + W_{co} * c' + W_{mo} * m)) \\
        h' &= o ⊙ \tanh(W_{cm} * [c', m])

    Kernels have the depth of the map: a convolution reads the full depth, and its result is repeated along the depth.
    Rows of ``weight_ih`` and ``weight_hh`` are i, g, r, o. Rows i, g of ``weight_mx`` are :math:`W_{mi}` and
    :math:`W_{mg}`. ``weight_cm`` is 1×1. The norm N has a scale and a shift per channel and pixel of a map of
    `map_size`. For a map of another size, scale and shift are resized bilinearly.

    With `norm_size` every convolution except :math:`W_{cm}` is followed by a layer norm over all its channels and the
    map. The convolutions of x with ``weight_ih`` and ``weight_mx`` share a norm. The previous global memory is zero
    (see below), so that the norm after its convolution returns the shift ``bias_norm_gm``. The rows of this shift are
    :math:`b_i, b_f, b_g, b_m`. The rows of ``weight_mx`` are then i, g, f, and the global memory m is:

    .. math::
        m = σ(W_{mf} * x + b_f + 1) ⊙ \tanh(b_m) + σ(W_{mi} * x + b_i) ⊙ \tanh(W_{mg} * x + b_g)

    Two details follow the authors' code and not the paper. Their cell computes m but returns the global memory that it
    received, which stays zero; weights that act on this zero are left out here. Their attention reshapes
    maps ``(N, C, D, H, W)`` to rows ``(N, D·H·W, C)`` without moving the channels: a row holds C neighbouring pixels,
    not the channels of one pixel.

    Args:
        in_channels, out_channels: channels of input and state.
        kernel_size: depth, height and width of the kernels; height and width are odd.
        map_size: height and width of the map for which the norm N is stored.
        norm_size: height and width of the map for the norms after convolutions, or `None` for no such norms.
        stride: stride of the convolutions in height and width. Their results are repeated to the size of the map.
        device, dtype: of the parameters.

    References:
        Wang, Y. et al. (2019). Eidetic 3D LSTM: A Model for Video Prediction and Beyond.
        https://openreview.net/forum?id=B1lKS2AqtX

    Example:
        >>> cell, state = E3DLSTMCell(1, 4, (2, 5, 5), map_size=8), None
        >>> for frames in torch.randn(3, 1, 1, 2, 8, 8):
        ...     state = cell(frames, state)
        >>> len(state), tuple(state[0].shape)  # h, the initial cell state, and one per step
        (5, (1, 4, 2, 8, 8))
    """

    ndim = 3
    gates, states = 4, ("h", "c")
    map_norms: ClassVar = {"ih": 7, "hh": 4, "co": 1, "mo": 1}

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        *,
        map_size: Size,
        norm_size: Size | None = None,
        stride: int = 1,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.depth, *edges = check.ntuple("kernel_size", kernel_size, self.ndim)
        if any(edge % 2 == 0 for edge in edges):
            raise ValueError(f"kernel_size must have an odd height and width, got {kernel_size}; use 3 or 5")
        self.map_size = check.ntuple("map_size", map_size, self.ndim - 1)
        norm = None if norm_size is None else (self.depth, *check.ntuple("norm_size", norm_size, self.ndim - 1))
        strides = (1, *check.ntuple("stride", stride, self.ndim - 1))
        factory: Any = {"device": device, "dtype": dtype}
        super().__init__(in_channels, out_channels, kernel_size, False, strides, norm_size=norm, **factory)

    def state_names(self, hx: Any) -> Sequence[str]:
        earlier = len(hx) - 2 if isinstance(hx, (tuple, list)) else 0
        return [*self.states, *(f"c₋{k}" for k in range(1, earlier + 1))]

    def extra_shapes(self, channels: int, kernel: tuple[int, ...]) -> dict[str, Any]:
        shapes = {
            "weight_mx": ((2 if self.norm_size is None else 3) * channels, self.in_channels, *kernel),
            "weight_co": (channels, channels, *kernel),
            "weight_mo": (channels, channels, *kernel),
            "weight_cm": (channels, 2 * channels, 1, 1, 1),
            **affine("norm", (channels, self.depth, *self.map_size)),
            **super().extra_shapes(channels, kernel),
        }
        if self.norm_size is not None:
            shapes["bias_norm_gm"] = Constant((4 * channels, *self.norm_size), 0.0)
        return shapes

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        """Computes the next h and c, and returns them with all earlier cell states."""
        if isinstance(input, Tensor) and input.dim() > self.ndim and input.shape[-self.ndim] != self.depth:
            raise ValueError(
                f"{type(self).__name__} expected maps as deep as its kernel, {self.depth}, got a depth of "
                f"{input.shape[-self.ndim]} in {tuple(input.shape)}; stack so many frames"
            )
        return super().forward(input, hx)

    def conv(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Convolves the full depth by a 2-d convolution, and repeats the result along the depth."""
        pads = [k // 2 for k in weight.shape[-2:]]
        y = F.conv2d(x.flatten(1, 2), weight.flatten(1, 2), bias, self.stride[1:], pads)
        if max(self.stride) > 1:
            y = F.interpolate(y, x.shape[-2:])
        return y.unsqueeze(2).expand(-1, -1, self.depth, -1, -1)

    def advance(self, x: Tensor, state: Maps, w: DirectionWeights) -> Maps:
        (h, *cells), (w_mx, w_co, w_mo, w_cm, scale, shift, *_) = state, w.extra
        ih = self.normalize_map("ih", torch.cat([self.conv(x, w.ih), self.conv(x, w_mx)], 1))
        gates, m_gates = ih.split([len(w.ih), len(w_mx)], 1)
        i, g, r, o = (gates + self.normalize_map("hh", self.conv(h, w.hh))).chunk(4, dim=1)
        c = map_norm(cells[0] + attend(r.sigmoid(), cells), scale, shift) + i.sigmoid() * g.tanh()
        m = self.global_memory(m_gates)
        co, mo = self.normalize_map("co", self.conv(c, w_co)), self.normalize_map("mo", self.conv(m, w_mo))
        o = (o + co + mo).tanh().sigmoid()
        return o * F.conv3d(torch.cat([c, m], dim=1), w_cm).tanh(), c, *cells

    def global_memory(self, gates: Tensor) -> Tensor:
        """Computes the global memory m from its pre-activations i, g and, with norms, f."""
        if self.norm_size is None:
            i, g = gates.chunk(2, dim=1)
            return i.sigmoid() * g.tanh()
        i, g, f = gates.chunk(3, dim=1)
        bias: Any = self.bias_norm_gm
        bias_i, bias_f, bias_g, bias_m = resize_weight(bias, gates.shape[-2:]).chunk(4)
        return (f + bias_f + 1).sigmoid() * bias_m.tanh() + (i + bias_i).sigmoid() * (g + bias_g).tanh()


def attend(query: Tensor, maps: Sequence[Tensor]) -> Tensor:
    """Computes dot-product attention of `query` to all `maps`, without scaling.

    `query` and `maps` are reshaped to rows of C values.
    """
    n, channels, *space = query.shape
    rows, *past = (m.to(query.dtype).reshape(n, math.prod(space), channels) for m in (query, *maps))
    memory = torch.cat(past, dim=1)
    return F.scaled_dot_product_attention(rows, memory, memory, scale=1.0).reshape(query.shape)
