"""BCDU-Net: a U-Net whose skips are joined by a bidirectional ConvLSTM, with densely connected convolutions."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from ..layers import Conv2dLSTM
from ..layers import _checks as check
from ..pretrained.builder import register
from .base.blocks import framewise, made_on
from .base.dense import DenseModel


def pair(below: int, above: int) -> nn.Sequential:
    """Two 3×3 convolutions, each followed by ReLU."""
    return nn.Sequential(
        nn.Conv2d(below, above, 3, padding=1), nn.ReLU(), nn.Conv2d(above, above, 3, padding=1), nn.ReLU()
    )


class RecurrentSkip(nn.Module):
    """Joins an encoder's map and the decoder's, enlarged: a bidirectional ConvLSTM reads the one and then the other."""

    def __init__(self, below: int, width: int, hidden: int) -> None:
        super().__init__()
        self.up = nn.Sequential(nn.ConvTranspose2d(below, width, 2, stride=2), nn.BatchNorm2d(width), nn.ReLU())
        self.rnn = Conv2dLSTM(width, hidden, 3, bidirectional=True)
        self.pair = pair(2 * hidden, width)

    def forward(self, skip: Tensor, below: Tensor) -> Tensor:
        """The last output of each direction, through two convolutions."""
        y, _ = self.rnn(torch.stack([skip, self.up(below)]))
        forward, backward = y.chunk(2, dim=2)
        return self.pair(torch.cat([forward[-1], backward[0]], dim=1))


class BCDUNet(DenseModel):
    """A U-Net whose skips are joined by bidirectional ConvLSTMs, with densely connected convolutions at its bottom.

    The authors' code runs its ConvLSTM in one direction; here both are run, as the paper says.

    Args:
        in_chans, num_classes: channels of an image, and classes of a pixel; 0 for features.
        widths: channels of the maps, the highest resolution first.
        dense_blocks: pairs of convolutions at the bottom, each of which reads the outputs of all before it.
        drop_rate: dropout behind the third map and behind each dense block.
        device, dtype: where and as what the parameters are made.

    Shapes:
        images ``(N, C, H, W)``, or series of images ``(N, T, C, H, W)``, each read by itself, to logits of every pixel;
        height and width are multiples of ``2 ** (len(widths) - 1)``.

    Reference:
        Azad, R. et al. (2019). Bi-Directional ConvLSTM U-Net with Densley Connected Convolutions.
        https://arxiv.org/abs/1909.00166

    Example:
        >>> model = BCDUNet(3, 2, widths=(4, 8, 8), dense_blocks=2).eval()
        >>> tuple(model(torch.rand(1, 3, 16, 16)).shape)
        (1, 2, 16, 16)
    """

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
        super().__init__()
        sizes = check.widths("widths", list(widths), len(widths))
        blocks = check.positive_int("dense_blocks", dense_blocks)
        if len(sizes) < 2 or any(size % 2 for size in sizes[:-1]):
            raise ValueError(f"widths must be two or more, all even but the last, got {sizes}")
        self.in_chans, self.drop_rate = (
            check.positive_int("in_chans", in_chans),
            check.probability("drop_rate", drop_rate),
        )
        self.reduction = 2 ** (len(sizes) - 1)
        with made_on(device):
            self.downs = nn.ModuleList(
                pair(below, above) for below, above in zip([in_chans, *sizes], sizes[:-1], strict=False)
            )
            # The first block reads the map above, each other the outputs of all blocks before it.
            self.dense = nn.ModuleList(pair(sizes[-1] * i or sizes[-2], sizes[-1]) for i in range(blocks))
            self.ups = nn.ModuleList(RecurrentSkip(below, above, above // 2) for above, below in pairwise(sizes))
        self.drop, self.pool = nn.Dropout(drop_rate), nn.MaxPool2d(2)
        self.num_features = sizes[0]
        self.to(dtype=dtype)
        self.reset_classifier(num_classes)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Parameters by depth, for layer-wise learning rates: down, the bottom, and up again."""
        depth = len(self.downs)
        ups = [(rf"^ups\.{i}\.", (2 * depth - i,)) for i in range(depth)]
        return {"stem": r"^downs\.0", "blocks": [(r"^downs\.(\d+)", None), (r"^dense", (depth,)), *ups]}

    def forward(self, x: Tensor) -> Tensor:
        """Logits of every pixel."""
        return self.forward_head(self.forward_features(x))

    def forward_features(self, x: Tensor) -> Tensor:
        """Features of every pixel.

        Raises:
            ValueError: no images, or of another size or number of channels than the model can take.
        """
        if not isinstance(x, Tensor) or x.dim() not in (4, 5) or x.shape[-3] != self.in_chans:
            raise ValueError(
                f"BCDUNet expected images (N, {self.in_chans}, H, W) or series of them (N, T, {self.in_chans}, H, W), "
                f"got {check.describe(x)}; permute or build with in_chans of its channels"
            )
        if any(size % self.reduction for size in x.shape[-2:]):
            raise ValueError(
                f"BCDUNet expected height and width that are multiples of {self.reduction}, got "
                f"{tuple(x.shape[-2:])}; pad or crop the images"
            )
        check.device_and_dtype("BCDUNet", "x", x, next(self.parameters()))
        if x.dim() == 5:
            return framewise(self.forward_features, x)
        maps = []
        for i, down in enumerate(self.downs):
            x = down(self.pool(x) if i else x)
            if i == len(self.downs) - 1:
                x = self.drop(x)
            maps.append(x)
        x = self.pool(x)
        made: list[Tensor] = []
        for block in self.dense:
            made.append(self.drop(block(torch.cat(made, 1) if made else x)))
        x = made[-1]
        for skip, up in zip(reversed(maps), reversed(self.ups), strict=True):
            x = up(skip, x)
        return x


register(
    __name__,
    "bcdunet_d3",
    BCDUNet,
    doc="""BCDU-Net with three dense blocks, its ConvLSTMs run in both directions, as the paper says.

Images ``(N, C, H, W)`` to logits of every pixel ``(N, K, H, W)``; see
:class:`~convrnn_zoo.models.bcdunet.BCDUNet`. After Azad, R. et al. (2019), https://arxiv.org/abs/1909.00166.

Args:
    pretrained: load the weights of the name's tag, or its default.
    in_chans (3), num_classes (1), widths (64, 128, 256, 512), dense_blocks (3), drop_rate (0.5).

Example:
    >>> import convrnn_zoo
    >>> model = convrnn_zoo.create_model("bcdunet_d3", in_chans=1, widths=(4, 8, 8)).eval()
    >>> tuple(model(torch.rand(2, 1, 8, 12)).shape)
    (2, 1, 8, 12)
""",
    cfg={"input_size": (3, 256, 256), "num_classes": 1, "first_conv": "downs.0.0"},
)
