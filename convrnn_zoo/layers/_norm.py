"""Norms inside a step: of the gates before they open, and of what a step shows of its cell state."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from . import _checks as check
from ._base import Equations

NORMS = (None, "layer", "group")
GROUP = 16
"""Channels of a group (Wu & He 2018, table 3)."""


def group_norm(maps: Tensor, groups: int, weight: Tensor, bias: Tensor) -> Tensor:
    """Applies a group norm to maps that may hold a single value, of which only the shift remains."""
    return torch.group_norm(maps, groups, weight, bias)  # torch.nn.functional.group_norm rejects a single value


class Normed(Equations):
    """A kind of cell that takes the option `norm`.

    Each gate passes by itself through a norm over channels and map: all channels together with ``"layer"``, 16 at a
    time with ``"group"``. Scale and shift are one a channel, ``weight_norm`` and ``bias_norm``, a row for each of
    `norms`: maps may be of any size. A step with a norm runs by autograd of its equations, without a derivative
    written down in place.

    References:
        Ba, J. L. et al. (2016). Layer Normalization. https://arxiv.org/abs/1607.06450
        Wu, Y. and He, K. (2018). Group Normalization. https://arxiv.org/abs/1803.08494
    """

    norms: ClassVar[int]
    """How many maps of a step are normed, each with a row of scale and shift."""
    norm: str | None = None

    def _choose(self, *, norm: str | None = None, **options: Any) -> None:
        super()._choose(**options)
        check.choice("norm", norm, NORMS)
        if norm is None:
            return

        def law(name: str) -> type:
            return next(base for base in type(self).__mro__ if name in vars(base))

        if "norm" not in self.options or law("step") is not law("norms"):
            raise ValueError(
                f"{type(self).__name__} has a step of its own, which norms nothing; leave norm={norm!r} out"
            )
        self.norm = norm
        self.in_place = None  # type: ignore[misc]

    def norm_rows(self) -> int:
        """How many maps of a step are normed, with the cell's options."""
        return self.norms

    def extra_shapes(self, channels: int, kernel: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """The norms' scale and shift."""
        shapes = super().extra_shapes(channels, kernel)
        if self.norm is None:
            return shapes
        if self.norm == "group" and channels > GROUP and channels % GROUP:
            raise ValueError(
                f"out_channels must be a multiple of {GROUP}, or at most {GROUP}, for norm='group', got {channels}; "
                "change it, or take norm='layer'"
            )
        rows = (self.norm_rows() * channels,)
        return {**shapes, "weight_norm": rows, "bias_norm": rows}

    def normed(self, maps: Tensor, norm: tuple[Tensor, ...], first: int = 0) -> Tensor:
        """`maps` of C channels each, side by side, each normed with its row of scale and shift from row `first` on.

        They stay as they are where `norm` is empty.
        """
        if not norm:
            return maps
        weight, bias = norm
        channels = len(weight) // self.norm_rows()
        rows = slice(first * channels, first * channels + maps.shape[1])
        groups = max(1, channels // GROUP) if self.norm == "group" else 1
        return group_norm(maps, maps.shape[1] // channels * groups, weight[rows], bias[rows])
