"""The eidetic 3-d LSTM: ``e3d_lstm``."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..layers.e3dlstm import E3DLSTMCell
from ..pretrained.openstl_releases import release
from ..pretrained.registry import register
from .base.autoregressive import Delta, StackedCells, State
from .base.blocks import map_of, unread_weights
from .base.forecaster import FRAME_CFG


class E3DLSTM(StackedCells):
    """A stack of eidetic 3-d LSTM cells on the frame of a step and the one before.

    The cells' layer norms have a scale and a shift for each pixel: those of a network for frames of `img_size` are
    fitted to frames of another size, bilinearly, which OpenSTL's code cannot do. A cell recalls from all of its earlier
    memories, so that a step costs more the later it is. What is odd about the cell, whose global memory stays zero and
    whose attention mixes pixels and channels, is the original's: see
    :class:`~convrnn_zoo.layers.e3dlstm.E3DLSTMCell`. ``unread`` holds the kernels that act on that memory or forget it,
    the part f' of each cell's ``conv_x`` and its ``conv_gm``.

    Args:
        img_size: height and width of the frames that the norms are for, or one number for both.
        …: as for :class:`~convrnn_zoo.models.base.autoregressive.StackedCells`.

    References:
        Wang, Y. et al. (2019). Eidetic 3D LSTM: A Model for Video Prediction and Beyond.
        https://openreview.net/forum?id=B1lKS2AqtX

    Example:
        >>> model = E3DLSTM(hidden_channels=[4, 4], kernel_size=3, patch_size=2, img_size=8)
        >>> tuple(model(torch.rand(1, 3, 1, 8, 8), horizon=2).shape)
        (1, 2, 1, 8, 8)
    """

    cell = E3DLSTMCell
    depth = 2

    def __init__(self, *args: Any, patch_size: int = 4, img_size: int | Sequence[int] = 64, **kwargs: Any) -> None:
        super().__init__(*args, patch_size=patch_size, map_size=map_of(img_size, patch_size), **kwargs)  # type: ignore[misc]
        shapes = []
        for layer, width in zip(self.layers, self.widths, strict=True):
            kernel: Any = layer.kernel_size
            shapes += [(width, layer.in_channels, *kernel), (4 * width, width, *kernel)]
        like = self.head.weight
        self.unread = unread_weights(shapes, device=like.device, dtype=like.dtype)

    def layer(self, index: int, in_channels: int, channels: int, kernel_size: int, **made: Any) -> nn.Module:
        """A cell whose kernels are as deep as its maps."""
        return self.cell(in_channels, channels, (self.depth, kernel_size, kernel_size), **made)

    def start(self, x: Tensor) -> State:
        """Zeros: the frame before the first, then of each layer h and the first of its memories."""
        size = (self.depth, *x.shape[-2:])
        return (torch.zeros_like(x), *(x.new_zeros(len(x), width, *size) for width in self.widths for _ in range(2)))

    def advance(self, x: Tensor, state: State) -> tuple[Tensor, State, list[Delta]]:
        """Up through the layers; each gives back one memory more."""
        before, *states = state
        new: list[Tensor] = [x]
        each = len(states) // len(self.layers)
        seen = torch.stack([before, x], dim=2)
        for i, layer in enumerate(self.layers):
            kept = layer(seen, states[i * each : (i + 1) * each])
            seen = kept[0]
            new += kept
        return self.head(seen.flatten(1, 2)), tuple(new), []

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Parameters by depth, for layer-wise learning rates."""
        return {"stem": r"^layers\.0\.weight_[im]", "blocks": r"^layers\.(\d+)", "head": r"^head|^unread"}


_DOC = """E3D-LSTM: four eidetic 3-d LSTM layers of 128 on patches of 4×4, 51,347,456 parameters.

That is the count of OpenSTL's code for frames of 64×64 (its table says 51.0 million). A memory that stays zero leaves
13,107,200 of them without use, in kernels that act on it alone, and 2,560,000 that forget it: 35,680,256 are live.
Frames ``(N, T, C, H, W)`` to ``(N, horizon, C, H, W)``, height and width multiples of the patch; reads its own
forecast. Wang et al. 2019, https://openreview.net/forum?id=B1lKS2AqtX. Published by OpenSTL on Moving MNIST after 200
epochs, 10 frames to 10: MSE 35.97, MAE 78.28, SSIM .9320; after 2000 epochs: MSE 24.07, MAE 77.49, SSIM .9436. See
:class:`~convrnn_zoo.models.e3d_lstm.E3DLSTM` for what is odd, and for frames of other sizes.

Args:
    pretrained: load the weights of the name's tag, or its default.
    in_chans (1), hidden_channels (128), kernel_size (5), num_layers (4), patch_size (4), img_size (64), horizon (10).

Example:
    >>> import convrnn_zoo
    >>> model = convrnn_zoo.create_model("e3d_lstm", hidden_channels=4, num_layers=2)
    >>> tuple(model(torch.rand(1, 3, 1, 8, 8), horizon=2).shape)
    (1, 2, 1, 8, 8)
"""

register(
    __name__,
    "e3d_lstm",
    E3DLSTM,
    cfg=FRAME_CFG,
    doc=_DOC,
    published=release(
        "e3dlstm",
        remarks="a memory that stays zero and an attention that mixes pixels and channels are the original's",
    ),
)
