"""Memory In Memory (MIM)."""

from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from ..layers._run import Maps
from ..layers.mim import MIMBlockCell, MIMCell
from ..layers.stlstm import STLSTMCell
from .base import FRAME_CFG, build_model, register_model, shared_options
from .predrnn import PredRNN


class MIM(PredRNN):
    """An ST-LSTM cell and a stack of MIM blocks; each block reads differences that a MIM-N cell computes.

    The first MIM-N reads the change of the ST-LSTM's h since the previous step. Each later MIM-N reads the output of
    the previous MIM-N. The peepholes have one weight for each pixel of the maps, for frames of `img_size`. Each block
    has a memory s. OpenSTL's code never resets s, so that a forecast depends on earlier batches. Here s is zero at the
    start of every call. The unused kernel ``conv_last`` of each MIM-N is left out.

    Arguments are those of :class:`~convrnn_zoo.models.base.autoregressive.StackedCells`, with at least two layers of
    one width.
    """

    min_layers, has_pixel_weights = 2, True
    group_patterns: ClassVar[dict[str, Any]] = {**PredRNN.group_patterns, "blocks": r"^(?:layers|differences)\.(\d+)"}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        width, mim_s = self.widths[0], cast(Any, self.layers[1].stationary)
        options: Any = {**shared_options(mim_s), "map_size": mim_s.map_size, "norm_size": mim_s.norm_size}
        cells = (MIMCell(width, width, mim_s.kernel_size, **options) for _ in self.widths[1:])
        self.differences = nn.ModuleList(cells).to(self.head.weight)

    def layer(self, index: int, in_channels: int, channels: int, kernel_size: int, **factory: Any) -> nn.Module:
        if index:
            return MIMBlockCell(in_channels, channels, kernel_size, **{"bias": False, **factory})
        del factory["map_size"]
        return STLSTMCell(in_channels, channels, kernel_size, **{"bias": False, **factory})

    def start(self, x: Tensor) -> Maps:
        """Returns zeros.

        The order is: s of each block; h and c of each MIM-N; h and c of each layer; m; a flag, 1 after the first step.
        """
        state, blocks = super().start(x), len(self.differences)
        return (*state[:1] * blocks, *state[: 2 * blocks], *state, x.new_zeros(len(x), 1, 1, 1))

    def advance(self, x: Tensor, state: Maps) -> tuple[Tensor, Maps]:
        blocks = len(self.differences)
        memories, parts, (*cells, m, begun) = state[:blocks], state[blocks : 3 * blocks], state[3 * blocks :]
        h, c, m = self.layers[0](x, (*cells[:2], m))
        d = begun * (h - cells[0])  # the first step has no difference
        new_memories, new_parts, new = [], [], [h, c]
        for i, (layer, differ) in enumerate(zip(list(self.layers)[1:], self.differences, strict=True)):
            pair = slice(2 * i, 2 * i + 2)
            d, n = differ(d, parts[pair])
            if self.layer_norm:  # the norms shift zeros, and the first step has no difference
                d, n = begun * d, begun * n
            h, c, m, s = layer(h, (*cells[2:][pair], m, memories[i], d))
            new_memories.append(s)
            new_parts += [d, n]
            new += [h, c]
        return self.head(h), (*new_memories, *new_parts, *new, m, torch.ones_like(begun))


@register_model(cfg=FRAME_CFG, small={"hidden_channels": 4, "num_layers": 2})
def mim(pretrained: bool = False, **kwargs: Any) -> MIM:
    """Memory In Memory: an ST-LSTM layer and three MIM blocks of 128 channels on 4×4 patches, 37,945,344 parameters.

    For frames of 64×64, OpenSTL's code builds 38,043,648 parameters; 98,304 of them are never used and are left out
    here. Wang et al. 2019, https://arxiv.org/abs/1811.07490. Published by OpenSTL on Moving MNIST after 200 epochs, 10
    input and 10 forecast frames: MSE 22.55, MAE 69.97, SSIM .9498; after 2000 epochs: MSE 14.73, MAE 52.31, SSIM .9678.
    OpenSTL's scores were computed with memories that it never resets; see :class:`~convrnn_zoo.models.mim.MIM`.
    """
    return build_model(MIM, "mim", pretrained, **kwargs)
