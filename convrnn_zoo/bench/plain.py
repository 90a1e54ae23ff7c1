"""The layers' arithmetic in its plainest form, step after step under ordinary autograd: what the engine must equal."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from convrnn_zoo.layers import ConvRNNBase
from convrnn_zoo.layers._conv import same_conv
from convrnn_zoo.layers._joined import joined
from convrnn_zoo.layers._scan import scan, scan_packed

Maps = tuple[Tensor, ...]


class Plain(nn.Module):
    """`layer` with a convolution of the input and one of the state at every step; a packed output as its data."""

    def __init__(self, layer: ConvRNNBase) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor | PackedSequence) -> Tensor:
        """The output."""
        return self.sequence(x)[0]

    def sequence(self, x: Tensor | PackedSequence, states: list[Maps] | None = None) -> tuple[Tensor, list[Maps]]:
        """The output and the last states from the first ones, one a layer and direction; ``(T, N, C, *S)`` or packed.

        Nothing is dropped between layers, and the batch of a packed sequence stays in its own order.
        """
        layer = self.layer
        sizes: list[int] | None = None
        if isinstance(x, PackedSequence):
            sizes = x.batch_sizes.tolist()
            x = x.data
        below = x
        outputs: list[Tensor] = []
        last: list[Maps] = []
        for index, (depth, suffix) in enumerate(layer._suffixes()):
            if index % layer.num_directions == 0:
                below, outputs = x, []
            n = sizes[0] if sizes else x.shape[1]
            zero = x.new_zeros(n, layer.widths[depth], *x.shape[-layer.ndim :])
            state = states[index] if states else (zero,) * len(layer.states)
            step, reverse = self.step(suffix, layer.widths[depth]), suffix.endswith("reverse")
            if sizes is None:
                ys, state = scan(step, below.unbind(0), state, reverse=reverse)
                outputs.append(torch.stack(ys))
            else:
                ys, state = scan_packed(step, below.split(sizes), state, reverse=reverse)
                outputs.append(torch.cat(ys))
            last.append(state)
            x = torch.cat(outputs, -layer.ndim - 1)
        return x, last

    def step(self, suffix: str, width: int) -> Callable[[Tensor, Maps], Maps]:
        """One step of the layer and direction whose parameters end in `suffix`."""
        w = self.layer._weights(suffix, width)
        return lambda x, state: self.layer.advance(x, state, w)


class OneConvolution(Plain):
    """One convolution a step over the concatenated input and state, its weight a parameter of its own."""

    def __init__(self, layer: ConvRNNBase) -> None:
        super().__init__(layer)
        self.whole = nn.ParameterDict()
        for depth, suffix in layer._suffixes():
            weight, bias = joined(layer, layer._weights(suffix, layer.widths[depth]))
            assert bias is not None
            self.whole[suffix] = nn.ParameterList([weight.detach().contiguous(), bias.detach()])

    def step(self, suffix: str, width: int) -> Callable[[Tensor, Maps], Maps]:
        """One step with one convolution."""
        own: Any = self.layer._weights(suffix, width).own

        def step(x: Tensor, state: Maps) -> Maps:
            weight, bias = self.whole[suffix]
            both = torch.cat([x, state[0]], 1)
            return self.layer.step(same_conv(both, weight, bias, self.layer.geometry), state, own)

        return step
