"""Sequences of unequal length without packing: for graphs, in which no size may depend on a length."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...layers import ConvRNNBase
from ...layers._scan import scan
from ...layers._state import pack_state, unpack_state
from .sequences import in_graph, pack, unpack, valid_steps

State = tuple[Tensor, ...]  # by a name: torch 2.6 compiles no inner function that spells it out


def run_masked(rnn: ConvRNNBase, x: Tensor, hx: Any, lengths: Tensor, depth: int | None = None) -> tuple[Any, Any]:
    """What ``rnn.forward_layers`` gives for ``(N, T, …)`` packed by its lengths, unpacked again.

    Every step is computed for every sequence. One that has ended keeps its state, and one that is read from its end
    keeps its first state until its own last step; behind the ends stand zeros. No length is read: a graph made of
    this serves any lengths. It keeps what is inside all steps, whatever ``rnn.grad_checkpointing`` says. `lengths` may
    also be booleans ``(N, T)``, true at the steps that there are. A layer with its own ``run_masked`` runs that.
    """
    own = getattr(rnn, "run_masked", None)
    if own is not None:
        return own(x, hx, lengths)
    xs, _, _ = rnn._unpack_input(x)
    masks, ys = valid_steps(x, lengths).unbind(1), xs.unbind(0)
    shapes = [(rnn.num_directions, x.shape[0], width, *x.shape[3:]) for width in rnn.widths]
    stacked = isinstance(rnn.out_channels, int)
    states = unpack_state(type(rnn).__name__, hx, rnn.states, shapes, stacked, xs, None, False)
    outputs: list[Tensor] = []
    ends: list[tuple[Tensor, ...]] = []
    for layer, width in enumerate(rnn.widths[:depth]):
        if layer and rnn.dropout:
            ys = F.dropout(torch.stack(ys), rnn.dropout, rnn.training).unbind(0)
        both = []
        for suffix in ("", "_reverse")[: rnn.num_directions]:
            w, below = rnn._weights(f"_l{layer}{suffix}", width), ys

            def step(t: int, state: State, w: Any = w, below: Any = below) -> State:
                new = rnn.advance(below[t], state, w)
                return tuple(torch.where(masks[t], n.to(s.dtype), s) for n, s in zip(new, state, strict=True))

            first = tuple(s.to(w.ih.dtype) for s in states[len(ends)])
            h, end = scan(step, range(len(ys)), first, reverse=suffix != "")
            both.append(h)
            ends.append(end)
        ys = tuple(torch.where(mask, torch.cat(h, 1), 0) for mask, *h in zip(masks, *both, strict=True))
        outputs.append(torch.stack(ys, 1))
    return outputs, pack_state(ends, rnn.num_directions, stacked, None, False)


def run_lengths(rnn: ConvRNNBase, x: Tensor, hx: Any, lengths: Tensor) -> tuple[Tensor, Any]:
    """The output of a layer for ``(N, T, …)``, zeros behind each end, and its state: packed, or in a graph masked."""
    if in_graph():
        ys, state = run_masked(rnn, x, hx, lengths)
        return ys[-1], state
    y, state = rnn(pack(x, lengths), hx)
    return unpack(y, x.shape[1])[0], state
