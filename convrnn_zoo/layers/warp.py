"""Bilinear interpolation of maps at displaced positions."""

import torch
import torch.nn.functional as F
from torch import Tensor


def warp(x: Tensor, displacement: Tensor, outside: str = "zeros") -> Tensor:
    """Samples maps `x` ``(N, C, H, W)`` at displaced positions, bilinearly: ``y(p) = x(p + displacement(p))``.

    Displacements ``(N, 2, H, W)`` are in pixels: to the right, then down. With L displacements per pixel,
    ``(N, L, 2, H, W)``, the result is ``(N, C, L, H, W)``. `outside` is the padding mode of
    :func:`torch.nn.functional.grid_sample`. Positions have at least single precision, because half precision would
    round them to whole pixels.

    Example:
        >>> one_to_the_right = torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1).expand(1, 2, 1, 4)
        >>> warp(torch.arange(4.0).reshape(1, 1, 1, 4), one_to_the_right).flatten().tolist()
        [1.0, 2.0, 3.0, 0.0]
    """
    height, width = x.shape[-2:]
    # Several displacements are concatenated along the height: one call, without a copy of x for each.
    grid = sampling_grid(x, displacement).flatten(1, -3).expand(x.shape[0], -1, -1, -1)
    # No conversion to the same dtype, which an exported graph would contain.
    source = x if x.dtype == grid.dtype else x.to(grid.dtype)
    y = F.grid_sample(source, grid, padding_mode=outside, align_corners=False)
    return (y if y.dtype == x.dtype else y.to(x.dtype)).reshape(*x.shape[:2], *displacement.shape[1:-3], height, width)


def sampling_grid(x: Tensor, displacement: Tensor) -> Tensor:
    """Returns the displaced positions ``(N, …, H, W, 2)`` for :func:`torch.nn.functional.grid_sample` of maps `x`."""
    height, width = x.shape[-2:]
    dtype = torch.promote_types(x.dtype, torch.float32)
    column = torch.arange(width, device=x.device, dtype=dtype) + 0.5
    row = torch.arange(height, device=x.device, dtype=dtype) + 0.5
    place = torch.stack([column.expand(height, width), row[:, None].expand(height, width)])
    # Sizes as tensors: an exported graph would store a float computed from them as a constant.
    scale = 2 / (torch.stack([column[-1], row[-1]]) + 0.5)
    # x and y stay two maps in memory, which grid_sample reads as fast as pairs, and which need no interleaving.
    grid = ((place + displacement) * scale[:, None, None] - 1).movedim(-3, -1)
    return grid if grid.dtype == dtype else grid.to(dtype)
