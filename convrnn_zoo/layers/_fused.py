"""The step as one compiled loop over the map: what :func:`torch.compile` makes of the equations, on request."""

import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from ._base import Equations
from ._kernel import Kernel, Pool
from ._trace import Kind

Maps = tuple[Tensor, ...]

_VARIABLE = "CONVRNN_ZOO_FUSED"


class FusedKernel(Kernel):
    """:class:`Kernel` with each of its two calls compiled."""

    def __init__(self, cell: Equations, rows: int, own: Sequence[Tensor], pool: Pool) -> None:
        super().__init__(cell, rows, own, pool)
        self.kind = Kind(cell)

    def forward(self, convolved: Sequence[Tensor], state: Maps, new: Maps, keep: bool) -> Maps:
        call, _ = _compiled(self.kind, len(convolved), len(self.own), self.step.to_state, *_like(convolved, state, self.own))
        call(*convolved, *state, *self.own, *new)
        return tuple(convolved)

    def backward(self, kept: Maps, state: Maps, grads: Maps, into: Tensor, turn: int) -> list[Tensor | None]:
        to_state = self._to_state(into.shape[0], turn)
        _, call = _compiled(self.kind, len(kept), len(self.own), self.step.to_state, *_like(kept, state, self.own))
        own = call(*kept, *state, *self.own, *grads, into, *(g for g in to_state if g is not None))
        for total, part in zip(self.own_grads, own, strict=True):
            total.add_(part)
        return to_state


def _like(*groups: Sequence[Tensor]) -> tuple[Any, ...]:
    """What distinguishes tensors to the compiler, but for the batch."""
    first, dtype = groups[1][0], groups[0][0].dtype
    return tuple(t.shape[1] for t in groups[0]), tuple(first.shape[1:]), tuple(w.shape for w in groups[2]), (
        dtype,
        first.dtype,
        first.device,
    )


@lru_cache(maxsize=256)
def _compiled(
    kind: Kind,
    parts: int,
    owns: int,
    to_state: tuple[bool, ...],
    rows: tuple[int, ...],
    size: tuple[int, ...],
    own: tuple[tuple[int, ...], ...],
    made: tuple[torch.dtype, torch.dtype, torch.device],
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    cell, states, batch = kind.cell, len(kind.cell.states), 2
    compute, dtype, device = made

    def empty(*shape: int, dtype: torch.dtype = dtype) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=device)

    def forward(*args: Tensor) -> None:
        convolved, args = args[:parts], args[parts:]
        gates = torch.cat(convolved, 1).to(dtype)
        for out, value in zip(args[-states:], cell.step(gates, args[:states], args[states:-states]), strict=True):
            out.copy_(value)

    def backward(*args: Tensor) -> list[Tensor]:
        gates, args = torch.cat(args[:parts], 1).to(dtype), args[parts:]
        values, (grads, (into, *outs)) = args[: states + owns], (args[states + owns :][:states], args[states + owns :][states:])

        def step(gates: Tensor, *rest: Tensor) -> Maps:
            return cell.step(gates, rest[:states], rest[states:])

        of_gates, *found = torch.func.vjp(step, gates, *values)[1](tuple(grads))
        into.copy_(of_gates)
        wanted = [g for g, w in zip(found, to_state, strict=False) if w]
        for out, value in zip(outs, wanted, strict=True):
            out.copy_(value)
        return found[states:]

    def maps(count: int) -> list[Tensor]:
        return [empty(batch, *size) for _ in range(count)]

    convolved = [empty(batch, r, *size[1:], dtype=compute) for r in rows]
    values = [*convolved, *maps(states), *(empty(*shape) for shape in own)]
    with torch.autocast(device.type, enabled=False):
        one = make_fx(forward, tracing_mode="fake")(*values, *maps(states))
        two = make_fx(backward, tracing_mode="fake")(
            *values, *maps(states), empty(batch, sum(rows), *size[1:], dtype=compute), *maps(sum(to_state))
        )
    return torch.compile(one), torch.compile(two)


def set_fused(fused: bool) -> bool:
    """Whether the layers compile what follows the convolutions in a step; returns what held before.

    Off by default, since it wants a compiler (a C++ compiler on a CPU, Triton on a GPU) and some seconds for each
    kind of cell and map. The environment variable ``CONVRNN_ZOO_FUSED=1`` switches it on from the start.

    Raises:
        RuntimeError: no compiler is there.

    Example:
        >>> from convrnn_zoo.layers import set_fused
        >>> set_fused(False)
        False
    """
    global _fused
    if fused and not _fused:
        _need_compiler()
    before, _fused = _fused, bool(fused)
    return before


def kernel_class() -> type[Kernel]:
    return FusedKernel if _fused else Kernel


def _need_compiler() -> None:
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        get_cpp_compiler()
    except Exception as e:
        raise RuntimeError(
            "set_fused(True) expected a C++ compiler for torch.compile, got none; install g++ or clang++, or name one "
            "in the environment variable CXX"
        ) from e


_fused = False
if os.environ.get(_VARIABLE, "0") not in ("", "0"):
    set_fused(True)
