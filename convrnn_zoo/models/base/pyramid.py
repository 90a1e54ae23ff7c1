"""The encoder–forecaster that goes down in resolution and up again."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from .blocks import constant_input, framewise
from .forecaster import Forecaster
from .levels import split_state


class PyramidForecaster(Forecaster):
    """An encoder that goes down in resolution layer by layer, and a forecaster that goes up again.

    Each layer of the forecaster starts from the state of the encoder's at its resolution. The lowest comes first and
    has no input: where things move as a whole guides where details go (Shi et al. 2017, section 3.1).

    Args:
        in_chans, horizon, reduction, num_classes: see :class:`~convrnn_zoo.models.base.forecaster.Forecaster`.
        downs: modules of single frames, one in front of each layer of the encoder.
        encoder: layers, called as ``output, state = layer(input, None)`` on ``(T, N, C, H, W)``.
        forecaster: as many, the lowest first, called as ``layer(input, state)``; the first is fed ones, of one channel.
        ups: modules of single frames, one behind each layer of the forecaster.
        num_features: channels that the last convolution reads.

    The architectures make it by functions that take also `hidden_channels`, three widths, from the highest resolution
    down, or one for all, `stem_channels`, the width of the first and the last convolutions, and `device` and `dtype`.
    """

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
        """Parameters by depth, for layer-wise learning rates: the stages of the encoder, then of the forecaster."""
        return {"stem": r"^downs\.0", "encoder": r"^(?:downs|encoder)\.(\d+)", "blocks": r"^(?:forecaster|ups)\.(\d+)"}

    def forward(self, x: Tensor, horizon: int | None = None) -> Tensor:
        """The forecast ``(N, horizon, C, H, W)`` of ``x``, ``(N, T, C, H, W)``."""
        return self.decode(self.encode(x), horizon)

    def encode(self, x: Tensor, state: Any = None) -> tuple[Any, ...]:
        """The state of each layer of the encoder after the frames ``(N, T, C, H, W)``, from that before them."""
        y = self.check_frames("x", x).transpose(0, 1)
        states = []
        for down, layer, before in zip(self.downs, self.encoder, split_state(state, len(self.downs)), strict=True):
            y, after = layer(framewise(down, y), before)
            states.append(after)
        return tuple(states)

    def decode(self, state: Any, horizon: int | None = None) -> Tensor:
        """The forecast ``(N, horizon, C, H, W)`` from an encoder's states."""
        state = split_state(() if state is None else state, len(self.ups))
        h = state[-1] if isinstance(state[-1], Tensor) else state[-1][0]
        y = constant_input(h.flatten(0, -4), self.check_horizon(horizon))
        for layer, up, before in zip(self.forecaster, self.ups, reversed(state), strict=True):
            y = framewise(up, layer(y, before)[0])
        return y.transpose(0, 1)
