"""Encoder–forecasters that lower the resolution layer by layer: ``…_ef``, ``…_hko7`` and ``…_pyramid``."""

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .. import _checks as check
from ..layers import Conv2dGRU, ConvRNNCellBase
from ..layers._states import split_levels
from ..layers.trajgru import TrajGRUCell, TrajGRUStateCell
from ..layers.variants import Conv2dGroupNormGRUCell, Conv2dGroupNormLSTMCell, Conv2dLeakyGRU
from .base import (
    FRAME_CFG,
    EncoderForecaster,
    Shuffle,
    Unroll,
    Unshuffle,
    build_model,
    framewise,
    register_model,
    stage,
)


class PyramidForecaster(EncoderForecaster):
    """Base class of encoders that lower the resolution layer by layer, with a forecaster that raises it again.

    Each layer of the forecaster starts from the state of the encoder's layer at the same resolution. The forecaster
    begins at the lowest resolution, so that global motion guides the details (Shi et al. 2017, section 3.1). A subclass
    builds the recurrent layers `encoder` and `forecaster`. It also builds modules for single frames: `downs` has one
    module before each encoder layer, and `ups` has one after each forecaster layer.

    Args:
        hidden_channels: list of widths from the highest resolution to the lowest, or one width for all levels.
        num_levels: number of resolutions.
        num_features: channels that the last convolution reads; the first width by default.
        in_chans, horizon, reduction, **kwargs: as for :class:`~convrnn_zoo.Forecaster`.
    """

    fixed_args: ClassVar[tuple[str, ...]] = ("reduction", "num_levels")
    encoder_modules = ("downs", "encoder")
    group_patterns: ClassVar[dict[str, Any]] = {
        "stem": r"^downs\.0",
        "encoder": r"^(?:downs|encoder)\.(\d+)",
        "blocks": r"^(?:forecaster|ups)\.(\d+)",
    }

    def __init__(
        self,
        in_chans: int,
        horizon: int,
        reduction: int,
        hidden_channels: int | Sequence[int],
        num_levels: int,
        num_features: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(in_chans, horizon, reduction, **kwargs)
        self.widths = check.widths("hidden_channels", hidden_channels, num_levels)
        self.num_features = num_features or self.widths[0]
        self.frame_chans = self.in_chans + self.known_chans
        self.first_chans = 1 + self.known_chans * self.reduction**2

    def encode(self, x: Tensor, state: Any = None, known: Tensor | None = None) -> tuple[Any, ...]:
        y = self.join_known(x, known).transpose(0, 1)
        states = []
        for down, layer, before in zip(self.downs, self.encoder, split_levels(state, len(self.downs)), strict=True):
            y, after = layer(framewise(down, y), before)
            states.append(after)
        return tuple(states)

    def decode_sequence(self, state: Any, horizon: int, known: Tensor | None = None) -> tuple[Tensor, Any]:
        state = split_levels(() if state is None else state, len(self.ups))
        h = state[-1]
        while not isinstance(h, Tensor):
            h = h[0]
        y, new = self.first_input(h.flatten(0, -4), horizon, known), []
        for layer, up, before in zip(self.forecaster, self.ups, reversed(state), strict=True):
            y, after = layer(y, before)
            y = framewise(up, y)
            new.append(after)
        return y.transpose(0, 1), tuple(reversed(new))


class NormedForecaster(PyramidForecaster):
    """An encoder–forecaster of three resolutions, each half the previous one, with group norms for the gates.

    Args:
        cell: ``Conv2dGroupNormLSTMCell`` or ``Conv2dGroupNormGRUCell`` of :mod:`convrnn_zoo.layers.variants`.
        hidden_channels: list of three widths or one width, each a multiple of 32, or at most 32 if the
            groups of the norm divide the channels of all gates.
        kernel_size: kernel of the recurrent layers.
        stem_channels: width of the first and the last convolutions.
        …: as for :class:`PyramidForecaster`.
    """

    fixed_args = (*PyramidForecaster.fixed_args, "num_features")

    def __init__(
        self,
        cell: type[ConvRNNCellBase],
        in_chans: int = 1,
        hidden_channels: int | Sequence[int] = (64, 96, 96),
        kernel_size: int = 5,
        stem_channels: int = 16,
        horizon: int = 10,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **kwargs: Any,
    ) -> None:
        stem_channels = check.positive_int("stem_channels", stem_channels)
        super().__init__(in_chans, horizon, 4, hidden_channels, 3, stem_channels, **kwargs)
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        high, middle, low = self.widths
        sizes = ((self.frame_chans, stem_channels, 3, 1, 1), (high, high, 3, 2, 1), (middle, middle, 3, 2, 1))
        self.downs = nn.ModuleList(stage(nn.Conv2d, *size, **factory) for size in sizes)

        def layer(in_chs: int, width: int) -> nn.Module:
            return Unroll(cell(in_chs, width, kernel_size, **factory))

        self.encoder = nn.ModuleList([layer(stem_channels, high), layer(high, middle), layer(middle, low)])
        first = Unroll(cell(self.first_chans, low, 1, bias=False, hidden_kernel_size=kernel_size, **factory))
        self.forecaster = nn.ModuleList([first, layer(low, middle), layer(middle, high)])
        self.ups = nn.ModuleList(stage(nn.ConvTranspose2d, w, w, 4, 2, 1, **factory) for w in (low, middle))
        last = stage(nn.Conv2d, high, stem_channels, 3, 1, 1, **factory)
        self.ups.append(last.extend(stage(nn.Conv2d, stem_channels, self.out_chans, 1, 1, 0, **factory)))


@register_model(cfg=FRAME_CFG, small={"hidden_channels": (3, 4, 5)})
def convlstm_ef(pretrained: bool = False, **kwargs: Any) -> NormedForecaster:
    """A downsampling encoder–forecaster of ConvLSTM layers with group norms: 8,110,625 parameters.

    Three resolutions with 64, 96 and 96 channels and 5×5 kernels. Maps frames ``(N, T, C, H, W)`` to
    ``(N, horizon, C, H, W)``; height and width are multiples of 4. The model follows the widely used code for Moving
    MNIST, https://github.com/jhhuang96/ConvLSTM-PyTorch, without the unused input weights of its first decoder layer.
    The order of the forecaster's layers is that of Shi et al. 2017, https://arxiv.org/abs/1706.03458.
    """
    return build_model(partial(NormedForecaster, Conv2dGroupNormLSTMCell), "convlstm_ef", pretrained, **kwargs)


@register_model(cfg=FRAME_CFG, small={"hidden_channels": (3, 4, 5)})
def convgru_ef(pretrained: bool = False, **kwargs: Any) -> NormedForecaster:
    """:func:`convlstm_ef` with ConvGRU layers: 6,189,089 parameters; Shi et al. 2017, https://arxiv.org/abs/1706.03458."""
    return build_model(partial(NormedForecaster, Conv2dGroupNormGRUCell), "convgru_ef", pretrained, **kwargs)


# ---- HKO-7 -----------------------------------------------------------------------------------------------------
class RadarForecaster(PyramidForecaster):
    """The encoder–forecaster of the HKO-7 benchmark, with layers at 1/5, 1/15 and 1/30 of the resolution.

    ConvGRUs have state-to-state kernels 5×5, 5×5 and 3×3; TrajGRUs have 13, 13 and 9 links in the order they run.
    """

    fixed_args = (*PyramidForecaster.fixed_args, "num_features")

    def __init__(
        self,
        trajectories: bool,
        in_chans: int = 1,
        hidden_channels: int | Sequence[int] = (64, 192, 192),
        stem_channels: int = 8,
        horizon: int = 20,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **kwargs: Any,
    ) -> None:
        stem_channels = check.positive_int("stem_channels", stem_channels)
        super().__init__(in_chans, horizon, 30, hidden_channels, 3, stem_channels, **kwargs)
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        high, middle, low = self.widths
        sizes = ((self.frame_chans, stem_channels, 7, 5, 1), (high, middle, 5, 3, 1), (middle, low, 3, 2, 1))
        self.downs = nn.ModuleList(stage(nn.Conv2d, *size, **factory) for size in sizes)

        def layer(in_chs: int, width: int, hidden: int, kernel: int = 3, **options: Any) -> nn.Module:
            if trajectories:
                return Unroll(TrajGRUCell(in_chs, width, kernel, hidden, **factory))
            return Conv2dLeakyGRU(in_chs, width, kernel, hidden_kernel_size=hidden, **options, **factory)

        hidden = (13, 13, 9, 13, 13, 9) if trajectories else (5, 5, 3, 3, 5, 5)
        in_chs = (stem_channels, middle, low)
        self.encoder = nn.ModuleList(map(layer, in_chs, self.widths, hidden[:3]))
        first = layer(self.first_chans, low, hidden[3], kernel=1, bias=False)
        if trajectories and not self.known_chans:
            first = Unroll(TrajGRUStateCell(low, 13, **factory))
        others = map(layer, (middle, high), (middle, high), hidden[4:])
        self.forecaster = nn.ModuleList([first, *others])
        sizes = ((low, middle, 4, 2, 1), (middle, high, 5, 3, 1), (high, stem_channels, 7, 5, 1))
        *ups, last = (stage(nn.ConvTranspose2d, *size, **factory) for size in sizes)
        last.extend(stage(nn.Conv2d, stem_channels, stem_channels, 3, 1, 1, **factory))
        last.append(nn.Conv2d(stem_channels, self.out_chans, 1, **factory))
        self.ups = nn.ModuleList([*ups, last])


@register_model(cfg={**FRAME_CFG, "input_size": (1, 480, 480)}, small={"hidden_channels": (3, 4, 5)})
def convgru_hko7(pretrained: bool = False, **kwargs: Any) -> RadarForecaster:
    """The encoder–forecaster of the HKO-7 radar benchmark with ConvGRU: 12,812,585 parameters.

    Layers with 64, 192 and 192 channels at 1/5, 1/15 and 1/30 of the resolution. Maps frames ``(N, T, C, H, W)`` to
    ``(N, horizon, C, H, W)``; height and width are multiples of 30. The benchmark forecasts 20 frames from 5, all with
    480×480 pixels and at intervals of 6 minutes. Shi et al. 2017, appendix, https://arxiv.org/abs/1706.03458.
    """
    return build_model(partial(RadarForecaster, False), "convgru_hko7", pretrained, **kwargs)


@register_model(cfg={**FRAME_CFG, "input_size": (1, 480, 480)}, small={"hidden_channels": (3, 4, 5)})
def trajgru_hko7(pretrained: bool = False, **kwargs: Any) -> RadarForecaster:
    """:func:`convgru_hko7` with TrajGRU: 11,604,373 parameters; Shi et al. 2017, https://arxiv.org/abs/1706.03458.

    A public reproduction reports CSI .5496, .4772, .3774, .2863 and .1794 at 0.5, 2, 5, 10 and 30 mm/h.
    """
    return build_model(partial(RadarForecaster, True), "trajgru_hko7", pretrained, **kwargs)


# ---- on patches ------------------------------------------------------------------------------------------------
class PatchPyramidForecaster(PyramidForecaster):
    """A pyramid of ConvGRU layers on patches of pixels, each layer at half the resolution of the previous one.

    Convolutions with stride 2 lower the resolution. To raise it, a 1×1 convolution computes four times the channels,
    which are then unfolded to 2×2 pixels (Shi, W. et al. 2016, https://arxiv.org/abs/1609.05158).

    Args:
        hidden_channels: list with one width per resolution, from the highest resolution to the lowest, or one number
            for two resolutions of that width.
        kernel_size: kernel of the recurrent layers.
        patch_size: edge in pixels of the patches that frames are folded into.
        …: as for :class:`PyramidForecaster`.
    """

    def __init__(
        self,
        in_chans: int = 1,
        hidden_channels: int | Sequence[int] = (64, 128),
        kernel_size: int = 3,
        patch_size: int = 4,
        horizon: int = 10,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **kwargs: Any,
    ) -> None:
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        patch = check.positive_int("patch_size", patch_size)
        levels = max(2, len(hidden_channels)) if isinstance(hidden_channels, (list, tuple)) else 2
        super().__init__(in_chans, horizon, patch * 2 ** (levels - 1), hidden_channels, levels, **kwargs)
        *higher, low = widths = self.widths
        downs = [nn.Conv2d(width, width, 3, 2, 1, **factory) for width in higher]
        self.downs = nn.ModuleList([Unshuffle(patch), *downs])
        inputs = [self.frame_chans * patch**2, *higher]
        sizes = zip(inputs, widths, strict=True)
        self.encoder = nn.ModuleList(Conv2dGRU(in_chs, width, kernel_size, **factory) for in_chs, width in sizes)
        first = Conv2dGRU(self.first_chans, low, 1, bias=False, hidden_kernel_size=kernel_size, **factory)
        others = [Conv2dGRU(width, width, kernel_size, **factory) for width in reversed(higher)]
        self.forecaster = nn.ModuleList([first, *others])

        def up(in_chs: int, out_chs: int, edge: int) -> nn.Module:
            return nn.Sequential(nn.Conv2d(in_chs, out_chs * edge**2, 1, **factory), Shuffle(edge))

        ups = [up(narrow, wide, 2) for wide, narrow in zip(higher, widths[1:], strict=True)]
        self.ups = nn.ModuleList([*reversed(ups), up(widths[0], self.out_chans, patch)])


@register_model(cfg=FRAME_CFG)
def convgru_pyramid(pretrained: bool = False, **kwargs: Any) -> PatchPyramidForecaster:
    """An encoder–forecaster of ConvGRU layers on patches of 4×4, at two resolutions: 1,538,256 parameters.

    Maps frames ``(N, T, C, H, W)`` to ``(N, horizon, C, H, W)``; height and width are multiples of 8. The order of the
    forecaster's layers is that of Shi et al. 2017, https://arxiv.org/abs/1706.03458.
    """
    return build_model(PatchPyramidForecaster, "convgru_pyramid", pretrained, **kwargs)
