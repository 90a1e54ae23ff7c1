"""PhyDNet, a forecaster with a physical cell."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .. import _checks as check
from ..layers._nonlinearities import NEGATIVE_SLOPE
from ..layers._run import Maps
from ..layers.phycell import PhyCell, moments
from ..layers.variants import Conv2dOneBiasLSTMCell
from .base import FRAME_CFG, AutoregressiveForecaster, build_model, layer_widths, register_model

NORM_GROUPS = 16
"""Number of groups of the group norms where it divides the channels; other norms have one group."""


def block(in_chs: int, channels: int, stride: int = 1, up: bool = False, **factory: Any) -> nn.Sequential:
    """Returns a 3×3 convolution, which is transposed if `up`, a group norm and a leaky ReLU."""
    more: dict[str, Any] = {"output_padding": stride - 1} if up else {}
    convolution: Any = nn.ConvTranspose2d if up else nn.Conv2d
    return nn.Sequential(
        convolution(in_chs, channels, 3, stride, 1, **more, **factory),
        nn.GroupNorm(NORM_GROUPS if channels % NORM_GROUPS == 0 else 1, channels, **factory),
        nn.LeakyReLU(NEGATIVE_SLOPE),
    )


class PhyDNet(AutoregressiveForecaster):
    """Two branches on the map of a frame: a physical cell, and ConvLSTM layers for the residual dynamics.

    Each branch has an encoder and a decoder. The sum of the decoders' maps is decoded to the frame. A sigmoid keeps its
    pixels between 0 and 1, so that there are no logits for a cross-entropy loss. As in OpenSTL's code but not in the
    paper, the physical cell corrects its prediction by its input in forecast steps as well. In training, the authors
    add a loss on :meth:`moments`.

    Args:
        hidden_channels: list with the width of each ConvLSTM layer, or one width for all. The physical cell has the
            width of the last layer.
        num_layers: number of ConvLSTM layers, if `hidden_channels` is one number.
        kernel_size: kernel of the gates of all cells.
        patch_size: height of a frame divided by that of the maps, 2 or 4. Strided convolutions reduce the height.
        stem_channels: channels at half the size of the frame.
        filters, filter_size: of the physical cell, see :class:`~convrnn_zoo.layers.phycell.PhyCell`.
        in_chans, horizon, **kwargs: as for :class:`~convrnn_zoo.Forecaster`.
    """

    group_patterns: ClassVar[dict[str, Any]] = {
        "stem": r"^stem|^encoders",
        "blocks": [(r"^layers\.(\d+)", None), (r"^physics", (0,))],
        "head": r"^decoders|^image",
    }

    def __init__(
        self,
        in_chans: int = 1,
        hidden_channels: int | Sequence[int] = (128, 128, 64),
        num_layers: int = 3,
        kernel_size: int = 3,
        patch_size: int = 4,
        stem_channels: int = 32,
        filters: int = 49,
        filter_size: int = 7,
        horizon: int = 10,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **kwargs: Any,
    ) -> None:
        patch_size = check.choice("patch_size", check.positive_int("patch_size", patch_size), (2, 4))
        super().__init__(in_chans, horizon, patch_size, patch_size=1, **kwargs)
        widths = layer_widths(hidden_channels, num_layers)
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        stem, top, last = check.positive_int("stem_channels", stem_channels), widths[-1], patch_size // 2
        self.physics: Any = PhyCell(top, kernel_size, filters=filters, filter_size=filter_size, **factory)
        sizes = pairwise([top, *widths])
        self.layers = nn.ModuleList(Conv2dOneBiasLSTMCell(*size, kernel_size, **factory) for size in sizes)
        self.widths, self.num_features = widths, stem
        ups: Any = {"up": True, **factory}
        self.encoders, self.decoders = nn.ModuleDict(), nn.ModuleDict()
        for branch in ("physics", "rest"):
            self.encoders[branch] = nn.Sequential(block(2 * stem, top, **factory), block(top, top, **factory))
            self.decoders[branch] = nn.Sequential(block(top, top, **ups), block(top, 2 * stem, **ups))
        self.stem = nn.Sequential(
            block(self.folded_in, stem, 2, **factory),
            block(stem, stem, **factory),
            block(stem, 2 * stem, last, **factory),
        )
        self.image = nn.Sequential(
            block(2 * stem, stem, 2, **ups),
            block(stem, stem, **ups),
            nn.ConvTranspose2d(stem, in_chans, 3, last, 1, output_padding=last - 1, **factory),
        )

    def state_sizes(self) -> dict[str, tuple[int, int]]:
        layers = {f"{name}_l{i}": (width, self.reduction) for i, width in enumerate(self.widths) for name in "hc"}
        return {"physics": (self.widths[-1], self.reduction), **layers}

    def advance(self, x: Tensor, state: Maps) -> tuple[Tensor, Maps]:
        x = self.stem(x)
        physical = self.physics(self.encoders["physics"](x), state[0])
        residual, new = self.encoders["rest"](x), [physical]
        for i, layer in enumerate(self.layers):
            new += layer(residual, state[1 + 2 * i : 3 + 2 * i])
            residual = new[-2]
        decoded = self.decoders["physics"](physical) + self.decoders["rest"](residual)
        return self.image(decoded).sigmoid(), tuple(new)

    def moments(self) -> Tensor:
        """Returns the moments ``(filters, channels, K, K)`` of the physical cell's filters of K×K pixels.

        Filter n should be the partial derivative of order ``n // K`` along the height and ``n % K`` along the width:
        its moments should be 1 at position ``(n // K, n % K)`` and 0 elsewhere. OpenSTL sums the mean squared distance
        from these targets over the channels, and adds the sum to the loss.

        Example:
            >>> model = PhyDNet(hidden_channels=[8, 8], stem_channels=8, filters=9, filter_size=3)
            >>> target = torch.eye(9).reshape(9, 1, 3, 3)
            >>> loss = (model.moments() - target).square().mean(dim=(0, 2, 3)).sum()
        """
        return moments(self.physics.weight_f)


@register_model(cfg=FRAME_CFG)
def phydnet(pretrained: bool = False, **kwargs: Any) -> PhyDNet:
    """PhyDNet: a physical cell and three ConvLSTM layers on maps of a quarter of the size, 3,091,732 parameters.

    Maps frames ``(N, T, C, H, W)`` to ``(N, horizon, C, H, W)``; height and width are multiples of 4, and pixels are
    from 0 to 1. Le Guen et al. 2020, https://arxiv.org/abs/2003.01460. Published by OpenSTL on Moving MNIST after 200
    epochs, 10 input and 10 forecast frames: MSE 28.19, MAE 78.64, SSIM .9374; after 2000 epochs: MSE 20.35, MAE 61.47,
    SSIM .9559.
    :class:`~convrnn_zoo.models.phydnet.PhyDNet` also describes the additional loss.
    """
    return build_model(PhyDNet, "phydnet", pretrained, **kwargs)
