"""Layers and cells of published architectures whose gates have one bias instead of torch's two."""

from typing import Any, ClassVar

from torch import Tensor

from ._base import Equations
from ._norm import GroupNormed
from ._run import Maps
from .gru import Conv2dGRU, Conv2dGRUCell
from .lstm import Conv2dLSTM, Conv2dLSTMCell
from .peephole import Conv2dPeepholeLSTM


class OneBias(Equations):
    """Base of cells whose gates have the bias ``bias_ih`` and no ``bias_hh``, as in the equations of papers."""

    biases = ("bias_ih",)


class OneBiasGRU(OneBias):
    """Base of GRUs with one bias per gate, whose state is reset before its convolution by default."""

    def __init__(self, *args: Any, reset_after: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, reset_after=reset_after, **kwargs)


class Conv2dOneBiasLSTMCell(OneBias, Conv2dLSTMCell):
    """One step of a 2-d :class:`ConvLSTM` on ``(N, C, H, W)`` with one bias per gate.

    Example:
        >>> cell = Conv2dOneBiasLSTMCell(1, 4, kernel_size=3)
        >>> sum(p.numel() for p in cell.parameters()) == 16 * (1 + 4) * 9 + 16
        True
    """


class Conv2dOneBiasPeepholeLSTM(OneBias, Conv2dPeepholeLSTM):
    """2-d :class:`ConvPeepholeLSTM` over ``(T, N, C, H, W)`` with one bias per gate.

    Example:
        >>> rnn = Conv2dOneBiasPeepholeLSTM(1, 4, kernel_size=3, peephole="channel")
        >>> sum(p.numel() for p in rnn.parameters()) == 16 * (1 + 4) * 9 + 16 + 3 * 4
        True
    """


class Conv2dOneBiasLSTM(OneBias, Conv2dLSTM):
    """2-d :class:`ConvLSTM` over ``(T, N, C, H, W)`` with one bias per gate.

    Example:
        >>> rnn = Conv2dOneBiasLSTM(1, 4, kernel_size=3)
        >>> sum(p.numel() for p in rnn.parameters()) == 16 * (1 + 4) * 9 + 16
        True
    """


class Conv2dOneBiasGRU(OneBiasGRU, Conv2dGRU):
    """2-d :class:`ConvGRU` over ``(T, N, C, H, W)`` with one bias per gate, reset before the convolution by default.

    Example:
        >>> rnn = Conv2dOneBiasGRU(2, 4, kernel_size=3)
        >>> sum(p.numel() for p in rnn.parameters()) == 12 * (2 + 4) * 9 + 12
        True
    """


class Conv2dOneBiasGRUCell(OneBiasGRU, Conv2dGRUCell):
    """One step of :class:`Conv2dOneBiasGRU` on ``(N, C, H, W)``.

    Example:
        >>> h = Conv2dOneBiasGRUCell(1, 4, kernel_size=(1, 5))(torch.randn(2, 1, 8, 8))
        >>> tuple(h.shape)
        (2, 4, 8, 8)
    """


class Conv2dGroupNormLSTMCell(GroupNormed, OneBias, Conv2dLSTMCell):
    """One step of a 2-d :class:`ConvLSTM` on ``(N, C, H, W)`` with a group norm over its four gates.

    Example:
        >>> h, c = Conv2dGroupNormLSTMCell(1, 4, kernel_size=5)(torch.randn(2, 1, 8, 8))
        >>> tuple(h.shape)
        (2, 4, 8, 8)
    """

    options: ClassVar = {}
    in_place = None

    def step(self, gates: Tensor, state: Maps, extra: Maps) -> Maps:
        """Computes an LSTM's step from normalised gates."""
        return super().step(self.normalize_jointly(gates, *extra), state, ())


class Conv2dGroupNormGRUCell(GroupNormed, OneBias, Conv2dGRUCell):
    """One step of a 2-d :class:`ConvGRU` on ``(N, C, H, W)``, reset before the convolution, with group norms.

    One norm is applied to r and z, and one to the candidate.

    Example:
        >>> h = Conv2dGroupNormGRUCell(1, 4, kernel_size=5)(torch.randn(2, 1, 8, 8))
        >>> tuple(h.shape)
        (2, 4, 8, 8)
    """

    options: ClassVar = {"reset_after": (False,)}
    in_place = None

    def step(self, gates: Tensor, state: Maps, extra: Maps) -> Maps:
        """Computes a GRU's step with normalised gates and candidate."""
        (h,), (weight, bias, *candidate) = state, extra
        both = 2 * h.shape[1]
        rz = gates[:, :both].clone()  # under vmap, torch treats a slice of a batch of one as contiguous
        r, z = self.normalize_jointly(rz, weight[:both], bias[:both]).chunk(2, dim=1)
        n = gates[:, both:] + self.conv(r.sigmoid() * h, *candidate)
        n = self.normalize_jointly(n, weight[both:], bias[both:]).tanh()
        return (n + z.sigmoid() * (h - n),)
