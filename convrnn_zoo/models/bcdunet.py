"""BCDU-Net: a U-Net with densely connected convolutions, and with bidirectional ConvLSTMs on its skip connections."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from .. import _checks as check
from ..layers import Conv2dLSTM
from .base import DenseModel, build_model, conv_norm_relu, register_model


def pair(in_chs: int, out_chs: int, **factory: Any) -> nn.Sequential:
    """Returns two 3×3 convolutions, each followed by ReLU."""
    first, second = (nn.Conv2d(chs, out_chs, 3, padding=1, **factory) for chs in (in_chs, out_chs))
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU())


class RecurrentSkip(nn.Module):
    """Joins an encoder map and an upsampled decoder map, which a bidirectional ConvLSTM reads as two steps."""

    def __init__(self, in_chs: int, width: int, hidden: int, **factory: Any) -> None:
        super().__init__()
        doubling: Any = {"convolution": nn.ConvTranspose2d, "kernel_size": 2, "stride": 2, "padding": 0}
        self.up = conv_norm_relu(in_chs, width, **doubling, **factory)
        self.rnn = Conv2dLSTM(width, hidden, 3, bidirectional=True, **factory)
        self.pair = pair(2 * hidden, width, **factory)

    def forward(self, skip: Tensor, lower: Tensor) -> Tensor:
        """Reads the encoder's `skip`, then the upsampled `lower` map; convolves the last outputs of both directions."""
        y, _ = self.rnn(torch.stack([skip, self.up(lower)]))
        forward, backward = y.chunk(2, dim=2)
        return self.pair(torch.cat([forward[-1], backward[0]], dim=1))


class BCDUNet(DenseModel):
    """A U-Net with densely connected convolutions at its bottom and bidirectional ConvLSTMs on its skip connections.

    The authors' code runs the ConvLSTM in one direction only. This model runs both directions, as in the paper.

    Args:
        in_chans: channels of an image.
        num_classes: outputs per pixel; 0 returns features.
        widths: channels of the maps, from the highest resolution to the lowest; at least two.
        dense_blocks: number of pairs of convolutions at the bottom. A pair reads the outputs of all earlier pairs.
        drop_rate: dropout after the last map of the encoder and after each dense block.

    Shapes:
        images ``(N, C, H, W)`` to logits ``(N, K, H, W)``, or series ``(N, T, C, H, W)`` to ``(N, T, K, H, W)``. Images
        of a series are processed separately. Height and width are multiples of ``2 ** (len(widths) - 1)``.

    Example:
        >>> model = BCDUNet(3, 2, widths=(4, 8, 8), dense_blocks=2).eval()
        >>> tuple(model(torch.rand(1, 3, 16, 16)).shape)
        (1, 2, 16, 16)
    """

    input_weights = ("downs.0.0.weight",)

    def __init__(
        self,
        in_chans: int = 3,
        num_classes: int = 1,
        widths: Sequence[int] = (64, 128, 256, 512),
        dense_blocks: int = 3,
        drop_rate: float = 0.5,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_chans)
        sizes = check.widths("widths", list(widths), len(widths))
        blocks = check.positive_int("dense_blocks", dense_blocks)
        if len(sizes) < 2 or any(size % 2 for size in sizes[:-1]):
            raise ValueError(f"widths must be two or more, all even but the last, got {sizes}")
        self.drop_rate = check.probability("drop_rate", drop_rate)
        self.reduction = 2 ** (len(sizes) - 1)
        factory: Any = {"device": device, "dtype": dtype}
        self.downs = nn.ModuleList(pair(*chs, **factory) for chs in pairwise([in_chans, *sizes[:-1]]))
        # The first block reads the map of the encoder, the others the outputs of all blocks before them.
        self.dense = nn.ModuleList(pair(sizes[-1] * i or sizes[-2], sizes[-1], **factory) for i in range(blocks))
        self.ups = nn.ModuleList(RecurrentSkip(low, width, width // 2, **factory) for width, low in pairwise(sizes))
        self.drop, self.pool = nn.Dropout(drop_rate), nn.MaxPool2d(2)
        self.num_features, self.level_widths = sizes[0], sizes
        self.reset_classifier(num_classes)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        depth = len(self.downs)
        ups = [(rf"^ups\.{i}\.", (2 * depth - i,)) for i in range(depth)]
        return {"stem": r"^downs\.0", "blocks": [(r"^downs\.(\d+)", None), (r"^dense", (depth,)), *ups]}

    def forward_levels(self, x: Tensor) -> list[Tensor]:
        self.check_images(x)
        if x.dim() == 5:
            return [level.unflatten(0, x.shape[:2]) for level in self.forward_levels(x.flatten(0, 1))]
        maps: list[Tensor] = []
        for down in self.downs:
            maps.append(down(self.pool(maps[-1]) if maps else x))
        maps[-1] = self.drop(maps[-1])
        x = self.pool(maps[-1])
        outputs: list[Tensor] = []
        for block in self.dense:
            outputs.append(self.drop(block(torch.cat(outputs, 1) if outputs else x)))
        levels = outputs[-1:]
        for i in reversed(range(self.removed_levels, len(self.ups))):
            levels.append(self.ups[i](maps[i], levels[-1]))
        return levels[::-1]

    def remove_levels(self) -> None:
        for i in range(self.removed_levels):
            self.ups[i] = nn.Identity()


@register_model(cfg={"input_size": (3, 256, 256), "num_classes": 1}, small={"widths": (4, 4, 4)})
def bcdunet_d3(pretrained: bool = False, **kwargs: Any) -> BCDUNet:
    """BCDU-Net with three dense blocks and ConvLSTMs in both directions, as in the paper.

    Maps images ``(N, C, H, W)`` to logits of every pixel ``(N, K, H, W)``. After Azad, R. et al. (2019),
    https://arxiv.org/abs/1909.00166.
    """
    return build_model(BCDUNet, "bcdunet_d3", pretrained, **kwargs)
