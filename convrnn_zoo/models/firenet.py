"""FireNet: images from the events of an event camera, by convolutional GRUs at full resolution."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from .. import _checks as check
from ..layers._states import split_levels
from ..layers.variants import Conv2dOneBiasGRU
from .base import RecurrentDenseModel, build_model, framewise, register_model, run_padded


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
        device, dtype: of the parameters.

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
        if check.positive_int("kernel_size", kernel_size) % 2 == 0:
            raise ValueError(f"kernel_size must be odd, so that maps keep their size, got {kernel_size}")
        factory: Any = {"device": device, "dtype": dtype}
        self.stem = nn.Conv2d(in_chans, width, kernel_size, padding=kernel_size // 2, **factory)
        options: Any = {"batch_first": True, **factory}
        self.rnns = nn.ModuleList(Conv2dOneBiasGRU(width, width, kernel_size, **options) for _ in "12")
        self.blocks = nn.ModuleList(ResidualBlock(width, kernel_size, **factory) for _ in "12")
        self.reset_classifier(num_classes)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        return {
            "stem": r"^stem",
            "blocks": r"^(?:rnns|blocks)\.(\d+)" if coarse else [(r"^(?:rnns|blocks)\.(\d+)", None)],
        }

    def run_clips(self, x: Tensor, hx: Any, lengths: Tensor | None) -> tuple[list[Tensor], list[Any]]:
        y, states = framewise(self.stem, x).relu(), []
        parts: Any = zip(self.rnns, self.blocks, split_levels(hx, len(self.rnns)), strict=True)
        for rnn, block, before in parts:
            [h], state = run_padded(partial(rnn.forward_layers, hx=before), y, lengths)
            states.append(state)
            y = framewise(block, h)
        return [y], states


@register_model(cfg={"input_size": (5, 180, 240), "num_classes": 1, "first_conv": "stem"})
def firenet(pretrained: bool = False, **kwargs: Any) -> FireNet:
    """FireNet: images from an event camera, one for each voxel grid of events.

    Maps voxel grids ``(N, T, 5, H, W)`` to images ``(N, T, 1, H, W)`` whose values are about 0 to 1; clamp them.
    Scheerlinck et al. 2020, https://openaccess.thecvf.com/content_WACV_2020/html/Scheerlinck_Fast_Image_Reconstruction_with_an_Event_Camera_WACV_2020_paper.html
    37,777 parameters.

    Args:
        in_chans (5), num_classes (1), hidden_channels (16), kernel_size (3); see
        :class:`~convrnn_zoo.models.firenet.FireNet`.
    """
    return build_model(FireNet, "firenet", pretrained, **kwargs)
