"""Separable ConvGRU of RAFT."""

from typing import Any

from torch import Tensor, nn

from .onebias import Conv2dOneBiasGRUCell


class Conv2dSeparableGRUCell(nn.Module):
    r"""One step of a GRU along the rows and one along the columns on ``(N, C, H, W)``: ``h = cell(x, h)``.

    Both read the same x. The state of the first is the initial state of the second:

    .. math::
        h_1 &= \mathrm{GRU}_{1×k}(x, h) \\
        h'  &= \mathrm{GRU}_{k×1}(x, h_1)

    each with one bias per gate and the reset before the convolution. The receptive field is that of a k×k kernel, with
    2k weights instead of k².

    Args:
        in_channels, out_channels: channels of the input and of the state.
        kernel_size: k.
        **kwargs: `bias`, `padding_mode`, `device`, `dtype`, as for :class:`ConvGRUCell`.

    References:
        Teed, Z. and Deng, J. (2020). RAFT: Recurrent All-Pairs Field Transforms for Optical Flow, section 3.3.
        https://arxiv.org/abs/2003.12039

    Example:
        >>> cell, h = Conv2dSeparableGRUCell(256, 128), None  # as in RAFT
        >>> sum(p.numel() for p in cell.parameters())
        1475328
        >>> tuple(cell(torch.randn(1, 256, 8, 8), h).shape)
        (1, 128, 8, 8)
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 5, **kwargs: Any) -> None:
        super().__init__()
        self.rows = Conv2dOneBiasGRUCell(in_channels, out_channels, (1, kernel_size), **kwargs)
        self.columns = Conv2dOneBiasGRUCell(in_channels, out_channels, (kernel_size, 1), **kwargs)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """Computes the next state. `hx` is zero by default."""
        return self.columns(input, self.rows(input, hx))
