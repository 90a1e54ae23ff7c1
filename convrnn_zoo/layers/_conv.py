"""Convolution that keeps the size of the map, in one to three dimensions, and its gradients."""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED_CONV = {2: F.conv_transpose2d, 3: F.conv_transpose3d}
# Values of a single map, and products of its convolution, below which torch convolves it faster without oneDNN.
SINGLE_VALUES, SINGLE_PRODUCTS = 1 << 14, 1 << 24
_CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}
Pads = list[tuple[int, int]]
PreparedConv = tuple[Callable[..., Tensor], tuple[Any, ...]]
"""A function, and its arguments after the map that it convolves."""


class Geometry(NamedTuple):
    """Arguments of a convolution other than its tensors."""

    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    padding_modes: tuple[str, ...]  # of each axis
    # Whether to pad the map before the convolution. Exported graphs need it where the padding depends on the size.
    explicit_padding: bool = False

    def padding(self, size: Sequence[int], kernel: Sequence[int]) -> tuple[list[int], Pads]:
        """Returns the argument `padding` of the convolution, and the padding to apply before it (may be empty)."""
        pads = same_padding(size, kernel, self.stride, self.dilation)
        pads_outside = self.explicit_padding or {*self.padding_modes} != {"zeros"}
        if not pads_outside and all(before == after for before, after in pads):  # a graph cannot compare open sizes
            return [before for before, _ in pads], []
        return [0] * len(pads), pads

    def with_height(self) -> "Geometry":
        """Returns the arguments of the 2-d convolution that computes this 1-d convolution on maps of height 1."""
        return Geometry((1, *self.stride), (1, *self.dilation), self.groups, ("zeros", *self.padding_modes))


