"""PredNet, a forecaster whose layers predict their input and pass on the errors of the prediction."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers._run import Loop, Maps
from ..layers._states import check_encoded
from .base import FRAME_CFG, Forecaster, build_model, layer_widths, odd_kernel, register_model, unroll_loop


class PredNet(Forecaster):
    r"""A hierarchy of layers with a representation r, a prediction p of the layer's target a, and the error e.

    In a step, the representations are updated from the top layer to the lowest, and then the errors from the lowest to
    the top. ``*`` is a convolution, ``⊙`` an element-wise product, ``↑`` doubles the size, and ``↓`` halves it by a
    maximum pool; :math:`s(x) = \min(\max(0.2 x + 0.5, 0), 1)`:

    .. math::
        i, f, o &= s(W_{·} * [r_l, e_l, ↑r'_{l+1}] + b_{·}) \\
        g &= \tanh(W_g * [r_l, e_l, ↑r'_{l+1}] + b_g) \\
        c'_l &= f ⊙ c_l + i ⊙ g, \quad r'_l = o ⊙ \tanh(c'_l) \\
        p_l &= \max(0, W_p * r'_l + b_p), \quad p_0 \text{ at most } 1 \\
        e'_l &= [\max(0, p_l - a_l), \max(0, a_l - p_l)] \\
        a_{l+1} &= ↓\max(0, W_a * e'_l + b_a)

    The target of the lowest layer is the frame, which is compared with the prediction from the frames before it. In the
    forecast, it is the prediction of the previous step, as in the original.

    Args:
        in_chans: channels of a frame.
        hidden_channels: list with the channels of each layer after the lowest, whose channels are those of a frame, or
            one number for four layers.
        kernel_size: kernel of every convolution.
        horizon, num_classes: as for :class:`~convrnn_zoo.Forecaster`.

    Example:
        >>> model = PredNet(hidden_channels=[4, 8])
        >>> tuple(model(torch.rand(1, 3, 1, 8, 8), horizon=2).shape)
        (1, 2, 1, 8, 8)
    """

    export_loop: Loop = staticmethod(unroll_loop)

    def __init__(
        self,
        in_chans: int = 1,
        hidden_channels: int | Sequence[int] = (32, 64, 128, 256),
        kernel_size: int = 3,
        horizon: int = 10,
        num_classes: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        hidden = layer_widths(hidden_channels, 4)
        super().__init__(in_chans, horizon, 2 ** len(hidden), num_classes)
        kernel = odd_kernel(kernel_size)
        options: Any = {"kernel_size": kernel, "padding": kernel // 2, "device": device, "dtype": dtype}
        self.widths = [self.in_chans, *hidden]
        above = [*hidden, 0]
        self.gates = nn.ModuleList(
            nn.Conv2d(3 * width + top, 4 * width, **options) for width, top in zip(self.widths, above, strict=True)
        )
        self.targets = nn.ModuleList(nn.Conv2d(2 * below, width, **options) for below, width in pairwise(self.widths))
        self.predictions = nn.ModuleList(nn.Conv2d(width, width, **options) for width in hidden)
        self.head = nn.Conv2d(self.in_chans, self.in_chans, **options)
        self.num_features = self.in_chans
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.constant_(module.bias, 0.5 if module is self.head else 0.0)  # so that the head's ReLU is alive

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        top = len(self.gates) - 1  # which runs first
        gates = [(rf"^gates\.{i}\.", (top - i,)) for i in reversed(range(top))]
        later = [(r"^(?:targets|predictions)\.", (top + 1,)), (r"^head\.", (top + 2,))]
        return {"stem": rf"^gates\.{top}\.", "blocks": [*gates, *later]}

    def forward(self, x: Tensor, horizon: int | None = None) -> Tensor:
        """Returns the forecast ``(N, horizon, C, H, W)`` of frames ``(N, T, C, H, W)``."""
        return self.decode(self.encode(x), self.check_horizon(horizon))

    def encode(self, x: Tensor, state: Maps | None = None) -> Maps:
        """Returns the state after frames `x`, starting from `state`: the prediction, and r, c and e of each layer."""
        x = self.check_frames("x", x)
        if state is None:
            pixels = [2**i for i in range(len(self.widths))]
            sizes = [(width, *(n // p for n in x.shape[-2:])) for width, p in zip(self.widths, pixels, strict=True)]
            zeros = [x.new_zeros(x.shape[0], *size) for size in sizes]
            state = (zeros[0], *zeros, *zeros, *(torch.cat([z, z], 1) for z in zeros))
        state = self._check_state(state)
        return self.export_loop(lambda frame, state: self._advance(frame[0], state), (x.transpose(0, 1),), state)[1]

    def decode(self, state: Maps, horizon: int | None = None) -> Tensor:
        """Forecasts ``(N, horizon, C, H, W)`` from the state of :meth:`encode`."""
        state = self._check_state(state)
        empty = state[0].new_zeros(self.check_horizon(horizon))
        frames, _ = self.export_loop(lambda _, state: self._advance(state[0], state), (empty,), state)
        return frames.transpose(0, 1)

    def _check_state(self, state: Maps) -> Maps:
        is_state = isinstance(state, tuple | list) and len(state) == 1 + 3 * len(self.widths)
        check_encoded(type(self).__name__, state, is_state)
        return tuple(state)

    def _advance(self, frame: Tensor, state: Maps) -> Maps:
        n, above = len(self.widths), frame.new_zeros(0)
        r, c, e = ([*state[1 + k * n :][:n]] for k in range(3))
        for i in reversed(range(n)):
            inputs = [r[i], e[i]]
            if i < n - 1:
                inputs.append(F.interpolate(above, scale_factor=2.0, mode="nearest"))
            gates = self.gates[i](torch.cat(inputs, 1))
            opened = (0.2 * gates + 0.5).clamp(0, 1).chunk(4, 1)
            c[i] = opened[1] * c[i] + opened[0] * gates.chunk(4, 1)[2].tanh()
            r[i] = above = opened[3] * c[i].tanh()
        target = frame
        for i in range(n):
            prediction = (self.predictions[i - 1] if i else self.head)(r[i]).relu()
            if not i:
                forecast = prediction = prediction.clamp(max=1)
            e[i] = torch.cat([prediction - target, target - prediction], 1).relu()
            if i < n - 1:
                target = F.max_pool2d(self.targets[i](e[i]).relu(), 2)
        return (forecast, *r, *c, *e)


@register_model(cfg=FRAME_CFG, small={"hidden_channels": (4, 4)})
def prednet(pretrained: bool = False, **kwargs: Any) -> PredNet:
    """PredNet: five layers with 1, 32, 64, 128 and 256 channels that predict their input, 12,510,842 parameters.

    Maps frames ``(N, T, C, H, W)`` with values from 0 to 1 to ``(N, horizon, C, H, W)``; height and width are multiples
    of 16. Lotter et al. 2017, https://arxiv.org/abs/1605.08104. Published by OpenSTL on Moving MNIST after 200 epochs,
    10 input and 10 forecast frames: MSE 161.38, MAE 201.16, SSIM .7783; after 2000 epochs: MSE 31.85, MAE 90.01, SSIM
    .9273. See :class:`~convrnn_zoo.models.prednet.PredNet`.
    """
    return build_model(PredNet, "prednet", pretrained, **kwargs)
