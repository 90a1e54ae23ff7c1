"""The equations of the layers as a plain loop under ordinary autograd. The layers must agree with it."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from convrnn_zoo.layers import ConvRNNBase
from convrnn_zoo.layers._run import run_loop

Maps = tuple[Tensor, ...]


class Plain(nn.Module):
    """Computes a layer in a loop, with one convolution of the input and one of the state per step."""

    def __init__(self, layer: ConvRNNBase) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor | PackedSequence) -> Tensor:
        """Returns the output; for packed input, only the data of the packed output."""
        return self.sequence(x)[0]

    def sequence(self, x: Tensor | PackedSequence, states: list[Maps] | None = None) -> tuple[Tensor, list[Maps]]:
        """Returns the output and the final states, one per layer and direction. `x` is ``(T, N, C, *S)`` or packed.

        There is no dropout between layers. A packed sequence keeps the order of its batch.
        """
        layer = self.layer
        sizes: list[int] | None = None
        if isinstance(x, PackedSequence):
            sizes = x.batch_sizes.tolist()
            x = x.data
        layer_input = x
        outputs: list[Tensor] = []
        last: list[Maps] = []
        for index, (depth, suffix) in enumerate(layer._suffixes()):
            if index % layer.num_directions == 0:
                layer_input, outputs = x, []
            n = sizes[0] if sizes else x.shape[1]
            zero = x.new_zeros(n, layer.widths[depth], *x.shape[-layer.ndim :])
            state = states[index] if states else (zero,) * len(layer.states)
            step, reverse = self.step(suffix, layer.widths[depth]), suffix.endswith("reverse")
            xs = layer_input.unbind(0) if sizes is None else layer_input.split(sizes)
            ys, state = run_loop(step, xs, state, reverse=reverse, sizes=sizes)
            outputs.append(torch.stack(ys) if sizes is None else torch.cat(ys))
            last.append(state)
            x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, -layer.ndim - 1)
        return x, last

    def step(self, suffix: str, width: int) -> Callable[[Tensor, Maps], Maps]:
        """Returns the step of the layer and direction whose parameters end in `suffix`."""
        w = self.layer._weights(suffix, width)
        return lambda x, state: self.layer.advance(x, state, w)


class OneConvolution(Plain):
    """The leanest plain loop: one convolution per step over the concatenated input and state.

    Supports stride 1, odd kernels, zero padding, and gates that are sums of an input and a state contribution.
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
        """Returns the step with one convolution."""
        layer, weight, bias = self.layer, self.joined["weight" + suffix], self.joined["bias" + suffix]
        extra = layer._weights(suffix, width).extra
        conv, padding = getattr(F, f"conv{layer.ndim}d"), [k // 2 for k in weight.shape[2:]]

        def step(x: Tensor, state: Maps) -> Maps:
            xh = torch.cat([x, state[0]], 1)
            return layer.step(conv(xh, weight, bias, padding=padding), state, extra)

        return step
