"""The ConvLSTM of OpenSTL's benchmark: ``convlstm_openstl_s`` and ``convlstm_openstl_l``."""

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..layers import Conv2dLSTMCell, ConvRNNCellBase
from ..layers import _checks as check
from ._forecasting import AutoregressiveForecaster, State
from ._registry import register


class StackedCells(AutoregressiveForecaster):
    """Cells on top of each other on patches of a frame, and a 1×1 convolution from the top state to the next frame.

    Args:
        in_chans: channels of a frame.
        hidden_channels: one width a layer; a number is the width of all `num_layers`.
        kernel_size: kernel of every convolution.
        num_layers: layers, where `hidden_channels` is a number.
        patch_size: pixels of a patch's edge; a patch becomes one pixel of in_chans · patch_size² channels.
        horizon: frames to forecast when the call does not say.
        num_classes: 0.
        device, dtype: where and as what the parameters are made.
    """

    cell: ClassVar[type[ConvRNNCellBase]]
    """The class of every layer."""

    def __init__(
        self,
        in_chans: int = 1,
        hidden_channels: int | Sequence[int] = 128,
        kernel_size: int = 5,
        num_layers: int = 4,
        patch_size: int = 4,
        horizon: int = 10,
        num_classes: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_chans, horizon, check.positive_int("patch_size", patch_size), num_classes)
        if isinstance(hidden_channels, int):
            hidden_channels = [hidden_channels] * check.positive_int("num_layers", num_layers)
        widths = list(hidden_channels)
        folded = in_chans * patch_size**2
        factory = {"device": device, "dtype": dtype}
        self.layers = nn.ModuleList(
            self.cell(below, width, kernel_size, bias=False, **factory)  # type: ignore[arg-type]
            for below, width in zip([folded, *widths], widths, strict=False)
        )
        self.widths, self.num_features = widths, widths[-1]
        self.head = nn.Conv2d(widths[-1], folded, 1, bias=False, **factory)  # type: ignore[arg-type]

    def start(self, x: Tensor) -> State:
        """Zeros: ``h`` and ``c`` of each layer in turn."""
        return tuple(x.new_zeros(len(x), width, *x.shape[-2:]) for width in self.widths for _ in range(2))

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Parameters by depth, for layer-wise learning rates."""
        return {"stem": r"^layers\.0\.weight_ih", "blocks": r"^layers\.(\d+)", "head": r"^(?:head|adapter)"}


class OpenSTLConvLSTM(StackedCells):
    """A stack of ConvLSTM cells that reads its own forecast: OpenSTL's ConvLSTM, without its dead parameters.

    No biases. The arguments are those of :class:`StackedCells`.

    References:
        Tan, C. et al. (2023). OpenSTL: A Comprehensive Benchmark of Spatio-Temporal Predictive Learning, tables 2
        and 3. https://arxiv.org/abs/2306.11249

    Example:
        >>> model = OpenSTLConvLSTM(hidden_channels=[4, 4], kernel_size=3, patch_size=2)
        >>> tuple(model(torch.rand(1, 3, 1, 8, 8), horizon=2).shape)
        (1, 2, 1, 8, 8)
    """

    cell = Conv2dLSTMCell

    def advance(self, x: Tensor, state: State) -> tuple[Tensor, State, list[tuple[Tensor, Tensor]]]:
        """Up through the layers."""
        new: list[Tensor] = []
        for i, layer in enumerate(self.layers):
            new += layer(x, state[2 * i : 2 * i + 2])
            x = new[-2]
        return self.head(x), tuple(new), []


MNIST_CFG = {
    "input_size": (1, 64, 64),
    "pool_size": None,
    "num_classes": 0,
    "mean": (0.0,),
    "std": (1.0,),
    "first_conv": (),
    "classifier": (),
    "license": "mit",
}

_DOC = """OpenSTL's ConvLSTM-{size}: four ConvLSTM layers of {width} on patches of 4×4, {count} parameters.

Frames ``(N, T, C, H, W)`` to ``(N, horizon, C, H, W)``, height and width multiples of the patch; reads its own
forecast. Published on Moving MNIST after 200 epochs, 10 frames to 10: MSE {mse}, SSIM {ssim}.
Tan et al. 2023, https://arxiv.org/abs/2306.11249. OpenSTL's code builds {built} parameters (published as {published}
million); {dead} of them are never used and left out here.

Args:
    pretrained: load the weights of the name's tag, or its first.
    in_chans (1), hidden_channels ({width}), kernel_size (5), num_layers (4), patch_size (4), horizon (10).

Example:
    >>> import convrnn_zoo
    >>> model = convrnn_zoo.create_model("convlstm_openstl_{name}", hidden_channels=4, num_layers=2)
    >>> tuple(model(torch.rand(1, 3, 1, 8, 8), horizon=2).shape)
    (1, 2, 1, 8, 8)
"""

for _size, _width, _count, _built, _published, _dead, _mse, _ssim in (
    ("S", 128, "11,675,648", "15,083,520", "15.0", "3,407,872", "29.80", ".9288"),
    ("L", 192, "26,115,072", "33,782,784", "33.8", "7,667,712", "27.78", ".9343"),
):
    register(
        __name__,
        f"convlstm_openstl_{_size.lower()}",
        partial(OpenSTLConvLSTM, hidden_channels=_width),
        cfg=MNIST_CFG,
        doc=_DOC.format(
            size=_size, name=_size.lower(), width=_width, count=_count, built=_built, published=_published, dead=_dead,
            mse=_mse, ssim=_ssim,
        ),
    )  # fmt: skip
