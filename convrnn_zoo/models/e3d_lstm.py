"""The eidetic 3-d LSTM."""

from typing import Any

import torch
from torch import Tensor, nn

from ..layers import _checks as check
from ..layers._run import Maps
from ..layers.e3dlstm import E3DLSTMCell
from ..pretrained.builder import build_model
from ..pretrained.published import openstl_release
from ..pretrained.registry import register_model
from .base.autoregressive import StackedCells
from .base.forecaster import FRAME_CFG


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
    export_forms = ()
    depth = 2
    has_pixel_weights = True
    former_weights = r"unread\.\d+"

    def __init__(self, *args: Any, max_memories: int | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.max_memories = None if max_memories is None else check.positive_int("max_memories", max_memories)

    def layer(self, index: int, in_channels: int, channels: int, kernel_size: int, **factory: Any) -> nn.Module:
        return self.cell(in_channels, channels, (self.depth, kernel_size, kernel_size), **factory)

    def start(self, x: Tensor) -> Maps:
        size = (self.depth, *x.shape[-2:])
        return (torch.zeros_like(x), *(x.new_zeros(len(x), width, *size) for width in self.widths for _ in range(2)))

    def advance(self, x: Tensor, state: Maps) -> tuple[Tensor, Maps]:
        if state[-1].dim() == 1:
            return self._advance_unequal(x, state[:-1], state[-1])
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
        """Whether the state grows with each step."""
        return self.max_memories is None

    def reset_state(self, state: Maps, items: Tensor) -> Maps:
        """Resets the sequences `items`; the last tensor of the result is each sequence's memory count, ``(N,)``."""
        if state[-1].dim() > 1:
            memories = (len(state) - 2) // len(self.layers) - 1  # without the forecast frame and the frame before
            state = (*state, torch.full((len(items),), memories, device=state[-1].device))
        *maps, counts = state
        return (*super().reset_state(tuple(maps), items), counts.masked_fill(items.to(counts.device), 1))

    def _fits(self, count: int, state: Maps) -> bool:
        maps = count - 2 - (state[-1].dim() == 1)
        return maps >= 2 * len(self.layers) and maps % len(self.layers) == 0

    def _advance_unequal(self, x: Tensor, state: Maps, counts: Tensor) -> tuple[Tensor, Maps]:
        """Advances sequences in groups with equal numbers of memories (`counts`); pads shorter states with zeros."""
        each = (len(state) - 1) // len(self.layers)
        groups = []
        for count in counts.unique().tolist():
            rows = (counts == count).nonzero().flatten()
            parts = [state[0], *(s for i in range(1, len(state), each) for s in state[i : i + 1 + count])]
            y, after = self.advance(x[rows], tuple(part[rows] for part in parts))
            groups.append((rows, y, after))
        longest = max((after for _, _, after in groups), key=len)
        size = (len(longest) - 1) // len(self.layers)
        results = [t.new_zeros(len(x), *t.shape[1:]) for t in (groups[0][1], *longest)]
        new_counts = torch.zeros_like(counts)
        for rows, y, after in groups:
            count = (len(after) - 1) // len(self.layers)
            slots = [0, 1, *(2 + i * size + k for i in range(len(self.layers)) for k in range(count))]
            for slot, part in zip(slots, (y, *after), strict=True):
                results[slot][rows] = part
            new_counts[rows] = count - 1
        return results[0], (*results[1:], new_counts)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        return {**super().group_matcher(coarse), "stem": r"^layers\.0\.weight_[im]"}


_REMARKS = "a memory that stays zero and an attention that mixes pixels and channels are the original's"


@register_model(cfg=FRAME_CFG, published=openstl_release("e3dlstm", remarks=_REMARKS))
def e3d_lstm(pretrained: bool = False, **kwargs: Any) -> E3DLSTM:
    """E3D-LSTM: four eidetic 3-d LSTM layers with 128 channels on 4×4 patches, 35,680,256 parameters.

    For frames of 64×64, OpenSTL's code builds 51,347,456 parameters (published as 51.0 million). 15,667,200 of them are
    left out here, since they have no effect while the global memory stays zero: 13,107,200 in kernels that read it and
    2,560,000 in its forget gate. Wang et al. 2019, https://openreview.net/forum?id=B1lKS2AqtX. Published by OpenSTL on
    Moving MNIST after 200 epochs, 10 input and 10 forecast frames: MSE 35.97, MAE 78.28, SSIM .9320; after 2000 epochs:
    MSE 24.07, MAE 77.49, SSIM .9436. See :class:`~convrnn_zoo.models.e3d_lstm.E3DLSTM` for the differences from the
    paper.

    Args:
        those of :func:`~convrnn_zoo.models.predrnn.predrnn`, with img_size (64), and max_memories (None).
    """
    return build_model(E3DLSTM, "e3d_lstm", pretrained, **kwargs)
