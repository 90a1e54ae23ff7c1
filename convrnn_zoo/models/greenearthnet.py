"""Forecasters of vegetation from GreenEarthNet: ``convlstm_greenearthnet`` and ``predrnn_greenearthnet``."""

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .. import _checks as check
from ..layers._run import Maps
from ..layers.variants import BiasedSTLSTMCell, Conv2dOneBiasLSTM
from .base import FRAME_CFG, AutoregressiveForecaster, Delta, Forecaster, Unshuffle, build_model, register_model


def odd_kernel(kernel_size: object) -> int:
    """Returns the size of a kernel that keeps the size of the map; raises ValueError if it is even."""
    kernel = check.positive_int("kernel_size", kernel_size)
    if kernel % 2 == 0:
        raise ValueError(f"kernel_size must be odd, got {kernel}: an even one shifts the map")
    return kernel


# ---- ConvLSTM --------------------------------------------------------------------------------------------------
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
        device, dtype: of the parameters.

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


# ---- PredRNN ---------------------------------------------------------------------------------------------------
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
        device, dtype: of the parameters.

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

    def state_names(self) -> list[str]:
        """Returns the names of the state's tensors, in the order of :meth:`start`."""
        return [f"{name}_l{i}" for i in range(len(self.layers)) for name in ("h", "c")] + ["m"]

    def start(self, x: Tensor) -> Maps:
        height, width = (size // self.reduction for size in x.shape[-2:])
        return tuple(x.new_zeros(x.shape[0], self.num_features, height, width) for _ in self.state_names())

    def advance(self, x: Tensor, state: Maps) -> tuple[Tensor, Maps]:
        return self._advance(x, state)[:2]

    def advance_with_deltas(self, x: Tensor, state: Maps) -> tuple[Tensor, Maps, list[Delta]]:
        y, new, deltas = self._advance(x, state)
        return y, new, [(self.adapter(to_c), self.adapter(to_m)) for to_c, to_m in deltas]

    def _advance(self, x: Tensor, state: Maps) -> tuple[Tensor, Maps, list[Delta]]:
        if self.condition is not None:
            x, weather = x.split([self.in_chans + self.static_chans, self.future_chans], 1)
            x = self.condition(x, weather)
        maps = self.encoder(x)
        y, m = maps[-1], state[-1]
        new: list[Tensor] = []
        deltas: list[Delta] = []
        for i, layer in enumerate(self.layers):
            y, c, m, to_c, to_m = layer(y, (*state[2 * i : 2 * i + 2], m), return_deltas=True)
            new += [y, c]
            deltas.append((to_c, to_m))
        return self.decoder(y, maps), (*new, m), deltas


# ---- names -----------------------------------------------------------------------------------------------------
_CFG = {**FRAME_CFG, "input_size": (5, 128, 128)}


@register_model(cfg=_CFG)
def convlstm_greenearthnet(pretrained: bool = False, **kwargs: Any) -> GreenEarthNetConvLSTM:
    """The ConvLSTM of GreenEarthNet (``convlstm1M``): two layers each to read and to forecast, 1,036,101 parameters.

    Reads 10 images with NDVI and 4 bands, one every 5 days, 3 elevation maps, and 24 weather variables for 30 steps;
    forecasts 20 images. Benson et al. 2024, https://arxiv.org/abs/2303.16198, as in
    https://github.com/earthnet2021/earthnet-models-pytorch. See
    :class:`~convrnn_zoo.models.greenearthnet.GreenEarthNetConvLSTM`.

    Args:
        in_chans (5), hidden_channels (64), kernel_size (3), horizon (20), static_chans (3), future_chans (24).
    """
    return build_model(GreenEarthNetConvLSTM, "convlstm_greenearthnet", pretrained, **kwargs)


@register_model(cfg=_CFG, small={"hidden_channels": 3})
def predrnn_greenearthnet(pretrained: bool = False, **kwargs: Any) -> GreenEarthNetPredRNN:
    """The PredRNN of GreenEarthNet (``predrnn1M``), with two ST-LSTM layers: 1,430,312 parameters.

    Inputs and outputs are those of :func:`convlstm_greenearthnet`. Benson et al. 2024,
    https://arxiv.org/abs/2303.16198; see :class:`~convrnn_zoo.models.greenearthnet.GreenEarthNetPredRNN`.

    Args:
        in_chans (5), hidden_channels (64), kernel_size (3), num_layers (2), horizon (20), static_chans (3),
        future_chans (24).
    """
    return build_model(GreenEarthNetPredRNN, "predrnn_greenearthnet", pretrained, **kwargs)
