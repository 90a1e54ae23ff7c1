"""Runs a layer over a sequence: the loop over time, and the reference implementation under ordinary autograd.

The loop does not depend on convolutions: a step is any function from an input and a state to the next state.
"""

import math
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from .. import _checks as check
from ._conv import can_join, in_layout

# Size of the gates that are convolved or differentiated at once: enough steps to use all cores, few enough for a cache.
GATES_BYTES = 8 << 20
Maps = tuple[Tensor, ...]
StateT = TypeVar("StateT", bound=tuple[Any, ...])
Step = Callable[[Any, StateT], StateT]
Loop = Callable[..., tuple[Any, Any]]
"""Replacement of the loop over time, ``loop(step, xs, state, *, reverse=False) -> (stacked outputs, last state)``.

`xs` is a tuple of tensors ``(T, N, …)``: the input, and the mask if there is one. `step` takes a tuple of their slices.
"""


class DirectionWeights(NamedTuple):
    """Parameters of one layer in one direction; `extra` are the parameters that only some cells have.

    `h_mask` ``(N, C, 1, …)`` multiplies the h that the convolution reads, and is the same at all steps. If one
    convolution over the concatenated input and state replaces two, its weight and bias are `xh` and `b_xh`. If `ih` is
    None, the input is the contribution of the input to the gates, see :func:`.convolve_inputs`.
    """

    ih: Any  # Tensor or None
    hh: Tensor
    b_ih: Tensor | None
    b_hh: Tensor | None
    extra: Maps
    h_mask: Tensor | None = None
    xh: Tensor | None = None
    b_xh: Tensor | None = None

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the weights, in which states are computed."""
        return (self.hh if self.ih is None else self.ih).dtype


def is_transformed(*, unknown: bool) -> bool:
    """Returns whether a transform of torch.func or forward-mode differentiation is active.

    Returns `unknown` if torch cannot report it.
    """
    try:
        return torch._C._are_functorch_transforms_active() or torch.autograd.forward_ad._current_level >= 0
    except AttributeError:
        return unknown


def is_traced() -> bool:
    """Returns whether ``torch.compile``, ``torch.jit.trace`` or ``make_fx`` records the operations in a graph."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return True
    make_fx = sys.modules.get("torch.fx.experimental.proxy_tensor")  # takes long to import, and is imported to trace
    return getattr(make_fx, "get_proxy_mode", lambda: None)() is not None


def can_recompute() -> bool:
    """Returns whether layers can be checkpointed: gradients are enabled, and no transform is known to be active."""
    return torch.is_grad_enabled() and not is_transformed(unknown=False)


class RunSpec(NamedTuple):
    """Arguments, other than tensors, for running one layer over a sequence.

    The tensors are passed separately. The first is the input ``(T, N, C, *S)``, or the data ``(ΣT, C, *S)`` of a packed
    sequence. Then follow, for each direction, the initial state, weights, biases, mask of h and extra parameters.
    """

    cell: Any
    batch_sizes: list[int]  # of each step
    packed: bool
    num_directions: int
    zero_state: bool  # whether the initial state is zero
    checkpointed: bool  # whether the backward pass recomputes segments of √T steps instead of storing them
    needs_grad: bool
    conv_dtype: torch.dtype = torch.float32
    direction: Any = None  # class that runs one direction of a fused layer

    def directions(self, tensors: Sequence[Any]) -> list[tuple[Maps, DirectionWeights]]:
        """Returns the initial state and the parameters of each direction."""
        each, num_states = len(tensors) // self.num_directions, len(self.cell.states)
        result = []
        for i in range(0, len(tensors), each):
            ih, hh, b_ih, b_hh, h_mask, *extra = tensors[i + num_states : i + each]
            weights = DirectionWeights(ih, hh, b_ih, b_hh, tuple(extra), h_mask)
            result.append((tuple(tensors[i : i + num_states]), weights))
        return result

    def input_of(self, direction: int, xs: Tensor, w: DirectionWeights) -> Tensor:
        """Returns `xs`, or the part of a direction if they are contributions to the gates of all directions."""
        return xs if w.ih is not None else xs.chunk(self.num_directions, -self.cell.ndim - 1)[direction]

    def segments(self) -> list[range]:
        """Divides the T steps into ranges of √T steps if the layer is checkpointed; returns one range otherwise."""
        steps = len(self.batch_sizes)
        length = math.isqrt(steps - 1) + 1 if self.checkpointed else steps
        return [range(t, min(t + length, steps)) for t in range(0, steps, length)]

    def sizes(self, steps: Sequence[Any]) -> list[int] | None:
        """Returns the argument `sizes` of a :func:`fold` over steps, given as indices or as ranges of indices."""
        if not self.packed:
            return None
        return [self.batch_sizes[t.start if isinstance(t, range) else t] for t in steps]


