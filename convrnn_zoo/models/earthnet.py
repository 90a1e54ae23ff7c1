"""Forecasters of satellite images: of EarthNet2021, by ConvLSTMs, and of vegetation from GreenEarthNet."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .. import _checks as check
from ..layers._run import Maps
from ..layers.variants import BiasedSTLSTMCell, Conv2dOneBiasLSTM, Conv2dOneBiasLSTMCell, Conv2dPastPeepholeLSTMCell
from .base import (
    FRAME_CFG,
    AutoregressiveForecaster,
    Delta,
    Forecaster,
    StackedCells,
    Unshuffle,
    build_model,
    layer_widths,
    odd_kernel,
    register_model,
)
from .predrnn import run_stlstms


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
        *cells, _ = super().start(x)
        return (*cells, torch.zeros_like(cells[-1]))

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
    """
    return build_model(Weather2Land, "convlstm_weather2land", pretrained, **kwargs)


@register_model(cfg={**_CFG, "input_size": (5, 128, 128)}, small={"hidden_channels": 4, "num_layers": 2})
def sg_convlstm(pretrained: bool = False, **kwargs: Any) -> SGConvLSTM:
    """SGConvLSTM for EarthNet2021: ConvLSTM layers with peepholes and 22, 22 and 4 channels, 253,792 parameters.

    Reads 10 Sentinel-2 images with 4 bands and a mask of clouds, one every 5 days, an elevation map, and 5 weather
    variables for 30 steps; forecasts the 4 bands of 20 images. Kladny et al. 2024,
    https://doi.org/10.1016/j.ecoinf.2024.102474. See :class:`~convrnn_zoo.models.earthnet.SGConvLSTM`.
    """
    return build_model(SGConvLSTM, "sg_convlstm", pretrained, **kwargs)


# ---- GreenEarthNet: ConvLSTM -----------------------------------------------------------------------------------
class GreenEarthNetConvLSTM(Forecaster):
    r"""Two ConvLSTM layers that read frames, and two that forecast: ``x' = σ(W * h + x)``.

    The first two layers read each frame with the static maps and its known inputs. The other two start from their
    states. They read the previous forecast, and the known inputs of the frame to forecast. The first such forecast is
    that of the last state, from the first channel of the last frame; it is only read.

    Args:
        in_chans: channels of a frame; the first is the NDVI.
        hidden_channels: width of each layer.
        kernel_size: kernel of every convolution.
        horizon, num_classes, out_chans, static_chans, future_chans: as for :class:`~convrnn_zoo.Forecaster`.

    Example:
        >>> model = GreenEarthNetConvLSTM(hidden_channels=8)
        >>> known = {"static": torch.rand(1, 3, 8, 8), "future": torch.rand(1, 5, 24, 1, 1)}
        >>> tuple(model(torch.rand(1, 3, 5, 8, 8), horizon=2, **known).shape)
        (1, 2, 5, 8, 8)
    """

    group_patterns: ClassVar[dict[str, Any]] = {
        "stem": r"^encoder",
        "blocks": r"^decoder\.\w+_l(\d+)",
        "head": r"^head",
    }

    def __init__(
        self,
        in_chans: int = 5,
        hidden_channels: int = 64,
        kernel_size: int = 3,
        horizon: int = 20,
        num_classes: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        out_chans: int | None = None,
        static_chans: int = 3,
        future_chans: int = 24,
    ) -> None:
        super().__init__(in_chans, horizon, 1, num_classes, out_chans, static_chans, future_chans)
        if self.out_chans != self.in_chans:
            raise ValueError(f"out_chans must be in_chans={in_chans}, since forecasts are read, got {out_chans}")
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        channels, kernel = self.in_chans + self.known_chans, odd_kernel(kernel_size)
        self.num_features = width = check.positive_int("hidden_channels", hidden_channels)
        self.encoder = Conv2dOneBiasLSTM(channels, width, kernel, 2, **factory)
        self.decoder = Conv2dOneBiasLSTM(channels, width, kernel, 2, **factory)
        self.head = nn.Conv2d(width, self.out_chans, kernel, padding="same", **factory)

    def forward(
        self, x: Tensor, horizon: int | None = None, *, static: Tensor | None = None, future: Tensor | None = None
    ) -> Tensor:
        """Returns the forecast ``(N, horizon, C, H, W)`` of frames `x` ``(N, T, C, H, W)`` and known inputs."""
        horizon, x = self.check_horizon(horizon), self.check_frames("x", x)
        known = self.known_inputs(x, horizon, static, future)
        frames = x if known is None else torch.cat([x, known[:, : x.shape[1]]], 2)
        h, state = self.encoder(frames.transpose(0, 1))
        y = (self.head(h[-1]) + x[:, -1, :1]).sigmoid()
        forecasts = []
        for t in range(x.shape[1], x.shape[1] + horizon):
            inputs = y if known is None else torch.cat([y, known[:, t]], 1)
            h, state = self.decoder(inputs[None], state)
            y = (self.head(h[0]) + y).sigmoid()
            forecasts.append(y)
        return torch.stack(forecasts, 1)


