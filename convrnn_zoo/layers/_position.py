"""Parameters that belong to the pixels of one map, and their use on maps of other sizes."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor

from . import _checks as check
from ._base import DirectionWeights, Size
from ._cell import ConvRNNCellBase


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


class MapNormed(ConvRNNCellBase):
    """A cell whose convolutions may each end in a layer norm over channels and map, before the gates are summed.

    A norm has a scale and a shift for each channel of each pixel, ``weight_norm_…`` and ``bias_norm_…``: those of a
    map of `norm_size` are bilinear between their pixels on maps of other sizes. What OpenSTL calls ``layer_norm``.

    Args:
        norm_size: height and width of the map that the norms are for; there are none where it is None.
        …: as of every cell.
    """

    map_norms: ClassVar[dict[str, int]] = {"ih": 4, "hh": 4}
    """The convolutions that end in a norm, by what their norms are called, and how many gates each makes."""
    norm_size: tuple[int, ...] | None = None

    def __init__(self, *args: Any, norm_size: Size | None = None, **kwargs: Any) -> None:
        if norm_size is not None:
            self.norm_size = check.ntuple("norm_size", norm_size, self.ndim)
        super().__init__(*args, **kwargs)

    def extra_shapes(self, channels: int, kernel: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """Scale and shift of the norms, behind what there is without them."""
        shapes = super().extra_shapes(channels, kernel)
        if self.norm_size is not None:
            for name, gates in self.map_norms.items():
                shape = (gates * channels, *self.norm_size)
                shapes |= {f"weight_norm_{name}": shape, f"bias_norm_{name}": shape}
        return shapes

    def extra_repr(self) -> str:
        return super().extra_repr() + ("" if self.norm_size is None else f", norm_size={self.norm_size}")

    def map_normed(self, name: str, made: Tensor) -> Tensor:
        """What a convolution has made, through its norm if the cell has norms."""
        if self.norm_size is None:
            return made
        return map_norm(made, getattr(self, f"weight_norm_{name}"), getattr(self, f"bias_norm_{name}"))

    def advance(self, x: Tensor, state: tuple[Tensor, ...], w: DirectionWeights) -> tuple[Tensor, ...]:
        """One whole step, of one convolution over the input and one over the state."""
        of_x = self.map_normed("ih", self.conv(x, w.ih, w.b_ih))
        of_h = self.map_normed("hh", self.conv(state[0], w.hh, w.b_hh))
        return self.step(self.join(of_x, of_h), state, w.extra)
