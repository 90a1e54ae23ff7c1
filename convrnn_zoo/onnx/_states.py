"""The state of a layer as it takes and gives it, and as files have it: a tensor a layer, direction and kind."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..layers import ConvRNNBase


def state_of(rnn: ConvRNNBase, flat: Sequence[Tensor]) -> Any:
    """Tensors a layer, direction and kind as the layer takes its state."""
    kinds = len(rnn.states)
    parts: list[Any] = [list(flat[k::kinds]) for k in range(kinds)]
    if isinstance(rnn.out_channels, int):
        parts = [torch.stack(p) for p in parts]
    else:
        d = rnn.num_directions
        parts = [tuple(torch.stack(p[i : i + d]) for i in range(0, len(p), d)) for p in parts]
    return tuple(parts) if kinds > 1 else parts[0]


def tensors_of(rnn: ConvRNNBase, state: Any) -> list[Tensor]:
    """The way back."""
    parts = state if len(rnn.states) > 1 else (state,)
    kinds = [[t for layer in ([p] if isinstance(p, Tensor) else p) for t in layer.unbind()] for p in parts]
    return [t for both in zip(*kinds, strict=True) for t in both]
