"""Forecasters that forecast one frame at a time and read it to forecast the next."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ... import _checks as check
from ...layers import ConvRNNCellBase
from ...layers._norm import MapNormed
from ...layers._run import Loop, Maps, run_loop
from ...layers._states import check_encoded
from .blocks import Shuffle, Unshuffle, feature_size, layer_widths, recompute
from .forecaster import Forecaster

Delta = tuple[Tensor, Tensor]
"""Increments of the memories c and m of one layer in one step."""


class Rollout(NamedTuple):
    """Outputs of an autoregressive forecaster that a training loss reads."""

    forecast: Tensor
    """Forecast of frames T to T + horizon - 1, counted from 0: ``(N, horizon, C, H, W)``."""
    warmup: Tensor
    """Forecasts of the input frames 1 to T - 1, each from the frames before it: ``(N, T - 1, C, H, W)``."""
    deltas: list[Delta]
    """Increments of c and m, one pair for each step and layer, of PredRNN v2; empty for other models."""


class AutoregressiveForecaster(Forecaster):
    """Base class of forecasters that forecast one frame at a time and read it to forecast the next.

    A subclass defines :meth:`state_sizes` (the initial state) and :meth:`advance` (one step). A step reads a frame and
    the known inputs of the next frame, and forecasts that next frame. Frames and known inputs are folded into patches.

    With `input_only`, the last channels of a frame are read and not forecast. :meth:`advance` returns them as well, for
    the next step to read; the forecast does not have them.

    Args:
        patch_size: edge p of a patch in pixels; `reduction` by default.
        in_chans, horizon, reduction, **kwargs: as for :class:`Forecaster`.

    Raises:
        ValueError: `out_chans` is not `in_chans` without `input_only`; the model must forecast what it reads again.
    """

    input_only: int = 0
    """Number of the last channels of a frame that are not forecast, such as a mask of clouds."""
    known_lead: ClassVar[int] = 1
    """1 if a step reads the known inputs of the next frame, 0 if it reads those of the frame that it reads."""
    export_loop: Loop | None = None
    """Function that replaces the loop over time; the export sets it on a copy of the model."""

    def __init__(
        self, in_chans: int, horizon: int, reduction: int, *, patch_size: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(in_chans, horizon, reduction, **kwargs)
        forecast = self.in_chans - self.input_only
        if forecast < 1:
            raise ValueError(
                f"in_chans must be over {self.input_only}, the channels that are only read; got {in_chans}"
            )
        if kwargs.get("out_chans") is None:
            self.out_chans = forecast
        if self.out_chans != forecast:
            raise ValueError(
                f"out_chans must be {forecast}, as in_chans={in_chans}, for a model that reads its own forecast, got "
                f"{self.out_chans}; pass variables that are known as future inputs, or take a convlstm_forecaster"
            )
        edge = self.reduction if patch_size is None else check.positive_int("patch_size", patch_size)
        self.unshuffle, self.shuffle = Unshuffle(edge), Shuffle(edge)
        self.folded_in, self.folded_out = (self.in_chans + self.known_chans) * edge**2, self.in_chans * edge**2

    def start(self, x: Tensor) -> Maps:
        """Returns the initial state; `x` ``(N, C·p², H/p, W/p)`` contains the patches that the first step reads."""
        sizes, (height, width) = self.state_sizes().values(), x.shape[-2:]
        return tuple(x.new_zeros(x.shape[0], chans, height // factor, width // factor) for chans, factor in sizes)

    def state_sizes(self) -> dict[str, tuple[int, int]]:
        """Returns the channels of each state by name, and the height of the patches divided by that of its map.

        A class whose initial state is not zeros of these sizes overrides :meth:`start` instead.
        """
        raise NotImplementedError(f"{type(self).__name__} must define state_sizes")

    def advance(self, x: Tensor, state: Maps) -> tuple[Tensor, Maps]:
        """Returns the next frame as patches, and the next state."""
        raise NotImplementedError(f"{type(self).__name__} must define its step")

    def advance_with_deltas(self, x: Tensor, state: Maps) -> tuple[Tensor, Maps, list[Delta]]:
        """Returns :meth:`advance` and the step's part of :attr:`Rollout.deltas`, which is empty by default."""
        return (*self.advance(x, state), [])

    def reset_state(self, state: Maps, items: Tensor) -> Maps:
        """Returns a copy of `state` with zeros for the sequences where `items` ``(N,)`` is true."""
        return tuple(torch.where(items.to(s.device).reshape(-1, *(1,) * (s.dim() - 1)), 0, s) for s in state)

    def forward(
        self,
        x: Tensor,
        horizon: int | None = None,
        *,
        static: Tensor | None = None,
        future: Tensor | None = None,
        teacher: Tensor | None = None,
        mask: Tensor | None = None,
        return_aux: bool = False,
    ) -> Tensor | Rollout:
        """Returns the forecast ``(N, horizon, C, H, W)`` of ``x``, ``(N, T, C, H, W)``.

        Args:
            x, static, future: the input frames and known inputs; see :class:`Forecaster`.
            horizon: frames to forecast; by default the length of `teacher`, or else the model's `horizon`.
            teacher: the true frames after `x`, ``(N, horizon, C, H, W)``, which the model reads in place of forecasts.
            mask: booleans ``(N, T + horizon - 2)``, one per frame of `x` and `teacher`, without the first and the last.
                True (the default) reads the true frame, false its forecast. Scheduled sampling samples the last
                ``horizon - 1`` columns; reverse scheduled sampling also samples the first ``T - 1`` columns.
            return_aux: whether to return a :class:`Rollout` instead of the forecast.

        Raises:
            ValueError: frames, known inputs, teacher or mask have a wrong shape, or there is a mask without a teacher.
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
        known = self.known_inputs(x, horizon, static, future)
        known = None if known is None else self.unshuffle(known[:, self.known_lead :][:, : x.shape[1] + horizon - 1])
        patches = self.unshuffle(x if teacher is None else torch.cat([x, teacher], dim=1))

        state = self.start(patches[:, 0] if known is None else torch.cat([patches[:, 0], known[:, 0]], 1))
        steps = length + horizon - 1
        deltas: list[Delta] | None = [] if return_aux else None
        forecasts, _ = self._unroll(patches, steps, state, known=known, mask=mask, deltas=deltas)
        forecasts = forecasts[length - 1 :] if deltas is None else forecasts
        frames = self._frames(torch.stack(forecasts, 1) if self.export_loop is None else forecasts.transpose(0, 1))
        if deltas is None:
            return frames
        return Rollout(frames[:, length - 1 :], frames[:, : length - 1], deltas)

    def encode(self, x: Tensor, state: Maps | None = None) -> Maps:
        """Returns the state after frames ``(N, T, C, H, W)``; pass the `state` after the earlier frames to continue.

        The first tensor of the state is the next frame's forecast, as patches. Only for models without known inputs.
        """
        patches = self.unshuffle(self.check_frames("x", x))
        inner = self.start(patches[:, 0]) if state is None else self._check_state(state)[1:]
        forecasts, inner = self._unroll(patches, patches.shape[1], inner)
        return (forecasts[-1], *inner)

    def decode(self, state: Maps, horizon: int | None = None) -> Tensor:
        """Returns the forecast ``(N, horizon, C, H, W)`` from the state that :meth:`encode` returns."""
        y, *inner = self._check_state(state)
        forecasts, _ = self._unroll(None, self.check_horizon(horizon) - 1, tuple(inner), y)
        return self._frames(torch.stack([y, *forecasts], dim=1))

    def _frames(self, patches: Tensor) -> Tensor:
        """Returns frames ``(N, T, C, H, W)`` of forecast patches, without the channels that are only read."""
        frames = self.shuffle(patches)
        return frames[:, :, : self.out_chans] if self.input_only else frames

    def _unroll(
        self,
        patches: Tensor | None,
        steps: int,
        state: Maps,
        y: Any = None,
        *,
        known: Tensor | None = None,
        mask: Tensor | None = None,
        deltas: list[Delta] | None = None,
    ) -> tuple[Any, Maps]:
        """Returns the forecast of each step and the last state, and appends the memory increments to `deltas`.

        A step reads its frame of `patches`. Where `patches` has no such frame or `mask` ``(N, steps - 1)`` is false, it
        reads the previous forecast. The mask starts at the second step. `y` is the forecast before the first step. The
        forecasts are a list; those of :attr:`export_loop`, which supports no `mask`, are a tensor ``(steps, N, …)``.
        """
        run: Callable[..., Any] = self.advance if deltas is None else self.advance_with_deltas
        run = partial(recompute, run) if self.grad_checkpointing else run

        def step(inputs: Any, carried: Any) -> Maps:
            (frame, is_read, *known_frame), (x, *state) = inputs, carried
            if frame is not None:
                x = frame if is_read is None else torch.where(is_read, frame, x)
            x, state = torch.cat([x, *known_frame], 1) if known_frame else x, tuple(state)
            y, state, *increments = run(x, state)
            if deltas is not None:
                deltas.extend(*increments)
            return (y, *state)

        if self.export_loop is not None and patches is not None:
            xs = patches.transpose(0, 1)
            is_read = torch.arange(steps) < xs.shape[0]
            xs = torch.cat([xs, xs.new_zeros(steps - xs.shape[0], *xs.shape[1:])])
            inputs = (xs, is_read) if known is None else (xs, is_read, known.transpose(0, 1))
            ys, last = self.export_loop(step, inputs, (torch.zeros_like(xs[0]), *state))
            return ys, last[1:]

        def inputs_at(t: int) -> Any:
            frame = None if patches is None or t >= patches.shape[1] else patches[:, t]
            is_read = None if mask is None or not t else mask[:, t - 1, None, None, None]
            return (frame, is_read) if known is None else (frame, is_read, known[:, t])

        ys, last = run_loop(step, [inputs_at(t) for t in range(steps)], (y, *state))
        return ys, last[1:]

    def _check_state(self, state: Any) -> Maps:
        """Returns the state as a tuple; raises ValueError unless it has the tensors that :meth:`encode` returns."""
        is_state = isinstance(state, tuple | list) and bool(state) and all(isinstance(s, Tensor) for s in state)
        check_encoded(type(self).__name__, state, is_state and self._fits(len(state), state))
        return tuple(state)

    def _fits(self, count: int, state: Maps) -> bool:
        return count == 1 + len(self.start(state[0][:0]))

    def _check_teacher(self, x: Tensor, teacher: object, horizon: int | None) -> int:
        teacher = self.check_frames("teacher", teacher)
        expected = (len(x), teacher.shape[1] if horizon is None else horizon, *x.shape[2:])
        if tuple(teacher.shape) != expected:
            got = f"got {tuple(teacher.shape)}; leave horizon out, or cut one to the other"
            raise ValueError(f"{type(self).__name__} expected teacher of shape {expected}, the frames after x, {got}")
        return teacher.shape[1]

    def _check_mask(self, mask: object, x: Tensor, horizon: int) -> Tensor:
        shape = (len(x), x.shape[1] + horizon - 2)
        if mask is None:
            return torch.ones(shape, dtype=torch.bool, device=x.device)
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool or tuple(mask.shape) != shape:
            got = f"got {check.describe(mask)}; one for each frame but the first and the last"
            raise ValueError(f"{type(self).__name__} expected mask as booleans (N, T + horizon - 2) = {shape}, {got}")
        return mask.to(x.device)


def shared_options(cell: Any) -> dict[str, Any]:
    """Returns the options of a cell that another cell on the same maps also has."""
    return {name: getattr(cell, name) for name in ("bias", "stride", "dilation", "padding_mode", "hidden_kernel_size")}


class StackedCells(AutoregressiveForecaster):
    """A stack of cells on patches of a frame, and a 1×1 convolution from the last layer's h to the next frame.

    Each layer returns its next states, h first. A subclass with other layers overrides :meth:`advance`.

    Args:
        hidden_channels: list with the width of each layer, or one width for all `num_layers` layers.
        kernel_size: kernel of every convolution in the cells.
        num_layers: number of layers, if `hidden_channels` is one number.
        patch_size: edge of a patch in pixels; a patch becomes one pixel of in_chans · patch_size² channels.
        in_chans, horizon, num_classes, out_chans, static_chans, future_chans: as for :class:`~convrnn_zoo.Forecaster`.
        device, dtype: of the parameters.
        layer_norm: whether each convolution in a cell is followed by a layer norm over its channels and the map, as
            with OpenSTL's ``layer_norm=1``; not every network supports it.
        img_size: height and width of the frames, or one number for both, 64 by default. Only for models whose norms or
            peepholes have a weight for each pixel. For frames of another size, the weights are resized bilinearly.
        **layer_args: further arguments of the cells.
    """

    cell: ClassVar[type[ConvRNNCellBase]]
    """Class of the layers, unless :meth:`layer` returns another."""
    depth: ClassVar[int] = 1
    """Depth of the state's maps; 1 for two-dimensional maps."""
    layer_states: ClassVar[tuple[str, ...]] = ("h", "c")
    """Names of the states of a layer."""
    memories: ClassVar[tuple[str, ...]] = ()
    """Names of further states of the network, such as a memory that passes through all layers within a step."""
    min_layers: ClassVar[int] = 1
    has_bias: ClassVar[bool] = False
    """Whether the cells have biases unless `bias` is among the arguments."""
    has_one_width: ClassVar[bool] = False
    """Whether all layers must have the same width, because the same maps pass through all of them."""
    has_pixel_weights: ClassVar[bool] = False
    """Whether the cells have a weight for each pixel of a map, such as peepholes, even without `layer_norm`."""

    group_patterns: ClassVar[dict[str, Any]] = {
        "stem": r"^layers\.0\.weight_ih",
        "blocks": r"^layers\.(\d+)",
        "head": r"^(?:head|adapter)",
    }

    def __init__(
        self,
        in_chans: int = 1,
        hidden_channels: int | Sequence[int] = 128,
        kernel_size: int = 5,
        num_layers: int = 4,
        patch_size: int = 4,
        horizon: int = 10,
        num_classes: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        out_chans: int | None = None,
        static_chans: int = 0,
        future_chans: int = 0,
        layer_norm: bool = False,
        img_size: int | Sequence[int] | None = None,
        **layer_args: Any,
    ) -> None:
        super().__init__(
            in_chans,
            horizon,
            check.positive_int("patch_size", patch_size),
            num_classes=num_classes,
            out_chans=out_chans,
            static_chans=static_chans,
            future_chans=future_chans,
        )
        owner, self.layer_norm = type(self).__name__, check.boolean("layer_norm", layer_norm)
        if layer_norm and not issubclass(self.cell, MapNormed):
            raise ValueError(f"{owner} has no layer norms; leave layer_norm out")
        if fixed := layer_args.keys() & {"map_size", "norm_size"}:
            raise ValueError(f"{fixed.pop()} follows from layer_norm and img_size; pass these")
        if layer_norm or self.has_pixel_weights:
            size = feature_size(64 if img_size is None else img_size, patch_size)
            layer_args |= {"map_size": size} if self.has_pixel_weights else {}
            layer_args |= {"norm_size": size} if layer_norm else {}
        elif img_size is not None:
            raise ValueError(f"img_size={img_size} is for the norms; pass layer_norm=True as well, or leave it out")
        widths = layer_widths(hidden_channels, num_layers, self.has_one_width)
        if len(widths) < self.min_layers:
            raise ValueError(f"num_layers must be at least {self.min_layers} for {owner}, got {len(widths)}")
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        sizes = enumerate(pairwise([self.folded_in, *widths]))
        options: Any = {**layer_args, **factory}
        self.layers = nn.ModuleList(self.layer(i, chs, w, kernel_size, **options) for i, (chs, w) in sizes)
        self.widths, self.num_features = widths, widths[-1] * self.depth
        self.head = nn.Conv2d(self.num_features, self.folded_out, 1, bias=False, **factory)

    def layer(self, index: int, in_channels: int, channels: int, kernel_size: int, **factory: Any) -> nn.Module:
        """Returns the cell of one layer."""
        return self.cell(in_channels, channels, kernel_size, **{"bias": self.has_bias, **factory})

    def state_sizes(self) -> dict[str, tuple[int, int]]:
        layers = {f"{name}_l{i}": (width, 1) for i, width in enumerate(self.widths) for name in self.layer_states}
        return layers | dict.fromkeys(self.memories, (self.widths[-1], 1))

    def advance(self, x: Tensor, state: Maps) -> tuple[Tensor, Maps]:
        new: list[Tensor] = []
        each = len(self.layer_states)
        for i, layer in enumerate(self.layers):
            states = layer(x, state[each * i : each * (i + 1)])
            new += states
            x = states[0]
        return self.head(x), tuple(new)
