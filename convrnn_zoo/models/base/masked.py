"""Sequences of unequal length without packing: for graphs, in which no size may depend on a length."""

from typing import Any

from torch import Tensor

from ...layers import ConvRNNBase
from .sequences import in_graph, pack, step_mask, unpack


def run_masked(rnn: ConvRNNBase, x: Tensor, hx: Any, lengths: Tensor, depth: int | None = None) -> tuple[Any, Any]:
    """What ``rnn.forward_layers`` gives for ``(N, T, …)`` packed by its lengths, unpacked again.

    Every step is computed for every sequence. One that has ended keeps its state, and one that is read from its end
    keeps its first state until its own last step; behind the ends stand zeros. No length is read: a graph made of
    this serves any lengths. `lengths` may also be booleans ``(N, T)``, true at the steps that there are. A layer with
    its own ``run_masked`` runs that.
    """
    own = getattr(rnn, "run_masked", None)
    if own is not None:
        return own(x, hx, lengths)
    return rnn.forward_layers(x, hx, depth, mask=step_mask(x, lengths))


def run_lengths(rnn: ConvRNNBase, x: Tensor, hx: Any, lengths: Tensor) -> tuple[Tensor, Any]:
    """The output of a layer for ``(N, T, …)``, zeros behind each end, and its state: packed, or in a graph masked."""
    if in_graph():
        ys, state = run_masked(rnn, x, hx, lengths)
        return ys[-1], state
    y, state = rnn(pack(x, lengths), hx)
    return unpack(y, x.shape[1])[0], state
