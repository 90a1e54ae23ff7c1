"""Convolution that keeps the size of the map, in one to three dimensions, and its gradients."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}


class Geometry(NamedTuple):
    """Arguments of a convolution other than its tensors."""

    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    padding_mode: str
    explicit_padding: bool = False
    """Whether to pad the map before the convolution. Exported graphs need it where the padding depends on the size."""


def same_padding(
    size: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> list[tuple[int, int]]:
    """Computes the padding ``(before, after)`` of each axis that keeps the size of the map.

    An axis of size n needs ``s (n - 1) + d (k - 1) + 1 - n`` more pixels. If that is odd, the extra pixel is added
    after the map.

    Example:
        >>> same_padding((8,), kernel=(3,), stride=(1,), dilation=(1,))
        [(1, 1)]
        >>> same_padding((8,), kernel=(4,), stride=(2,), dilation=(1,))
        [(5, 5)]
    """
    missing = [s * (n - 1) + d * (k - 1) + 1 - n for n, k, s, d in zip(size, kernel, stride, dilation, strict=True)]
    return [(m // 2, m - m // 2) for m in missing]


def check_map(owner: str, size: Sequence[int], kernel: Sequence[int], geometry: Geometry) -> None:
    """Rejects a map that is too small to be padded with its own pixels."""
    if geometry.padding_mode in ("zeros", "replicate"):
        return
    spare = 1 if geometry.padding_mode == "reflect" else 0  # a mirror does not repeat the edge pixel
    for axis, (pads, n) in enumerate(zip(same_padding(size, kernel, *geometry[:2]), size, strict=True)):
        if max(pads) > n - spare:
            raise ValueError(
                f"{owner} with kernel {tuple(kernel)} and padding_mode={geometry.padding_mode!r} expected a map of at "
                f"least {max(pads) + spare} pixels along axis {axis}, got {n}; use padding_mode='zeros' or "
                "'replicate', a smaller kernel, or a larger map"
            )


def same_conv(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """Computes ``weight * x + bias`` on ``(N, C, *S)`` and keeps the size of the map."""
    stride, dilation, groups, mode, explicit_padding = geometry
    conv = _CONV[weight.dim() - 2]
    pads = same_padding(x.shape[2:], weight.shape[2:], stride, dilation)
    if mode == "zeros" and not explicit_padding and all(before == after for before, after in pads):
        return conv(x, weight, bias, stride, [before for before, _ in pads], dilation, groups)
    flat = [p for pair in reversed(pads) for p in pair]  # F.pad counts axes from the last
    x = F.pad(x, flat, "constant" if mode == "zeros" else mode)
    return conv(x, weight, bias, stride, 0, dilation, groups)


def can_join(size: Sequence[int], ih: Tensor, hh: Tensor, geometry: Geometry) -> bool:
    """Returns True if one convolution over input and state can replace two.

    It requires equal kernels, one group, and zero padding of the same size on both sides.
    """
    stride, dilation, groups, mode, explicit_padding = geometry
    return (
        groups == 1
        and mode == "zeros"
        and not explicit_padding
        and ih.shape[2:] == hh.shape[2:]
        and all(before == after for before, after in same_padding(size, ih.shape[2:], stride, dilation))
    )


def prepare_conv(
    weight: Tensor, bias: Tensor | None, geometry: Geometry, size: Sequence[int], channels_last: bool
) -> Callable[[Tensor], Tensor]:
    """Returns a function that computes ``weight * x + bias``, and prepares the weight once for many calls.

    The function supports maps of one size, symmetric zero padding and one group, and is not differentiable.
    `channels_last` is the memory format of the maps.
    """
    stride, dilation, *_ = geometry
    pads = [before for before, _ in same_padding(size, weight.shape[2:], stride, dilation)]
    if len(stride) == 1:  # as a 2-d convolution on maps of height 1, since torch has no 1-d channels-last format
        flat = prepare_conv(
            weight.unsqueeze(2), bias, Geometry((1, *stride), (1, *dilation), 1, "zeros"), (1, *size), channels_last
        )
        return lambda x: flat(x.unsqueeze(2)).squeeze(2)
    if channels_last:
        if (reordered := _reorder_conv(weight, bias, stride, pads, dilation, size)) is not None:
            return reordered
        weight = weight.contiguous(memory_format=_CHANNELS_LAST[len(stride)])
    else:
        weight = weight.contiguous()
    conv = _CONV[len(stride)]
    return lambda x: conv(x, weight, bias, stride, pads, dilation)


def _reorder_conv(
    weight: Tensor, bias: Tensor | None, stride: Sequence[int], pads: list[int], dilation: Sequence[int],
    size: Sequence[int],
) -> Callable[[Tensor], Tensor] | None:  # fmt: skip
    """Returns a convolution with the weight in oneDNN's memory order, or None where torch does not support it.

    On a CPU torch reorders the weight at every call, which takes 2 to 15 % of the time. No other function uses private
    parts of torch. The ordinary convolution runs where one of them is missing or fails, and where a dispatch mode is
    active: a mode that counts or traces operations does not know this one.
    """
    if weight.device.type != "cpu" or weight.dtype != torch.float32 or type(weight) is not Tensor:
        return None
    try:
        if torch._C._len_torch_dispatch_stack() or not torch._C._get_mkldnn_enabled():
            return None
        reorder = getattr(torch._C._nn, f"mkldnn_reorder_conv{len(stride)}d_weight")
        reordered = reorder(weight.contiguous().to_mkldnn(), pads, stride, dilation, 1, [1, weight.shape[1], *size])
        call = torch.ops.mkldnn._convolution_pointwise.default
    except (AttributeError, RuntimeError, TypeError):
        return None
    return lambda x: call(x, reordered, bias, pads, stride, dilation, 1, "none", [], "")


def prepare_input_gradient(
    weight: Tensor, geometry: Geometry, size: Sequence[int], channels_last: bool
) -> Callable[[Tensor], Tensor]:
    """Returns a function from the gradient of ``weight * x`` to that of x, with the limits of :func:`prepare_conv`."""
    if all(s == 1 for s in geometry.stride):  # a convolution with the mirrored kernel
        mirrored = weight.transpose(0, 1).flip(tuple(range(2, weight.dim())))
        return prepare_conv(mirrored, None, geometry, size, channels_last)
    weight = weight.contiguous()

    def gradient(grad: Tensor) -> Tensor:
        like = grad.new_empty(1).expand(grad.shape[0], weight.shape[1], *size)
        return conv_gradients(grad, like, weight, geometry, to_weight=False)[0]

    return gradient


def conv_gradients(
    grad: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, *, to_x: bool = True, to_weight: bool = True
) -> tuple[Any, Any]:
    """Computes the gradients of ``weight * x`` in x and weight, with the limits of :func:`prepare_conv`."""
    stride, dilation, *_ = geometry
    pads = [before for before, _ in same_padding(x.shape[2:], weight.shape[2:], stride, dilation)]
    if len(stride) == 1:
        flat = Geometry((1, *stride), (1, *dilation), 1, "zeros")
        maps = (grad.unsqueeze(2), x.unsqueeze(2), weight.unsqueeze(2))
        of_x, of_weight = conv_gradients(*maps, flat, to_x=to_x, to_weight=to_weight)
        return of_x.squeeze(2) if to_x else None, of_weight.squeeze(2) if to_weight else None
    of_x, of_weight, _ = torch.ops.aten.convolution_backward.default(
        grad, x, weight, None, stride, pads, dilation, False, [0] * len(stride), 1, (to_x, to_weight, False)
    )
    return of_x, of_weight


def bias_gradient(grad: Tensor) -> Tensor:
    """Computes the gradient of a bias, more accurately than the backward of the convolution does."""
    return grad.sum((0, *range(2, grad.dim())))