# ---- GreenEarthNet: PredRNN ------------------------------------------------------------------------------------
def group_norm(groups: int, channels: int, **factory: Any) -> nn.GroupNorm:
    """Returns a group norm with at most `groups` groups, a divisor of `channels`."""
    return nn.GroupNorm(math.gcd(groups, channels), channels, **factory)


def perceptron(in_channels: int, hidden_channels: int, out_channels: int, **factory: Any) -> nn.Sequential:
    """Returns a multilayer perceptron of each pixel with one hidden layer."""
    first = nn.Conv2d(in_channels, hidden_channels, 1, **factory)
    return nn.Sequential(first, nn.LeakyReLU(), nn.Conv2d(hidden_channels, out_channels, 1, **factory))


class FeatureModulation(nn.Module):
    r"""Residual block that scales and shifts features by a condition: ``x + act(β(c) + γ(c) ⊙ norm(W x))``.

    References:
        Perez, E. et al. (2018). FiLM: Visual Reasoning with a General Conditioning Layer.
        https://arxiv.org/abs/1709.07871
    """

    def __init__(self, channels: int, condition_channels: int, hidden_channels: int, **factory: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1, **factory)
        groups = 16 if channels > 16 and channels % 16 == 0 else 2
        self.norm, self.act = group_norm(groups, channels, **factory), nn.LeakyReLU()
        self.beta = perceptron(condition_channels, hidden_channels, channels, **factory)
        self.gamma = perceptron(condition_channels, hidden_channels, channels, **factory)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        return x + self.act(self.beta(condition) + self.gamma(condition) * self.norm(self.conv(x)))


class NormedConv(nn.Sequential):
    """A convolution without bias, a group norm and a leaky ReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, **factory: Any) -> None:
        conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding="same", bias=False, **factory)
        super().__init__(conv, group_norm(16, out_channels, **factory), nn.LeakyReLU())


class PatchMergeEncoder(nn.Module):
    """Convolutions with a residual, each followed by the merging of 2×2 pixels into one; returns maps of all sizes."""

    def __init__(self, in_channels: int, channels: int, kernel_size: int, **factory: Any) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(NormedConv(c, channels, kernel_size, **factory) for c in (in_channels, channels))
        self.merges = nn.ModuleList(
            nn.Sequential(
                Unshuffle(2),
                group_norm(16, 4 * channels, **factory),
                nn.Conv2d(4 * channels, channels, 1, bias=False, **factory),
            )
            for _ in self.blocks
        )
        self.last = NormedConv(channels, channels, kernel_size, **factory)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for i, (block, merge) in enumerate(zip(self.blocks, self.merges, strict=True)):
            x = x + block(x) if i else block(x)
            maps.append(x)
            x = merge(x)
        conv, norm, act = self.last
        return [*maps, act(norm(x + conv(x)))]


class UpsamplingDecoder(nn.Module):
    """Convolutions with a residual of the sum with the encoder's maps, each followed by nearest upsampling."""

    def __init__(self, channels: int, out_channels: int, kernel_size: int, **factory: Any) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(NormedConv(channels, channels, kernel_size, **factory) for _ in range(2))
        self.up = nn.Upsample(scale_factor=2)
        self.last = NormedConv(channels, channels, kernel_size, **factory)
        self.head = nn.Conv2d(channels, out_channels, 1, bias=False, **factory)

    def forward(self, x: Tensor, maps: list[Tensor]) -> Tensor:
        first, *others = maps
        for block, skip in zip(self.blocks, reversed(others), strict=True):
            x = x + skip
            x = self.up(x + block(x))
        x = x + first
        conv, norm, act = self.last
        y: Tensor = self.head(act(norm(x + conv(x))))
        return y.tanh()