# ---- time ------------------------------------------------------------------------------------------------------
def fold(
    step: Step[StateT], xs: Sequence[Any], state: StateT, *, reverse: bool = False, sizes: Sequence[int] | None = None
) -> StateT:
    """Computes ``state = step(x, state)`` for each x in turn, and returns the last state.

    `sizes` are the batch sizes of the steps of a packed sequence, in descending order. In forward order, a sequence
    that has ended keeps its last state. In reverse, a sequence starts with its initial state at its own last step.

    Example:
        >>> fold(lambda x, state: (state[0] + x,), [1, 2, 3], (0,))
        (6,)
    """
    if sizes is None:
        for x in reversed(xs) if reverse else xs:
            state = step(x, state)
        return state
    steps, ended = list(zip(xs, sizes, strict=True)), list[Maps]()
    maps: Any = tuple(s[: sizes[-1 if reverse else 0]] for s in state)
    for x, size in reversed(steps) if reverse else steps:
        maps = step(x, resize(maps, size, state, ended))
    return join_ended(maps, ended)


def resize(maps: Any, size: int, initial: Sequence[Any], ended: list[Any]) -> Any:
    """Returns the states of the `size` sequences of a packed batch that have the next step.

    Those of sequences that have ended move to `ended`; sequences that begin have their `initial` states.
    """
    running = len(maps[0])
    if size < running:
        ended.append(tuple(s[size:] for s in maps))
        return tuple(s[:size] for s in maps)
    if size > running:
        return tuple(torch.cat([s, s0[running:size]]) for s, s0 in zip(maps, initial, strict=True))
    return maps


def join_ended(maps: Any, ended: Sequence[Any]) -> Any:
    """Returns the last states of all sequences, from those that :func:`resize` returned last and set aside."""
    parts = zip(*reversed([*ended, maps]), strict=True)
    return tuple(torch.cat(part) if len(part) > 1 else part[0] for part in parts)


def run_loop(
    step: Step[StateT], xs: Sequence[Any], state: StateT, *, reverse: bool = False, sizes: Sequence[int] | None = None
) -> tuple[list[Any], StateT]:
    """Returns the first entry of every state that :func:`fold` computes, in the order of `xs`, and the last state.

    Example:
        >>> run_loop(lambda x, state: (state[0] + x,), [1, 2, 3], (0,), reverse=True)
        ([6, 5, 3], (6,))
    """
    ys = []

    def collect(x: Any, state: StateT) -> StateT:
        state = step(x, state)
        ys.append(state[0])
        return state

    state = fold(collect, xs, state, reverse=reverse, sizes=sizes)
    return ys[::-1] if reverse else ys, state


def _linear_step(x: Maps, state: Maps) -> Maps:
    f, b = x
    return (torch.addcmul(b, f, state[0]),)


