"""SA-ConvLSTM: ConvLSTM layers with self-attention over the map."""

from functools import partial
from typing import Any

from ..layers.saconvlstm import SAConvLSTMCell
from .base import FRAME_CFG, StackedCells, build_model, register_model


class SAConvLSTM(StackedCells):
    """A stack of ConvLSTM cells with self-attention memories, which reads its own forecasts.

    Every position of a map attends to all positions. Time and memory thus grow with the square of the number of pixels.
    :class:`~convrnn_zoo.SAConvLSTMCell` has the equations and the reference.

    `hidden_channels`, `num_layers` and `kernel_size` of ``sa_convlstm`` are those of a public reimplementation,
    https://github.com/jerrywn121/TianChi_AIEarth. That code differs: it divides scores by the square root of
    `attention_channels`, computes values of `attention_channels` instead of `hidden_channels` channels, and has biases
    in its 1×1 convolutions. Another reimplementation, https://github.com/tsugumi-sys/SA-ConvLSTM-Pytorch, adds
    peepholes and further 1×1 convolutions, and computes the gates of the memory with 1×1 kernels.

    Args:
        attention_channels: channels of the queries and keys.
        …: as for :class:`~convrnn_zoo.models.base.autoregressive.StackedCells`.

    Example:
        >>> model = SAConvLSTM(hidden_channels=[4, 4], attention_channels=2, patch_size=2)
        >>> tuple(model(torch.rand(1, 3, 1, 8, 8), horizon=2).shape)
        (1, 2, 1, 8, 8)
    """

    cell = SAConvLSTMCell
    layer_states = SAConvLSTMCell.states
    has_bias = True  # as in the paper


@register_model(cfg=FRAME_CFG, small={"hidden_channels": 4, "num_layers": 2})
def sa_convlstm(pretrained: bool = False, **kwargs: Any) -> SAConvLSTM:
    """SA-ConvLSTM: four 64-channel ConvLSTM layers with self-attention memories on 4×4 patches, 2,046,720 parameters.

    Inputs are those of :func:`~convrnn_zoo.models.predrnn.predrnn`. Time and memory grow with the square of the number
    of patches. Lin et al. 2020, https://doi.org/10.1609/aaai.v34i07.6819.
    """
    return build_model(partial(SAConvLSTM, hidden_channels=64, kernel_size=3), "sa_convlstm", pretrained, **kwargs)
