"""The eidetic 3-d LSTM."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .. import _checks as check
from ..layers._run import Maps
from ..layers.e3dlstm import E3DLSTMCell
from .base import FRAME_CFG, StackedCells, build_model, register_model


class E3DLSTM(StackedCells):
    """A stack of eidetic 3-d LSTM cells on maps of depth 2: depth 0 is the previous frame and depth 1 the current one.

    The norms of the cells have a weight for each pixel of the maps, for frames of `img_size`. As in the original code,
    the global memory stays zero and the attention mixes pixels and channels: see
    :class:`~convrnn_zoo.layers.e3dlstm.E3DLSTMCell`. Kernels of the original cells that have no effect while the global
    memory is zero are left out: ``conv_gm``, and the rows of ``conv_x`` for the memory's forget gate. With
    `layer_norm`, this forget gate has an effect, and ``conv_gm`` and the scale of its norm are left out.

    Args:
        max_memories: number of the latest memories (cell states) that each cell attends to. None, as in the paper,
            means all of them: the state and the cost of a step then grow with every frame.
        …: as for :class:`~convrnn_zoo.models.base.autoregressive.StackedCells`.
    """

    cell = E3DLSTMCell
    depth = 2
    has_pixel_weights = True
    group_patterns: ClassVar[dict[str, Any]] = {**StackedCells.group_patterns, "stem": r"^layers\.0\.weight_[im]"}

    def __init__(self, *args: Any, max_memories: int | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.max_memories = None if max_memories is None else check.positive_int("max_memories", max_memories)

    def layer(self, index: int, in_channels: int, channels: int, kernel_size: int, **factory: Any) -> nn.Module:
        return self.cell(in_channels, channels, (self.depth, kernel_size, kernel_size), **factory)

    def start(self, x: Tensor) -> Maps:
        size = (self.depth, *x.shape[-2:])
        return (torch.zeros_like(x), *(x.new_zeros(len(x), width, *size) for width in self.widths for _ in range(2)))

    def advance(self, x: Tensor, state: Maps) -> tuple[Tensor, Maps]:
        before, *states = state
        new: list[Tensor] = [x.clone()]  # the caller may overwrite x
        each = len(states) // len(self.layers)
        frames = torch.stack([before, x], dim=2)
        for i, layer in enumerate(self.layers):
            h_and_memories = layer(frames, states[i * each : (i + 1) * each])
            frames = h_and_memories[0]
            new += h_and_memories if self.max_memories is None else h_and_memories[: 1 + self.max_memories]
        return self.head(frames.flatten(1, 2)), tuple(new)

    @property
    def state_grows(self) -> bool:
        """True if the state grows with each step."""
        return self.max_memories is None

    def reset_state(self, state: Maps, items: Tensor) -> Maps:
        """Raises ValueError, because all sequences of a state have the same number of memories."""
        owner = type(self).__name__
        raise ValueError(f"{owner} cannot restart single sequences; call reset() for all, or use a stream for each")

    def _fits(self, count: int, state: Maps) -> bool:
        return count >= 2 + 2 * len(self.layers) and (count - 2) % len(self.layers) == 0


@register_model(cfg=FRAME_CFG, small={"hidden_channels": 4, "num_layers": 2})
def e3d_lstm(pretrained: bool = False, **kwargs: Any) -> E3DLSTM:
    """E3D-LSTM: four eidetic 3-d LSTM layers with 128 channels on 4×4 patches, 35,680,256 parameters.

    For frames of 64×64, OpenSTL's code builds 51,347,456 parameters (published as 51.0 million). 15,667,200 of them are
    left out here, since they have no effect while the global memory stays zero: 13,107,200 in kernels that read it and
    2,560,000 in its forget gate. Wang et al. 2019, https://openreview.net/forum?id=B1lKS2AqtX. Published by OpenSTL on
    Moving MNIST after 200 epochs, 10 input and 10 forecast frames: MSE 35.97, MAE 78.28, SSIM .9320; after 2000 epochs:
    MSE 24.07, MAE 77.49, SSIM .9436. See :class:`~convrnn_zoo.models.e3d_lstm.E3DLSTM` for the differences from the
    paper.
    """
    return build_model(E3DLSTM, "e3d_lstm", pretrained, **kwargs)
