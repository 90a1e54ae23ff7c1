"""A cell's step and its derivative as graphs of tensor operations: traced from the equations, once a kind."""

import itertools
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

from ._base import Equations
from ._graph import Opening, contract, is_zero, read_results, results, split_input, take_opening, values_of
from ._layout import lay_out

Maps = tuple[Tensor, ...]


class Part(NamedTuple):
    """Rows of the gates that come from the same channels of ``[x, h]``: a convolution of its own."""

    rows: slice
    from_x: bool
    from_h: bool

    def sees(self, inputs: int, state: bool = True) -> slice:
        """Its channels among ``[x, h]``, x having `inputs`; those of h only with `state`."""
        return slice(0 if self.from_x else inputs, None if self.from_h and state else inputs)


class Traced(NamedTuple):
    """A step as two functions over maps ``(N, C, *S)`` that are given all that they write to.

    ``forward(*gates, *state, *own, *new_state, *scratch)`` takes gates that `opening` has opened; it writes the new
    state, and over some gates a value of theirs. ``backward(*gates, *state, *own, *grad_new_state, *new_state,
    *grad_gates, *grad_state, *scratch)`` takes the gates so. It writes their gradients and the state's, of which
    `to_state` tells the ones that are not zero whatever comes, and returns the gradients of `own`.
    """

    gates: int  # how many maps they are
    opening: Opening
    factors: Tensor | None  # of the rows' pre-activations, for the opening
    forward: Callable[..., Maps]
    backward: Callable[..., Maps]
    keeps: bool  # whether backward reads the gates
    to_state: tuple[bool, ...]
    scratch: tuple[int, int]  # how many maps forward and backward want
    pointwise: bool  # whether no convolution is in it


class Kind:
    """A cell as its equations see it; equal to any other that traces alike."""

    def __init__(self, cell: Equations) -> None:
        self.cell = cell
        self.key = (type(cell), cell.geometry, tuple(getattr(cell, name) for name in cell.options))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Kind) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


def trace(cell: Equations, rows: int, state: Tensor, own: Sequence[Tensor]) -> Traced:
    """The step of `cell` from `rows` channels of pre-activations, on states like `state`."""
    return _laid_out(Kind(cell), rows, tuple(state.shape[1:]), _shapes(own), state.dtype, state.device)


def parts(cell: Equations, rows_ih: int, rows_hh: int) -> list[Part]:
    """The rows that `cell` joins, in runs that see the same of input and state."""
    return _parts(Kind(cell), rows_ih, rows_hh)


def _shapes(tensors: Sequence[Tensor]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(t.shape) for t in tensors)


@lru_cache(maxsize=256)
def _parts(kind: Kind, rows_ih: int, rows_hh: int) -> list[Part]:
    join = kind.cell.join
    from_x = join(torch.ones(1, rows_ih), torch.zeros(1, rows_hh))[0].bool().tolist()
    from_h = join(torch.zeros(1, rows_ih), torch.ones(1, rows_hh))[0].bool().tolist()
    seen = list(zip(from_x, from_h, strict=True))
    cuts = [0, *(i for i in range(1, len(seen)) if seen[i] != seen[i - 1]), len(seen)]
    return [Part(slice(a, b), *seen[a]) for a, b in itertools.pairwise(cuts)]


@torch.inference_mode(False)  # its tensors know no derivative
def _graphs(
    kind: Kind, rows: int, size: tuple[int, ...], own: tuple[tuple[int, ...], ...], dtype: torch.dtype, device: Any
) -> tuple[fx.Graph, fx.Graph]:
    cell, states, batch = kind.cell, len(kind.cell.states), 2  # no size of the batch enters the graph
    shapes = [(batch, rows, *size[1:]), *[(batch, *size)] * states, *own]
    example = [torch.empty(shape, dtype=dtype, device=device) for shape in shapes]
    grads = [torch.empty_like(s) for s in example[1 : 1 + states]]

    def step(gates: Tensor, *rest: Tensor) -> Maps:
        return cell.step(gates, rest[:states], rest[states:])

    def derivative(*values: Tensor) -> Maps:
        return gradients(step, values[: len(shapes)], values[len(shapes) :])

    return graph(step, *example).graph, graph(derivative, *example, *grads).graph


def gradients(step: Callable[..., Maps], values: Sequence[Tensor], grads: Sequence[Tensor]) -> Maps:
    """Those of `step(*values)` in `values`, zeros where it does not read one."""
    with torch.enable_grad():
        values = [v.detach().requires_grad_() for v in values]
        found = torch.autograd.grad(step(*values), values, grads, allow_unused=True)
    return tuple(torch.zeros_like(v) if g is None else g for g, v in zip(found, values, strict=True))


def graph(function: Callable[..., Any], *example: Tensor) -> fx.GraphModule:
    """The operations of `function`, whatever surrounds the call: autocast, a checkpoint's hooks, no_grad."""
    as_is = torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t)
    with torch.autocast(example[0].device.type, enabled=False), torch.no_grad(), as_is:
        module = make_fx(function, tracing_mode="fake")(*example)
    for node in module.graph.find_nodes(op="call_function", target=torch.ops.aten.detach.default):
        node.replace_all_uses_with(node.args[0])  # autograd's, of what it saves
        module.graph.erase_node(node)
    module.recompile()
    return module


@lru_cache(maxsize=256)
@torch.inference_mode(False)
def _laid_out(kind: Kind, rows: int, size: tuple[int, ...], own: Any, dtype: torch.dtype, device: Any) -> Traced:
    states = len(kind.cell.states)
    forward, backward = made = _graphs(kind, rows, size, own, dtype, device)
    gates, again = (split_input(each, size[0]) for each in made)
    values = values_of(gates, again)
    opening = take_opening(gates, values)
    same = dict(zip(*(each.find_nodes(op="placeholder") for each in made), strict=False))
    for value in values:  # written over the gate, and read there
        value.other.replace_all_uses_with(value.again)
        same[value.node] = value.again
    read_results(forward, backward, same)
    for each in made:
        each.eliminate_dead_code()
        contract(each)
    k = len(gates)
    first, *others = results(backward)
    of_gates: list[Any] = list(first.args[0]) if k > 1 else [first]  # type: ignore[arg-type]  # the gradient of a split is a concatenation
    to_state = tuple(not is_zero(node) for node in others[:states])
    of_state = [node for node, wanted in zip(others, to_state, strict=False) if wanted]
    forward_fn, n = lay_out(forward, results(forward), overwrites={v.node: v.gate for v in values})
    backward_fn, m = lay_out(backward, of_gates + of_state, others[states:])
    return Traced(
        gates=k,
        opening=opening,
        factors=_factors(opening, rows, rows // k, dtype, device),
        forward=forward_fn,
        backward=backward_fn,
        keeps=any(gate.users for gate in again),
        to_state=to_state,
        scratch=(n, m),
        pointwise=not forward.find_nodes(op="call_function", target=torch.ops.aten.convolution.default),
    )


def _factors(opening: Opening, rows: int, width: int, dtype: torch.dtype, device: Any) -> Tensor | None:
    if not opening.tanhs:
        return None
    factors = torch.ones(rows, dtype=dtype)
    for i in opening.tanhs:
        factors[i * width : (i + 1) * width] = 2
    return factors.to(device)
