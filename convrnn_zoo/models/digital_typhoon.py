"""The ConvLSTM that forecasts satellite images of typhoons in the Digital Typhoon benchmark."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..layers._run import Loop, Maps
from ..layers.variants import Conv2dReLUPeepholeLSTMCell
from .base import (
    FRAME_CFG,
    Forecaster,
    Unroll,
    build_model,
    feature_size,
    framewise,
    layer_widths,
    register_model,
    unroll_loop,
)


class WindowedConvLSTM(Forecaster):
    """A stack of ConvLSTMs that reads a window of frames and forecasts the next one.

    Each layer is followed by a batch norm. A convolution maps the last step of the last layer to a frame with values
    from 0 to 1. For the frame after that, the window moves by one: it drops its first frame and ends with the forecast,
    and the layers read it again from zero states. A forecast of H frames takes H times as long as that of one.

    Args:
        in_chans: channels of a frame.
        hidden_channels: list with the width of each layer, or one width for all `num_layers` layers.
        kernel_size: kernel of every convolution.
        num_layers: number of layers, if `hidden_channels` is one number.
        img_size: height and width of the frames for which the peephole weights are stored, or one number for both. For
            frames of another size, the weights are resized bilinearly.
        horizon, num_classes: as for :class:`~convrnn_zoo.Forecaster`.

    Example:
        >>> model = WindowedConvLSTM(hidden_channels=4, img_size=8)
        >>> tuple(model(torch.rand(1, 5, 1, 8, 8), horizon=2).shape)
        (1, 2, 1, 8, 8)
    """

    export_loop: Loop = staticmethod(unroll_loop)

    group_patterns: ClassVar[dict[str, Any]] = {
        "stem": r"^layers\.0\.cell\.weight_ih",
        "blocks": r"^(?:layers|norms)\.(\d+)",
        "head": r"^head",
    }

    def __init__(
        self,
        in_chans: int = 1,
        hidden_channels: int | Sequence[int] = 128,
        kernel_size: int = 3,
        num_layers: int = 3,
        horizon: int = 12,
        num_classes: int = 0,
        img_size: int | Sequence[int] = 128,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_chans, horizon, 1, num_classes)
        factory: Any = {"device": device, "dtype": dtype}
        size = feature_size(img_size, 1)
        widths = layer_widths(hidden_channels, num_layers)
        self.layers = nn.ModuleList(
            Unroll(Conv2dReLUPeepholeLSTMCell(*chs, kernel_size, map_size=size, **factory))
            for chs in pairwise([self.in_chans, *widths])
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width, **factory) for width in widths)
        self.num_features = widths[-1]
        self.head = nn.Conv2d(widths[-1], self.in_chans, kernel_size, padding=kernel_size // 2, **factory)

    def forward(self, x: Tensor, horizon: int | None = None) -> Tensor:
        """Returns the forecast ``(N, horizon, C, H, W)`` of frames ``(N, T, C, H, W)``."""
        window, steps = self.check_frames("x", x).transpose(0, 1), self.check_horizon(horizon)
        ys, _ = self.export_loop(lambda _, state: self._advance(state[1]), (x.new_zeros(steps),), (x[:, -1], window))
        return ys.transpose(0, 1)

    def _advance(self, window: Tensor) -> Maps:
        """Returns the frame after a window ``(T, N, C, H, W)``, and the window that ends with it."""
        y = window
        for layer, norm in zip(self.layers, self.norms, strict=True):
            y = framewise(norm, layer(y)[0])
        frame = self.head(y[-1]).sigmoid()
        times = torch.arange(window.shape[0], device=window.device)
        shifted = window.index_select(0, (times + 1).clamp(max=window.shape[0] - 1))  # torch exports no slice by a size
        return frame, torch.where((times == window.shape[0] - 1).reshape(-1, 1, 1, 1, 1), frame, shifted)


@register_model(
    cfg={**FRAME_CFG, "input_size": (1, 128, 128)}, small={"hidden_channels": 4, "num_layers": 2, "img_size": (8, 8)}
)
def convlstm_digital_typhoon(pretrained: bool = False, **kwargs: Any) -> WindowedConvLSTM:
    """The ConvLSTM of the Digital Typhoon benchmark: three peephole ConvLSTMs of 128, 21,831,553 parameters.

    Maps 12 hourly infrared images of a typhoon ``(N, 12, 1, H, W)`` to the next 12. Values are brightness temperatures,
    from 170 to 300 K, scaled to 0 to 1. Kitamoto et al. 2023, https://arxiv.org/abs/2311.02665. See
    :class:`~convrnn_zoo.models.digital_typhoon.WindowedConvLSTM`.
    """
    return build_model(WindowedConvLSTM, "convlstm_digital_typhoon", pretrained, **kwargs)
