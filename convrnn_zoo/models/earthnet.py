"""Forecasters of Sentinel-2 images from EarthNet2021: ``convlstm_weather2land`` and ``sg_convlstm``."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .. import _checks as check
from ..layers._run import Maps
from ..layers.variants import Conv2dOneBiasLSTMCell, Conv2dPastPeepholeLSTMCell
from .base import FRAME_CFG, StackedCells, build_model, layer_widths, register_model


class HeadlessStack(StackedCells):
    """A stack of cells whose last layer has the channels of a frame, so that its h is the output.

    Args:
        in_chans: channels of a frame.
        hidden_channels, num_layers: widths and number of the layers before the last.
        kernel_size, patch_size, horizon, static_chans, future_chans, **kwargs: as for
            :class:`~convrnn_zoo.models.base.autoregressive.StackedCells`.
    """

    has_bias = True

    def __init__(
        self,
        in_chans: int = 4,
        hidden_channels: int | Sequence[int] = 32,
        kernel_size: int = 3,
        num_layers: int = 3,
        patch_size: int = 1,
        horizon: int = 20,
        *,
        static_chans: int = 1,
        future_chans: int = 5,
        **kwargs: Any,
    ) -> None:
        edge, last = check.positive_int("patch_size", patch_size), check.positive_int("in_chans", in_chans)
        widths = [*layer_widths(hidden_channels, num_layers, False), max(1, last - self.input_only) * edge**2]
        super().__init__(
            in_chans,
            widths,
            kernel_size,
            len(widths),
            patch_size,
            horizon,
            static_chans=static_chans,
            future_chans=future_chans,
            **kwargs,
        )
        self.head = nn.Identity()  # type: ignore[assignment]


class Weather2Land(HeadlessStack):
    r"""ConvLSTM layers whose last h is the next frame: ``x' = max(0, h)``.

    A step reads a frame, clipped to [0, 1], static maps and the known inputs of the same step. Arguments are those of
    :class:`HeadlessStack`.

    Example:
        >>> model = Weather2Land(hidden_channels=8)
        >>> known = {"static": torch.rand(1, 1, 8, 8), "future": torch.rand(1, 6, 5, 1, 1)}
        >>> tuple(model(torch.rand(1, 3, 4, 8, 8), horizon=3, **known).shape)
        (1, 3, 4, 8, 8)
    """

    cell = Conv2dOneBiasLSTMCell
    known_lead = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.head = nn.ReLU()  # type: ignore[assignment]

    def advance(self, x: Tensor, state: Maps) -> tuple[Tensor, Maps]:
        frame, known = x[:, : self.folded_out], x[:, self.folded_out :]
        return super().advance(torch.cat([frame.clamp(0, 1), known], 1), state)


class SGConvLSTM(HeadlessStack):
    r"""ConvLSTM layers with peepholes that forecast the change of each pixel's last clear value.

    With the mask m of clouds, 1 where a frame x is unusable, and the output h of the last layer:

    .. math::
        b_t &= (1 - m_t) ⊙ x_t + m_t ⊙ b_{t-1}, \quad b_{-1} = 0 \\
        x_{t+1} &= b_t + h_t, \quad m_{t+1} = 0 \text{ in the forecast}

    A step reads a frame with its mask, static maps and the known inputs of the next frame. All convolutions pad by
    reflection.

    Args:
        in_chans: channels of an input frame; the last one is the mask. Forecasts have the other channels.
        has_mask: whether frames have a mask. Without one, every pixel is clear.
        padding_mode: padding of all convolutions.
        **kwargs: as for :class:`HeadlessStack`.

    Example:
        >>> model = SGConvLSTM(hidden_channels=8)
        >>> bands, mask = torch.rand(1, 3, 4, 8, 8), torch.rand(1, 3, 1, 8, 8).round()
        >>> known = {"static": torch.rand(1, 1, 8, 8), "future": torch.rand(1, 6, 5, 1, 1)}
        >>> tuple(model(torch.cat([bands, mask], 2), horizon=3, **known).shape)
        (1, 3, 4, 8, 8)
    """

    cell = Conv2dPastPeepholeLSTMCell
    memories: ClassVar[tuple[str, ...]] = ("clear",)

    def __init__(
        self,
        in_chans: int = 5,
        hidden_channels: int | Sequence[int] = 22,
        kernel_size: int = 5,
        num_layers: int = 2,
        *args: Any,
        has_mask: bool = True,
        padding_mode: str = "reflect",
        **kwargs: Any,
    ) -> None:
        self.input_only = int(check.boolean("has_mask", has_mask))
        kwargs["padding_mode"] = padding_mode
        super().__init__(in_chans, hidden_channels, kernel_size, num_layers, *args, **kwargs)

    def start(self, x: Tensor) -> Maps:
        zeros = [x.new_zeros(x.shape[0], width, *x.shape[-2:]) for width in self.widths for _ in self.layer_states]
        return (*zeros, torch.zeros_like(zeros[-1]))

    def advance(self, x: Tensor, state: Maps) -> tuple[Tensor, Maps]:
        *cells, clear = state
        change, new = super().advance(x, tuple(cells))
        bands, mask = x[:, : clear.shape[1]], x[:, clear.shape[1] : self.folded_out]
        if self.input_only:
            is_cloudy = mask.repeat(1, self.out_chans, 1, 1)
            clear = (1 - is_cloudy) * bands + is_cloudy * clear
        else:
            clear = bands
        return torch.cat([clear + change, torch.zeros_like(mask)], 1), (*new, clear)


_CFG = {**FRAME_CFG, "input_size": (4, 128, 128)}


@register_model(cfg=_CFG, small={"hidden_channels": 3, "num_layers": 2})
def convlstm_weather2land(pretrained: bool = False, **kwargs: Any) -> Weather2Land:
    """The ConvLSTM of weather2land for EarthNet2021: four layers with 32, 32, 32 and 4 channels, 201,424 parameters.

    Reads 10 Sentinel-2 images with 4 bands, one every 5 days, an elevation map, and 5 weather variables for 30 steps;
    forecasts 20 images. Diaconu et al. 2022,
    https://openaccess.thecvf.com/content/CVPR2022W/EarthVision/papers/Diaconu_Understanding_the_Role_of_Weather_Data_for_Earth_Surface_Forecasting_CVPRW_2022_paper.pdf.
    See :class:`~convrnn_zoo.models.earthnet.Weather2Land`.

    Args:
        in_chans (4), hidden_channels (32), kernel_size (3), num_layers (3), patch_size (1), horizon (20), static_chans
        (1), future_chans (5).
    """
    return build_model(Weather2Land, "convlstm_weather2land", pretrained, **kwargs)


@register_model(cfg={**_CFG, "input_size": (5, 128, 128)}, small={"hidden_channels": 4, "num_layers": 2})
def sg_convlstm(pretrained: bool = False, **kwargs: Any) -> SGConvLSTM:
    """SGConvLSTM for EarthNet2021: ConvLSTM layers with peepholes and 22, 22 and 4 channels, 253,792 parameters.

    Reads 10 Sentinel-2 images with 4 bands and a mask of clouds, one every 5 days, an elevation map, and 5 weather
    variables for 30 steps; forecasts the 4 bands of 20 images. Kladny et al. 2024,
    https://doi.org/10.1016/j.ecoinf.2024.102474. See :class:`~convrnn_zoo.models.earthnet.SGConvLSTM`.

    Args:
        in_chans (5), hidden_channels (22), kernel_size (5), num_layers (2), patch_size (1), horizon (20), static_chans
        (1), future_chans (5), has_mask (True), padding_mode ("reflect").
    """
    return build_model(SGConvLSTM, "sg_convlstm", pretrained, **kwargs)
