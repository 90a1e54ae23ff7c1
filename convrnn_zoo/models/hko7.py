"""The encoder–forecasters of the HKO-7 benchmark: ``convgru_hko7`` and ``trajgru_hko7``."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from ..layers import _checks as check
from ..layers.trajgru import Conv2dLeakyGRU, TrajGRUCell, TrajGRUStateCell
from ..pretrained.builder import register
from .base.blocks import Unroll, stage
from .base.forecaster import FRAME_CFG
from .base.pyramid import PyramidForecaster


def convgru_layers(below: Sequence[int], widths: Sequence[int], **made: Any) -> tuple[list[nn.Module], list[nn.Module]]:
    """The benchmark's ConvGRU, state-to-state kernels 5, 5, 3 down and the same at each resolution up."""
    hidden = (5, 5, 3)
    down = [
        Conv2dLeakyGRU(i, w, 3, hidden_kernel_size=k, **made) for i, w, k in zip(below, widths, hidden, strict=True)
    ]
    top = Conv2dLeakyGRU(1, widths[2], 1, bias=False, hidden_kernel_size=hidden[2], **made)
    up = [Conv2dLeakyGRU(widths[i], widths[i], 3, hidden_kernel_size=hidden[i], **made) for i in (1, 0)]
    return list(down), [top, *up]


def trajgru_layers(below: Sequence[int], widths: Sequence[int], **made: Any) -> tuple[list[nn.Module], list[nn.Module]]:
    """The benchmark's TrajGRU, 13, 13 and 9 links in the order in which the layers are run, down and up."""
    links = (13, 13, 9)
    down = [Unroll(TrajGRUCell(i, w, 3, n, **made)) for i, w, n in zip(below, widths, links, strict=True)]
    top = Unroll(TrajGRUStateCell(widths[2], links[0], **made))
    up = [Unroll(TrajGRUCell(widths[i], widths[i], 3, n, **made)) for i, n in zip((1, 0), links[1:], strict=True)]
    return list(down), [top, *up]


def hko7(
    layers: Any,
    in_chans: int = 1,
    hidden_channels: int | Sequence[int] = (64, 192, 192),
    stem_channels: int = 8,
    horizon: int = 20,
    num_classes: int = 0,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> PyramidForecaster:
    """The encoder–forecaster of the HKO-7 benchmark, of the layers that ``layers(below, widths, …)`` makes.

    Args:
        layers: :func:`convgru_layers` or :func:`trajgru_layers`.
        …: as for :class:`~convrnn_zoo.models.base.pyramid.PyramidForecaster`.

    Example:
        >>> model = hko7(trajgru_layers, hidden_channels=(4, 6, 6))
        >>> tuple(model(torch.rand(1, 2, 1, 30, 60), horizon=3).shape)
        (1, 3, 1, 30, 60)
    """
    made: dict[str, Any] = {"device": device, "dtype": dtype}
    high, middle, low = check.widths("hidden_channels", hidden_channels, num_layers=3)
    check.positive_int("stem_channels", stem_channels)
    encoder, forecaster = layers((stem_channels, middle, low), (high, middle, low), **made)
    downs = [
        stage(nn.Conv2d, in_chans, stem_channels, 7, 5, 1, **made),
        stage(nn.Conv2d, high, middle, 5, 3, 1, **made),
        stage(nn.Conv2d, middle, low, 3, 2, 1, **made),
    ]
    ups = [
        stage(nn.ConvTranspose2d, low, middle, 4, 2, 1, **made),
        stage(nn.ConvTranspose2d, middle, high, 5, 3, 1, **made),
        nn.Sequential(
            *stage(nn.ConvTranspose2d, high, stem_channels, 7, 5, 1, **made),
            *stage(nn.Conv2d, stem_channels, stem_channels, 3, 1, 1, **made),
            nn.Conv2d(stem_channels, in_chans, 1, **made),
        ),
    ]
    return PyramidForecaster(in_chans, horizon, 30, downs, encoder, forecaster, ups, stem_channels, num_classes)


_DOC = """The encoder–forecaster of the HKO-7 radar benchmark with {kind}: {count} parameters.

Three resolutions, a fifth, a fifteenth and a thirtieth of the frame's, 64, 192 and 192 wide. Frames
``(N, T, C, H, W)`` to ``(N, horizon, C, H, W)``, height and width multiples of 30; the benchmark's are 480, 5 frames
to 20, 6 minutes apart. Shi et al. 2017, appendix, https://arxiv.org/abs/1706.03458.{figure}

Args:
    pretrained: load the weights of the name's tag, or its default.
    in_chans (1), hidden_channels ((64, 192, 192)), stem_channels (8), horizon (20).

Example:
    >>> import convrnn_zoo
    >>> model = convrnn_zoo.create_model("{name}", hidden_channels=(2, 3, 4))
    >>> tuple(model(torch.rand(1, 2, 1, 30, 30), horizon=2).shape)
    (1, 2, 1, 30, 30)
"""

for _name, _kind, _layers, _count, _figure in (
    ("convgru_hko7", "ConvGRU", convgru_layers, "12,812,585", ""),
    (
        "trajgru_hko7", "TrajGRU", trajgru_layers, "11,604,373",
        "\nA public reproduction reports CSI at 0.5, 2, 5, 10, 30 mm/h of .5496, .4772, .3774, .2863, .1794.",
    ),
):  # fmt: skip
    register(
        __name__,
        _name,
        partial(hko7, _layers),
        cfg={**FRAME_CFG, "input_size": (1, 480, 480)},
        doc=_DOC.format(name=_name, kind=_kind, count=_count, figure=_figure),
    )