def run_linear_loop(f: Tensor, b: Tensor, state: Tensor, *, reverse: bool = False, num_blocks: int = 1) -> list[Tensor]:
    """Computes ``state = f ⊙ state + b`` along axis 0, and returns every state.

    The T steps, padded with steps that change nothing, are divided into blocks of equal length. A block is a linear
    step too: its f is the product of the f of its steps, its b is the state that it computes from zero. Both are
    computed for all blocks at once, so that √T blocks need about 2√T sequential operations instead of T. f must be in
    [0, 1], so that its products cannot overflow.
    """
    if num_blocks == 1:
        maps: Maps = (state,)
        return run_loop(_linear_step, list(zip(f.unbind(0), b.unbind(0), strict=True)), maps, reverse=reverse)[0]
    if reverse:
        return run_linear_loop(f.flip(0), b.flip(0), state, num_blocks=num_blocks)[::-1]
    num_steps, length = len(f), -(-len(f) // num_blocks)
    missing = length * num_blocks - num_steps
    if missing:
        f = torch.cat([f, f.new_ones(missing, *f.shape[1:])])
        b = torch.cat([b, b.new_zeros(missing, *b.shape[1:])])
    f_at, b_at = (x.unflatten(0, (num_blocks, length)).unbind(1) for x in (f, b))
    products, sums = [f_at[0]], [b_at[0]]
    for f_t, b_t in zip(f_at[1:], b_at[1:], strict=True):
        products.append(f_t * products[-1])
        sums.append(torch.addcmul(b_t, f_t, sums[-1]))
    starts = [state]
    for product, total in zip(products[-1][:-1], sums[-1][:-1], strict=True):
        starts.append(torch.addcmul(total, product, starts[-1]))
    start = torch.stack(starts)
    blocks = [torch.addcmul(total, product, start) for product, total in zip(products, sums, strict=True)]
    return list(torch.stack(blocks, 1).flatten(0, 1)[:num_steps].unbind(0))


# ---- reference implementation ----------------------------------------------------------------------------------
def reference_layer(spec: RunSpec, xs: Tensor, *tensors: Any, mask: Tensor | None = None) -> Maps:
    """Runs a layer step by step under ordinary autograd, ``torch.func`` or ``torch.compile``.

    Returns the output, with the directions concatenated along the channels, and the final states. The output is
    ``(ΣT, C, *S)``, or ``(T, N, C, *S)`` if the cell has an `export_loop` and the input is not packed. Where `mask`
    ``(T, N, 1, …)`` is false, the sequence has no step: its state does not change, and its output is zero.
    """
    outputs: list[Tensor] = []
    finals: list[Tensor] = []
    for reverse, (state, w) in enumerate(spec.directions(tensors)):
        x = spec.input_of(int(reverse), xs, w).to(w.dtype)  # under autocast, it may have another dtype
        y, final = _run_direction(spec, x, mask, state, prepare_weights(spec.cell, w), reverse == 1)
        outputs.append(y)
        finals += final
    channels = -spec.cell.ndim - 1
    y = outputs[0] if len(outputs) == 1 else torch.cat(outputs, channels)
    if mask is not None:
        y = torch.where(mask if y.dim() == mask.dim() else mask.flatten(0, 1), y, 0)
    return y, *finals


def _segments(spec: RunSpec, xs: Tensor, w: DirectionWeights) -> list[range]:
    """Divides the steps if the layer is checkpointed, or if the gates of a linear cell exceed the caches of the CPU."""
    steps, cell = len(spec.batch_sizes), spec.cell
    if spec.checkpointed and spec.needs_grad:
        return spec.segments()
    if not cell.is_linear or cell.export_loop is not None or xs.device.type != "cpu" or torch.compiler.is_compiling():
        return [range(steps)]
    row = len(w.ih) * math.prod(xs.shape[-cell.ndim :]) * w.ih.itemsize
    length = max(1, GATES_BYTES // max(1, row * spec.batch_sizes[0]))
    return [range(t, min(t + length, steps)) for t in range(0, steps, length)]


def prepare_weights(cell: Any, w: DirectionWeights) -> DirectionWeights:
    """Joins the weights of input and state where one convolution can replace two, and prepares them for all steps."""
    if cell.export_loop is not None:  # an exported loop rejects two views of one tensor
        ih, hh, b_ih, b_hh, *extra = (None if t is None else t.clone() for t in (*w[:4], *w.extra))
        w = DirectionWeights(ih, hh, b_ih, b_hh, tuple(extra))  # type: ignore[arg-type]
    joins = w.ih is not None and cell.sums_all_gates and can_join(w.ih, w.hh, cell.geometry)
    weights = [w.ih, w.hh, torch.cat([w.ih, w.hh], 1) if joins else None]
    if torch.compiler.is_compiling() and cell.export_loop is None:
        # On a CPU, a compiled convolution otherwise reorders its weight for every step.
        weights = [in_layout(t, True) if t is not None and t.device.type == "cpu" else t for t in weights]
    ih, hh, joint = weights
    bias = sum_bias(w.b_ih, w.b_hh) if joins else None
    return DirectionWeights(ih, hh, w.b_ih, w.b_hh, w.extra, w.h_mask, joint, bias)


def reference_step(cell: Any, x: Tensor, state: Maps, w: DirectionWeights) -> Maps:
    """Computes the next state of `cell` in the dtype of the weights, and checks its type and shape.

    The step of a custom cell may return further tensors, which follow those of `state`.
    """
    new = check.new_state(type(cell), cell.advance(x, state, w), state)
    return zone_out(cell, tuple(s.to(w.dtype) for s in new), state)


def zone_out(cell: Any, new: Maps, old: Maps) -> Maps:
    """Applies zoneout: random elements keep their old value in training; evaluation averages old and new states."""
    if not any(cell.zoneout):
        return new
    triples = list(zip(new, old, cell.zoneout, strict=False))  # a step may return more than the states
    mixed = [torch.lerp(before.to(s.dtype), s, updated(cell, s, rate)) for s, before, rate in triples]
    return *mixed, *new[len(mixed) :]


def updated(cell: Any, like: Tensor, rate: float) -> Any:
    """Returns the weight of the new state under zoneout: 0 or 1 per element in training, else ``1 - rate``."""
    if not cell.training:
        return 1 - rate
    random = torch.rand_like(like, dtype=torch.float32, memory_format=torch.contiguous_format)
    return (random >= rate).to(like.dtype)


def _run_steps(
    spec: RunSpec, ts: range, xs: Tensor, mask: Tensor | None, state: Maps, w: DirectionWeights, reverse: bool
) -> tuple[Tensor, Maps]:
    cell = spec.cell

    def step(x: Maps, state: Maps) -> Maps:
        new = reference_step(cell, x[0], state, w)[: len(state)]
        if len(x) == 1:
            return new
        return tuple(torch.where(x[1], s, old) for s, old in zip(new, state, strict=True))

    inputs = (xs,) if mask is None else (xs, mask)
    if cell.export_loop is not None and not spec.packed:
        return cell.export_loop(step, inputs, state, reverse=reverse)
    sizes = spec.sizes(ts)
    steps = list(zip(*(x.unbind(0) if sizes is None else x.split(sizes) for x in inputs), strict=True))
    ys, state = run_loop(step, steps, state, reverse=reverse, sizes=sizes)
    return torch.cat(ys), state


def _run_linear(
    spec: RunSpec, ts: range, xs: Tensor, mask: Tensor | None, state: Maps, w: DirectionWeights, reverse: bool
) -> tuple[Tensor, Maps]:
    """Computes the gates of all steps `ts` of a linear cell at once, and then the states."""
    gates = spec.cell.conv(xs if spec.packed else xs.flatten(0, 1), w.ih, w.b_ih)
    f, b = (x.to(w.ih.dtype) for x in spec.cell.coefficients(gates))
    if any(spec.cell.zoneout):
        fraction = updated(spec.cell, f, *spec.cell.zoneout)
        f, b = torch.lerp(torch.ones_like(f), f, fraction), b * fraction
    if (sizes := spec.sizes(ts)) is not None:
        steps = list(zip(f.split(sizes), b.split(sizes), strict=True))
        ys, state = run_loop(_linear_step, steps, state, reverse=reverse, sizes=sizes)
        return torch.cat(ys), state
    f, b = (x.unflatten(0, xs.shape[:2]) for x in (f, b))
    if mask is not None:
        f, b = torch.where(mask, f, 1), torch.where(mask, b, 0)
    # Several blocks take more arithmetic and fewer operations in a row, which only pays on an accelerator.
    num_blocks = 1 if xs.device.type == "cpu" else math.isqrt(len(xs))
    ys = run_linear_loop(f, b, state[0], reverse=reverse, num_blocks=num_blocks)
    return torch.cat(ys), (ys[0 if reverse else -1],)


def _run_direction(
    spec: RunSpec, xs: Tensor, mask: Tensor | None, state: Maps, w: DirectionWeights, reverse: bool
) -> tuple[Tensor, Maps]:
    """Runs all steps in one direction. If checkpointed, only the states between segments are stored for backward."""
    run_steps = _run_linear if spec.cell.is_linear and spec.cell.export_loop is None else _run_steps
    segments = _segments(spec, xs, w)
    if len(segments) == 1:
        return run_steps(spec, segments[0], xs, mask, state, w, reverse)
    outputs: dict[range, Tensor] = {}

    def run_segment(ts: range, *state: Tensor) -> Any:
        rows = slice(ts.start, ts.stop)
        if spec.packed:
            rows = slice(sum(spec.batch_sizes[: ts.start]), sum(spec.batch_sizes[: ts.stop]))
        return run_steps(spec, ts, xs[rows], None if mask is None else mask[rows], state, w, reverse)

    def segment(ts: range, state: Maps) -> Maps:
        if spec.checkpointed and spec.needs_grad:
            outputs[ts], state = checkpoint(run_segment, ts, *state, use_reentrant=False)
        else:
            outputs[ts], state = run_segment(ts, *state)
        return state

    state = fold(segment, segments, state, reverse=reverse, sizes=spec.sizes(segments))
    return torch.cat([outputs[ts] for ts in segments]), state


def sum_bias(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    """Adds two biases, each of which may be None."""
    return first if second is None else second if first is None else first + second
