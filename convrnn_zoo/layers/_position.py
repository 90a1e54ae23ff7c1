"""Parameters that belong to the pixels of one map, and their use on maps of other sizes."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


def at_size(weight: Tensor, size: Sequence[int]) -> Tensor:
    """A weight a pixel, ``(…, H, W)``, for a map of another size: itself for its own, else bilinear between its pixels.

    Example:
        >>> import torch
        >>> at_size(torch.tensor([[[0.0, 4.0]]]), (1, 4)).tolist()
        [[[0.0, 1.0, 3.0, 4.0]]]
    """
    if tuple(weight.shape[-2:]) == tuple(size):
        return weight
    rows = weight.reshape(1, -1, *weight.shape[-2:])
    fitted = F.interpolate(rows, size=tuple(size), mode="bilinear", align_corners=False)
    return fitted.reshape(*weight.shape[:-2], *size)


def map_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Layer norm over all axes of `x` but the first, with a scale and a shift for each channel of each pixel."""
    size = x.shape[-2:]
    return F.layer_norm(x, x.shape[1:], at_size(weight, size), at_size(bias, size))


def reset_norms(module: nn.Module) -> None:
    """Sets the norms of a cell, ``weight_norm…`` and ``bias_norm…``, to change nothing but mean and variance."""
    for name, p in module.named_parameters(recurse=False):
        if name.startswith("weight_norm"):
            nn.init.ones_(p)
        elif name.startswith("bias_norm"):
            nn.init.zeros_(p)
