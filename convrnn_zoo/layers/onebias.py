"""Layers and cells of published architectures whose gates have one bias, where torch's have two."""

from typing import Any

from torch import Tensor

from ._base import Equations
from ._norm import group_norm
from .gru import Conv2dGRU, Conv2dGRUCell
from .lstm import Conv2dLSTM, Conv2dLSTMCell
from .peephole import Conv2dPeepholeLSTM


class OneBias(Equations):
    """A kind whose gates have the one bias ``bias_ih`` and no ``bias_hh``, as the equations of papers do."""

    def _add_parameters(self, suffix: str, *args: Any) -> None:
        super()._add_parameters(suffix, *args)
        self._parameters.pop(f"bias_hh{suffix}", None)


class OneBiasGRU(OneBias):
    """A GRU whose state is reset before its convolution unless told otherwise, and whose gates have one bias."""

    def __init__(self, *args: Any, reset_after: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, reset_after=reset_after, **kwargs)


class Conv2dOneBiasLSTMCell(OneBias, Conv2dLSTMCell):
    """One step of a 2-d :class:`ConvLSTM` on ``(N, C, H, W)`` with one bias a gate.

    Example:
        >>> cell = Conv2dOneBiasLSTMCell(1, 4, kernel_size=3)
        >>> sum(p.numel() for p in cell.parameters()) == 16 * (1 + 4) * 9 + 16
        True
    """


class Conv2dOneBiasPeepholeLSTM(OneBias, Conv2dPeepholeLSTM):
    """2-d :class:`ConvPeepholeLSTM` over ``(T, N, C, H, W)`` with one bias a gate.

    Example:
        >>> rnn = Conv2dOneBiasPeepholeLSTM(1, 4, kernel_size=3, peephole="channel")
        >>> sum(p.numel() for p in rnn.parameters()) == 16 * (1 + 4) * 9 + 16 + 3 * 4
        True
    """


class Conv2dOneBiasLSTM(OneBias, Conv2dLSTM):
    """2-d :class:`ConvLSTM` over ``(T, N, C, H, W)`` with one bias a gate.

    Example:
        >>> rnn = Conv2dOneBiasLSTM(1, 4, kernel_size=3)
        >>> sum(p.numel() for p in rnn.parameters()) == 16 * (1 + 4) * 9 + 16
        True
    """


class Conv2dOneBiasGRU(OneBiasGRU, Conv2dGRU):
    """2-d :class:`ConvGRU` over ``(T, N, C, H, W)`` with one bias a gate, reset before the convolution by default.

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


class GroupNormed(OneBias):
    """A kind whose pre-activations pass through a group norm before the gates open; groups of about 32 channels."""

    def extra_shapes(self, channels: int, kernel: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """The norm's scale and shift, one a row of the gates."""
        if channels > 32 and channels % 32:
            raise ValueError(
                f"out_channels must be a multiple of 32, or at most 32, for its group norm, got {channels}"
            )
        rows = (self.gates * channels,)
        return super().extra_shapes(channels, kernel) | {"weight_norm": rows, "bias_norm": rows}

    def jointly_normed(self, gates: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """The group norm of some of the gates together, by their rows of scale and shift."""
        return group_norm(gates, max(1, gates.shape[1] // 32), weight, bias)


class Conv2dGroupNormLSTMCell(GroupNormed, Conv2dLSTMCell):
    """One step of a 2-d :class:`ConvLSTM` on ``(N, C, H, W)`` with a group norm over its four gates.

    Example:
        >>> h, c = Conv2dGroupNormLSTMCell(1, 4, kernel_size=5)(torch.randn(2, 1, 8, 8))
        >>> tuple(h.shape)
        (2, 4, 8, 8)
    """

    def step(self, gates: Tensor, state: tuple[Tensor, ...], extra: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """An LSTM's step on gates that are normed."""
        return super().step(self.jointly_normed(gates, *extra), state, ())


class Conv2dGroupNormGRUCell(GroupNormed, Conv2dGRUCell):
    """One step of a 2-d :class:`ConvGRU` on ``(N, C, H, W)``, reset before the convolution, with group norms.

    One norm goes over r and z, and one over the candidate.

    Example:
        >>> h = Conv2dGroupNormGRUCell(1, 4, kernel_size=5)(torch.randn(2, 1, 8, 8))
        >>> tuple(h.shape)
        (2, 4, 8, 8)
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs, reset_after=False)

    def step(self, gates: Tensor, state: tuple[Tensor, ...], extra: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """A GRU's step, its gates and its candidate normed."""
        (h,), (weight, bias, *candidate) = state, extra
        both = 2 * h.shape[1]
        rz = gates[:, :both].clone()  # under vmap torch takes a slice of a batch of one for contiguous
        r, z = self.jointly_normed(rz, weight[:both], bias[:both]).chunk(2, dim=1)
        n = gates[:, both:] + self.conv(r.sigmoid() * h, *candidate)
        n = self.jointly_normed(n, weight[both:], bias[both:]).tanh()
        return (n + z.sigmoid() * (h - n),)
