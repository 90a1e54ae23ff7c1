"""Normalisation within a step: the option `norm` of the core cells, and the norms of published cells."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import _checks as check
from ._base import Constant, Equations, Size
from ._in_place import InPlaceStep
from ._run import DirectionWeights, Maps

NORMS = (None, "layer", "group")


def affine(name: str, shape: tuple[int, ...]) -> dict[str, Constant]:
    """Returns the shapes of ``weight_NAME`` and ``bias_NAME``: scales and shifts of a norm, which start at 1 and 0."""
    return {f"weight_{name}": Constant(shape, 1.0), f"bias_{name}": Constant(shape, 0.0)}


# ---- one scale per channel -------------------------------------------------------------------------------------
class Normed(Equations):
    """Base of cells with the option `norm`, which normalises each gate over the map and its channels.

    With ``"layer"`` all channels of a gate are normalised together, with ``"group"`` 16 channels at a time.
    ``weight_norm`` and ``bias_norm`` have one scale and shift per channel of each normalised map, so that maps may have
    any size. A step with a norm has no in-place version.
    """

    norms: ClassVar[int]  # number of maps of a step that are normalised, each with a row of scale and shift
    norm: str | None = None
    group: ClassVar[int] = 16  # channels per group (Wu & He 2018, table 3, https://arxiv.org/abs/1803.08494)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "norms" in vars(cls):
            cls._normed_step = cls.step  # type: ignore[attr-defined]

    def _set_options(self, options: dict[str, Any]) -> None:
        super()._set_options(options)
        if self.norm is not None:
            if type(self).step is not type(self)._normed_step:  # type: ignore[attr-defined]
                raise ValueError(
                    f"norm={self.norm!r} is not supported by {type(self).__name__}, which changes the step that "
                    "applies it; leave norm out"
                )
            self.in_place = None  # type: ignore[misc]

    def norm_rows(self) -> int:
        """Returns the number of normalised maps, which is `norms` unless the options of the cell change it."""
        return self.norms

    def extra_shapes(self, channels: int, kernel: tuple[int, ...]) -> dict[str, Any]:
        shapes = super().extra_shapes(channels, kernel)
        if self.norm is None:
            return shapes
        if self.norm != "layer" and channels > self.group and channels % self.group:
            hint = " with norm='group'; change it, or use norm='layer'" if self.norm == "group" else "; change it"
            limit = f"a multiple of {self.group}, or at most {self.group}"
            raise ValueError(f"out_channels must be {limit}, got {channels}{hint}")
        return {**shapes, **affine("norm", (self.norm_rows() * channels,))}

    def normalize(self, maps: Tensor, norm: Maps, first: int = 0) -> Tensor:
        """Normalises one or more concatenated maps of C channels each.

        `norm` is ``(weight_norm, bias_norm)``. Both have C values for each normalised map of a step. `first` is the
        index of the first of `maps` among the normalised maps of a step. Returns the maps unchanged if `norm` is empty
        or has no values for `first`.
        """
        if not norm or first >= self.norm_rows():
            return maps
        weight, bias = norm
        channels = len(weight) // self.norm_rows()
        rows = slice(first * channels, first * channels + maps.shape[1])
        groups = self.num_groups(maps.shape[1], channels)
        return torch.group_norm(maps, groups, weight[rows], bias[rows])  # F.group_norm rejects maps of a single value

    def num_groups(self, rows: int, channels: int) -> int:
        """Returns the number of groups for concatenated maps of `channels` channels each, together `rows` channels."""
        return rows // channels * (max(1, channels // self.group) if self.norm == "group" else 1)


class GroupNormed(Normed):
    """Base of cells with one group norm over several gates, in groups of about 32 channels."""

    norm, group = "joint", 32

    def extra_shapes(self, channels: int, kernel: tuple[int, ...]) -> dict[str, Any]:
        rows = self.summed_rows(self.gates * channels)
        if channels < self.group and rows % (groups := self.num_groups(rows, channels)):
            problem = f"{rows} channels of gates cannot be divided into {groups} equal groups"
            raise ValueError(f"out_channels={channels}: {problem}; use a multiple of {self.group // self.gates}")
        return super().extra_shapes(channels, kernel)

    def num_groups(self, rows: int, channels: int) -> int:
        return max(1, rows // self.group)


# ---- one scale per pixel ---------------------------------------------------------------------------------------
def resize_weight(weight: Tensor, size: Sequence[int]) -> Tensor:
    """Resizes a weight per pixel, ``(…, H, W)``, to a map of another size by bilinear interpolation."""
    is_unknown = any(isinstance(s, torch.SymInt) for s in size)  # in an exported file, which is for maps of any size
    if not is_unknown and tuple(weight.shape[-2:]) == tuple(size):
        return weight
    rows = weight.reshape(1, -1, *weight.shape[-2:])
    resized = F.interpolate(rows, size=tuple(size), mode="bilinear", align_corners=False)
    return resized.reshape(*weight.shape[:-2], *size)


def map_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Applies a layer norm over all axes of `x` except the first, with a scale and a shift per channel and pixel."""
    size = x.shape[-2:]
    return F.layer_norm(x, x.shape[1:], resize_weight(weight, size), resize_weight(bias, size))


class MapNormed(Equations):
    """Base of cells with an optional layer norm over channels and map after each convolution.

    Input and state contributions are normalised before they are added. A norm has a scale ``weight_norm_…`` and a shift
    ``bias_norm_…`` per channel and pixel of a map of `norm_size`. For a map of another size, scales and shifts are
    resized bilinearly. ``norm_size=None`` means no norms. OpenSTL calls this option ``layer_norm``.
    """

    in_place: ClassVar[type[InPlaceStep] | None] = None
    map_norms: ClassVar[dict[str, int]] = {"ih": 4, "hh": 4}  # number of gates of each normalised convolution
    norm_size: tuple[int, ...] | None = None

    def __init__(self, *args: Any, norm_size: Size | None = None, **kwargs: Any) -> None:
        if norm_size is not None:
            self.norm_size = check.ntuple("norm_size", norm_size, self.ndim)
        super().__init__(*args, **kwargs)

    def extra_shapes(self, channels: int, kernel: tuple[int, ...]) -> dict[str, Any]:
        shapes = super().extra_shapes(channels, kernel)
        if self.norm_size is not None:
            for name, gates in self.map_norms.items():
                shapes.update(affine(f"norm_{name}", (gates * channels, *self.norm_size)))
        return shapes

    def normalize_map(self, name: str, maps: Tensor) -> Tensor:
        """Applies the norm `name` to the result of a convolution, if the cell has norms."""
        if self.norm_size is None:
            return maps
        return map_norm(maps, getattr(self, f"weight_norm_{name}"), getattr(self, f"bias_norm_{name}"))

    def advance(self, x: Tensor, state: Maps, w: DirectionWeights) -> Maps:
        """Computes a complete step, with one normalised convolution of the input and one of the state."""
        ih = self.normalize_map("ih", self.conv(x, w.ih, w.b_ih))
        hh = self.normalize_map("hh", self.conv(state[0], w.hh, w.b_hh))
        return self.step(self.join(ih, hh), state, w.extra)
