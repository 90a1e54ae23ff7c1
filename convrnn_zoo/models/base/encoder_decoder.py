"""Base class of forecasters that encode the frames to a state and decode the forecast from it."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from .blocks import Unshuffle
from .forecaster import Forecaster


class EncoderForecaster(Forecaster):
    """Base class of encoder–forecasters.

    The first layer of the forecaster reads a channel of ones and the known inputs. Its weights for the channel of ones
    act as biases. The known inputs are folded to the resolution of this layer. A subclass defines :meth:`encode` and
    :meth:`decode_sequence`, builds the recurrent layers `encoder`, and sets :attr:`encoder_modules`. A state has one
    entry for each recurrent module of `encoder`, in the form in which that module returns it, and no list for a single
    module. The entry may also be :class:`~convrnn_zoo.layers._states.LayerStates`, which both methods then return, too.
    """

    encoder_modules: ClassVar[tuple[str, ...]] = ("encoder",)
    """Names of the modules that :meth:`encode` runs. The export writes them to a separate file."""

    def forward(
        self, x: Tensor, horizon: int | None = None, *, static: Tensor | None = None, future: Tensor | None = None
    ) -> Tensor:
        """Returns the forecast ``(N, horizon, C, H, W)`` from frames `x` ``(N, T, C, H, W)`` and known inputs."""
        horizon = self.check_horizon(horizon)
        known = self.known_inputs(self.check_frames("x", x), horizon, static, future)
        if known is None:
            return self.decode(self.encode(x), horizon)
        return self.decode(self.encode(x, known=known[:, : x.shape[1]]), horizon, known[:, x.shape[1] :])

    def encode(self, x: Tensor, state: Any = None, known: Tensor | None = None) -> Any:
        """Returns the encoder's state after frames `x` ``(N, T, C, H, W)`` with `known` inputs; starts from `state`."""
        raise NotImplementedError(f"{type(self).__name__} must define encode")

    def decode(self, state: Any, horizon: int | None = None, known: Tensor | None = None) -> Tensor:
        """Forecasts ``(N, horizon, C, H, W)`` from the encoder's state and `known` inputs of the forecast frames."""
        return self.decode_sequence(state, self.check_horizon(horizon), known)[0]

    def decode_sequence(self, state: Any, horizon: int, known: Tensor | None = None) -> tuple[Tensor, Any]:
        """Returns the forecast of :meth:`decode`, and the last state of the forecaster's layers."""
        raise NotImplementedError(f"{type(self).__name__} must define decode_sequence")

    def join_known(self, x: Tensor, known: Tensor | None) -> Tensor:
        """Checks the frames, and returns them with the known inputs as further channels."""
        x = self.check_frames("x", x)
        return x if known is None else torch.cat([x, known], dim=2)

    def first_input(self, like: Tensor, horizon: int, known: Tensor | None = None) -> Tensor:
        """Returns the input ``(horizon, N, C, H, W)`` of the forecaster's first layer, with N, H and W of `like`."""
        ones = like.new_ones(1, 1, 1, 1, 1).expand(horizon, like.shape[0], 1, *like.shape[-2:])
        return ones if known is None else torch.cat([ones, Unshuffle(self.reduction)(known.transpose(0, 1))], dim=2)
