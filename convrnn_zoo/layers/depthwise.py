"""The ConvLSTM of RVT: products at each pixel, and before them, if wanted, a depthwise look around at the state."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from . import _checks as check
from ._run import DirectionWeights, Maps
from .lstm import Conv2dLSTMCell
from .onebias import OneBias


class Conv2dDepthwiseLSTMCell(OneBias, Conv2dLSTMCell):
    r"""One step on ``(N, C, H, W)``: ``h, c = cell(x, (h, c))``. An LSTM with 1×1 kernels that sees the state around.

    .. math::
        d &= W_d *_C h + b_d \\
        i, f, g, o &= σ, σ, \tanh, σ(W_{i·} x + W_{h·} d + b_{·}) \\
        c' &= f ⊙ c + i ⊙ g \\
        h' &= o ⊙ \tanh(c')

    where :math:`*_C` convolves each channel with a kernel of its own, and the products are 1×1 convolutions.
    ``depthwise_kernel_size=None`` leaves the depthwise part out, ``d = h``: so do the published configurations of RVT.

    Args:
        in_channels, out_channels: channels of the input and of the state.
        depthwise_kernel_size: edge of the depthwise kernel, odd; None for none.
        bias: whether the gates and the depthwise part have biases.
        device, dtype: of the parameters.

    References:
        Gehrig, M. and Scaramuzza, D. (2023). Recurrent Vision Transformers for Object Detection with Event Cameras.
        https://arxiv.org/abs/2212.05598

    Example:
        >>> plain = Conv2dDepthwiseLSTMCell(64, 64, depthwise_kernel_size=None)
        >>> sum(p.numel() for p in plain.parameters())  # the first stage of RVT-base
        33024
        >>> h, c = Conv2dDepthwiseLSTMCell(6, 6)(torch.randn(2, 6, 5, 7))
        >>> tuple(h.shape)
        (2, 6, 5, 7)
    """

    in_place = None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        depthwise_kernel_size: int | None = 3,
        bias: bool = True,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        edge = depthwise_kernel_size
        self.depthwise_kernel_size = None if edge is None else check.positive_int("depthwise_kernel_size", edge)
        if edge is not None and edge % 2 == 0:
            raise ValueError(f"depthwise_kernel_size must be odd, or the map would grow, got {edge}; take {edge + 1}")
        super().__init__(in_channels, out_channels, 1, bias, device=device, dtype=dtype)

    def extra_shapes(self, channels: int, kernel: tuple[int, ...]) -> dict[str, Any]:
        """The depthwise convolution, if there is one."""
        if self.depthwise_kernel_size is None:
            return {}
        edge = self.depthwise_kernel_size
        return {"weight_d": (channels, 1, edge, edge)} | ({"bias_d": (channels,)} if self.bias else {})

    def reset_parameters(self) -> None:
        """Samples as an LSTM does; the depthwise part by its own fan-in."""
        super().reset_parameters()
        depthwise = [p for name, p in self.named_parameters() if name.endswith("_d")]
        self._init_parameters(depthwise, "", self.groups, (self.depthwise_kernel_size or 1,) * 2)

    def advance(self, x: Tensor, state: Maps, w: DirectionWeights) -> Maps:
        """One whole step; the gates see the state through the depthwise convolution."""
        seen = state[0]
        if w.extra:
            weight, *bias = w.extra
            seen = F.conv2d(seen, weight, bias[0] if bias else None, padding="same", groups=len(weight))
        return self.step(self.join(self.conv(x, w.ih, w.b_ih), self.conv(seen, w.hh)), state, ())
