"""The step as one compiled loop over the map: what Inductor makes of the equations, on request."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext

from ._graph import lighten
from ._kernel import Kernel
from ._trace import Kind, gradients, graph

Maps = tuple[Tensor, ...]
Strides = tuple[int, ...]

_VARIABLE = "CONVRNN_ZOO_FUSED"
_BATCH = 3  # of the examples; compiled, it is a symbol


class FusedKernel(Kernel):
    """`kernel` with each of its two calls compiled.

    For cells without convolutions within the step: those would run in the compiled backward pass once more.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.__dict__.update(vars(kernel))
        self._calls: dict[Any, Callable[..., Any]] = {}

    def _compiled(self, of: Callable[[Step], fx.GraphModule], convolved: Sequence[Tensor], *rest: Tensor) -> Any:
        like = self.pool.like
        step = Step(
            Kind(self.cell),
            rows=tuple(c.shape[1] for c in convolved),
            size=tuple(like.shape[1:]),
            own=tuple(tuple(w.shape) for w in self.own),
            to_state=self.step.to_state,
            compute=convolved[0].dtype,
            dtype=like.dtype,
            device=like.device,
        )
        return _compiled(step, of, tuple([t.stride() for t in (*convolved, *rest)]))

    def weights(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """As they are: the compiled passes read what the equations do."""
        return weight, bias

    def into(self, gates: Tensor, sizes: Sequence[int]) -> list[Sequence[Tensor]]:
        """One part: the compiled pass writes all gates' gradients at once."""
        return [(step,) for step in gates.split(list(sizes))]

    def forward(self, convolved: Sequence[Tensor], state: Maps, new: Maps, beside: Tensor) -> Maps:
        args = [*convolved, *state, *self.own, *new, beside]
        # What it writes is cut from the same maps at every step of as many sequences.
        key = len(beside), *[t.stride() for t in (*convolved, *state)]
        call = self._calls.get(key)
        if call is None:
            call = self._calls[key] = self._compiled(_forward, convolved, *args[len(convolved) :])
        call(args)  # and is left with an empty list
        return tuple(convolved)

    def backward(
        self, kept: Sequence[Tensor], state: Maps, new: Maps, grads: Maps, into: Sequence[Tensor], turn: int
    ) -> list[Tensor | None]:
        to_state = self._to_state(into[0].shape[0], turn)
        written = [g for g in to_state if g is not None]
        args = [*kept, *state, *self.own, *grads, *into, *written]
        key = tuple([t.stride() for t in args])
        call = self._calls.get(key)
        if call is None:
            call = self._calls[key] = self._compiled(_backward, kept, *args[len(kept) :])
        own = call(args)
        for total, part in zip(self.own_grads, own, strict=True):
            total.add_(part)
        return to_state


class Step(NamedTuple):
    """All of a step that its compiled form depends on, but for the strides: any batch will do."""

    kind: Kind
    rows: tuple[int, ...]  # of each convolution
    size: tuple[int, ...]
    own: tuple[tuple[int, ...], ...]
    to_state: tuple[bool, ...]
    compute: torch.dtype  # of the convolutions
    dtype: torch.dtype
    device: torch.device

    @property
    def states(self) -> int:
        return len(self.kind.cell.states)

    def gates(self, convolved: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(convolved), 1).to(self.dtype)

    def values(self) -> list[Tensor]:
        """Examples of what a step reads: what the convolutions gave, the state and the cell's own weights."""
        convolved = [self.maps(1, r, self.compute)[0] for r in self.rows]
        return [
            *convolved,
            *self.maps(self.states),
            *(torch.empty(s, dtype=self.dtype, device=self.device) for s in self.own),
        ]

    def maps(self, count: int, channels: int | None = None, dtype: torch.dtype | None = None) -> list[Tensor]:
        shape = (_BATCH, channels or self.size[0], *self.size[1:])
        return [torch.empty(shape, dtype=dtype or self.dtype, device=self.device) for _ in range(count)]


def _forward(step: Step) -> fx.GraphModule:
    """``forward(*convolved, *state, *own, *new, beside)``."""
    states, parts = step.states, len(step.rows)

    def forward(*args: Tensor) -> list[Tensor]:
        gates, args = step.gates(args[:parts]), args[parts:]
        own, outs = args[states : -states - 1], args[-states - 1 :]
        made = step.kind.cell.step(gates, args[:states], own)
        for out, value in zip(outs, (*made, made[0]), strict=True):
            out.copy_(value)
        return []

    return graph(forward, *step.values(), *step.maps(states), *step.maps(1, dtype=step.compute))


def _backward(step: Step) -> fx.GraphModule:
    """``backward(*convolved, *state, *own, *grads, into, *to_state)``; returns the gradients of own."""
    cell, states, parts = step.kind.cell, step.states, len(step.rows)

    def backward(*args: Tensor) -> list[Tensor]:
        gates, args = step.gates(args[:parts]), args[parts:]
        values, args = args[: states + len(step.own)], args[states + len(step.own) :]
        grads, (into, *outs) = args[:states], args[states:]

        def equations(gates: Tensor, *rest: Tensor) -> Maps:
            return cell.step(gates, rest[:states], rest[states:])

        of_gates, *found = gradients(equations, (gates, *values), grads)
        into.copy_(of_gates)
        wanted = [g for g, w in zip(found, step.to_state, strict=False) if w]
        for out, value in zip(outs, wanted, strict=True):
            out.copy_(value)
        return found[states:]

    into = step.maps(1, sum(step.rows))
    return graph(backward, *step.values(), *step.maps(states), *into, *step.maps(sum(step.to_state)))


@lru_cache(maxsize=256)
@torch.inference_mode(False)  # its tensors know no derivative
def _compiled(step: Step, of: Callable[[Step], fx.GraphModule], strides: tuple[Strides, ...]) -> Callable[..., Any]:
    """The graph of a step compiled for tensors of these strides.

    Inductor is given the graph itself: the guards of torch.compile cost more than a small step takes, and what wraps a
    graph that is differentiated or has views for inputs a twelfth of it. The two things that may change from call to
    call are here, the strides as a key and the batch as a symbol.
    """
    from torch._dynamo.source import ConstantSource  # a second to import, for few
    from torch._inductor import config
    from torch._inductor.compile_fx import compile_fx_inner
    from torch._inductor.decomposition import select_decomp_table

    module = of(step)
    if step.device.type == "cpu":
        lighten(module.graph)
        module.recompile()
    mode = FakeTensorMode(shape_env=ShapeEnv())
    examples: list[Any] = []
    own = range(len(step.rows) + step.states, len(step.rows) + step.states + len(step.own))
    for i, (node, stride) in enumerate(zip(module.graph.find_nodes(op="placeholder"), strides, strict=True)):
        value = node.meta["val"]
        real = torch.empty_strided(value.shape, stride, dtype=value.dtype, device=step.device)
        dynamic = [DimDynamic.STATIC] * real.dim()
        if i not in own:
            dynamic[0] = DimDynamic.DUCK  # one symbol for all of them
        context: Any = StatelessSymbolicContext(dynamic_sizes=dynamic)
        examples.append(mode.from_tensor(real, symbolic_context=context, source=ConstantSource(f"arg{i}")))
    with mode:  # in the terms that Inductor knows how to lower
        lowered = make_fx(module, select_decomp_table())(*examples)
    # Its checks of sizes and strides are a thirtieth of a small step; the key and the symbol stand for them.
    with config.patch(size_asserts=False):
        compiled: Any = compile_fx_inner(lowered, examples)
    return compiled.current_callable  # without what a compiled graph does around it for profilers


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


@cache
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
