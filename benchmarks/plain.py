"""The layers' arithmetic in its plainest form, step after step under ordinary autograd: what the engine must equal."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from convrnn_zoo.layers import ConvRNNBase
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
            x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, -layer.ndim - 1)
        return x, last

    def step(self, suffix: str, width: int) -> Callable[[Tensor, Maps], Maps]:
        """One step of the layer and direction whose parameters end in `suffix`."""
        w = self.layer._weights(suffix, width)
        return lambda x, state: self.layer.advance(x, state, w)


class OneConvolution(Plain):
    """The leanest plain loop: one convolution a step over input and state, its weight a parameter of its own.

    For stride 1, odd kernels and zero padding, and for gates that are sums of an input and a state part.
    """

    def __init__(self, layer: ConvRNNBase) -> None:
        super().__init__(layer)
        self.joined = nn.ParameterDict()
        for depth, suffix in layer._suffixes():
            w = layer._weights(suffix, layer.widths[depth])
            assert w.b_ih is not None
            assert w.b_hh is not None
            self.joined["weight" + suffix] = torch.cat([w.ih, w.hh], 1).detach()
            self.joined["bias" + suffix] = (w.b_ih + w.b_hh).detach()

    def step(self, suffix: str, width: int) -> Callable[[Tensor, Maps], Maps]:
        """One step with one convolution."""
        layer, weight, bias = self.layer, self.joined["weight" + suffix], self.joined["bias" + suffix]
        extra = layer._weights(suffix, width).extra
        conv, padding = getattr(F, f"conv{layer.ndim}d"), [k // 2 for k in weight.shape[2:]]

        def step(x: Tensor, state: Maps) -> Maps:
            both = torch.cat([x, state[0]], 1)
            return layer.step(conv(both, weight, bias, padding=padding), state, extra)

        return step
