"""The size-preserving convolution, from one to three dimensions."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


class Geometry(NamedTuple):
    """How a kernel is laid over a map: all that a convolution needs but its weight."""

    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    padding_mode: str


def same_padding(
    size: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> list[tuple[int, int]]:
    """Padding ``(before, after)`` of each axis that keeps the size of the map.

    An axis of size n needs ``s (n - 1) + d (k - 1) + 1 - n`` more pixels in all; where that is odd, the
    extra one stands behind.

    Example:
        >>> same_padding((8,), kernel=(3,), stride=(1,), dilation=(1,))
        [(1, 1)]
        >>> same_padding((8,), kernel=(4,), stride=(2,), dilation=(1,))
        [(5, 5)]
    """
    missing = [s * (n - 1) + d * (k - 1) + 1 - n for n, k, s, d in zip(size, kernel, stride, dilation, strict=True)]
    return [(m // 2, m - m // 2) for m in missing]


def check_map(owner: str, size: Sequence[int], kernel: Sequence[int], geometry: Geometry) -> None:
    """Refuses a map that is too small to be padded by its own pixels."""
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
    """``weight * x + bias`` on ``(N, C, *S)``, the map keeping its size."""
    stride, dilation, groups, mode = geometry
    conv = _CONV[weight.dim() - 2]
    pads = same_padding(x.shape[2:], weight.shape[2:], stride, dilation)
    if mode == "zeros" and all(before == after for before, after in pads):
        return conv(x, weight, bias, stride, [before for before, _ in pads], dilation, groups)
    flat = [p for pair in reversed(pads) for p in pair]  # F.pad counts axes from the last
    x = F.pad(x, flat, "constant" if mode == "zeros" else mode)
    return conv(x, weight, bias, stride, 0, dilation, groups)


def plain_conv(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """:func:`same_conv` where both sides are padded alike and with zeros, any layout of `x` being kept."""
    x, weight, stride, pads, dilation = _lift(x, weight, geometry)
    y = _CONV[weight.dim() - 2](x, weight, bias, stride, pads, dilation, geometry.groups)
    return y.squeeze(2) if len(geometry.stride) == 1 else y


def plain_conv_backward(
    grad: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, mask: tuple[bool, bool, bool]
) -> tuple[Tensor | None, ...]:
    """The gradients of :func:`plain_conv` that `mask` asks for: of `x` (its values do not matter), weight and bias."""
    one = len(geometry.stride) == 1
    x, weight, stride, pads, dilation = _lift(x, weight, geometry)
    grads = torch.ops.aten.convolution_backward(
        grad.unsqueeze(2) if one else grad, x, weight, [len(weight)], stride, pads, dilation, False,
        [0] * len(stride), geometry.groups, mask,
    )  # fmt: skip
    of_x, of_weight, of_bias = (g if m else None for g, m in zip(grads, mask, strict=True))
    if one:
        of_x, of_weight = (g if g is None else g.squeeze(2) for g in (of_x, of_weight))
    return of_x, of_weight, of_bias


def _lift(x: Tensor, weight: Tensor, geometry: Geometry) -> tuple[Any, ...]:
    """One dimension as two, the first of one pixel: only so does torch keep its channels innermost."""
    stride, dilation, *_ = geometry
    pads = [before for before, _ in same_padding(x.shape[2:], weight.shape[2:], stride, dilation)]
    if len(stride) > 1:
        return x, weight, stride, pads, dilation
    return x.unsqueeze(2), weight.unsqueeze(2), (1, *stride), [0, *pads], (1, *dilation)
