"""The ConvGRU ensemble of IRENE, the Italian Radar Ensemble Nowcasting Experiment."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .. import _checks as check
from ..layers.variants import Conv2dOneBiasGRU
from .base import FRAME_CFG, EnsembleForecaster, Shuffle, Unshuffle, build_model, register_model


class ConvGRUEnsemble(EnsembleForecaster):
    """An encoder of ConvGRUs at decreasing resolution, and a forecaster of ConvGRUs that is driven by noise.

    Between two levels, squares of 2×2 pixels are folded into channels (pixel unshuffle). The first ConvGRU has the
    channels of a frame, and each level has four times as many channels at half the resolution. Each ConvGRU of the
    forecaster starts from the encoder's last output at its level, folded again. At every step, the forecaster's
    ConvGRU at the lowest resolution reads new noise; forecasts are not fed back. The forecaster's ConvGRU at the
    highest resolution returns the folded frames, with values from -1 to 1.

    Args:
        num_blocks: number of levels; height and width of frames must be multiples of 2**num_blocks.
        kernel_size: kernel of every convolution.
        in_chans, horizon, num_classes: as for :class:`~convrnn_zoo.Forecaster`.

    Example:
        >>> model = ConvGRUEnsemble(num_blocks=2)
        >>> radar = torch.rand(1, 6, 1, 8, 12)
        >>> tuple(model.members(radar, horizon=3, members=4, seed=0).shape)
        (4, 1, 3, 1, 8, 12)
    """

    group_patterns: ClassVar[dict[str, Any]] = {
        "stem": r"^encoder\.0",
        "encoder": r"^encoder\.(\d+)",
        "decoder": r"^decoder\.(\d+)",
    }

    def __init__(
        self,
        in_chans: int = 1,
        num_blocks: int = 5,
        kernel_size: int = 3,
        horizon: int = 12,
        num_classes: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_chans, horizon, 2 ** check.positive_int("num_blocks", num_blocks), num_classes)

        def layers(levels: range) -> nn.ModuleList:
            widths = (self.in_chans * 4**level for level in levels)  # one by one: a config may ask for any number
            return nn.ModuleList(Conv2dOneBiasGRU(w, w, kernel_size, device=device, dtype=dtype) for w in widths)

        self.encoder, self.decoder = layers(range(num_blocks)), layers(range(num_blocks, 0, -1))
        self.num_features = 4 * self.in_chans
        self.unshuffle, self.shuffle = Unshuffle(2), Shuffle(2)

    def noise_shape(self, x: Tensor, horizon: int) -> tuple[int, ...]:
        n, _, channels, height, width = x.shape
        edge = self.reduction
        return n, horizon, channels * edge**2, height // edge, width // edge

    def read(self, x: Tensor) -> list[Tensor]:
        states: list[Tensor] = []
        y = x.transpose(0, 1)
        for layer in self.encoder:
            y = self.unshuffle(layer(y)[0])
            states.insert(0, y[-1])
        return states

    def make(self, context: list[Tensor], horizon: int, noise: Tensor) -> Tensor:
        y = noise.transpose(0, 1)
        for layer, state in zip(self.decoder, context, strict=True):
            y = self.shuffle(layer(y, state.unsqueeze(0))[0])
        return y.transpose(0, 1)


@register_model(cfg={**FRAME_CFG, "input_size": (1, 256, 256)}, small={"num_blocks": 2})
def convgru_irene(pretrained: bool = False, **kwargs: Any) -> ConvGRUEnsemble:
    """The ConvGRU ensemble of IRENE, the Italian Radar Ensemble Nowcasting Experiment: 64,177,905 parameters.

    Five levels in the encoder and five in the forecaster, with 1 to 1,024 channels. Maps frames ``(N, T, C, H, W)`` to
    ``(N, horizon, C, H, W)``; height and width are multiples of ``2 ** num_blocks``. IRENE reads 6 frames and forecasts
    the next 12, at intervals of 5 minutes. Frames are reflectivity scaled to [-1, 1]. ``model(x, noise=…)`` returns
    one member, and ``model.members(x, members=20, seed=0)`` returns 20; see
    :class:`~convrnn_zoo.models.irene.ConvGRUEnsemble`. Fondazione Bruno Kessler, https://huggingface.co/it4lia/irene;
    the cell is that of Ballas et al. 2016, https://arxiv.org/abs/1511.06432.
    """
    return build_model(ConvGRUEnsemble, "convgru_irene", pretrained, **kwargs)
