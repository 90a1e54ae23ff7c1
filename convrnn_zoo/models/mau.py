"""MAU, a forecaster with motion-aware units."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .. import _checks as check
from ..layers._run import Maps
from ..layers.mau import MAUCell
from .base import FRAME_CFG, AutoregressiveForecaster, build_model, feature_size, layer_widths, register_model, stage


class MAU(AutoregressiveForecaster):
    """Stacked motion-aware units between a convolutional encoder and decoder of frames.

    The layer norms of the units have a scale and a shift for each pixel of the maps, for frames of `img_size`. For
    frames of another size, both are interpolated bilinearly, which OpenSTL's code does not support. Its unused
    convolutions ``merge`` and ``conv_last_sr`` are left out.

    Args:
        hidden_channels: channels of every map.
        kernel_size: kernel of the units' convolutions; strided convolutions of the encoder and decoder are 3×3.
        num_layers: number of stacked units.
        patch_size: edge of a patch in pixels; frames are folded into patches first.
        downsampling: height of the folded frame divided by that of the units' maps; a power of two.
        tau: number of earlier steps that a unit attends to.
        img_size: height and width of the frames for which the norms have weights; one number means both.
        residual: whether each unit adds its input to its spatial state; OpenSTL's ``cell_mode="residual"``.
        recall: whether the encoder's maps are added to the decoder's; OpenSTL's ``model_mode="recall"``.
        in_chans, horizon, **kwargs: as for :class:`~convrnn_zoo.Forecaster`.
    """

    group_patterns: ClassVar[dict[str, Any]] = {
        "stem": r"^stem|^downs",
        "blocks": r"^layers\.(\d+)",
        "ups": r"^ups",
        "head": r"^head",
    }

    def __init__(
        self,
        in_chans: int = 1,
        hidden_channels: int | Sequence[int] = 64,
        kernel_size: int = 5,
        num_layers: int = 4,
        patch_size: int = 1,
        downsampling: int = 4,
        tau: int = 5,
        img_size: int | Sequence[int] = 64,
        residual: bool = False,
        recall: bool = False,
        horizon: int = 10,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **kwargs: Any,
    ) -> None:
        patch_size = check.positive_int("patch_size", patch_size)
        halvings = check.positive_int("downsampling", downsampling).bit_length() - 1
        if downsampling != 2**halvings:
            raise ValueError(f"downsampling must be a power of two, got {downsampling}")
        super().__init__(in_chans, horizon, patch_size * downsampling, patch_size=patch_size, **kwargs)
        widths = layer_widths(hidden_channels, num_layers, has_one_width=True)
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        width, folded, size = widths[0], self.folded_out, feature_size(img_size, self.reduction)
        self.num_features, self.recall = width, check.boolean("recall", recall)
        self.stem = stage(nn.Conv2d, self.folded_in, width, 1, 1, 0, **factory)
        self.downs = nn.ModuleList(stage(nn.Conv2d, width, width, 3, 2, 1, **factory) for _ in range(halvings))
        self.layers: Any = nn.ModuleList(
            MAUCell(width, kernel_size, tau=tau, map_size=size, residual=residual, **factory) for _ in widths
        )
        ups = [stage(nn.ConvTranspose2d, width, width, 3, 2, 1, 1, **factory) for _ in range(halvings)]
        self.ups = nn.ModuleList(up if i < halvings - 1 else up[0] for i, up in enumerate(ups))
        self.head = nn.Conv2d(width, folded, 1, **factory)

    def state_sizes(self) -> dict[str, tuple[int, int]]:
        names = [f"{name}_l{i}" for i, layer in enumerate(self.layers) for name in layer.state_names(None)]
        return dict.fromkeys(names, (self.num_features, 2 ** len(self.downs)))

    def advance(self, x: Tensor, state: Maps) -> tuple[Tensor, Maps]:
        x = self.stem(x)
        encoded = []
        for down in self.downs:
            encoded.append(x)
            x = down(x)
        new: list[Tensor] = []
        each = len(state) // len(self.layers)
        for i, layer in enumerate(self.layers):
            x, unit_state = layer(x, state[i * each : (i + 1) * each])
            new += unit_state
        for up in self.ups:
            x = up(x)
            if self.recall:
                x = x + encoded.pop()
        return self.head(x), tuple(new)


@register_model(cfg=FRAME_CFG, small={"hidden_channels": 4, "num_layers": 2})
def mau(pretrained: bool = False, **kwargs: Any) -> MAU:
    """MAU: four 64-channel motion-aware units between an encoder and a decoder, 4,475,329 parameters.

    For frames of 64×64, OpenSTL's code builds 4,483,588 parameters; 8,259 of them are never used and are left out here.
    Chang et al. 2021, https://proceedings.neurips.cc/paper/2021/hash/e25cfa90f04351958216f97e3efdabe9-Abstract.html.
    Published by OpenSTL on Moving MNIST after 200 epochs, 10 input and 10 forecast frames: MSE 26.86, MAE 78.22, SSIM
    .9398; after 2000 epochs: MSE 22.25, MAE 67.96, SSIM .9511. Height and width of frames are multiples of 4.
    """
    return build_model(MAU, "mau", pretrained, **kwargs)
