"""PredRNN++: ``predrnn_pp``."""

from typing import Any

import torch
from torch import Tensor

from ..layers.causallstm import CausalLSTMCell, GradientHighwayCell
from ..pretrained.builder import register
from ..pretrained.openstl_releases import release
from .base.autoregressive import Delta, State
from .base.blocks import unread_weights
from .base.forecaster import FRAME_CFG
from .predrnn import PredRNN


class PredRNNPP(PredRNN):
    """A stack of causal LSTM cells, and a gradient highway between the first and the second of them.

    The arguments are those of :class:`~convrnn_zoo.models.base.autoregressive.StackedCells`, with two layers or more of
    one width. ``unread`` holds the kernels that OpenSTL's code makes in every cell (its ``conv_o``) and never reads: a
    checkpoint has them, nothing depends on them, and training leaves them alone.

    References:
        Wang, Y. et al. (2018). PredRNN++: Towards A Resolution of the Deep-in-Time Dilemma in Spatiotemporal Predictive
        Learning. https://arxiv.org/abs/1804.06300

    Example:
        >>> model = PredRNNPP(hidden_channels=[4, 4], kernel_size=3, patch_size=2)
        >>> tuple(model(torch.rand(1, 3, 1, 8, 8), horizon=2).shape)
        (1, 2, 1, 8, 8)
    """

    cell = CausalLSTMCell

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if len(self.widths) < 2:
            raise ValueError("num_layers must be at least 2: the highway stands between the first layer and the second")
        width, kernel, like = self.widths[0], self.layers[0].kernel_size, self.head.weight
        made: dict[str, Any] = {"device": like.device, "dtype": like.dtype}
        self.highway = GradientHighwayCell(width, width, kernel, bias=False, **made)  # type: ignore[arg-type]
        self.unread = unread_weights([(width, 2 * width, *kernel)] * len(self.widths), **made)  # type: ignore[misc]

    def start(self, x: Tensor) -> State:
        """Zeros: ``h`` and ``c`` of each layer in turn, behind them the one ``m``, and the highway's ``z``."""
        state = super().start(x)
        return (*state, torch.zeros_like(state[0]))

    def advance(self, x: Tensor, state: State) -> tuple[Tensor, State, list[Delta]]:
        """Up through the layers, the memory with it, and past the first by the highway."""
        *cells, m, z = state
        new: list[Tensor] = []
        for i, layer in enumerate(self.layers):
            if i == 1:
                x = z = self.highway(x, z)
            x, c, m = layer(x, (*cells[2 * i : 2 * i + 2], m))
            new += [x, c]
        return self.head(x), (*new, m, z), []

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Parameters by depth, for layer-wise learning rates."""
        blocks = [(r"^layers\.(\d+)", None), (r"^highway", (0,))]
        return {"stem": r"^layers\.0\.weight_ih", "blocks": blocks, "head": r"^head|^unread"}


_DOC = """PredRNN++: four causal LSTM layers of 128 and a gradient highway on patches of 4×4, 38,584,320 parameters.

That is the count of OpenSTL's code, of which 3,276,800 are never read: 35,307,520 are live. Frames ``(N, T, C, H, W)``
to ``(N, horizon, C, H, W)``, height and width multiples of the patch; reads its own forecast. Wang et al. 2018,
https://arxiv.org/abs/1804.06300. Published by OpenSTL on Moving MNIST after 200 epochs, 10 frames to 10: MSE 22.06, MAE
69.58, SSIM .9509; after 2000 epochs: MSE 14.07, MAE 48.91, SSIM .9698.

Args:
    pretrained: load the weights of the name's tag, or its default.
    in_chans (1), hidden_channels (128), kernel_size (5), num_layers (4), patch_size (4), horizon (10).

Example:
    >>> import convrnn_zoo
    >>> model = convrnn_zoo.create_model("predrnn_pp", hidden_channels=4, num_layers=2)
    >>> tuple(model(torch.rand(1, 3, 1, 8, 8), horizon=2).shape)
    (1, 2, 1, 8, 8)
"""

register(__name__, "predrnn_pp", PredRNNPP, cfg=FRAME_CFG, doc=_DOC, published=release("predrnnpp"))
