"""The encoder–forecasters of the paper that brought the ConvLSTM: ``convlstm_shi2015_…``."""

from functools import partial

from ..layers.onebias import Conv2dOneBiasPeepholeLSTM
from ._forecasting import FRAME_CFG
from ._registry import register
from .forecaster import ConvRNNForecaster

RADAR_CFG = {**FRAME_CFG, "input_size": (1, 100, 100)}

_DOC = """The encoder–forecaster of Shi et al. 2015: {what}.

ConvLSTM layers with peepholes of one weight a channel, {widths} wide, with a {kernel}×{kernel} input-to-state and
a {hidden}×{hidden} state-to-state kernel, on patches of {patch}×{patch}: {count} parameters. Each layer of the
forecaster starts from the state of the encoder's layer of that level, its first has no input, and a 1×1 convolution
over all its states makes the frames. Frames ``(N, T, C, H, W)`` to ``(N, horizon, C, H, W)``, height and width
multiples of the patch. {figure} The frames are logits for the paper's cross-entropy. https://arxiv.org/abs/1506.04214.

Args:
    pretrained: load the weights of the name's tag, or its first.
    in_chans (1), hidden_channels, kernel_size, hidden_kernel_size, num_layers, patch_size ({patch}),
    horizon ({horizon}).

Example:
    >>> import convrnn_zoo
    >>> model = convrnn_zoo.create_model("{name}", hidden_channels=2)
    >>> tuple(model(torch.rand(1, 3, 1, 8, 8), horizon=2).shape)
    (1, 2, 1, 8, 8)
"""


def _register(
    name: str, widths: list[int], kernel: int, hidden: int, patch: int, horizon: int, count: str, what: str, figure: str
) -> None:
    register(
        __name__,
        f"convlstm_shi2015_{name}",
        partial(
            ConvRNNForecaster,
            Conv2dOneBiasPeepholeLSTM,
            hidden_channels=widths,
            kernel_size=kernel,
            hidden_kernel_size=hidden,
            num_layers=len(widths),
            patch_size=patch,
            horizon=horizon,
            peephole="channel",
        ),
        cfg=RADAR_CFG if name == "radar" else FRAME_CFG,
        doc=_DOC.format(
            name=f"convlstm_shi2015_{name}",
            widths=" and ".join(map(str, widths)),
            kernel=kernel,
            hidden=hidden,
            patch=patch,
            horizon=horizon,
            count=count,
            what=what,
            figure=figure,
        ),
    )


for _name, _widths, _kernel, _hidden, _loss, _count in (
    ("5x5_256", [256], 5, 5, "3887.94", "13,524,496"),
    ("5x5_128_128", [128, 128], 5, 5, "3733.56", "10,042,896"),
    ("5x5_128_64_64", [128, 64, 64], 5, 5, "3670.85", "7,585,296"),
    ("9x9_128_128", [128, 128], 9, 1, "4782.84", "11,550,224"),
    ("9x9_128_64_64", [128, 64, 64], 9, 1, "4231.50", "8,830,480"),
):
    _register(
        f"mnist_{_name}", _widths, _kernel, _hidden, 4, 10, _count,
        f"table 1, Moving MNIST, {_name.replace('_', '-')}",
        f"Published, 10 frames to 10: cross-entropy {_loss} a sequence.",
    )  # fmt: skip
_register(
    "radar", [64, 64], 3, 3, 2, 15, "896,260",
    "table 2, radar echoes over Hong Kong, 3x3-64-3x3-64",
    "Published, 5 frames to 15, 6 minutes apart: Rainfall-MSE 1.420, CSI .577, FAR .195, POD .660, correlation .908.",
)  # fmt: skip
