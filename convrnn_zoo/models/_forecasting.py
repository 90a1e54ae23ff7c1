"""What every forecaster shares: the check of its input, timm's view of it, and the way through time."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..layers import _checks as check
from ._base import ZooModel


class Forecaster(ZooModel):
    """Frames ``(N, T, C, H, W)`` to the frames that follow, ``(N, horizon, C, H, W)``.

    Any length goes in and any horizon comes out; height and width must be multiples of `reduction`. The frames that
    come out are those of the last convolution, bounded by nothing: for a loss of cross-entropy they are logits.

    Args:
        in_chans: channels of a frame, going in and coming out.
        horizon: how many frames to forecast when the call does not say.
        reduction: how many pixels of a frame's edge become one of the recurrent layers' maps.
        num_classes: 0, since a forecaster classifies nothing; here because timm hands it to every model.
    """

    num_classes = 0
    num_features: int
    """Channels of the map that the last convolution makes frames of."""

    def __init__(self, in_chans: int, horizon: int, reduction: int, num_classes: int = 0) -> None:
        super().__init__()
        if num_classes != 0:
            raise ValueError(
                f"num_classes must be 0 for a forecaster, which has no classifier, got {num_classes!r}; leave it out, "
                "or take one of the zoo's sequence models"
            )
        self.in_chans = check.positive_int("in_chans", in_chans)
        self.horizon = check.positive_int("horizon", horizon)
        self.reduction = check.positive_int("reduction", reduction)
        self.grad_checkpointing = False

    @property
    def feature_info(self) -> list[dict[str, Any]]:
        """timm's list of feature maps: none, since the maps inside a forecaster are of no one frame of its input."""
        return []

    def prune_intermediate_layers(self, *args: Any, **kwargs: Any) -> list[int]:
        """What timm asks of a model for ``features_only=True``: refused.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            f"features_only expected a model that has feature maps, got {type(self).__name__}, a forecaster; take one "
            "of the zoo's sequence models, such as convlstm2d_2layer"
        )

    def input_weights(self) -> list[str]:
        """Keys whose axis 1 could be fitted to another `in_chans`: none, since frames come out as well."""
        return []

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that should not decay, beyond the biases: peepholes with one weight a channel."""
        return {n for n, p in self.named_parameters() if p.dim() == 3 and n.split(".")[-1].startswith("weight_p")}

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Whether training recomputes what is inside a layer or a step, for less memory and more time."""
        for module in self.modules():
            if hasattr(module, "grad_checkpointing"):
                module.grad_checkpointing = enable  # type: ignore[assignment]

    def check_frames(self, name: str, x: object) -> Tensor:
        """`x` as frames that this model can take, or an error that says what it would take."""
        owner, like = type(self).__name__, next(self.parameters())
        if not isinstance(x, Tensor):
            raise TypeError(f"{owner} expected {name} as a tensor (N, T, C, H, W), got {check.describe(x)}")
        if x.dim() != 5:
            raise ValueError(
                f"{owner} expected {name} (N, T, C, H, W), got {x.dim()}-D {tuple(x.shape)}; add the missing axes, "
                "first N, then C"
            )
        if x.shape[2] != self.in_chans:
            raise ValueError(
                f"{owner} expected {self.in_chans} channels at axis 2 of {name} (N, T, C, H, W), got {x.shape[2]} in "
                f"{tuple(x.shape)}; permute it or build with in_chans={x.shape[2]}"
            )
        if 0 in x.shape[1:]:
            raise ValueError(
                f"{owner} expected {name} of at least one frame and one pixel, got {tuple(x.shape)}; drop empty ones"
            )
        check.same_kind(owner, name, x, like)
        if any(s % self.reduction for s in x.shape[-2:]):
            padded = tuple(-(-s // self.reduction) * self.reduction for s in x.shape[-2:])
            raise ValueError(
                f"{owner} expected height and width that are multiples of {self.reduction}, got {tuple(x.shape[-2:])}; "
                f"pad {name} to {padded} or crop it"
            )
        return x

    def check_horizon(self, horizon: int | None) -> int:
        """The horizon of a call: the model's own where none is given."""
        return self.horizon if horizon is None else check.positive_int("horizon", horizon)


class Rollout(NamedTuple):
    """All that an autoregressive forecaster makes of a sequence; what its training wants beside the forecast."""

    forecast: Tensor
    """Frames T to T + horizon - 1: ``(N, horizon, C, H, W)``."""
    warmup: Tensor
    """The forecast, one step ahead, of the input's own frames 1 to T - 1: ``(N, T - 1, C, H, W)``."""
    deltas: list[tuple[Tensor, Tensor]]
    """For PredRNN v2, of each step and layer what was added to the two memories; empty for the others."""


