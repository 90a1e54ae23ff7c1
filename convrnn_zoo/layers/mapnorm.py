"""Convolutional LSTM with a layer norm after each convolution."""

from ._norm import MapNormed
from .lstm import Conv2dLSTMCell


class Conv2dMapNormLSTMCell(MapNormed, Conv2dLSTMCell):
    r"""One step of a convolutional LSTM with a layer norm after each convolution: ``h, c = cell(x, (h, c))``.

    N is a layer norm over channels and map, ``*`` a convolution, ``⊙`` an element-wise product:

    .. math::
        i, f, g, o &= σ, σ, \tanh, σ(N(W_{i·} * x) + N(W_{h·} * h)) \\
        c' &= f ⊙ c + i ⊙ g \\
        h' &= o ⊙ \tanh(c')

    All four gates share the norm of a convolution. Its scale and shift, ``weight_norm_ih`` and so on, are
    ``(4C, H, W)`` for maps of `norm_size`, and are resized bilinearly to others. This is OpenSTL's ``layer_norm=1``. A
    :class:`~convrnn_zoo.Conv2dLSTM` with ``norm="layer"`` normalises the sum of each gate instead, with one scale per
    channel.

    Args:
        in_channels, out_channels, kernel_size, …: as for every cell.
        norm_size: height and width of the map, or `None` for no norms.

    References:
        Ba, J. L. et al. (2016). Layer Normalization. https://arxiv.org/abs/1607.06450

    Example:
        >>> h, c = Conv2dMapNormLSTMCell(1, 4, 5, norm_size=8, bias=False)(torch.randn(2, 1, 8, 8))
        >>> tuple(h.shape)
        (2, 4, 8, 8)
    """
