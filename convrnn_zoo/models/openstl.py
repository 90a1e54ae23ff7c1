"""The ConvLSTM of OpenSTL's benchmark: ``convlstm_openstl_s`` and ``convlstm_openstl_l``."""

from functools import partial

from torch import Tensor

from ..layers.mapnorm import Conv2dMapNormLSTMCell
from ..pretrained.builder import register
from ..pretrained.openstl_releases import release
from .base.autoregressive import Delta, StackedCells, State
from .base.forecaster import FRAME_CFG


class OpenSTLConvLSTM(StackedCells):
    """A stack of ConvLSTM cells that reads its own forecast: OpenSTL's ConvLSTM, without its dead parameters.

    No biases. The arguments are those of :class:`~convrnn_zoo.models.base.autoregressive.StackedCells`.

    References:
        Tan, C. et al. (2023). OpenSTL: A Comprehensive Benchmark of Spatio-Temporal Predictive Learning, tables 2
        and 3. https://arxiv.org/abs/2306.11249

    Example:
        >>> model = OpenSTLConvLSTM(hidden_channels=[4, 4], kernel_size=3, patch_size=2)
        >>> tuple(model(torch.rand(1, 3, 1, 8, 8), horizon=2).shape)
        (1, 2, 1, 8, 8)
    """

    cell = Conv2dMapNormLSTMCell

    def advance(self, x: Tensor, state: State) -> tuple[Tensor, State, list[Delta]]:
        """Up through the layers."""
        new: list[Tensor] = []
        for i, layer in enumerate(self.layers):
            new += layer(x, state[2 * i : 2 * i + 2])
            x = new[-2]
        return self.head(x), tuple(new), []


_DOC = """OpenSTL's ConvLSTM-{size}: four ConvLSTM layers of {width} on patches of 4×4, {count} parameters.

Frames ``(N, T, C, H, W)`` to ``(N, horizon, C, H, W)``, height and width multiples of the patch; reads its own
forecast. Published on Moving MNIST after 200 epochs, 10 frames to 10: MSE {mse}, SSIM {ssim}.
Tan et al. 2023, https://arxiv.org/abs/2306.11249. OpenSTL's code builds {built} parameters (published as {published}
million); {dead} of them are never used and left out here.

Args:
    pretrained: load the weights of the name's tag, or its default.
    in_chans (1), hidden_channels ({width}), kernel_size (5), num_layers (4), patch_size (4), layer_norm (False),
    img_size (None: 64 with norms), horizon (10).

Example:
    >>> import convrnn_zoo
    >>> model = convrnn_zoo.create_model("convlstm_openstl_{name}", hidden_channels=4, num_layers=2)
    >>> tuple(model(torch.rand(1, 3, 1, 8, 8), horizon=2).shape)
    (1, 2, 1, 8, 8)
"""

_BARE = "convert drops the weights that nothing reads"
for _size, _width, _release, _count, _built, _published, _dead, _mse, _ssim in (
    ("S", 128, release("convlstm", remarks=_BARE), "11,675,648", "15,083,520", "15.0", "3,407,872", "29.80", ".9288"),
    (
        "L", 192, release("convlstm_l", epochs=(200,), remarks=_BARE),
        "26,115,072", "33,782,784", "33.8", "7,667,712", "27.78", ".9343",
    ),
):  # fmt: skip
    register(
        __name__,
        f"convlstm_openstl_{_size.lower()}",
        partial(OpenSTLConvLSTM, hidden_channels=_width),
        cfg=FRAME_CFG,
        published=_release,
        doc=_DOC.format(
            size=_size, name=_size.lower(), width=_width, count=_count, built=_built, published=_published, dead=_dead,
            mse=_mse, ssim=_ssim,
        ),
    )  # fmt: skip
