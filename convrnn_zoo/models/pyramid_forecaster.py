"""Encoder–forecasters that lower the resolution layer by layer and raise it again: ``…_ef`` and ``…_hko7``."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..layers import ConvRNNCellBase
from ..layers import _checks as check
from ..layers.trajgru import TrajGRUCell, TrajGRUStateCell
from ..layers.variants import Conv2dGroupNormGRUCell, Conv2dGroupNormLSTMCell, Conv2dLeakyGRU
from ..pretrained.builder import build_model
from ..pretrained.registry import register_model
from .base.blocks import Unroll, constant_input, framewise, stage
from .base.forecaster import FRAME_CFG, Forecaster
from .base.sequences import split_state


class PyramidForecaster(Forecaster):
    """An encoder that lowers the resolution layer by layer, and a forecaster that raises it again.

    Each layer of the forecaster starts from the state of the encoder's layer at its resolution. The lowest resolution
    is the first and has no input: global motion guides the details (Shi et al. 2017, section 3.1).

    Args:
        in_chans, horizon, reduction, num_classes: see :class:`~convrnn_zoo.models.base.forecaster.Forecaster`.
        downs: modules of single frames, one before each layer of the encoder.
        encoder: layers, called as ``output, state = layer(input, None)`` on ``(T, N, C, H, W)``.
        forecaster: layers, the lowest resolution first; the input of the first is one channel of ones.
        ups: modules of single frames, one after each layer of the forecaster.
        num_features: input channels of the last convolution.

    The architectures are built by functions that also take `hidden_channels`, three widths from the highest resolution
    down or one number, `stem_channels`, the width of the first and the last convolutions, and `device` and `dtype`.
    """

    export_forms = ("sequence", "step")

    def __init__(
        self,
        in_chans: int,
        horizon: int,
        reduction: int,
        downs: Sequence[nn.Module],
        encoder: Sequence[nn.Module],
        forecaster: Sequence[nn.Module],
        ups: Sequence[nn.Module],
        num_features: int,
        num_classes: int = 0,
    ) -> None:
        super().__init__(in_chans, horizon, reduction, num_classes)
        self.downs, self.encoder = nn.ModuleList(downs), nn.ModuleList(encoder)
        self.forecaster, self.ups = nn.ModuleList(forecaster), nn.ModuleList(ups)
        self.num_features = num_features

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Groups parameters by depth, for layer-wise learning rates: the encoder, then the forecaster."""
        return {"stem": r"^downs\.0", "encoder": r"^(?:downs|encoder)\.(\d+)", "blocks": r"^(?:forecaster|ups)\.(\d+)"}

    def forward(self, x: Tensor, horizon: int | None = None) -> Tensor:
        """Returns the forecast ``(N, horizon, C, H, W)`` of ``x``, ``(N, T, C, H, W)``."""
        return self.decode(self.encode(x), horizon)

    def encode(self, x: Tensor, state: Any = None) -> tuple[Any, ...]:
        """Returns the states of the encoder's layers after the frames ``(N, T, C, H, W)``, starting from `state`."""
        y = self.check_frames("x", x).transpose(0, 1)
        states = []
        for down, layer, before in zip(self.downs, self.encoder, split_state(state, len(self.downs)), strict=True):
            y, after = layer(framewise(down, y), before)
            states.append(after)
        return tuple(states)

    def decode(self, state: Any, horizon: int | None = None) -> Tensor:
        """Returns the forecast ``(N, horizon, C, H, W)`` from the encoder's states."""
        state = split_state(() if state is None else state, len(self.ups))
        h = state[-1] if isinstance(state[-1], Tensor) else state[-1][0]
        y = constant_input(h.flatten(0, -4), self.check_horizon(horizon))
        for layer, up, before in zip(self.forecaster, self.ups, reversed(state), strict=True):
            y = framewise(up, layer(y, before)[0])
        return y.transpose(0, 1)


