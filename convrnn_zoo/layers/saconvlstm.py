"""Self-attention ConvLSTM."""

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import _checks as check
from ._base import Size
from ._run import Maps
from .variants import Conv2dOneBiasLSTMCell


def attend_positions(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Computes dot-product attention of every position of a map to all positions of another, without scaling.

    `query` and `key` are ``(N, A, H, W)``, `value` and the result ``(N, C, H, W)``.
    """
    if not value.numel():  # sizes of an empty batch cannot be inferred
        return value + 0 * (query + key).sum()
    # Sizes of maps are inferred (-1): torch's ONNX exporter would read the width from a stride, which ONNX has not.
    q, k, v = (x.reshape(*x.shape[:2], -1).transpose(1, 2).unsqueeze(1) for x in (query, key, value))
    attended = F.scaled_dot_product_attention(q, k, v, scale=1.0)  # (N, 1, H·W, C)
    n, channels, height, _ = value.shape
    return attended.reshape(n, height, -1, channels).permute(0, 3, 1, 2)


class SAConvLSTMCell(Conv2dOneBiasLSTMCell):
    r"""One step of the self-attention ConvLSTM on ``(N, C, H, W)``: ``h, c, m = cell(x, (h, c, m))``.

    The output y of a ConvLSTM passes through a self-attention memory m. Every position of the map attends to all
    positions of y and of m. ``*`` is a convolution, ``⊙`` an element-wise product, ``·`` a gate. A product without a
    sign is a matrix product, in which a map is a matrix ``(channels, positions)`` and a weight is a 1×1 convolution:

    .. math::
        y, c' &= \mathrm{LSTM}(x, (h, c)) \\
        z_y &= W_{yv} y \; \mathrm{softmax}((W_q y)^T W_{yk} y)^T \\
        z_m &= W_{mv} m \; \mathrm{softmax}((W_q y)^T W_{mk} m)^T \\
        z &= W_z [z_y, z_m] \\
        i, o &= σ(W_{m·} * [z, y] + b_{m·}) \\
        g &= \tanh(W_{mg} * [z, y] + b_{mg}) \\
        m' &= (1 - i) ⊙ m + i ⊙ g \\
        h' &= o ⊙ m'

    ``weight_ih`` and ``weight_hh`` are those of :class:`~convrnn_zoo.Conv2dLSTM`, with one bias per gate. ``weight_q``,
    ``weight_yk`` and ``weight_mk`` are ``(A, C, 1, 1)``; ``weight_yv`` and ``weight_mv`` are ``(C, C, 1, 1)``;
    ``weight_z`` is ``(C, 2C, 1, 1)``. ``weight_m`` is ``(3C, 2C, …)`` with the state-to-state kernel and rows i, g, o.

    Both attentions together take ``2 P² (A + C)`` multiply-adds for each sequence and step, with P = H·W positions.
    Where torch has no fused attention for the device and the sizes, training stores ``2 P²`` attention weights per
    sequence and step: in float32 0.5 MB for a map of 16×16, and 134 MB for one of 64×64. Fold large frames into patches
    first, as ``sa_convlstm`` does.

    Args:
        in_channels, out_channels, kernel_size, …: as for :class:`ConvRNNCellBase`. `groups` must be 1.
        attention_channels: channels A of queries and keys.

    References:
        Lin, Z. et al. (2020). Self-Attention ConvLSTM for Spatiotemporal Prediction.
        https://doi.org/10.1609/aaai.v34i07.6819

    Example:
        >>> cell, state = SAConvLSTMCell(1, 4, kernel_size=3, attention_channels=2), None
        >>> for frame in torch.randn(3, 2, 1, 8, 8):
        ...     state = cell(frame, state)
        >>> [tuple(s.shape) for s in state]
        [(2, 4, 8, 8), (2, 4, 8, 8), (2, 4, 8, 8)]
    """

    states = ("h", "c", "m")  # type: ignore[assignment]
    has_groups = False
    options: ClassVar = {}
    in_place = None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        *args: Any,
        attention_channels: int = 32,
        **kwargs: Any,
    ) -> None:
        self.attention_channels = check.positive_int("attention_channels", attention_channels)
        super().__init__(in_channels, out_channels, kernel_size, *args, **kwargs)

    def extra_shapes(self, channels: int, kernel: tuple[int, ...]) -> dict[str, Any]:
        a = self.attention_channels
        rows = {"q": a, "yk": a, "yv": channels, "mk": a, "mv": channels}
        shapes: dict[str, Any] = {f"weight_{name}": (n, channels, 1, 1) for name, n in rows.items()}
        shapes |= {"weight_z": (channels, 2 * channels, 1, 1), "weight_m": (3 * channels, 2 * channels, *kernel)}
        return shapes | ({"bias_m": (3 * channels,)} if self.bias else {})

    def step(self, gates: Tensor, state: Maps, extra: Maps) -> Maps:
        h, c, m = state
        w_q, w_yk, w_yv, w_mk, w_mv, w_z, w_m, *b_m = extra
        y, c = super().step(gates, (h, c), ())
        query = F.conv2d(y, w_q)
        z_y = attend_positions(query, F.conv2d(y, w_yk), F.conv2d(y, w_yv))
        z_m = attend_positions(query, F.conv2d(m, w_mk), F.conv2d(m, w_mv))
        z = F.conv2d(torch.cat([z_y, z_m], dim=1), w_z)
        i, g, o = self.conv(torch.cat([z, y], dim=1), w_m, *b_m).chunk(3, dim=1)
        i = i.sigmoid()
        m = (1 - i) * m + i * g.tanh()
        return o.sigmoid() * m, c, m
