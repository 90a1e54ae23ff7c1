"""ConvLSTM of RVT, with 1×1 kernels and an optional depthwise convolution of the state."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from . import _checks as check
from ._run import DirectionWeights, Maps
from .lstm import Conv2dLSTMCell
from .onebias import OneBias


class Conv2dDepthwiseLSTMCell(OneBias, Conv2dLSTMCell):
    r"""One step of an LSTM with 1×1 kernels and a depthwise convolution of the state: ``h, c = cell(x, (h, c))``.

    .. math::
        d &= W_d *_C h + b_d \\
        i, f, g, o &= σ, σ, \tanh, σ(W_{i·} x + W_{h·} d + b_{·}) \\
        c' &= f ⊙ c + i ⊙ g \\
        h' &= o ⊙ \tanh(c')

    where :math:`*_C` is a depthwise convolution, and the products are 1×1 convolutions on ``(N, C, H, W)``.
    ``depthwise_kernel_size=None`` leaves the depthwise convolution out, ``d = h``, as in RVT's published models.

    Args:
        in_channels, out_channels: channels of the input and of the state.
        depthwise_kernel_size: height and width of the depthwise kernel, odd, or `None` for no depthwise convolution.
        bias: whether the gates and the depthwise convolution have biases.
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
        self.depthwise_kernel_size = size = depthwise_kernel_size
        if size is not None and check.positive_int("depthwise_kernel_size", size) % 2 == 0:
            raise ValueError(f"depthwise_kernel_size must be odd, or the map would grow, got {size}; use {size + 1}")
        super().__init__(in_channels, out_channels, 1, bias, device=device, dtype=dtype)

    def extra_shapes(self, channels: int, kernel: tuple[int, ...]) -> dict[str, Any]:
        """Returns the shapes of the depthwise convolution, if there is one."""
        if self.depthwise_kernel_size is None:
            return {}
        size = self.depthwise_kernel_size
        return {"weight_d": (channels, 1, size, size)} | ({"bias_d": (channels,)} if self.bias else {})

    def reset_parameters(self) -> None:
        """Samples the parameters as in an LSTM, and the depthwise convolution by its own fan-in."""
        super().reset_parameters()
        depthwise = [p for name, p in self.named_parameters() if name.endswith("_d")]
        self._init_parameters(depthwise, "", self.groups, (self.depthwise_kernel_size or 1,) * 2)

    def advance(self, x: Tensor, state: Maps, w: DirectionWeights) -> Maps:
        """Computes one complete step, whose gates read the convolved state."""
        d = state[0]
        if w.extra:
            weight, *bias = w.extra
            d = F.conv2d(d, weight, bias[0] if bias else None, padding="same", groups=len(weight))
        return self.step(self.join(self.conv(x, w.ih, w.b_ih), self.conv(d, w.hh)), state, ())
