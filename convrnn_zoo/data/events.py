"""Events of an event camera as voxel grids, which convolutional networks read."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .. import _checks as check
from ..values.tensors import to_tensor


def voxel_grid(
    t: Any,
    x: Any,
    y: Any,
    polarity: Any,
    *,
    size: Sequence[int],
    bins: int = 5,
    start: float | None = None,
    stop: float | None = None,
    normalize: bool = True,
) -> Tensor:
    r"""Sums events into a voxel grid ``(bins, H, W)`` in float32, with linear interpolation between temporal bins.

    An event i with the polarity :math:`p_i = \pm 1` at the time :math:`t_i` adds to its pixel in bin b

    .. math::
        p_i \max(0, 1 - |b - t_i^*|), \qquad t_i^* = (B - 1)\,\frac{t_i - start}{stop - start}

    Args:
        t, x, y, polarity: arrays or tensors ``(N,)`` with one value per event: time in any unit, column, row and sign.
            The polarity is positive or not as booleans, 1 and 0, or 1 and -1. Events need not be sorted.
        size: height and width of the sensor.
        bins: number B of temporal bins.
        start, stop: time of the first and of the last bin, by default the times of the first and the last event.
        normalize: whether to scale the values that are not zero to mean 0 and standard deviation 1, as FireNet and
            E2VID expect. Values that are all equal are not changed.

    Raises:
        TypeError: the events are not numbers.
        ValueError: the arrays differ in length, an event is outside the sensor or the interval, a polarity has another
            value, or `stop` is before `start`.

    References:
        Zhu, A. Z. et al. (2019). Unsupervised Event-based Learning of Optical Flow, Depth, and Egomotion.
        https://arxiv.org/abs/1812.08156

    Example:
        >>> voxel_grid([0, 25, 100], [2, 0, 2], [0, 0, 0], [1, 0, 1], size=(1, 3), bins=3, normalize=False)
        tensor([[[-0.5000,  0.0000,  1.0000]],
        <BLANKLINE>
                [[-0.5000,  0.0000,  0.0000]],
        <BLANKLINE>
                [[ 0.0000,  0.0000,  1.0000]]])
    """
    times, columns, rows, signs = (_events(n, v) for n, v in (("t", t), ("x", x), ("y", y), ("polarity", polarity)))
    if len({len(v) for v in (times, columns, rows, signs)}) != 1:
        got = [len(v) for v in (times, columns, rows, signs)]
        raise ValueError(f"t, x, y and polarity must have one value per event, got {got} values; pass equal lengths")
    height, width = check.ntuple("size", size, 2)
    grid = torch.zeros(check.positive_int("bins", bins) * height * width, dtype=torch.float64, device=times.device)
    if not len(times):
        return grid.float().reshape(bins, height, width)
    for name, values, limit in (("x", columns, width), ("y", rows, height)):
        if bool(((values < 0) | (values >= limit) | (values != values.round())).any()):
            raise ValueError(
                f"{name} must be whole numbers from 0 to {limit - 1} for size={(height, width)}, got values from "
                f"{values.min():g} to {values.max():g}; pass size=(height, width) of the sensor"
            )
    if not bool(((signs == 1) | (signs == 0)).all() or (signs.abs() == 1).all()):
        raise ValueError(f"polarity must be booleans, 0 and 1, or -1 and 1, got {signs.unique()[:5].tolist()}")
    first = times.min().item() if start is None else start
    last = times.max().item() if stop is None else stop
    if not (first <= times.min() and times.max() <= last):
        raise ValueError(
            f"start and stop must enclose the events, got {first:g} to {last:g} for events from {times.min():g} to "
            f"{times.max():g}; select the events of the interval first"
        )
    place = (times - first).double() * ((bins - 1) / (last - first or 1))
    earlier = place.floor()
    for bin_, weight in ((earlier, 1 - (place - earlier)), (earlier + 1, place - earlier)):
        inside = bin_ < bins
        index = (bin_ * height + rows) * width + columns
        values = weight * torch.where(signs > 0, 1.0, -1.0)
        grid.index_add_(0, index[inside].long(), values[inside])
    events = grid[grid != 0]
    if normalize and len(events) and (std := events.std(correction=0)) > 0:
        grid = torch.where(grid != 0, (grid - events.mean()) / std, 0)
    return grid.float().reshape(bins, height, width)


def _events(name: str, values: Any) -> Tensor:
    events = to_tensor(name, values)
    if events.dim() != 1:
        raise ValueError(f"{name} must have one axis, the events, got {tuple(events.shape)}; flatten it")
    return events.double() if events.is_floating_point() else events.long()  # exact nanoseconds
