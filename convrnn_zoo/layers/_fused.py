"""The step as one compiled loop over the map: what :func:`torch.compile` makes of the equations, on request."""

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from ._kernel import Gates, Kernel
from ._layout import lighten
from ._trace import Kind, gradients, graph

Maps = tuple[Tensor, ...]

_VARIABLE = "CONVRNN_ZOO_FUSED"


class FusedKernel(Kernel):
    """`kernel` with each of its two calls compiled.

    For cells without convolutions within the step: those would run in the compiled backward pass once more.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.__dict__.update(vars(kernel))

    _calls: tuple[Callable[..., Any], Callable[..., Any]] | None = None

    def _compiled(self, convolved: Sequence[Tensor]) -> tuple[Callable[..., Any], Callable[..., Any]]:
        if self._calls is None:
            like, own = self.pool.like, tuple(tuple(w.shape) for w in self.own)
            rows, dtypes = tuple(c.shape[1] for c in convolved), (convolved[0].dtype, like.dtype)
            size, device = tuple(like.shape[1:]), like.device
            self._calls = _compiled(Kind(self.cell), rows, size, own, self.step.to_state, dtypes, device)
        return self._calls

    def room(self, sizes: Sequence[int]) -> tuple[Tensor | None, Iterator[Gates | None]]:
        """None: the compiled passes read the gates as the convolutions give them."""
        return None, itertools.repeat(None)

    def kept(self, saved: Sequence[Tensor], sizes: Sequence[int]) -> list[Sequence[Tensor]]:
        """What the convolutions gave."""
        each = len(saved) // len(sizes)
        return [saved[i : i + each] for i in range(0, len(saved), each)]

    def into(self, gates: Tensor, sizes: Sequence[int]) -> list[Sequence[Tensor]]:
        """One part: the compiled pass writes all gates' gradients at once."""
        return [(step,) for step in gates.split(list(sizes))]

    def forward(self, convolved: Sequence[Tensor], state: Maps, new: Maps, room: Gates | None = None) -> Maps:
        self._compiled(convolved)[0](*convolved, *state, *self.own, *new)
        return tuple(convolved)

    def backward(
        self, kept: Sequence[Tensor], state: Maps, grads: Maps, into: Sequence[Tensor], turn: int
    ) -> list[Tensor | None]:
        to_state = self._to_state(into[0].shape[0], turn)
        written = [g for g in to_state if g is not None]
        own = self._compiled(kept)[1](*kept, *state, *self.own, *grads, *into, *written)
        for total, part in zip(self.own_grads, own, strict=True):
            total.add_(part)
        return to_state


@lru_cache(maxsize=256)
@torch.inference_mode(False)  # its tensors know no derivative
def _compiled(
    kind: Kind,
    rows: tuple[int, ...],
    size: tuple[int, ...],
    own: tuple[tuple[int, ...], ...],
    to_state: tuple[bool, ...],
    dtypes: tuple[torch.dtype, torch.dtype],
    device: torch.device,
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """``forward(*convolved, *state, *own, *new)``, ``backward(*convolved, *state, *own, *grads, into, *to_state)``."""
    cell, states, parts, batch, (compute, dtype) = kind.cell, len(kind.cell.states), len(rows), 2, dtypes

    def empty(*shape: int, dtype: torch.dtype = dtype) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=device)

    def forward(*args: Tensor) -> None:
        convolved, args = args[:parts], args[parts:]
        gates = torch.cat(convolved, 1).to(dtype)
        for out, value in zip(args[-states:], cell.step(gates, args[:states], args[states:-states]), strict=True):
            out.copy_(value)

    def backward(*args: Tensor) -> list[Tensor]:
        gates, args = torch.cat(args[:parts], 1).to(dtype), args[parts:]
        values, args = args[: states + len(own)], args[states + len(own) :]
        grads, (into, *outs) = args[:states], args[states:]

        def step(gates: Tensor, *rest: Tensor) -> Maps:
            return cell.step(gates, rest[:states], rest[states:])

        of_gates, *found = gradients(step, (gates, *values), grads)
        into.copy_(of_gates)
        wanted = [g for g, w in zip(found, to_state, strict=False) if w]
        for out, value in zip(outs, wanted, strict=True):
            out.copy_(value)
        return found[states:]

    def maps(count: int) -> list[Tensor]:
        return [empty(batch, *size) for _ in range(count)]

    convolved = [empty(batch, r, *size[1:], dtype=compute) for r in rows]
    values = [*convolved, *maps(states), *(empty(*shape) for shape in own)]
    into = empty(batch, sum(rows), *size[1:])
    one = graph(forward, *values, *maps(states))
    two = graph(backward, *values, *maps(states), into, *maps(sum(to_state)))
    if device.type == "cpu":
        for module in (one, two):
            lighten(module.graph)
            module.recompile()
    # Dynamo tells batches of one, views at an offset and the like apart: more than its usual limit of variants.
    compiled: Any = partial(torch.compile, recompile_limit=64)
    return compiled(one), compiled(two)


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


def is_fused() -> bool:
    return _fused


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