State = tuple[Tensor, ...]


class AutoregressiveForecaster(Forecaster):
    """A forecaster that makes one frame at a time and reads it back to make the next.

    A subclass tells how a step goes, on frames folded into patches: :meth:`start` and :meth:`advance`. Scheduled
    sampling and its reverse belong to training, which says by `teacher` and `mask` what is read; see :meth:`forward`.
    """

    def start(self, x: Tensor) -> State:
        """The state before the first step, for patches of the shape of `x`, ``(N, C·p², H/p, W/p)``."""
        raise NotImplementedError(f"{type(self).__name__} must write down its start")

    def advance(self, x: Tensor, state: State) -> tuple[Tensor, State, list[tuple[Tensor, Tensor]]]:
        """One step: the next frame's patches, the next state, and the deltas of the layers, if it has such."""
        raise NotImplementedError(f"{type(self).__name__} must write down its step")

    def expose(self, deltas: list[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
        """What of a step's deltas a :class:`Rollout` shows: none, unless a loss asks for them."""
        return []

    def forward(
        self,
        x: Tensor,
        horizon: int | None = None,
        *,
        teacher: Tensor | None = None,
        mask: Tensor | None = None,
        return_aux: bool = False,
    ) -> Tensor | Rollout:
        """The forecast ``(N, horizon, C, H, W)`` of ``x``, ``(N, T, C, H, W)``.

        Args:
            x: the input frames.
            horizon: frames to forecast; the model's own by default, and the teacher's length where there is one.
            teacher: the true frames after `x`, ``(N, horizon, C, H, W)``; they are read in place of the model's own.
            mask: booleans ``(N, T + horizon - 2)``, one for each frame from the second to the last but one: whether
                the true frame is read, or the model's own of that time. All are true by default. Scheduled sampling
                draws the last ``horizon - 1`` columns; reverse scheduled sampling draws the first ``T - 1`` too.
            return_aux: give a :class:`Rollout` for the forecast alone.

        Raises:
            ValueError: frames, teacher or mask of another shape; a mask without a teacher.
        """
        x = self.check_frames("x", x)
        length = x.shape[1]
        if teacher is None:
            horizon = self.check_horizon(horizon)
            if mask is not None:
                raise ValueError("mask chooses between true frames and forecasts: pass the true ones as teacher")
        else:
            horizon = self._check_teacher(x, teacher, horizon)
            mask = self._check_mask(mask, x, horizon)
            x = torch.cat([x, teacher], dim=1)
        patches = F.pixel_unshuffle(x, self.reduction)

        made: list[Tensor] = []
        deltas: list[tuple[Tensor, Tensor]] = []
        state = self.start(patches[:, 0])
        for t in range(length + horizon - 1):
            if t == 0 or (mask is None and t < length):
                fed = patches[:, t]
            elif mask is None:
                fed = made[-1]
            else:
                fed = torch.where(mask[:, t - 1, None, None, None], patches[:, t], made[-1])
            if self.grad_checkpointing and torch.is_grad_enabled():
                y, state, delta = checkpoint(self.advance, fed, state, use_reentrant=False)
            else:
                y, state, delta = self.advance(fed, state)
            made.append(y)
            if return_aux:
                deltas += self.expose(delta)
        frames = F.pixel_shuffle(torch.stack(made if return_aux else made[length - 1 :], dim=1), self.reduction)
        if not return_aux:
            return frames
        return Rollout(frames[:, length - 1 :], frames[:, : length - 1], deltas)

    def _check_teacher(self, x: Tensor, teacher: object, horizon: int | None) -> int:
        teacher = self.check_frames("teacher", teacher)
        expected = (len(x), teacher.shape[1] if horizon is None else horizon, *x.shape[2:])
        if tuple(teacher.shape) != expected:
            raise ValueError(
                f"{type(self).__name__} expected teacher of shape {expected}, the frames after x, got "
                f"{tuple(teacher.shape)}; leave horizon out, or cut one to the other"
            )
        return teacher.shape[1]

    def _check_mask(self, mask: object, x: Tensor, horizon: int) -> Tensor:
        shape = (len(x), x.shape[1] + horizon - 2)
        if mask is None:
            return torch.ones(shape, dtype=torch.bool, device=x.device)
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool or tuple(mask.shape) != shape:
            raise ValueError(
                f"{type(self).__name__} expected mask as booleans of shape {shape} (N, T + horizon - 2), got "
                f"{check.describe(mask)}; one for each frame but the first and the last"
            )
        return mask.to(x.device)