def same_padding(size: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> Pads:
    """Computes the padding ``(before, after)`` that keeps the size of each axis; if the sum is odd, `after` is larger.

    Example:
        >>> same_padding((8,), kernel=(4,), stride=(2,), dilation=(1,))
        [(5, 5)]
    """
    missing = [s * (n - 1) + d * (k - 1) + 1 - n for n, k, s, d in zip(size, kernel, stride, dilation, strict=True)]
    return [(m // 2, m - m // 2) for m in missing]


def check_map(owner: str, size: Sequence[int], kernel: Sequence[int], geometry: Geometry) -> None:
    """Raises ValueError if a map is too small for reflect or circular padding."""
    if {*geometry.padding_modes} <= {"zeros", "replicate"}:
        return
    pads = same_padding(size, kernel, geometry.stride, geometry.dilation)
    for axis, (mode, (before, after), n) in enumerate(zip(geometry.padding_modes, pads, size, strict=True)):
        if mode in ("zeros", "replicate"):
            continue
        min_size = max(before, after) + (mode == "reflect")  # a mirror does not repeat the edge pixel
        if n < min_size:
            raise ValueError(
                f"{owner} with kernel {tuple(kernel)} and padding_mode={mode!r} expected a map of at least {min_size} "
                f"pixels along axis {axis}, got {n}; use padding_mode='zeros' or 'replicate', a smaller kernel, or a "
                "larger map"
            )


def pad_map(x: Tensor, pads: Pads, modes: Sequence[str]) -> Tensor:
    """Pads each axis of a map ``(N, C, *S)`` in its own mode."""
    for mode in dict.fromkeys(modes):
        mode_pads = [pad if m == mode else (0, 0) for pad, m in zip(pads, modes, strict=True)]
        flat = [p for pair in reversed(mode_pads) for p in pair]  # F.pad counts axes from the last
        x = F.pad(x, flat, "constant" if mode == "zeros" else mode)
    return x


def _pad_in_layout(x: Tensor, pads: Pads, modes: Sequence[str]) -> Tensor:
    """Pads with zeros or circularly like :func:`pad_map`, without autograd, and keeps the memory format of `x`."""
    x = F.pad(x, [p for pair in reversed(pads) for p in pair])
    for axis, ((before, after), mode) in enumerate(zip(pads, modes, strict=True), start=2):
        if mode == "circular":
            n = x.shape[axis] - before - after
            x.narrow(axis, 0, before).copy_(x.narrow(axis, n, before))
            x.narrow(axis, before + n, after).copy_(x.narrow(axis, before, after))
    return x


def _padding_gradient(grad: Tensor, pads: Pads, modes: Sequence[str]) -> Tensor:
    """Computes the gradient of a map from the gradient of the padded map that :func:`_pad_in_layout` returned."""
    for axis, ((before, after), mode) in enumerate(zip(pads, modes, strict=True), start=2):
        n = grad.shape[axis] - before - after
        inner = grad.narrow(axis, before, n)
        if mode == "circular":
            inner.narrow(axis, n - before, before).add_(grad.narrow(axis, 0, before))
            inner.narrow(axis, 0, after).add_(grad.narrow(axis, before + n, after))
        grad = inner
    return grad


def same_conv(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """Computes the convolution ``weight * x + bias`` of ``(N, C, *S)``, padded so that the size does not change."""
    stride, dilation, groups, modes, _ = geometry
    padding, pads = geometry.padding(x.shape[2:], weight.shape[2:])
    x = pad_map(x, pads, modes) if pads else x
    return _CONV[weight.dim() - 2](x, weight, bias, stride, padding, dilation, groups)


def compiled_conv(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """Computes :func:`same_conv` in a compiled layer: on a CPU by 2-d convolutions, which alone are channels-last."""
    if x.device.type == "cpu" and len(geometry.stride) == 1:
        return same_conv(x.unsqueeze(2), weight.unsqueeze(2), bias, geometry.with_height()).squeeze(2)
    is_3d = x.device.type == "cpu" and len(geometry.stride) == 3 and geometry.groups == 1
    return (conv_of_planes if is_3d else same_conv)(x, weight, bias, geometry)


def conv_of_planes(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """Computes a 3-d convolution of one group as :func:`same_conv`, by a 2-d convolution over stacked planes.

    The channels of a stack are those of all planes that the kernel covers. On a CPU, a compiled 3-d convolution
    reorders its weight at every step, which takes longer than this one.
    """
    stride, dilation, _, modes, _ = geometry
    depth, kernel = x.shape[2], weight.shape[2]
    padding, pads = geometry.padding(x.shape[2:], weight.shape[2:])
    if not pads:
        padding, pads = [0, *padding[1:]], [(padding[0], padding[0]), (0, 0), (0, 0)]
    planes = pad_map(x, pads, modes).transpose(1, 2)
    last = stride[0] * (depth - 1) + 1
    covered = [planes[:, i : i + last : stride[0]] for i in range(0, dilation[0] * kernel, dilation[0])]
    stack, weight = torch.cat(covered, 2).flatten(0, 1), weight.transpose(1, 2).flatten(1, 2)
    y = F.conv2d(stack, weight, bias, stride[1:], padding[1:], dilation[1:])
    return y.unflatten(0, (x.shape[0], depth)).transpose(1, 2)


def can_join(ih: Tensor, hh: Tensor, geometry: Geometry) -> bool:
    """Returns True if one convolution can replace two: that of the input with `ih` and that of the state with `hh`."""
    return geometry.groups == 1 and not geometry.explicit_padding and ih.shape[2:] == hh.shape[2:]


# ---- without autograd: one group, zeros or circular padding ----------------------------------------------------
def prepare_conv(
    weight: Tensor, bias: Tensor | None, geometry: Geometry, batch: int, size: Sequence[int], channels_last: bool
) -> PreparedConv:
    """Returns a function that computes ``weight * x + bias``, and prepares the weight once for many calls.

    The function supports only maps of `size`, in channels-last format if `channels_last`. It is not differentiable.
    """
    if len(size) == 1:  # torch has no 1-d channels-last format
        flat, args = prepare_conv(weight.unsqueeze(2), bias, geometry.with_height(), batch, (1, *size), channels_last)
        return (lambda x: flat(x.unsqueeze(2), *args).squeeze(2)), ()
    padding, pads = geometry.padding(size, weight.shape[2:])
    size = [n + before + after for n, (before, after) in zip(size, pads, strict=True)] if pads else size
    conv, args = _prepare(weight, bias, geometry, padding, batch, size, channels_last)
    return ((lambda x: conv(_pad_in_layout(x, pads, geometry.padding_modes), *args)), ()) if pads else (conv, args)


def plain_conv(weight: Tensor, bias: Tensor | None, geometry: Geometry, size: Sequence[int]) -> PreparedConv:
    """Returns :func:`same_conv` for maps of `size`, whose weight is not prepared."""
    padding, pads = geometry.padding(size, weight.shape[2:])
    if pads:
        return same_conv, (weight, bias, geometry)
    return _CONV[len(size)], (weight, bias, geometry.stride, padding, geometry.dilation, geometry.groups)


def prepare_input_gradient(
    weight: Tensor, geometry: Geometry, batch: int, size: Sequence[int], channels_last: bool
) -> Callable[[Tensor], Tensor]:
    """Returns a function that computes the gradient of a map x of `size` from the gradient of ``weight * x``."""
    if len(size) == 1:
        flat = prepare_input_gradient(weight.unsqueeze(2), geometry.with_height(), batch, (1, *size), channels_last)
        return lambda grad: flat(grad.unsqueeze(2)).squeeze(2)
    padding, pads = geometry.padding(size, weight.shape[2:])
    if max(geometry.stride) > 1:
        args = in_layout(weight, channels_last), None, geometry.stride, padding, 0, 1, geometry.dilation
        conv: Callable[..., Tensor] = _TRANSPOSED_CONV[len(size)]
    else:
        mirrored = weight.transpose(0, 1).flip(tuple(range(2, weight.dim())))
        if pads:
            padding = [d * (k - 1) for d, k in zip(geometry.dilation, weight.shape[2:], strict=True)]
        conv, args = _prepare(mirrored, None, geometry, padding, batch, size, channels_last)
    if pads:
        return lambda grad: _padding_gradient(conv(grad, *args), pads, geometry.padding_modes)
    return lambda grad: conv(grad, *args)


def in_layout(weight: Tensor, channels_last: bool) -> Tensor:
    """Returns a weight in contiguous or channels-last memory format; for one spatial axis, that of maps of height 1."""
    if weight.dim() == 3:
        return in_layout(weight.unsqueeze(2), channels_last).squeeze(2)
    layout = _CHANNELS_LAST[weight.dim() - 2] if channels_last else torch.contiguous_format
    return weight.contiguous(memory_format=layout)


def _prepare(
    weight: Tensor,
    bias: Tensor | None,
    geometry: Geometry,
    padding: list[int],
    batch: int,
    size: Sequence[int],
    channels_last: bool,
) -> PreparedConv:
    """Returns a function that convolves maps of `size` with zero padding.

    For float32 on a CPU, a private operation of torch reorders the weight for oneDNN only once. torch's ordinary
    convolution reorders it at every call, which takes up to 5 % of the time in 1-d and 2-d, and more than half in 3-d.
    The ordinary convolution is still used for single small maps: it computes them without oneDNN, in less time. It also
    runs if the private operation is missing or fails, and under a dispatch mode, which can neither count nor trace the
    private operation.
    """
    stride, dilation, *_ = geometry
    is_single = batch == 1 and len(size) == 2 and min(weight.shape[2:]) <= 3
    pixels = math.prod(size)
    is_small = is_single and weight.shape[1] * pixels < SINGLE_VALUES and weight.numel() * pixels < SINGLE_PRODUCTS
    is_plain = type(weight) is Tensor and weight.dtype in (torch.float32, torch.bfloat16)
    if channels_last and weight.device.type == "cpu" and is_plain and not is_small:
        with suppress(AttributeError, RuntimeError, TypeError):
            is_supported = weight.dtype == torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported()
            if is_supported and not torch._C._len_torch_dispatch_stack() and torch._C._get_mkldnn_enabled():
                reorder = getattr(torch._C._nn, f"mkldnn_reorder_conv{len(size)}d_weight")
                sizes = [1, weight.shape[1], *size]
                ordered = reorder(weight.contiguous().to_mkldnn(), padding, stride, dilation, 1, sizes)
                call = torch.ops.mkldnn._convolution_pointwise.default
                return call, (ordered, bias, padding, stride, dilation, 1, "none", [], "")
    return _CONV[len(size)], (in_layout(weight, channels_last), bias, stride, padding, dilation)


def conv_gradients(
    grad: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, *, to_x: bool = True
) -> tuple[Any, Tensor]:
    """Computes the gradients of x (None without `to_x`) and weight from `grad`, the gradient of ``weight * x``."""
    if weight.dim() == 3:
        maps = (grad.unsqueeze(2), x.unsqueeze(2), weight.unsqueeze(2))
        x_grad, weight_grad = conv_gradients(*maps, geometry.with_height(), to_x=to_x)
        return x_grad if x_grad is None else x_grad.squeeze(2), weight_grad.squeeze(2)
    padding, pads = geometry.padding(x.shape[2:], weight.shape[2:])
    x = _pad_in_layout(x, pads, geometry.padding_modes) if pads else x
    zero = [0] * len(padding)
    x_grad, weight_grad, _ = torch.ops.aten.convolution_backward.default(
        grad, x, weight, None, geometry.stride, padding, geometry.dilation, False, zero, 1, (to_x, True, False)
    )
    return _padding_gradient(x_grad, pads, geometry.padding_modes) if to_x and pads else x_grad, weight_grad


def bias_gradient(grad: Tensor, dtype: torch.dtype) -> Tensor:
    """Computes the gradient of a bias of `dtype` from the gradient of the result, more accurately than torch."""
    return grad.sum((0, *range(2, grad.dim())), dtype=dtype)
