"""Frames of rain in coordinates that move with it, and the way back to the map."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .base.motion import estimate_motion, fill_unknown, full_precision, sample, trajectories


class Carried(NamedTuple):
    """Frames carried to the place of the last one, and what carries that one on; all in full precision."""

    rate: Tensor
    """Of the last frame ``(N, C, H, W)`` in mm/h; what is unknown is filled in."""
    known: Tensor
    """Of the last frame ``(N, 1, H, W)``."""
    amount: Tensor
    """Of every frame at the last one's place ``(N, T, C, H, W)``, scaled."""
    seen: Tensor
    """Whether that is known ``(N, T, 1, H, W)``."""
    motion: Tensor
    """``(N, 2, H, W)`` in pixels a step."""
    ahead: Tensor
    """Where what is forecast comes from ``(N, horizon, 2, H, W)``."""


def carry(x: Tensor, horizon: int) -> Carried:
    """Frames ``(N, T, C, H, W)`` in mm/h, NaN where unknown, carried to the place of the last one.

    Example:
        >>> carry(torch.ones(1, 3, 1, 8, 8), horizon=2).ahead.shape
        torch.Size([1, 2, 2, 8, 8])
    """
    steps = x.shape[1]
    with full_precision(x):
        x = x if x.dtype == torch.float64 else x.float()
        finite = x.isfinite().all(2, keepdim=True)
        known = finite.to(x.dtype)
        rate = torch.where(finite, x, 0).clamp_min(0)
        motion = estimate_motion(torch.where(finite, rate, torch.nan).sum(2))
        rate = fill_unknown(rate.flatten(0, 1), known.flatten(0, 1)).unflatten(0, known.shape[:2])
        behind = trajectories(motion, max(steps - 1, 1))
        amount, seen = [scaled(rate[:, -1])], [known[:, -1]]
        for k in range(steps - 1):  # from the last but one to the first
            amount.insert(0, sample(scaled(rate[:, -2 - k]), behind[:, k]))
            seen.insert(0, sample(known[:, -2 - k], behind[:, k], "zeros"))
        ahead = trajectories(motion, horizon)
        return Carried(rate[:, -1], known[:, -1], torch.stack(amount, 1), torch.stack(seen, 1), motion, ahead)


def extrapolated(c: Carried, k: int, floor: float) -> tuple[Tensor, Tensor, Tensor]:
    """What comes to each pixel at lead time k, counted from 0.

    Returns:
        The logarithm of the rate that moves there and of that which was there last, each plus `floor`, ``(N, C, H,
        W)``; and how sure it is that the former was seen ``(N, 1, H, W)``, smoothed so that no edge shows on the map.
    """
    there = c.ahead[:, k]
    came = smooth(sample(c.known, there, "zeros"), 9)
    return (sample(c.rate, there) + floor).log(), (c.rate + floor).log(), came


def told_of_motion(motion: Tensor, minutes: float) -> Tensor:
    """Maps ``(N, 5, H, W)``: x, y, speed and divergence in pixels a minute, and the minutes of a step in tens."""
    p = F.pad(motion, (1, 1, 1, 1), mode="replicate")
    spread = p[:, :1, 1:-1, 2:] - p[:, :1, 1:-1, :-2] + p[:, 1:, 2:, 1:-1] - p[:, 1:, :-2, 1:-1]
    speed = motion.square().sum(1, keepdim=True).add(1e-6).sqrt()
    pace = torch.full_like(speed, minutes / 10)
    return torch.cat([motion / minutes, speed / minutes, spread * (5 / minutes), pace], 1)


def lead_times(horizon: int, minutes: float, like: Tensor) -> Tensor:
    """``(horizon, 1, 2, 1, 1)``: 1 plus half the logarithm of the hours, and the hours."""
    hours = torch.arange(1, horizon + 1, device=like.device, dtype=like.dtype) * (minutes / 60)
    return torch.stack([1 + hours.log() / 2, hours], 1)[:, None, :, None, None]


def scaled(rate: Tensor) -> Tensor:
    """A rain rate in mm/h on a logarithmic scale: 0 where dry, 1 at 5.4 mm/h."""
    return (rate / 0.1).log1p() / 4


def details_of(amount: Tensor) -> Tensor:
    """Scaled frames ``(N, T, C, H, W)`` to maps ``(N, 7·C, H, W)``: the last, its mean with the one before, the mean of
    all, and the last smoothed, as an amount and as the share of wet pixels."""
    last, before, mean = amount[:, -1], amount[:, -2:].mean(1), amount.mean(1)
    wet = ((last - 0.35) * 20).sigmoid()  # from 0.3 mm/h on
    return torch.cat([last, before, mean, smooth(last, 3), smooth(last, 9), smooth(wet, 5), smooth(wet, 15)], 1)


def smooth(x: Tensor, size: int) -> Tensor:
    """Means over squares of an odd number of pixels a side, of what of them lies on the map.

    Example:
        >>> smooth(torch.tensor([[[[0.0, 3.0, 3.0]]]]), 3).flatten().tolist()
        [1.5, 2.0, 3.0]
    """
    x = F.avg_pool2d(x, (1, size), 1, (0, size // 2), count_include_pad=False)
    return F.avg_pool2d(x, (size, 1), 1, (size // 2, 0), count_include_pad=False)
