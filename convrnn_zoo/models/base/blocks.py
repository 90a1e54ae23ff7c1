"""Building blocks of the architectures."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ... import _checks as check
from ...layers import ConvRNNBase
from ...layers._fused import run_layer
from ...layers._nonlinearities import NEGATIVE_SLOPE
from ...layers._run import Maps, Step, can_recompute, run_loop
from ...layers._states import LayerStates


def constants(values: Sequence[float], like: Tensor) -> Tensor:
    """Returns a vector on the device of `like`, without the copy from the host that ``torch.tensor`` waits for."""
    return torch.stack([like.new_full((), value) for value in values])


def framewise(module: Callable[..., Tensor], *clips: Tensor) -> Tensor:
    """Applies a function of frames ``(B, C, H, W)`` to clips with two leading axes, such as ``(T, N, C, H, W)``."""
    return module(*(clip.flatten(0, 1) for clip in clips)).unflatten(0, clips[0].shape[:2])


class FrozenStatistics:
    """Context in which norms do not update their running statistics, for a repeated forward pass.

    It can be entered several times: a checkpoint is recomputed in each of several backward passes.
    """

    def __init__(self, module: nn.Module) -> None:
        # SyncBatchNorm and several norms of timm are no subclasses of BatchNorm2d.
        self.norms: list[Any] = [m for m in module.modules() if getattr(m, "num_batches_tracked", None) is not None]

    def __enter__(self) -> None:
        self.before = [(norm.momentum, norm.num_batches_tracked) for norm in self.norms]
        for norm in self.norms:
            norm.momentum, norm.num_batches_tracked = 0.0, norm.num_batches_tracked.clone()

    def __exit__(self, *error: object) -> None:
        for norm, (momentum, count) in zip(self.norms, self.before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count


def recompute(function: Callable[..., Any], *args: Any, norms: nn.Module | None = None) -> Any:
    """Calls a function whose intermediate results are recomputed in the backward pass.

    The batch norms in `norms` count the batch once. Within a transform of torch.func, which supports no checkpoints,
    the function is only called.
    """
    if not can_recompute():
        return function(*args)
    if norms is None or torch.compiler.is_compiling():  # a compiler supports no such contexts
        return checkpoint(function, *args, use_reentrant=False)
    contexts = nullcontext(), FrozenStatistics(norms)
    return checkpoint(function, *args, use_reentrant=False, context_fn=lambda: contexts)


class Unshuffle(nn.PixelUnshuffle):
    """Folds frames ``(…, C, H, W)`` into patches of p×p pixels, ``(…, C·p², H/p, W/p)``; the batch may be empty."""

    def forward(self, input: Tensor) -> Tensor:
        if self.downscale_factor == 1:  # torch's raises an error for this in some memory formats
            return input
        if input.numel():
            return super().forward(input)
        *batch, channels, height, width = input.shape
        edge = self.downscale_factor
        return input.reshape(*batch, channels * edge**2, height // edge, width // edge)


class Shuffle(nn.PixelShuffle):
    """Unfolds patches ``(…, C·p², H, W)`` of p×p pixels to frames ``(…, C, H·p, W·p)``; the batch may be empty."""

    def forward(self, input: Tensor) -> Tensor:
        if self.upscale_factor == 1:
            return input
        if input.numel():
            return super().forward(input)
        *batch, channels, height, width = input.shape
        edge = self.upscale_factor
        return input.reshape(*batch, channels // edge**2, height * edge, width * edge)


def feature_size(img_size: int | Sequence[int], reduction: int) -> tuple[int, int]:
    """Returns the size of the maps: height and width of `img_size`, each divided by `reduction`."""
    height, width = check.ntuple("img_size", img_size, 2)
    if height % reduction or width % reduction:
        raise ValueError(f"img_size must be multiples of {reduction}, got {(height, width)}; it is that of the frames")
    return height // reduction, width // reduction


def layer_widths(hidden_channels: int | Sequence[int], num_layers: int, has_one_width: bool = False) -> list[int]:
    """Returns the width of each layer, from a list of widths or from one width for all `num_layers`."""
    if isinstance(hidden_channels, list | tuple):
        num_layers = check.positive_int("len(hidden_channels)", len(hidden_channels))
    widths = check.widths("hidden_channels", hidden_channels, check.positive_int("num_layers", num_layers))
    if has_one_width and len(set(widths)) > 1:
        raise ValueError(f"hidden_channels must be the same in every layer, got {widths}; pass one number")
    return widths


def odd_kernel(kernel_size: object) -> int:
    """Returns the size of a kernel that keeps the size of the map; raises ValueError if it is even."""
    kernel = check.positive_int("kernel_size", kernel_size)
    if kernel % 2 == 0:
        raise ValueError(f"kernel_size must be odd, so that maps keep their size, or exactly halve it; got {kernel}")
    return kernel


def stage(convolution: type[nn.Module], *sizes: int, **factory: Any) -> nn.Sequential:
    """Returns a convolution with `sizes` (in, out, kernel, stride, padding[, output padding]) and a leaky ReLU."""
    return nn.Sequential(convolution(*sizes, **factory), nn.LeakyReLU(NEGATIVE_SLOPE))


def conv_norm_relu(
    in_chs: int,
    out_chs: int,
    groups: int | None = None,
    convolution: type[nn.Module] = nn.Conv2d,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    **options: Any,
) -> nn.Sequential:
    """Returns a convolution (3×3 by default), a norm (batch norm, or group norm if `groups` is set) and ReLU."""
    factory: Any = {"device": device, "dtype": dtype}
    norm = nn.BatchNorm2d(out_chs, **factory) if groups is None else nn.GroupNorm(groups, out_chs, **factory)
    options = {"kernel_size": 3, "padding": 1, **options, **factory}
    return nn.Sequential(convolution(in_chs, out_chs, **options), norm, nn.ReLU())


def unroll_loop(step: Step[Maps], xs: Maps, first: Maps, *, reverse: bool = False) -> tuple[Tensor, Maps]:
    """Runs ``state = step(x, state)`` along axis 0. Returns the stacked first tensor of each state, and the last state.

    Models call it as their attribute `export_loop`, which the export replaces by one with a loop in the graph.
    """
    ys, state = run_loop(step, list(zip(*(x.unbind(0) for x in xs), strict=True)), first, reverse=reverse)
    return torch.stack(ys), state


def recurrent_layers(module: nn.Module) -> list[Any]:
    """Returns the recurrent layers in a module, in the order of its submodules."""
    return [m for m in module.modules() if isinstance(m, ConvRNNBase | Unroll)]


class Unroll(nn.Module):
    """Runs a cell over sequences ``(T, N, C, H, W)``, with the interface of a sequence layer."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell: Any = cell
        self.widths, self.num_directions = [cell.out_channels], 1
        self.grad_checkpointing = False

    def forward(self, xs: Tensor, hx: Any = None) -> tuple[Tensor, Any]:
        """Returns h of every step, and the last state, which is a :class:`LayerStates` if `hx` is one."""
        cell = self.cell
        for hook in cell._forward_pre_hooks.values():  # pruning and weight norms compute the weights in hooks
            hook(cell, (xs, hx))
        [state] = hx if isinstance(hx, LayerStates) else [cell.unpack_state(hx, xs[0])]
        weights = [cell._weights("", cell.out_channels)]
        ys, finals = run_layer(cell, xs, [state], weights, zero_state=hx is None, checkpointed=self.grad_checkpointing)
        if isinstance(hx, LayerStates):
            return ys, LayerStates(finals)
        return ys, finals[0] if len(finals[0]) > 1 else finals[0][0]
