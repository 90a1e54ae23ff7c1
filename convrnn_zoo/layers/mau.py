"""Motion-aware unit."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .. import _checks as check
from ._base import ConvRNNCellBase, Size
from ._norm import affine, map_norm, resize_weight
from ._run import DirectionWeights, Maps


class MAUCell(ConvRNNCellBase):
    r"""One step of the motion-aware unit on ``(N, C, H, W)``: ``s, state = cell(s, state)``.

    The spatial state s is passed up through the layers, and the temporal state t is passed through time. The unit
    attends to its last τ steps. The state holds the τ outputs t of these steps, the newest first, then their τ inputs
    s. ``*`` is a convolution, ``⊙`` an element-wise product, ⟨,⟩ an inner product, N a layer norm over channels and
    map. ``·`` is each name on the left of its equation:

    .. math::
        a_k &= \mathrm{softmax}_k(⟨s_k, N(W_{ia} * s + b_{ia})⟩ / \sqrt{C H W}) \\
        u &= σ(N(W_{hu} * t + b_{hu})) \\
        t^* &= u ⊙ t + (1 - u) ⊙ \textstyle\sum_k a_k t_k \\
        g, p, q &= N(W_{h·} * t^* + b_{h·}) \\
        g', p', q' &= N(W_{i·} * s + b_{i·}) \\
        t' &= σ(g) ⊙ p + (1 - σ(g)) ⊙ p' \\
        s' &= σ(g') ⊙ q' + (1 - σ(g')) ⊙ q

    where t is the newest of the :math:`t_k`. The values of the states are not bounded. With `residual`, s is added to
    s'. Rows of ``weight_ih`` and ``weight_norm_ih`` are a, g', p', q'. Rows of ``weight_hh`` and ``weight_norm_hh`` are
    u, g, p, q. The norms have a scale and a shift per channel and pixel of a map of `map_size`. For a map of another
    size, scale and shift are resized bilinearly. In the first τ steps, the softmax also includes the missing states as
    zeros, as in the authors' code.

    Args:
        channels: channels of both states.
        kernel_size: kernel of every convolution.
        tau: number of previous steps that the unit attends to.
        map_size: height and width of the map for which the norms are stored.
        residual: whether s is added to the output.
        device, dtype: of the parameters.

    References:
        Chang, Z. et al. (2021). MAU: A Motion-Aware Unit for Video Prediction and Beyond.
        https://proceedings.neurips.cc/paper/2021/hash/e25cfa90f04351958216f97e3efdabe9-Abstract.html

    Example:
        >>> cell, state = MAUCell(4, 5, tau=2, map_size=8), None
        >>> for s in torch.randn(3, 1, 4, 8, 8):
        ...     up, state = cell(s, state)
        >>> tuple(up.shape), len(state)  # two t, two s
        ((1, 4, 8, 8), 4)
    """

    ndim = 2
    gates = 4
    states = ("t", "s")

    def __init__(
        self,
        channels: int,
        kernel_size: Size,
        *,
        tau: int = 5,
        map_size: Size,
        residual: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.tau = check.positive_int("tau", tau)
        self.map_size = check.ntuple("map_size", map_size, self.ndim)
        self.residual = check.boolean("residual", residual)
        super().__init__(channels, channels, kernel_size, device=device, dtype=dtype)

    def state_names(self, hx: Any) -> Sequence[str]:
        return [f"{name}{k}" for name in self.states for k in range(1, self.tau + 1)]

    def extra_shapes(self, channels: int, kernel: tuple[int, ...]) -> dict[str, Any]:
        shape = (self.gates * channels, *self.map_size)
        return {**affine("norm_ih", shape), **affine("norm_hh", shape)}

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        """Computes s', which is the input of the next layer, and the next state."""
        up, *state = super().forward(input, hx)
        return up, tuple(state)

    def advance(self, x: Tensor, state: Maps, w: DirectionWeights) -> Maps:
        ts, ss, c = state[: self.tau], state[self.tau :], x.shape[1]
        scale_s, shift_s, scale_t, shift_t = (resize_weight(p, x.shape[-2:]) for p in w.extra)
        ih = self.conv(x, w.ih, w.b_ih)
        query = map_norm(ih[:, :c], scale_s[:c], shift_s[:c])
        g2, p2, q2 = map_norm(ih[:, c:], scale_s[c:], shift_s[c:]).chunk(3, dim=1)

        def convolve(t: Tensor, rows: slice) -> Tensor:
            weight, bias, scale, shift = (p[rows] for p in (w.hh, w.b_hh, scale_t, shift_t))  # type: ignore[index]
            return map_norm(self.conv(t, weight, bias), scale, shift)

        query = query / math.sqrt(math.prod(x.shape[1:]))  # before the sum, which would overflow float16
        scores = torch.stack([(past * query).sum((1, 2, 3)) for past in ss], dim=1)
        attention = scores.softmax(dim=1)[..., None, None, None].unbind(1)
        trend = sum((a * t for a, t in zip(attention, ts, strict=True)), start=torch.zeros_like(x))
        u = convolve(ts[0], slice(c)).sigmoid()
        g, p, q = convolve(u * ts[0] + (1 - u) * trend, slice(c, None)).chunk(3, dim=1)
        g, g2 = g.sigmoid(), g2.sigmoid()
        t, up = g * p + (1 - g) * p2, g2 * q2 + (1 - g2) * q
        return up + x if self.residual else up, t, *ts[:-1], x.clone(), *ss[:-1]  # the caller may overwrite x
