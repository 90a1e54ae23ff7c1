"""Images from the events of an event camera: FireNet, and E2VID, a U-Net with convolutional LSTMs."""

from functools import partial
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .. import _checks as check
from ..layers._states import split_levels
from ..layers.variants import Conv2dOneBiasGRU, Conv2dOneBiasLSTM
from .base import RecurrentDenseModel, build_model, framewise, odd_kernel, register_model, with_padding, without_padding


class ResidualBlock(nn.Module):
    """Two convolutions with a shortcut, ``relu(x + conv2(relu(conv1(x))))``; with batch norms if `norm` is set."""

    def __init__(self, channels: int, kernel_size: int, norm: bool = False, **factory: Any) -> None:
        super().__init__()
        options: Any = {"padding": kernel_size // 2, "bias": not norm, **factory}
        self.conv1, self.conv2 = (nn.Conv2d(channels, channels, kernel_size, **options) for _ in "12")
        self.norm1, self.norm2 = (nn.BatchNorm2d(channels, **factory) if norm else nn.Identity() for _ in "12")

    def forward(self, x: Tensor) -> Tensor:
        """Returns maps of the same shape as `x` ``(N, C, H, W)``."""
        return (x + self.norm2(self.conv2(self.norm1(self.conv1(x)).relu()))).relu()


class FireNet(RecurrentDenseModel):
    """Reconstructs images from voxel grids of events: a convolution, two ConvGRUs and two residual blocks.

    The order is convolution, ConvGRU, residual block, ConvGRU, residual block, and the head: a 1×1 convolution without
    an activation. No layer reduces the resolution, so that frames may have any size.

    Args:
        in_chans: temporal bins of a voxel grid, see :func:`convrnn_zoo.data.voxel_grid`.
        num_classes: outputs per pixel; 1 for the brightness, 0 for features.
        hidden_channels, kernel_size: of all layers before the head.

    Shapes:
        voxel grids ``(N, T, B, H, W)`` or one grid per sequence ``(N, B, H, W)`` to images ``(N, T, 1, H, W)`` or
        ``(N, 1, H, W)``. With `lengths` ``(N,)``, the state is that after each sequence's end; features of padding are
        0.

    Example:
        >>> model = FireNet(hidden_channels=4).eval()
        >>> grids = torch.randn(1, 5, 5, 20, 30)
        >>> first, state = model.forward_sequence(grids[:, :3])
        >>> torch.allclose(model(grids[:, 3:], state), model(grids)[:, 3:], atol=1e-6)
        True
    """

    group_patterns: ClassVar[dict[str, Any]] = {"stem": r"^stem", "blocks": [(r"^(?:rnns|blocks)\.(\d+)", None)]}
    input_weights = ("stem.weight",)

    def __init__(
        self,
        in_chans: int = 5,
        num_classes: int = 1,
        hidden_channels: int = 16,
        kernel_size: int = 3,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_chans)
        self.num_features = width = check.positive_int("hidden_channels", hidden_channels)
        factory: Any = {"device": device, "dtype": dtype}
        self.stem = nn.Conv2d(in_chans, width, odd_kernel(kernel_size), padding=kernel_size // 2, **factory)
        self.rnns: Any = nn.ModuleList(
            Conv2dOneBiasGRU(width, width, kernel_size, batch_first=True, **factory) for _ in range(2)
        )
        self.blocks = nn.ModuleList(ResidualBlock(width, kernel_size, **factory) for _ in "12")
        self.reset_classifier(num_classes)

    def run_clips(self, x: Tensor, hx: Any, lengths: Tensor | None) -> tuple[list[Tensor], list[Any]]:
        y, states = framewise(self.stem, x).relu(), []
        for rnn, block, before in zip(self.rnns, self.blocks, split_levels(hx, len(self.rnns)), strict=True):
            inputs, mask = without_padding(y, lengths)
            h, state = rnn(inputs, before, mask=mask)
            states.append(state)
            y = framewise(block, with_padding(h, y))
        return [y], states


@register_model(cfg={"input_size": (5, 180, 240), "num_classes": 1, "first_conv": "stem"})
def firenet(pretrained: bool = False, **kwargs: Any) -> FireNet:
    """FireNet: images from an event camera, one for each voxel grid of events.

    Maps voxel grids ``(N, T, 5, H, W)`` to images ``(N, T, 1, H, W)`` whose values are about 0 to 1; clamp them.
    Scheerlinck et al. 2020, https://openaccess.thecvf.com/content_WACV_2020/html/Scheerlinck_Fast_Image_Reconstruction_with_an_Event_Camera_WACV_2020_paper.html
    37,777 parameters.
    """
    return build_model(FireNet, "firenet", pretrained, **kwargs)


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

    Shapes:
        those of :class:`~convrnn_zoo.models.e2vid.FireNet`.

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
        self.upsampling = check.choice("upsampling", upsampling, ("bilinear", "transposed"))
        self.norm = check.choice("norm", norm, ("batch", "none"))
        self.final_activation = check.choice("final_activation", final_activation, ACTIVATIONS)
        self.state_reductions = [2 ** (i + 1) for i in levels]
        self.reduction = self.state_reductions[-1]
        factory: Any = {"device": device, "dtype": dtype}
        widths = [hidden_channels * 2**i for i in range(num_levels + 1)]
        padded: Any = {"kernel_size": odd_kernel(kernel_size), "padding": kernel_size // 2, **factory}
        convolution: type[nn.Module] = nn.Conv2d
        up = padded
        if upsampling == "transposed":
            convolution, up = nn.ConvTranspose2d, {**padded, "stride": 2, "output_padding": 1}
        self.stem = nn.Conv2d(in_chans, hidden_channels, **padded)
        self.downs = nn.ModuleList(self._conv(nn.Conv2d, chs, **padded, stride=2) for chs in pairwise(widths))
        self.rnns: Any = nn.ModuleList(Conv2dOneBiasLSTM(w, w, 3, batch_first=True, **factory) for w in widths[1:])
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
        maps, states = [framewise(self.stem, x).relu()], list[Any]()
        for down, rnn, before in zip(self.downs, self.rnns, split_levels(hx, len(self.rnns)), strict=True):
            y = framewise(down, maps[-1]).relu()
            inputs, mask = without_padding(y, lengths)
            h, state = rnn(inputs, before, mask=mask)
            states.append(state)
            maps.append(with_padding(h, y))
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
    """
    return build_model(E2VID, "e2vid", pretrained, **kwargs)
