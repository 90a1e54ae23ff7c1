"""DGMR, DeepMind's generative model of radar: its generator."""

from itertools import pairwise
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import _checks as check
from ..layers.variants import Conv2dReLUGRU
from .base import FRAME_CFG, EnsembleForecaster, Shuffle, Unshuffle, build_model, framewise, recompute, register_model


class Down(nn.Module):
    """A residual block and average pooling over 2×2 pixels (a "D block")."""

    def __init__(self, channels: int, out: int, **factory: Any) -> None:
        super().__init__()
        self.beside = nn.Conv2d(channels, out, 1, **factory)
        self.first = nn.Conv2d(channels, out, 3, padding=1, **factory)
        self.last = nn.Conv2d(out, out, 3, padding=1, **factory)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(N, channels, H, W)`` to ``(N, out, H/2, W/2)``."""
        return F.avg_pool2d(self.beside(x) + self.last(self.first(x.relu()).relu()), 2)


class Widen(nn.Module):
    """A residual block that adds ``out - channels`` channels by a 1×1 convolution of the input (an "L block")."""

    def __init__(self, channels: int, out: int, **factory: Any) -> None:
        super().__init__()
        self.beside = nn.Conv2d(channels, out - channels, 1, **factory) if out > channels else None
        self.first = nn.Conv2d(channels, out, 3, padding=1, **factory)
        self.last = nn.Conv2d(out, out, 3, padding=1, **factory)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(N, channels, H, W)`` to ``(N, out, H, W)``."""
        wide = x if self.beside is None else torch.cat([x, self.beside(x)], dim=1)
        return wide + self.last(self.first(x.relu()).relu())


class MixedAttention(nn.Module):
    """The attention of the published code, which confuses the axes of a map.

    Attention should compare pixels by their channels. The code reads maps (channel, row, column) as (row, column,
    channel). It thus compares single rows of single channels, by the values along each row. The published weights were
    trained with this attention.
    """

    def __init__(self, channels: int, **factory: Any) -> None:
        super().__init__()
        small = check.positive_int("latent_channels // 32", channels // 8)
        self.query, self.key, self.value = (nn.Conv2d(channels, small, 1, bias=False, **factory) for _ in range(3))
        self.last = nn.Conv2d(small, channels, 1, bias=False, **factory)
        self.gamma = nn.Parameter(torch.zeros(1, **factory))

    def forward(self, x: Tensor) -> Tensor:
        """Adds the attended values to the map ``(N, C, H, W)``."""
        q, k, v = (conv(x).flatten(1, 2) for conv in (self.query, self.key, self.value))
        attended = F.scaled_dot_product_attention(q, k, v, scale=1.0)
        return x + self.gamma * self.last(attended.unflatten(1, (-1, x.shape[2])))


class GBlock(nn.Module):
    """A residual block with batch norms (a "G block"); it doubles the resolution unless `out` is `channels`."""

    def __init__(self, channels: int, out: int, **factory: Any) -> None:
        super().__init__()
        up = out != channels
        self.larger = nn.Upsample(scale_factor=2.0) if up else nn.Identity()
        self.norm1, self.norm2 = nn.BatchNorm2d(channels, **factory), nn.BatchNorm2d(channels, **factory)
        # The published code builds this 1×1 convolution also if `out` is `channels`, and does not use it then.
        self.beside = nn.Conv2d(channels, out, 1, **factory) if up else nn.Identity()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, **factory)
        self.last = nn.Conv2d(channels, out, 3, padding=1, **factory)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(N, channels, H, W)`` to ``(N, out, 2H, 2W)``, or to the same size if `out` is `channels`."""
        y = self.norm1(x).relu()
        y = self.norm2(self.first(self.larger(y))).relu()
        return self.larger(self.beside(x)) + self.last(y)


class Context(nn.Module):
    """Encodes the input frames as four states, at 1/4, 1/8, 1/16 and 1/32 of the resolution."""

    def __init__(self, in_chans: int, frames: int, channels: int, **factory: Any) -> None:
        super().__init__()
        widths = [channels // 16, channels // 8, channels // 4, channels // 2]
        self.unshuffle = Unshuffle(2)
        self.downs = nn.ModuleList(Down(i, w, **factory) for i, w in pairwise([4 * in_chans, *widths]))
        self.mixes = nn.ModuleList(nn.Conv2d(w * frames, 2 * w, 3, padding=1, **factory) for w in widths)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Maps frames ``(N, T, C, H, W)`` to a list of states, the largest map first."""
        states: list[Tensor] = []
        for down, mix in zip(self.downs, self.mixes, strict=True):
            x = framewise(down, self.unshuffle(x) if not states else x)
            states.append(mix(x.transpose(1, 2).flatten(1, 2)).relu())
        return states


