"""What follows the convolution in a step: the cell's equations and their derivative, in place.

:meth:`Equations.step` is traced into a graph of tensor operations once, its derivative likewise, and both are laid
out over buffers. So a cell is written down once, as formulas, and yet neither pass allocates.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from ._base import Equations
from ._layout import is_zero, keep_values, lay_out, results, split_input

Maps = tuple[Tensor, ...]


class Traced(NamedTuple):
    """A step as two functions over maps ``(N, C, *S)``.

    ``forward(*gates, *state, *own, *new_state, *scratch)`` writes the new state, and over some gates their value;
    ``backward(*gates, *state, *own, *grad_new_state, *grad_gates, *grad_state, *scratch)`` takes the gates so and
    writes their gradients and the state's, of which `to_state` tells the ones that are not zero whatever comes;
    it returns the gradients of `own`.
    """

    gates: int
    forward: Callable[..., Maps]
    backward: Callable[..., Maps]
    to_state: tuple[bool, ...]
    scratch: tuple[int, int]


class _Kind:
    """A cell as its equations see it; equal to any other that traces alike."""

    def __init__(self, cell: Equations) -> None:
        self.cell = cell
        self.key = (type(cell), cell.geometry, tuple(getattr(cell, name) for name in cell.options))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Kind) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


def trace(cell: Equations, rows: int, state: Tensor, own: Sequence[Tensor]) -> Traced:
    """The step of `cell` from `rows` channels of pre-activations, on states like `state`."""
    shapes = tuple(tuple(w.shape) for w in own)
    return _trace(_Kind(cell), rows, tuple(state.shape[1:]), shapes, state.dtype, state.device)


@lru_cache(maxsize=256)
def _trace(
    kind: _Kind, rows: int, size: tuple[int, ...], own: tuple[tuple[int, ...], ...], dtype: torch.dtype, device: Any
) -> Traced:
    cell, states, batch = kind.cell, len(kind.cell.states), 2  # no size of the batch enters the graph
    shapes = [(batch, rows, *size[1:]), *[(batch, *size)] * states, *own]
    example = [torch.empty(shape, dtype=dtype, device=device) for shape in shapes]

    def step(gates: Tensor, *rest: Tensor) -> Maps:
        return cell.step(gates, rest[:states], rest[states:])

    def derivative(*values: Tensor) -> Maps:
        return torch.func.vjp(step, *values[: len(shapes)])[1](values[len(shapes) :])

    with torch.autocast(device.type, enabled=False):
        forward = make_fx(step, tracing_mode="fake")(*example).graph
        backward = make_fx(derivative, tracing_mode="fake")(*example, *map(torch.empty_like, example[1 : 1 + states])).graph
    gates = split_input(forward, size[0])
    values = keep_values(gates, split_input(backward, size[0]))
    first, *rest = results(backward)
    parts = list(first.args[0]) if len(gates) > 1 else [first]
    to_state = tuple(not is_zero(node) for node in rest[:states])
    forward_fn, n = lay_out(forward, results(forward), overwrites=values)
    backward_fn, m = lay_out(
        backward, parts + [g for g, wanted in zip(rest, to_state, strict=False) if wanted], rest[states:]
    )
    return Traced(len(gates), forward_fn, backward_fn, to_state, (n, m))
