"""The sizes of what a network of recurrent layers reads, and of the maps that its layers remember."""

from typing import Any, NamedTuple

import torch

from ..layers import ConvRNNBase
from ..layers._conv import same_padding
from ..models import VideoModel
from ..models.base.blocks import Unroll
from ..models.rvm import RecurrentDecoderModel
from ._plan import Axis, space

ClipModel = VideoModel | RecurrentDecoderModel
Axes = list[Axis | int]
Size = tuple[int, int]


class Maps(NamedTuple):
    """The axes of a frame and of the maps that each layer reads, the smallest, and why they are fixed, if they are."""

    frame: Axes
    maps: list[Axes]
    least: dict[str, int]
    fixed: str | None


def maps_of(model: Any, size: Size | None) -> Maps:
    """Those of a network; `size` is that of the frames, where an image encoder reads them."""
    if not isinstance(model, ClipModel):
        axes: Axes = [*space(model.ndim)]
        return Maps(axes, [axes], least_map(model.rnn), None)
    encoder: Any = model.encoder
    why = "as asked" if size else _why_fixed(encoder)
    largest = max(encoder.reductions)
    tried = (4 * largest - 1, 3 * largest + 1)  # which tells sizes that are rounded up from those rounded down
    height, width = size or (model.pretrained_cfg["input_size"][-2:] if why else tried)
    with torch.no_grad():
        zeros = next(model.parameters()).new_zeros(1, model.in_chans, height, width)
        found = [tuple(m.shape[-2:]) for m in encoder.encode(zeros)]
    if why:
        frame, maps, least = [height, width], [list(m) for m in found], 1
    else:
        ups = [m == (-(-height // r), -(-width // r)) for m, r in zip(found, encoder.reductions, strict=True)]
        downs = [m == (height // r, width // r) for m, r in zip(found, encoder.reductions, strict=True)]
        plain = all(ups) or all(downs)
        frame = [a._replace(free=plain) for a in space(2, 1 if plain else largest)]
        maps = [[_divided(a, r, all(ups)) for a in frame] for r in encoder.reductions]
        least = 2 * largest if plain else 2  # pixels of the smallest map, below which torch.export takes none
    if isinstance(model, RecurrentDecoderModel):
        maps.reverse()  # it goes up from the smallest
    return Maps(frame, maps, {"height": least, "width": least}, why)


def _divided(frame: Any, reduction: int, up: bool) -> Axis:
    sign = "/" if up or not frame.free else "//"  # rounded up or even, or down
    return frame._replace(name=f"{frame.name}{sign}{reduction}", divided=reduction, up=up)


def _why_fixed(encoder: Any) -> str | None:
    """Why an encoder takes frames of one size alone, once it is a graph."""
    if encoder.has_pre_logits:
        return "the encoder's fully connected layers read maps of one size"
    if any(type(m).__name__.endswith("2dSame") for m in encoder.modules()):
        return "the encoder pads by what the size of the map is"
    return None


def least_map(rnn: Any) -> dict[str, int]:
    """The smallest map that a layer, or an unrolled cell, can pad."""
    rnn = rnn.cell if isinstance(rnn, Unroll) else rnn
    if isinstance(rnn, ConvRNNBase):
        kernels = [*rnn.kernels, *rnn.hidden_kernels]
    else:
        kernels = [rnn.kernel_size, rnn.hidden_kernel_size]
    spare = {"reflect": 1, "circular": 0}.get(rnn.padding_mode)
    if spare is None:
        return {}
    pads = [same_padding((1,) * rnn.ndim, kernel, *rnn.geometry[:2]) for kernel in kernels]
    return {a.size: max(max(p[i]) for p in pads) + spare for i, a in enumerate(space(rnn.ndim))}