class Latent(nn.Sequential):
    """Maps noise ``(N, noise_channels, H, W)`` to the map ``(N, channels, H, W)`` that the sampler reads."""

    def __init__(self, noise_channels: int, channels: int, **factory: Any) -> None:
        widths = [noise_channels, channels // 32, channels // 16, channels // 4, channels]
        if noise_channels > widths[1]:
            raise ValueError(f"noise_channels must be at most latent_channels // 32 = {widths[1]}, got {widths[0]}")
        widens = [Widen(i, w, **factory) for i, w in pairwise(widths)]
        noisy = nn.Conv2d(noise_channels, noise_channels, 3, padding=1, **factory)
        super().__init__(noisy, *widens[:3], MixedAttention(widths[3], **factory), widens[3])


class Sampler(nn.Module):
    """Generates frames from the latent map and four states; each state's level has a GRU and two residual blocks."""

    def __init__(self, in_chans: int, latent: int, context: int, **factory: Any) -> None:
        super().__init__()
        parts = [1, 2, 4, 8]
        self.grus = nn.ModuleList(Conv2dReLUGRU(latent // n, context // n, 3, **factory) for n in parts)
        self.widen = nn.ModuleList(nn.Conv2d(context // n, latent // n, 1, **factory) for n in parts)
        self.same = nn.ModuleList(GBlock(latent // n, latent // n, **factory) for n in parts)
        self.up = nn.ModuleList(GBlock(latent // n, latent // n // 2, **factory) for n in parts)
        self.norm = nn.BatchNorm2d(latent // 16, **factory)
        self.head = nn.Conv2d(latent // 16, 4 * in_chans, 1, **factory)
        self.shuffle = Shuffle(2)
        self.grad_checkpointing = False

    def forward(self, latent: Tensor, states: list[Tensor], horizon: int) -> Tensor:
        """Returns frames ``(horizon, N, C, 32H, 32W)`` from the `latent` map ``(N, C', H, W)`` and initial `states`."""
        y = latent.expand(horizon, *latent.shape)
        for level, state in enumerate(reversed(states)):
            y, _ = self.grus[level](y, state.unsqueeze(0))
            if self.grad_checkpointing and y.requires_grad:
                y = recompute(self._level, level, y, norms=nn.ModuleList([self.same[level], self.up[level]]))
            else:
                y = self._level(level, y)
        y = self.norm(y.flatten(0, 1)).relu()
        return self.shuffle(self.head(y)).unflatten(0, (horizon, len(latent)))

    def _level(self, level: int, y: Tensor) -> Tensor:
        for module in (self.widen[level], self.same[level], self.up[level]):
            y = framewise(module, y)
        return y


class DGMR(EnsembleForecaster):
    """The generator of DGMR: it encodes frames as states, maps noise to a latent map, and samples frames from both.

    The latent map is the input of every step, and forecasts are not fed back. From step to step, only the states of
    four GRUs at 1/32 to 1/4 of the resolution change. The output is not bounded, so that rain rates may be negative.
    Spectral norms are folded into the weights; adversarial training and the discriminators are not included. In
    training, batch norms compute statistics over all steps, and need at least two values at 1/32 of the resolution.

    Args:
        context_channels: channels of the state at 1/32 of the resolution; a multiple of 16.
        latent_channels: channels of the latent map; a multiple of 32.
        noise_channels: channels of the noise, at most ``latent_channels / 32``.
        input_frames: number of input frames; shapes of weights depend on it.
        in_chans, horizon, num_classes: as for :class:`~convrnn_zoo.Forecaster`.

    Example:
        >>> model = DGMR(context_channels=16, latent_channels=32, noise_channels=1).eval()
        >>> radar = torch.rand(1, 4, 1, 64, 96)
        >>> tuple(model(radar, horizon=3, noise=model.draw_noise(radar)).shape)
        (1, 3, 1, 64, 96)
    """

    group_patterns: ClassVar[dict[str, Any]] = {
        "stem": r"^context",
        "latent": r"^latent",
        "sampler": r"^sampler\.\w+\.(\d+)",
        "head": r"^sampler",
    }

    def __init__(
        self,
        in_chans: int = 1,
        context_channels: int = 384,
        latent_channels: int = 768,
        noise_channels: int = 8,
        input_frames: int = 4,
        horizon: int = 18,
        num_classes: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_chans, horizon, 32, num_classes)
        sizes = {"context_channels": (context_channels, 16), "latent_channels": (latent_channels, 32)}
        for name, (value, unit) in sizes.items():
            if check.positive_int(name, value) % unit:
                raise ValueError(f"{name} must be a multiple of {unit}, since levels halve it, got {value}")
        self.input_frames = check.positive_int("input_frames", input_frames)
        self.noise_channels = check.positive_int("noise_channels", noise_channels)
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        self.context = Context(in_chans, input_frames, context_channels, **factory)
        self.latent = Latent(noise_channels, latent_channels, **factory)
        self.sampler = Sampler(in_chans, latent_channels, context_channels, **factory)
        self.num_features = int(latent_channels) // 16

    def noise_shape(self, x: Tensor, horizon: int) -> tuple[int, ...]:
        return len(x), self.noise_channels, x.shape[-2] // self.reduction, x.shape[-1] // self.reduction

    def read(self, x: Tensor) -> list[Tensor]:
        return self.context(x)

    def make(self, context: list[Tensor], horizon: int, noise: Tensor) -> Tensor:
        if self.training and horizon * noise[:, 0].numel() == 1:
            hint = "call .eval() to forecast, or pass larger frames, a longer horizon or more sequences"
            raise ValueError(f"DGMR's batch norms in training need more than one frame of 32×32 pixels; {hint}")
        return self.sampler(self.latent(noise), context, horizon).transpose(0, 1)


@register_model(
    cfg={**FRAME_CFG, "input_size": (1, 256, 256)},
    small={"context_channels": 16, "latent_channels": 64, "noise_channels": 2, "input_frames": 2},
)
def dgmr(pretrained: bool = False, **kwargs: Any) -> DGMR:
    """The generator of DGMR, DeepMind's generative model of radar: 52,782,157 parameters.

    The published code builds 53,566,957 parameters; 784,800 of them are never used and are left out here. Maps frames
    ``(N, 4, C, H, W)`` to ``(N, horizon, C, H, W)``; height and width are multiples of 32. DGMR was trained to read 4
    frames of 256×256 pixels and forecast the next 18 frames, at intervals of 5 minutes. ``model(x, noise=…)`` returns
    one member of an ensemble, and ``model.members(x, members=20, seed=0)`` returns 20. Ravuri et al. 2021,
    https://arxiv.org/abs/2104.00954, as in https://github.com/openclimatefix/skillful_nowcasting.
    """
    return build_model(DGMR, "dgmr", pretrained, **kwargs)
