"""The downsampling encoder–forecaster with group norms: ``convlstm_ef`` and ``convgru_ef``."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from ..layers import ConvRNNCellBase
from ..layers import _checks as check
from ..layers.onebias import Conv2dGroupNormGRUCell, Conv2dGroupNormLSTMCell
from ..pretrained.builder import register
from .base.blocks import Unroll, stage
from .base.forecaster import FRAME_CFG
from .base.pyramid import PyramidForecaster


def encoder_forecaster(
    cell: type[ConvRNNCellBase],
    in_chans: int = 1,
    hidden_channels: int | Sequence[int] = (64, 96, 96),
    kernel_size: int = 5,
    stem_channels: int = 16,
    horizon: int = 10,
    num_classes: int = 0,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> PyramidForecaster:
    """Three resolutions, each half the one above, of cells whose gates are normed.

    Args:
        cell: :class:`~convrnn_zoo.layers.onebias.Conv2dGroupNormLSTMCell` or the GRU's.
        hidden_channels: multiples of 32, or at most 32.
        kernel_size: kernel of the recurrent layers.
        …: as for :class:`~convrnn_zoo.models.base.pyramid.PyramidForecaster`.

    Example:
        >>> model = encoder_forecaster(Conv2dGroupNormGRUCell, hidden_channels=(4, 6, 6))
        >>> tuple(model(torch.rand(1, 2, 1, 12, 16), horizon=3).shape)
        (1, 3, 1, 12, 16)
    """
    made: dict[str, Any] = {"device": device, "dtype": dtype}
    high, middle, low = check.widths("hidden_channels", hidden_channels, num_layers=3)
    check.positive_int("stem_channels", stem_channels)
    top = Unroll(cell(1, low, 1, bias=False, hidden_kernel_size=kernel_size, **made))
    return PyramidForecaster(
        in_chans,
        horizon,
        4,
        downs=[
            stage(nn.Conv2d, in_chans, stem_channels, 3, 1, 1, **made),
            stage(nn.Conv2d, high, high, 3, 2, 1, **made),
            stage(nn.Conv2d, middle, middle, 3, 2, 1, **made),
        ],
        encoder=[
            Unroll(cell(below, width, kernel_size, **made))
            for below, width in zip((stem_channels, high, middle), (high, middle, low), strict=True)
        ],
        forecaster=[
            top,
            Unroll(cell(low, middle, kernel_size, **made)),
            Unroll(cell(middle, high, kernel_size, **made)),
        ],
        ups=[
            stage(nn.ConvTranspose2d, low, low, 4, 2, 1, **made),
            stage(nn.ConvTranspose2d, middle, middle, 4, 2, 1, **made),
            nn.Sequential(
                *stage(nn.Conv2d, high, stem_channels, 3, 1, 1, **made),
                *stage(nn.Conv2d, stem_channels, in_chans, 1, 1, 0, **made),
            ),
        ],
        num_features=stem_channels,
        num_classes=num_classes,
    )


_DOC = """The downsampling encoder–forecaster of {kind} layers with group norms: {count} parameters.

Three resolutions, 64, 96 and 96 wide, kernel 5, an encoder down and a forecaster up again. Frames
``(N, T, C, H, W)`` to ``(N, horizon, C, H, W)``, height and width multiples of 4. After the widely used code for
Moving MNIST, https://github.com/jhhuang96/ConvLSTM-PyTorch, but for what its first decoder, which has no input, never
uses; the order of the forecaster is that of Shi et al. 2017, https://arxiv.org/abs/1706.03458.

Args:
    pretrained: load the weights of the name's tag, or its default.
    in_chans (1), hidden_channels ((64, 96, 96)), kernel_size (5), stem_channels (16), horizon (10).

Example:
    >>> import convrnn_zoo
    >>> model = convrnn_zoo.create_model("{name}", hidden_channels=(2, 3, 4))
    >>> tuple(model(torch.rand(1, 2, 1, 8, 8), horizon=2).shape)
    (1, 2, 1, 8, 8)
"""

for _name, _cell, _kind, _count in (
    ("convlstm_ef", Conv2dGroupNormLSTMCell, "ConvLSTM", "8,110,625"),
    ("convgru_ef", Conv2dGroupNormGRUCell, "ConvGRU", "6,189,089"),
):
    register(
        __name__,
        _name,
        partial(encoder_forecaster, _cell),
        cfg=FRAME_CFG,
        doc=_DOC.format(name=_name, kind=_kind, count=_count),
    )
