"""A cell's step and its derivative written down in place: what ATen does for torch.nn.LSTM.

:meth:`Cell.step` is the law; what stands here spares its temporaries and its graph. Tests hold the two together.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Maps = tuple[Tensor, ...]

# The derivatives of activations from their results, written into `grad_input`; the third, of a ReLU, takes a threshold.
sigmoid_backward: Callable[..., Tensor] = torch.ops.aten.sigmoid_backward.grad_input
tanh_backward: Callable[..., Tensor] = torch.ops.aten.tanh_backward.grad_input
threshold_backward: Callable[..., Tensor] = torch.ops.aten.threshold_backward.grad_input


class Buffers:
    """Makes maps of the state's size, their channels innermost where convolutions are faster so."""

    def __init__(self, like: Tensor, compute: torch.dtype) -> None:
        self.like = like
        # oneDNN's convolutions are up to twice as fast with channels innermost, but have no double precision;
        # cuDNN takes them so in half precision.
        half = compute in (torch.float16, torch.bfloat16)
        self.channels_last = half or (like.device.type == "cpu" and compute == torch.float32)
        self._views: dict[tuple[str, int], Tensor] = {}

    def new(self, n: int, channels: int, dtype: torch.dtype | None = None) -> Tensor:
        """A map ``(n, channels, *S)``, whatever it holds."""
        size, dtype = self.like.shape[2:], dtype or self.like.dtype
        if not self.channels_last:
            return self.like.new_empty((n, channels, *size), dtype=dtype)
        strides = [channels]
        for pixels in reversed(size):
            strides.insert(0, strides[0] * pixels)
        return self.like.new_empty_strided((n, channels, *size), (strides[0], 1, *strides[1:]), dtype=dtype)

    def scratch(self, name: str, n: int) -> Tensor:
        """A map like a state of n sequences: the same one for a name, whatever n."""
        found = self._views.get((name, n))
        if found is None:
            whole = self._views.setdefault((name, -1), self.new(*self.like.shape[:2]))
            found = self._views[name, n] = whole[:n]
        return found


class InPlaceStep:
    """The step of `cell` between its convolutions, and its derivative; one for each pass over a sequence.

    Its `parts` are the pre-activations as the convolutions leave them: the gates that see input and state, then, where
    there are any, those that see the input alone and those that see the state alone.

    Args:
        cell: the cell or layer, for its options and its convolution.
        extra: the parameters beyond the two weights and biases, as the cell's `split` arranges them.
        buffers: where maps come from.
        keep: whether :meth:`backward` will follow :meth:`forward`.
    """

    keeps_parts = True
    """Whether :meth:`backward` reads the parts."""

    def __init__(self, cell: Any, extra: Maps, buffers: Buffers, keep: bool) -> None:
        self.cell, self.extra, self.scratch, self.keep = cell, extra, buffers.scratch, keep
        self.extra_grads: list[Tensor] = []

    def forward(self, parts: Sequence[Tensor], state: Maps, new: Maps) -> None:
        """Writes the next state into `new`, whose memory may be that of `state` but for h.

        The parts are overwritten by what :meth:`backward` wants to find there.
        """
        raise NotImplementedError

    def backward(
        self, parts: Sequence[Tensor], state: Maps, new: Maps, grads: Maps, into: Sequence[Tensor]
    ) -> Sequence[Any]:
        """Writes the gradients of the pre-activations to `into`, given `grads`, those of `new`, which it may overwrite.

        Returns the gradients of `state`, but for what the convolutions send to h; None for one that is zero. Those of
        the extra parameters are added to `extra_grads`.
        """
        raise NotImplementedError
