"""The encoder–forecasters of the paper that brought the ConvLSTM: ``convlstm_shi2015_…``."""

from functools import partial

from ..layers.onebias import Conv2dOneBiasPeepholeLSTM
from ..pretrained.builder import register
from .base.forecaster import FRAME_CFG
from .forecaster import ConvRNNForecaster

_DOC = """The encoder–forecaster of Shi et al. 2015: {what}.

ConvLSTM layers with peepholes of one weight a channel, {widths} wide, with a {kernel}×{kernel} input-to-state and
a {hidden}×{hidden} state-to-state kernel, on patches of {patch}×{patch}: {count} parameters. Each layer of the
forecaster starts from the state of the encoder's layer of that level, its first has no input, and a 1×1 convolution
over all its states makes the frames. Frames ``(N, T, C, H, W)`` to ``(N, horizon, C, H, W)``, height and width
multiples of the patch; they are logits for the paper's cross-entropy. https://arxiv.org/abs/1506.04214.
{figure}

Args:
    pretrained: load the weights of the name's tag, or its default.
    in_chans (1), hidden_channels, kernel_size, hidden_kernel_size, num_layers, patch_size ({patch}),
    horizon ({horizon}).

Example:
    >>> import convrnn_zoo
    >>> model = convrnn_zoo.create_model("{name}", hidden_channels=2)
    >>> tuple(model(torch.rand(1, 3, 1, 8, 8), horizon=2).shape)
    (1, 2, 1, 8, 8)
"""


_TABLE_1 = "Published, 10 frames to 10: cross-entropy {} a sequence."
_TABLE_2 = (
    "Published, 5 frames to 15, 6 minutes apart: Rainfall-MSE 1.420, CSI .577, FAR .195, POD .660, correlation .908."
)
for _name, _widths, _kernel, _hidden, _count, _figure in (
    ("mnist_5x5_256", [256], 5, 5, "13,524,496", _TABLE_1.format("3887.94")),
    ("mnist_5x5_128_128", [128, 128], 5, 5, "10,042,896", _TABLE_1.format("3733.56")),
    ("mnist_5x5_128_64_64", [128, 64, 64], 5, 5, "7,585,296", _TABLE_1.format("3670.85")),
    ("mnist_9x9_128_128", [128, 128], 9, 1, "11,550,224", _TABLE_1.format("4782.84")),
    ("mnist_9x9_128_64_64", [128, 64, 64], 9, 1, "8,830,480", _TABLE_1.format("4231.50")),
    ("radar", [64, 64], 3, 3, "896,260", _TABLE_2),
):
    _radar = _name == "radar"
    _patch, _horizon = (2, 15) if _radar else (4, 10)
    _what = "table 2, radar echoes over Hong Kong, 3x3-64-3x3-64"
    if not _radar:
        _what = f"table 1, Moving MNIST, {_name.removeprefix('mnist_').replace('_', '-')}"
    register(
        __name__,
        f"convlstm_shi2015_{_name}",
        partial(
            ConvRNNForecaster, Conv2dOneBiasPeepholeLSTM, hidden_channels=_widths, kernel_size=_kernel,
            hidden_kernel_size=_hidden, num_layers=len(_widths), patch_size=_patch, horizon=_horizon,
            peephole="channel",
        ),
        cfg={**FRAME_CFG, "input_size": (1, 100, 100)} if _radar else FRAME_CFG,
        doc=_DOC.format(
            name=f"convlstm_shi2015_{_name}", widths=" and ".join(map(str, _widths)), kernel=_kernel, hidden=_hidden,
            patch=_patch, horizon=_horizon, count=_count, what=_what, figure=_figure,
        ),
    )  # fmt: skip
