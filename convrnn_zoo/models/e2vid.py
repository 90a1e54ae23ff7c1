"""E2VID: images from the events of an event camera, by a U-Net with convolutional LSTMs in its encoder."""

from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from .. import _checks as check
from ..layers._states import split_levels
from ..layers.variants import Conv2dOneBiasLSTM
from .base import RecurrentDenseModel, build_model, framewise, register_model, run_padded
from .firenet import ResidualBlock

UPSAMPLINGS = ("bilinear", "transposed")
NORMS = ("batch", "none")
ACTIVATIONS = ("sigmoid", "none")


class E2VID(RecurrentDenseModel):
    """Reconstructs images from voxel grids of events by a recurrent U-Net.

    After a convolution, each level of the encoder is a convolution of stride 2 and a ConvLSTM. Two residual blocks
    follow at the lowest resolution. Each level of the decoder adds the encoder's map of its resolution, doubles the
    size and convolves. The head reads the sum of the last level and the first convolution.

    Args:
        in_chans: temporal bins of a voxel grid, see :func:`convrnn_zoo.data.voxel_grid`.
        num_classes: outputs per pixel; 1 for the brightness, 0 for features.
        hidden_channels: of the first convolution; each level of the encoder doubles them.
        num_levels: number of levels L; height and width must be multiples of 2^L.
        num_blocks: number of residual blocks.
        kernel_size: of the convolutions of encoder and decoder; ConvLSTMs and residual blocks have 3×3 kernels.
        upsampling: ``"bilinear"`` interpolation before a convolution, or a ``"transposed"`` convolution, which is
            faster and leaves a checkerboard pattern.
        norm: ``"batch"`` norms after all convolutions but the first, or ``"none"``.
        final_activation: ``"sigmoid"`` of the output, or ``"none"``.
        device, dtype: of the parameters.

    Shapes:
        those of :class:`~convrnn_zoo.models.firenet.FireNet`.

    Example:
        >>> model = E2VID(hidden_channels=4, num_levels=2).eval()
        >>> grids = torch.randn(1, 5, 5, 20, 32)
        >>> first, state = model.forward_sequence(grids[:, :3])
        >>> torch.allclose(model(grids[:, 3:], state), model(grids)[:, 3:], atol=1e-6)
        True
    """

    input_weights = ("stem.weight",)

    def __init__(
        self,
        in_chans: int = 5,
        num_classes: int = 1,
        hidden_channels: int = 32,
        num_levels: int = 3,
        num_blocks: int = 2,
        kernel_size: int = 5,
        upsampling: str = "bilinear",
        norm: str = "batch",
        final_activation: str = "sigmoid",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_chans)
        self.num_features = check.positive_int("hidden_channels", hidden_channels)
        levels = range(check.positive_int("num_levels", num_levels))
        if check.positive_int("kernel_size", kernel_size) % 2 == 0:
            raise ValueError(f"kernel_size must be odd, so that sizes are halved and doubled, got {kernel_size}")
        self.upsampling = check.choice("upsampling", upsampling, UPSAMPLINGS)
        self.norm = check.choice("norm", norm, NORMS)
        self.final_activation = check.choice("final_activation", final_activation, ACTIVATIONS)
        self.state_reductions = [2 ** (i + 1) for i in levels]
        self.reduction = self.state_reductions[-1]
        factory: Any = {"device": device, "dtype": dtype}
        widths = [hidden_channels * 2**i for i in range(num_levels + 1)]
        padded: Any = {"kernel_size": kernel_size, "padding": kernel_size // 2, **factory}
        convolution: type[nn.Module] = nn.Conv2d
        up = padded
        if upsampling == "transposed":
            convolution, up = nn.ConvTranspose2d, {**padded, "stride": 2, "output_padding": 1}
        self.stem = nn.Conv2d(in_chans, hidden_channels, **padded)
        self.downs = nn.ModuleList(self._conv(nn.Conv2d, chs, **padded, stride=2) for chs in pairwise(widths))
        options: Any = {"batch_first": True, **factory}
        self.rnns = nn.ModuleList(Conv2dOneBiasLSTM(width, width, 3, **options) for width in widths[1:])
        blocks = range(check.positive_int("num_blocks", num_blocks))
        self.blocks = nn.ModuleList(ResidualBlock(widths[-1], 3, norm == "batch", **factory) for _ in blocks)
        self.ups = nn.ModuleList(self._conv(convolution, chs, **up) for chs in pairwise(widths[::-1]))
        self.reset_classifier(num_classes)

    def _conv(self, convolution: type[nn.Module], chs: tuple[int, int], **options: Any) -> nn.Sequential:
        conv = convolution(*chs, bias=self.norm == "none", **options)
        if self.norm == "none":
            return nn.Sequential(conv)
        return nn.Sequential(conv, nn.BatchNorm2d(chs[1], device=options.get("device"), dtype=options.get("dtype")))

    def make_head(self, num_classes: int) -> nn.Module:
        head = self._conv(nn.Conv2d, (self.num_features, num_classes), kernel_size=1)
        return head.append(nn.Sigmoid()) if self.final_activation == "sigmoid" else head

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        depth, middle = len(self.downs), len(self.downs) + len(self.blocks)
        blocks = [(rf"^blocks\.{i}\.", (depth + i,)) for i in range(len(self.blocks))]
        ups = [(rf"^ups\.{i}\.", (middle + i,)) for i in range(depth)]
        return {"stem": r"^stem", "blocks": [(r"^(?:downs|rnns)\.(\d+)", None), *blocks, *ups]}

    def run_clips(self, x: Tensor, hx: Any, lengths: Tensor | None) -> tuple[list[Tensor], list[Any]]:
        maps, states = [framewise(self.stem, x).relu()], []
        parts: Any = zip(self.downs, self.rnns, split_levels(hx, len(self.rnns)), strict=True)
        for down, rnn, before in parts:
            [h], state = run_padded(partial(rnn.forward_layers, hx=before), framewise(down, maps[-1]).relu(), lengths)
            states.append(state)
            maps.append(h)
        y = maps[-1]
        for block in self.blocks:
            y = framewise(block, y)
        for up in self.ups:
            y = framewise(partial(self._upsample, up), y + maps.pop())
        return [y + maps.pop()], states

    def _upsample(self, up: nn.Module, x: Tensor) -> Tensor:
        """Doubles the size of maps, with a convolution, a norm and ReLU."""
        if self.upsampling == "bilinear":
            x = nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        return up(x).relu()


@register_model(
    cfg={"input_size": (5, 184, 240), "num_classes": 1, "first_conv": "stem", "classifier": "head.0"},
    small={"hidden_channels": 4, "num_levels": 2, "num_blocks": 1},
)
def e2vid(pretrained: bool = False, **kwargs: Any) -> E2VID:
    """E2VID: images from an event camera, one for each voxel grid of events.

    Maps voxel grids ``(N, T, 5, H, W)`` to images ``(N, T, 1, H, W)`` with values from 0 to 1; height and width are
    multiples of 8. Rebecq et al. 2019, https://arxiv.org/abs/1906.07165. 10,712,098 parameters.

    Args:
        in_chans (5), num_classes (1), hidden_channels (32), num_levels (3), num_blocks (2), kernel_size (5), upsampling
        ("bilinear"), norm ("batch"), final_activation ("sigmoid"); see :class:`~convrnn_zoo.models.e2vid.E2VID`.
    """
    return build_model(E2VID, "e2vid", pretrained, **kwargs)
