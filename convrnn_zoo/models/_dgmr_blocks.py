"""Blocks of DGMR: residual ones down, up and across, and its attention."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import _checks as check
from ..pretrained.published import unread


class Down(nn.Module):
    """Half the resolution: a residual block of two 3×3 convolutions, averaged over 2×2 pixels (a "D block")."""

    def __init__(self, channels: int, out: int, **made: Any) -> None:
        super().__init__()
        self.beside = nn.Conv2d(channels, out, 1, **made)
        self.first = nn.Conv2d(channels, out, 3, padding=1, **made)
        self.last = nn.Conv2d(out, out, 3, padding=1, **made)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(N, C, H, W)`` to ``(N, out, H/2, W/2)``."""
        return F.avg_pool2d(self.beside(x) + self.last(self.first(x.relu()).relu()), 2)


class Widen(nn.Module):
    """More channels: those there are, further ones of a 1×1 convolution, and a residual of both (an "L block")."""

    def __init__(self, channels: int, out: int, **made: Any) -> None:
        super().__init__()
        self.beside = nn.Conv2d(channels, out - channels, 1, **made) if out > channels else None
        self.first = nn.Conv2d(channels, out, 3, padding=1, **made)
        self.last = nn.Conv2d(out, out, 3, padding=1, **made)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(N, C, H, W)`` to ``(N, out, H, W)``."""
        wide = x if self.beside is None else torch.cat([x, self.beside(x)], dim=1)
        return wide + self.last(self.first(x.relu()).relu())


class MixedAttention(nn.Module):
    """Attention as the published code has it: its axes are mixed up.

    Meant is attention between the pixels of a map. The code reads (channel, row, column) as (row, column, channel), so
    that it attends between pairs of channel and row, each described by its row of pixels. Published weights are
    trained with it.
    """

    def __init__(self, channels: int, **made: Any) -> None:
        super().__init__()
        small = check.positive_int("latent_channels // 32", channels // 8)
        self.query, self.key, self.value = (nn.Conv2d(channels, small, 1, bias=False, **made) for _ in range(3))
        self.last = nn.Conv2d(small, channels, 1, bias=False, **made)
        self.gamma = nn.Parameter(torch.zeros(1, **made))

    def forward(self, x: Tensor) -> Tensor:
        """The map ``(N, C, H, W)`` and what was attended to."""
        q, k, v = (conv(x).flatten(1, 2) for conv in (self.query, self.key, self.value))
        seen = F.scaled_dot_product_attention(q, k, v, scale=1.0)
        return x + self.gamma * self.last(seen.unflatten(1, (-1, x.shape[2])))


class Residual(nn.Module):
    """Two 3×3 convolutions behind batch norms, at the same resolution or twice it (a "G block")."""

    def __init__(self, channels: int, out: int, **made: Any) -> None:
        super().__init__()
        self.up = out != channels
        self.norm1, self.norm2 = nn.BatchNorm2d(channels, **made), nn.BatchNorm2d(channels, **made)
        # At the same width the published code builds this convolution, too, and never reads it.
        beside = nn.Conv2d(channels, out, 1, **made)
        self.beside = beside if self.up else unread(beside)
        self.first = nn.Conv2d(channels, channels, 3, padding=1, **made)
        self.last = nn.Conv2d(channels, out, 3, padding=1, **made)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(N, C, H, W)`` to ``(N, out, H, W)`` or ``(N, out, 2H, 2W)``."""
        y = self.norm1(x).relu()
        y = self.norm2(self.first(self._larger(y))).relu()
        beside = self._larger(self.beside(x)) if self.up else x
        return beside + self.last(y)

    def _larger(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2.0) if self.up else x


@contextmanager
def once_counted(*modules: nn.Module) -> Iterator[None]:
    """While a forward pass is run again for its gradients, its batch norms leave their running statistics alone."""
    norms = [m for module in modules for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