class GreenEarthNetPredRNN(AutoregressiveForecaster):
    """ST-LSTM layers at a quarter of the resolution, between an encoder and a decoder; weather modulates the input.

    A step reads a frame, the static maps and the known inputs of the next frame. A :class:`FeatureModulation` applies
    the known inputs to the other channels. The adapter is that of
    :class:`~convrnn_zoo.models.predrnn.PredRNNv2`.

    Args:
        in_chans: channels of a frame; the first is the NDVI.
        hidden_channels: width of all layers; a multiple of 16 uses all groups of the norms.
        kernel_size: kernel of every convolution.
        num_layers: number of ST-LSTM layers.
        horizon, num_classes, out_chans, static_chans, future_chans: as for :class:`~convrnn_zoo.Forecaster`.

    Example:
        >>> model = GreenEarthNetPredRNN(hidden_channels=16)
        >>> known = {"static": torch.rand(1, 3, 8, 8), "future": torch.rand(1, 5, 24, 1, 1)}
        >>> tuple(model(torch.rand(1, 3, 5, 8, 8), horizon=2, **known).shape)
        (1, 2, 5, 8, 8)
    """

    group_patterns: ClassVar[dict[str, Any]] = {
        "stem": r"^condition|^encoder",
        "blocks": r"^layers\.(\d+)",
        "head": r"^decoder|^adapter",
    }

    def __init__(
        self,
        in_chans: int = 5,
        hidden_channels: int = 64,
        kernel_size: int = 3,
        num_layers: int = 2,
        horizon: int = 20,
        num_classes: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        out_chans: int | None = None,
        static_chans: int = 3,
        future_chans: int = 24,
    ) -> None:
        super().__init__(
            in_chans,
            horizon,
            4,
            patch_size=1,
            num_classes=num_classes,
            out_chans=out_chans,
            static_chans=static_chans,
            future_chans=future_chans,
        )
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        self.num_features = width = check.positive_int("hidden_channels", hidden_channels)
        channels, kernel = self.in_chans + self.static_chans, odd_kernel(kernel_size)
        depth = check.positive_int("num_layers", num_layers)
        has_weather = bool(self.future_chans)
        self.condition = FeatureModulation(channels, self.future_chans, width, **factory) if has_weather else None
        self.encoder = PatchMergeEncoder(channels, width, kernel, **factory)
        self.layers = nn.ModuleList(BiasedSTLSTMCell(width, width, kernel, **factory) for _ in range(depth))
        self.decoder = UpsamplingDecoder(width, self.in_chans, kernel, **factory)
        self.adapter = nn.Conv2d(width, width, 1, bias=False, **factory)

    def state_sizes(self) -> dict[str, tuple[int, int]]:
        names = [f"{name}_l{i}" for i in range(len(self.layers)) for name in "hc"]
        return dict.fromkeys([*names, "m"], (self.num_features, self.reduction))

    def advance(self, x: Tensor, state: Maps) -> tuple[Tensor, Maps]:
        return self._advance(x, state)[:2]

    def advance_with_deltas(self, x: Tensor, state: Maps) -> tuple[Tensor, Maps, list[Delta]]:
        return self._advance(x, state, self.adapter)

    def _advance(self, x: Tensor, state: Maps, adapter: nn.Module | None = None) -> tuple[Tensor, Maps, list[Delta]]:
        if self.condition is not None:
            x, weather = x.split([self.in_chans + self.static_chans, self.future_chans], 1)
            x = self.condition(x, weather)
        maps = self.encoder(x)
        y, new, deltas = run_stlstms(self.layers, maps[-1], state, adapter)
        return self.decoder(y, maps), new, deltas


@register_model(cfg={**_CFG, "input_size": (5, 128, 128)})
def convlstm_greenearthnet(pretrained: bool = False, **kwargs: Any) -> GreenEarthNetConvLSTM:
    """The ConvLSTM of GreenEarthNet (``convlstm1M``): two layers each to read and to forecast, 1,036,101 parameters.

    Reads 10 images with NDVI and 4 bands, one every 5 days, 3 elevation maps, and 24 weather variables for 30 steps;
    forecasts 20 images. Benson et al. 2024, https://arxiv.org/abs/2303.16198, as in
    https://github.com/earthnet2021/earthnet-models-pytorch. See
    :class:`~convrnn_zoo.models.earthnet.GreenEarthNetConvLSTM`.
    """
    return build_model(GreenEarthNetConvLSTM, "convlstm_greenearthnet", pretrained, **kwargs)


@register_model(cfg={**_CFG, "input_size": (5, 128, 128)}, small={"hidden_channels": 3})
def predrnn_greenearthnet(pretrained: bool = False, **kwargs: Any) -> GreenEarthNetPredRNN:
    """The PredRNN of GreenEarthNet (``predrnn1M``), with two ST-LSTM layers: 1,430,312 parameters.

    Inputs and outputs are those of :func:`convlstm_greenearthnet`. Benson et al. 2024,
    https://arxiv.org/abs/2303.16198; see :class:`~convrnn_zoo.models.earthnet.GreenEarthNetPredRNN`.
    """
    return build_model(GreenEarthNetPredRNN, "predrnn_greenearthnet", pretrained, **kwargs)