def encoder_forecaster(
    cell: type[ConvRNNCellBase],
    in_chans: int = 1,
    hidden_channels: int | Sequence[int] = (64, 96, 96),
    kernel_size: int = 5,
    stem_channels: int = 16,
    horizon: int = 10,
    num_classes: int = 0,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> PyramidForecaster:
    """Builds a forecaster with three resolutions, each half the previous one, of cells with normed gates.

    Args:
        cell: :class:`~convrnn_zoo.layers.variants.Conv2dGroupNormLSTMCell` or the GRU's.
        hidden_channels: multiples of 32, or at most 32.
        kernel_size: kernel of the recurrent layers.
        …: as for :class:`~convrnn_zoo.models.pyramid_forecaster.PyramidForecaster`.

    Example:
        >>> model = encoder_forecaster(Conv2dGroupNormGRUCell, hidden_channels=(4, 6, 6))
        >>> tuple(model(torch.rand(1, 2, 1, 12, 16), horizon=3).shape)
        (1, 3, 1, 12, 16)
    """
    factory: dict[str, Any] = {"device": device, "dtype": dtype}
    high, middle, low = check.widths("hidden_channels", hidden_channels, num_layers=3)
    check.positive_int("stem_channels", stem_channels)
    top = Unroll(cell(1, low, 1, bias=False, hidden_kernel_size=kernel_size, **factory))
    return PyramidForecaster(
        in_chans,
        horizon,
        4,
        downs=[
            stage(nn.Conv2d, in_chans, stem_channels, 3, 1, 1, **factory),
            stage(nn.Conv2d, high, high, 3, 2, 1, **factory),
            stage(nn.Conv2d, middle, middle, 3, 2, 1, **factory),
        ],
        encoder=[
            Unroll(cell(in_chs, width, kernel_size, **factory))
            for in_chs, width in zip((stem_channels, high, middle), (high, middle, low), strict=True)
        ],
        forecaster=[
            top,
            Unroll(cell(low, middle, kernel_size, **factory)),
            Unroll(cell(middle, high, kernel_size, **factory)),
        ],
        ups=[
            stage(nn.ConvTranspose2d, low, low, 4, 2, 1, **factory),
            stage(nn.ConvTranspose2d, middle, middle, 4, 2, 1, **factory),
            nn.Sequential(
                *stage(nn.Conv2d, high, stem_channels, 3, 1, 1, **factory),
                *stage(nn.Conv2d, stem_channels, in_chans, 1, 1, 0, **factory),
            ),
        ],
        num_features=stem_channels,
        num_classes=num_classes,
    )


@register_model(cfg=FRAME_CFG)
def convlstm_ef(pretrained: bool = False, **kwargs: Any) -> PyramidForecaster:
    """A downsampling encoder–forecaster of ConvLSTM layers with group norms: 8,110,625 parameters.

    Three resolutions, 64, 96 and 96 wide, kernel 5. Frames ``(N, T, C, H, W)`` to ``(N, horizon, C, H, W)``, height and
    width multiples of 4. After the widely used code for Moving MNIST, https://github.com/jhhuang96/ConvLSTM-PyTorch,
    without the unused input weights of its first decoder; the order of the forecaster's layers is that of Shi et al.
    2017, https://arxiv.org/abs/1706.03458.

    Args:
        pretrained: load the weights of the name's tag, or its default.
        in_chans (1), hidden_channels ((64, 96, 96)), kernel_size (5), stem_channels (16), horizon (10).
    """
    return build_model(partial(encoder_forecaster, Conv2dGroupNormLSTMCell), "convlstm_ef", pretrained, **kwargs)


@register_model(cfg=FRAME_CFG)
def convgru_ef(pretrained: bool = False, **kwargs: Any) -> PyramidForecaster:
    """A downsampling encoder–forecaster of ConvGRU layers with group norms: 6,189,089 parameters.

    Three resolutions, 64, 96 and 96 wide, kernel 5. Frames ``(N, T, C, H, W)`` to ``(N, horizon, C, H, W)``, height and
    width multiples of 4. After the widely used code for Moving MNIST, https://github.com/jhhuang96/ConvLSTM-PyTorch,
    without the unused input weights of its first decoder; the order of the forecaster's layers is that of Shi et al.
    2017, https://arxiv.org/abs/1706.03458.

    Args:
        pretrained: load the weights of the name's tag, or its default.
        in_chans (1), hidden_channels ((64, 96, 96)), kernel_size (5), stem_channels (16), horizon (10).
    """
    return build_model(partial(encoder_forecaster, Conv2dGroupNormGRUCell), "convgru_ef", pretrained, **kwargs)


def convgru_layers(
    in_chs: Sequence[int], widths: Sequence[int], **factory: Any
) -> tuple[list[nn.Module], list[nn.Module]]:
    """Returns the benchmark's ConvGRUs of encoder and forecaster, with state-to-state kernels 5, 5 and 3."""
    hidden = (5, 5, 3)
    down = [
        Conv2dLeakyGRU(i, w, 3, hidden_kernel_size=k, **factory) for i, w, k in zip(in_chs, widths, hidden, strict=True)
    ]
    top = Conv2dLeakyGRU(1, widths[2], 1, bias=False, hidden_kernel_size=hidden[2], **factory)
    up = [Conv2dLeakyGRU(widths[i], widths[i], 3, hidden_kernel_size=hidden[i], **factory) for i in (1, 0)]
    return list(down), [top, *up]


def trajgru_layers(
    in_chs: Sequence[int], widths: Sequence[int], **factory: Any
) -> tuple[list[nn.Module], list[nn.Module]]:
    """Returns the benchmark's TrajGRUs of encoder and forecaster, with 13, 13 and 9 links in the order of layers."""
    links = (13, 13, 9)
    down = [Unroll(TrajGRUCell(i, w, 3, n, **factory)) for i, w, n in zip(in_chs, widths, links, strict=True)]
    top = Unroll(TrajGRUStateCell(widths[2], links[0], **factory))
    up = [Unroll(TrajGRUCell(widths[i], widths[i], 3, n, **factory)) for i, n in zip((1, 0), links[1:], strict=True)]
    return list(down), [top, *up]


def hko7(
    layers: Any,
    in_chans: int = 1,
    hidden_channels: int | Sequence[int] = (64, 192, 192),
    stem_channels: int = 8,
    horizon: int = 20,
    num_classes: int = 0,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> PyramidForecaster:
    """Builds the encoder–forecaster of the HKO-7 benchmark with the layers of ``layers(in_chs, widths, …)``.

    Args:
        layers: :func:`convgru_layers` or :func:`trajgru_layers`.
        …: as for :class:`~convrnn_zoo.models.pyramid_forecaster.PyramidForecaster`.

    Example:
        >>> model = hko7(trajgru_layers, hidden_channels=(4, 6, 6))
        >>> tuple(model(torch.rand(1, 2, 1, 30, 60), horizon=3).shape)
        (1, 3, 1, 30, 60)
    """
    factory: dict[str, Any] = {"device": device, "dtype": dtype}
    high, middle, low = check.widths("hidden_channels", hidden_channels, num_layers=3)
    check.positive_int("stem_channels", stem_channels)
    encoder, forecaster = layers((stem_channels, middle, low), (high, middle, low), **factory)
    downs = [
        stage(nn.Conv2d, in_chans, stem_channels, 7, 5, 1, **factory),
        stage(nn.Conv2d, high, middle, 5, 3, 1, **factory),
        stage(nn.Conv2d, middle, low, 3, 2, 1, **factory),
    ]
    ups = [
        stage(nn.ConvTranspose2d, low, middle, 4, 2, 1, **factory),
        stage(nn.ConvTranspose2d, middle, high, 5, 3, 1, **factory),
        nn.Sequential(
            *stage(nn.ConvTranspose2d, high, stem_channels, 7, 5, 1, **factory),
            *stage(nn.Conv2d, stem_channels, stem_channels, 3, 1, 1, **factory),
            nn.Conv2d(stem_channels, in_chans, 1, **factory),
        ),
    ]
    return PyramidForecaster(in_chans, horizon, 30, downs, encoder, forecaster, ups, stem_channels, num_classes)


@register_model(cfg={**FRAME_CFG, "input_size": (1, 480, 480)})
def convgru_hko7(pretrained: bool = False, **kwargs: Any) -> PyramidForecaster:
    """The encoder–forecaster of the HKO-7 radar benchmark with ConvGRU: 12,812,585 parameters.

    Three resolutions, a fifth, a fifteenth and a thirtieth of the frame's, 64, 192 and 192 wide. Frames
    ``(N, T, C, H, W)`` to ``(N, horizon, C, H, W)``, height and width multiples of 30; the benchmark's are 480, 5
    frames to 20, 6 minutes apart. Shi et al. 2017, appendix, https://arxiv.org/abs/1706.03458.

    Args:
        pretrained: load the weights of the name's tag, or its default.
        in_chans (1), hidden_channels ((64, 192, 192)), stem_channels (8), horizon (20).
    """
    return build_model(partial(hko7, convgru_layers), "convgru_hko7", pretrained, **kwargs)


@register_model(cfg={**FRAME_CFG, "input_size": (1, 480, 480)})
def trajgru_hko7(pretrained: bool = False, **kwargs: Any) -> PyramidForecaster:
    """The encoder–forecaster of the HKO-7 radar benchmark with TrajGRU: 11,604,373 parameters.

    Three resolutions, a fifth, a fifteenth and a thirtieth of the frame's, 64, 192 and 192 wide. Frames
    ``(N, T, C, H, W)`` to ``(N, horizon, C, H, W)``, height and width multiples of 30; the benchmark's are 480, 5
    frames to 20, 6 minutes apart. Shi et al. 2017, appendix, https://arxiv.org/abs/1706.03458. A public
    reproduction reports CSI at 0.5, 2, 5, 10, 30 mm/h of .5496, .4772, .3774, .2863, .1794.

    Args:
        pretrained: load the weights of the name's tag, or its default.
        in_chans (1), hidden_channels ((64, 192, 192)), stem_channels (8), horizon (20).
    """
    return build_model(partial(hko7, trajgru_layers), "trajgru_hko7", pretrained, **kwargs)
