"""Reference: the same layer step by step under ordinary autograd, and small builders."""

from typing import NamedTuple

import torch
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from convrnn_zoo.layers import ConvRNNBase
from convrnn_zoo.layers._run import run_loop

from .oracles import SEQUENCES, assert_close, space

VARIANTS = [
    (cls, {name: value} if name else {})
    for cls in SEQUENCES
    for name, values in ({k: v for k, v in cls.options.items() if k != "norm"} or {"": (None,)}).items()
    for value in values
    if cls.in_place is not None
]
"""Layers with an in-place step, which a norm has not."""


class Outcome(NamedTuple):
    output: Tensor
    state: list[Tensor]
    gradients: list[Tensor]


def example(rnn: ConvRNNBase, lengths: list[int], packed: bool) -> tuple[Tensor, Tensor | PackedSequence]:
    """Returns a leaf, and the input computed from it."""
    dtype = next(rnn.parameters()).dtype
    leaf = torch.randn(max(lengths), len(lengths), rnn.in_channels, *space(rnn), dtype=dtype, requires_grad=True)
    return leaf, pack_padded_sequence(leaf, lengths) if packed else leaf


def _states(rnn: ConvRNNBase, n: int) -> list[tuple[Tensor, ...]]:
    like = next(rnn.parameters())
    return [
        tuple(like.new_empty(n, rnn.widths[layer], *space(rnn)).normal_().requires_grad_() for _ in rnn.states)
        for layer, _ in rnn._suffixes()
    ]


def outcomes(rnn: ConvRNNBase, lengths: list[int], packed: bool, with_state: bool) -> tuple[Outcome, Outcome]:
    """Output, last states, and the gradients of all that went in: of the layer, and of the oracle."""
    leaf, x = example(rnn, lengths, packed)
    states = _states(rnn, len(lengths)) if with_state else None
    hx = None
    if states is not None:
        parts = [torch.stack(part) for part in zip(*states, strict=True)]
        hx = tuple(parts) if len(parts) > 1 else parts[0]
    sources = [leaf, *rnn.parameters(), *(s for state in states or [] for s in state)]

    def outcome(y: Tensor, last: list[Tensor]) -> Outcome:
        loss = (y * weights(y)).sum() + sum((s * weights(s)).sum() for s in last)
        return Outcome(
            y.detach(), [s.detach() for s in last], list(torch.autograd.grad(loss, sources, retain_graph=True))
        )

    y, last = rnn(x, hx)
    stacked = list(last) if isinstance(last, tuple) else [last]
    with torch.inference_mode():
        alone, end = rnn(x, hx)  # which keeps nothing, and has its directions write side by side
        rounding = 1e-6  # of another order
        assert_close(alone.data if packed else alone, y.data if packed else y, rounding)
        assert_close(end, stacked, rounding)
    ours = outcome(y.data if packed else y, stacked)
    y, ends = plain(rnn, x, states)
    return ours, outcome(y, [torch.stack(part) for part in zip(*ends, strict=True)])


def plain(
    rnn: ConvRNNBase, x: Tensor | PackedSequence, states: list[tuple[Tensor, ...]] | None = None
) -> tuple[Tensor, list[tuple[Tensor, ...]]]:
    """The equations step after step under ordinary autograd: the output, packed as its data, and the last states.

    `states` are the first ones, one a layer and direction; the batch of a packed sequence stays in its own order.
    """
    sizes = x.batch_sizes.tolist() if isinstance(x, PackedSequence) else None
    x = x.data if isinstance(x, PackedSequence) else x
    layer_input, outputs, last = x, [], []
    for index, (depth, suffix) in enumerate(rnn._suffixes()):
        if index % rnn.num_directions == 0:
            layer_input, outputs = x, []
        n, w = sizes[0] if sizes else x.shape[1], rnn._weights(suffix, rnn.widths[depth])
        zero = x.new_zeros(n, rnn.widths[depth], *x.shape[-rnn.ndim :])
        state = states[index] if states else (zero,) * len(rnn.states)
        steps, reverse = layer_input.split(sizes) if sizes else layer_input.unbind(0), suffix.endswith("reverse")
        ys, state = run_loop(lambda x, s, w=w: rnn.advance(x, s, w), steps, state, reverse=reverse, sizes=sizes)
        outputs.append(torch.cat(ys) if sizes else torch.stack(ys))
        last.append(state)
        x = torch.cat(outputs, -rnn.ndim - 1)
    return x, last


def weights(like: Tensor) -> Tensor:
    """A fixed cotangent of this shape."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like.dtype)


def assert_same(ours: Outcome, oracle: Outcome, tolerance: float) -> None:
    """Largest error below `tolerance` times the largest value, or one."""
    assert_close((ours.output, ours.state, ours.gradients), (oracle.output, oracle.state, oracle.gradients), tolerance)


@st.composite
def built(draw: st.DrawFn, cls: type, by_layer: bool = False) -> ConvRNNBase:
    """A layer of this class with any of its options, with `by_layer` also with a width and a kernel for each layer."""
    torch.manual_seed(0)  # only the example determines the numbers, so that a failure can be shrunk
    mode = st.sampled_from(["zeros", "zeros", "circular", "reflect", "replicate"])
    padding_mode = draw(st.just("zeros") | mode | st.tuples(*[mode] * cls.ndim))
    groups, num_layers = draw(st.sampled_from([1, 1, 1, 2])), draw(st.integers(1, 2 + by_layer))
    width = st.integers(1, 3).map(lambda n: n * groups)
    kernel = st.tuples(*[st.sampled_from([1, 2, 3, 3, 3])] * cls.ndim)
    widths, kernels = (
        one | st.lists(one, min_size=num_layers, max_size=num_layers) if by_layer else one for one in (width, kernel)
    )
    per_axis = st.sampled_from([1, 1, 2]) | st.tuples(*[st.integers(1, 2)] * cls.ndim)
    return cls(
        in_channels=draw(width),
        out_channels=draw(widths),
        kernel_size=draw(kernels),
        num_layers=num_layers,
        bias=draw(st.booleans()),
        bidirectional=draw(st.booleans()),
        stride=draw(per_axis) if padding_mode == "zeros" else 1,
        dilation=draw(per_axis),
        groups=groups,
        **({} if cls.is_linear else {"hidden_kernel_size": draw(st.none() | kernels)}),
        padding_mode=padding_mode,
        dtype=torch.float64,
        **{option: draw(st.sampled_from(values)) for option, values in cls.options.items()},
    )


lengths_of_sequences = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(lambda n: sorted(n, reverse=True))
