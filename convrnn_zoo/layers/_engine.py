"""The engine: one layer over a whole sequence. The one place where cell, convolution and time meet."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ._base import DirectionWeights, Equations
from ._conv import same_conv, same_padding
from ._inplace import Buffers, Maps
from ._passes import Pass
from ._scan import scan, scan_packed


class Job(NamedTuple):
    """A layer over a sequence: all but its tensors.

    Those are the input, ``(T, N, C, *S)`` or the data ``(ΣT, C, *S)`` of a packed sequence, and for each direction the
    state, the weights, the biases and the extra parameters.
    """

    cell: Equations
    sizes: list[int]
    """The batch of each step."""
    packed: bool
    directions: int
    from_zero: bool
    """Whether the first state is zero."""
    recompute: bool
    """Whether a backward pass computes the steps again, √T at a time, instead of keeping them."""
    compute: torch.dtype
    """Of the convolutions."""
    differentiated: bool

    def steps(self, xs: Tensor) -> tuple[Tensor, ...]:
        """The input of each step."""
        return xs.split(self.sizes) if self.packed else xs.unbind(0)

    def by_direction(self, tensors: Sequence[Any]) -> list[tuple[Maps, DirectionWeights]]:
        """State and parameters of each direction."""
        each, kinds = len(tensors) // self.directions, len(self.cell.states)
        found = []
        for i in range(0, len(tensors), each):
            ih, hh, b_ih, b_hh, *extra = tensors[i + kinds : i + each]
            found.append((tuple(tensors[i : i + kinds]), DirectionWeights(ih, hh, b_ih, b_hh, tuple(extra))))
        return found

    def segments(self) -> list[range]:
        """√T steps each if the steps are to be computed again, else all of them."""
        steps = len(self.sizes)
        length = math.isqrt(steps - 1) + 1 if self.recompute else steps
        return [range(t, min(t + length, steps)) for t in range(0, steps, length)]


def run(
    cell: Equations,
    xs: Tensor,
    states: Sequence[Maps],
    weights: Sequence[DirectionWeights],
    batch_sizes: list[int] | None = None,
    *,
    from_zero: bool = False,
    recompute: bool = False,
) -> tuple[Tensor, list[Maps]]:
    """Every ``h``, those of all directions side by side, and the last state of each.

    Both are in the dtype of the weights, whatever autocast makes of the convolutions.

    `xs` is ``(T, N, C, *S)``, or, given `batch_sizes`, the data ``(ΣT, C, *S)`` of a packed sequence; a state has
    its batch in the packed order. The output has the layout of `xs`. The second direction, if any, is the reverse.
    `from_zero` says that the states are zero; `recompute` that a backward pass shall compute again what is inside √T
    segments of time instead of keeping it.
    """
    device, dtype = xs.device.type, weights[0].ih.dtype
    autocast = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    states = [tuple(s.to(dtype) for s in state) for state in states]
    tensors = [t for s, w in zip(states, weights, strict=True) for t in (*s, w.ih, w.hh, w.b_ih, w.b_hh, *w.extra)]
    job = Job(
        cell=cell,
        sizes=batch_sizes or [xs.shape[1]] * xs.shape[0],
        packed=batch_sizes is not None,
        directions=len(weights),
        from_zero=from_zero,
        recompute=recompute,
        compute=torch.get_autocast_dtype(device) if autocast else dtype,
        differentiated=torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in [xs, *tensors]),
    )
    # A compiler wants the operations one by one.
    one_by_one = torch.compiler.is_compiling() or torch.jit.is_tracing()
    if cell.in_place is None or one_by_one or xs.numel() == 0 or not all(_is_one_conv(cell, xs, w) for w in weights):
        over = _plain_in_segments if recompute and job.differentiated else _plain
        y, *last = over(job, xs, *tensors)
    else:
        y, *last = Scan.apply(job, [], xs, *tensors)
    kinds = len(cell.states)
    y = y if batch_sizes else y.view(*xs.shape[:2], *y.shape[1:])
    return y, [tuple(last[i : i + kinds]) for i in range(0, len(last), kinds)]


def _is_one_conv(cell: Equations, xs: Tensor, w: DirectionWeights) -> bool:
    """Whether the convolutions of input and state are one over both: of one kernel, padded alike on both sides."""
    pads = same_padding(xs.shape[-cell.ndim :], w.ih.shape[2:], cell.stride, cell.dilation)
    return (
        cell.groups == 1
        and cell.padding_mode == "zeros"
        and w.ih.shape[2:] == w.hh.shape[2:]
        and all(before == after for before, after in pads)
    )


# ---- the plain way: step after step under ordinary autograd ------------------------------------------------
def _plain(job: Job, xs: Tensor, *tensors: Any) -> Maps:
    """Every h in rows ``(ΣT, C, *S)``, directions side by side, then the last states."""
    over: Any = scan_packed if job.packed else scan
    ys: list[Tensor] = []
    ends: list[Tensor] = []
    for d, (state, w) in enumerate(job.by_direction(tensors)):
        y, end = over(_plain_step(job.cell, xs, w), job.steps(xs), state, reverse=d == 1)
        ys.append(torch.cat(y))
        ends += end
    return torch.cat(ys, 1), *ends


def _plain_step(cell: Equations, xs: Tensor, w: DirectionWeights) -> Callable[[Tensor, Maps], Maps]:
    dtype = w.ih.dtype
    advance: Callable[..., Maps] = partial(cell.advance, w=w)
    if type(cell).advance is Equations.advance and cell.summed is None and _is_one_conv(cell, xs, w):
        weight = torch.cat([w.ih, w.hh], 1)
        bias = w.b_ih if w.b_hh is None or w.b_ih is None else w.b_ih + w.b_hh

        def advance(x: Tensor, state: Maps) -> Maps:
            both = torch.cat([x.to(dtype), state[0]], 1)
            return cell.step(same_conv(both, weight, bias, cell.geometry), state, w.extra)

    return lambda x, state: tuple(s.to(dtype) for s in advance(x, state))


def _plain_in_segments(job: Job, xs: Tensor, *tensors: Any) -> Maps:
    """:func:`_plain`, of which only the seams between segments are kept between passes."""
    found = [
        _segments_of_direction(job, xs, state, w, d == 1) for d, (state, w) in enumerate(job.by_direction(tensors))
    ]
    return torch.cat([y for y, _ in found], 1), *(s for _, end in found for s in end)


def _segments_of_direction(
    job: Job, xs: Tensor, state: Maps, w: DirectionWeights, reverse: bool
) -> tuple[Tensor, Maps]:
    steps, ys = job.steps(xs), {}
    over: Any = scan_packed if job.packed else scan

    def run_steps(ts: range, *state: Tensor) -> Any:
        y, end = over(_plain_step(job.cell, xs, w), steps[ts.start : ts.stop], state, reverse=reverse)
        return torch.cat(y), end

    def segment(ts: range, state: Maps) -> Maps:
        ys[ts], state = checkpoint(run_steps, ts, *state, use_reentrant=False)
        return state

    state = _over_segments(job, segment, state, reverse)
    return torch.cat([ys[ts] for ts in job.segments()]), state


# ---- the fast way: in place, with a derivative of its own --------------------------------------------------
class Scan(torch.autograd.Function):
    """``apply(job, kept, xs, *tensors)``: what :func:`_plain` computes, in place.

    `kept` is an empty list, which receives what the backward pass wants beside inputs and output. What else torch
    does to a function (vmap, forward mode, derivatives of derivatives) it does to :func:`_plain`.
    """

    @staticmethod
    def forward(job: Job, kept: list[Tensor], xs: Tensor, *tensors: Any) -> Any:
        with _no_autocast(xs.device.type):
            return _forward(job, kept, xs, tensors)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        job, kept, *tensors = inputs
        ctx.job, ctx.inputs = job, len(tensors)
        ctx.save_for_backward(*tensors, output[0], *kept)
        ctx.save_for_forward(*tensors)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        saved, wanted = ctx.saved_tensors, ctx.needs_input_grad[2:]
        inputs, y, kept = saved[: ctx.inputs], saved[ctx.inputs], saved[ctx.inputs + 1 :]
        try:
            found = iter(ScanBackward.apply(ctx.job, list(kept), wanted, y, *grads, *inputs))
        except RuntimeError as e:
            if "vmap" not in str(e) and "atching rule" not in str(e):
                raise
            # Gradients in a batch (is_grads_batched) come by a vmap that does not ask a function for its own.
            found = iter(_plain_backward(ctx.job, wanted, *grads, *inputs))
        return None, None, *(next(found) if w else None for w in wanted)

    @staticmethod
    def vmap(info: Any, in_dims: Any, job: Job, kept: Any, *tensors: Any) -> Any:
        out = torch.vmap(partial(_plain, job), in_dims[2:], randomness=info.randomness)(*tensors)
        return out, (0,) * len(out)

    @staticmethod
    def jvp(ctx: Any, _job: None, _kept: None, *tangents: Any) -> Any:
        return _jvp(partial(_plain, ctx.job), ctx.saved_tensors, tangents)


class ScanBackward(torch.autograd.Function):
    """``apply(job, kept, wanted, y, *grads, *inputs)``: the gradients of :class:`Scan` that are wanted."""

    @staticmethod
    def forward(job: Job, kept: list[Tensor], wanted: Sequence[bool], y: Tensor, *tensors: Any) -> Any:
        grads, inputs = tensors[: _outputs(job)], tensors[_outputs(job) :]
        with _no_autocast(y.device.type):
            if not kept:
                y, *_ = _forward(job._replace(differentiated=True), kept, inputs[0], inputs[1:])
            return tuple(g for g, w in zip(_backward(job, kept, wanted, y, grads, inputs), wanted, strict=True) if w)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        job, _, wanted, _, *tensors = inputs
        ctx.function = partial(_plain_backward, job, wanted)
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        saved = ctx.saved_tensors
        of_tensors, tensors, places = _of_tensors(ctx.function, saved)
        found = dict(zip(places, torch.func.vjp(of_tensors, *tensors)[1](grads), strict=True))
        return None, None, None, None, *(found.get(i) for i in range(len(saved)))

    @staticmethod
    def vmap(info: Any, in_dims: Any, job: Job, kept: Any, wanted: Any, y: Any, *tensors: Any) -> Any:
        out = torch.vmap(partial(_plain_backward, job, wanted), in_dims[4:], randomness=info.randomness)(*tensors)
        return out, (0,) * len(out)

    @staticmethod
    def jvp(ctx: Any, _job: None, _kept: None, _wanted: None, _y: Any, *tangents: Any) -> Any:
        return _jvp(ctx.function, ctx.saved_tensors, tangents)


def _no_autocast(device: str) -> AbstractContextManager[Any]:
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


def _outputs(job: Job) -> int:
    return 1 + job.directions * len(job.cell.states)


def _of_tensors(function: Callable[..., Maps], args: Sequence[Any]) -> tuple[Callable[..., Maps], list[Tensor], list]:
    """`function` of those of `args` that are tensors, these, and where they stand."""
    places = [i for i, a in enumerate(args) if a is not None]

    def of_tensors(*tensors: Tensor) -> Maps:
        found = dict(zip(places, tensors, strict=True))
        return function(*(found.get(i) for i in range(len(args))))

    return of_tensors, [args[i] for i in places], places


def _jvp(function: Callable[..., Maps], primals: Sequence[Any], tangents: Sequence[Any]) -> Maps:
    """By two reverse passes: torch.func.jvp would refuse to run inside ordinary forward mode."""
    of_tensors, tensors, places = _of_tensors(function, primals)
    out, back, *_ = torch.func.vjp(of_tensors, *tensors)
    given = tuple(
        torch.zeros_like(p) if tangents[i] is None else tangents[i] for i, p in zip(places, tensors, strict=True)
    )
    _, forth, *_ = torch.func.vjp(back, tuple(torch.zeros_like(o) for o in out))
    (found,) = forth(given)
    return found


def _plain_backward(job: Job, wanted: Sequence[bool], *tensors: Any) -> Maps:
    """What :class:`ScanBackward` computes, by autograd of :func:`_plain`."""
    grads, inputs = tensors[: _outputs(job)], tensors[_outputs(job) :]
    places = [i for i, w in enumerate(wanted) if w]

    def of_wanted(*tensors: Tensor) -> Maps:
        found = dict(zip(places, tensors, strict=True))
        return _plain(job, *(found.get(i, t) for i, t in enumerate(inputs)))

    out, back, *_ = torch.func.vjp(of_wanted, *(inputs[i] for i in places))
    return back(tuple(torch.zeros_like(o) if g is None else g for o, g in zip(out, grads, strict=True)))


def _passes(job: Job, xs: Tensor, y: Tensor, tensors: Sequence[Any], keep: bool) -> list[tuple[Pass, Maps]]:
    """The pass of each direction, and its first state."""
    each = zip(job.by_direction(tensors), y.chunk(job.directions, 1), strict=True)
    return [
        (Pass(job.cell, w, state, xs, job.sizes, h, reverse=d == 1, compute=job.compute, keep=keep), state)
        for d, ((state, w), h) in enumerate(each)
    ]


def _over_segments(job: Job, advance: Callable[[range, Maps], Maps], state: Maps, reverse: bool) -> Maps:
    """The last state of ``state = advance(steps, state)`` over the segments."""
    segments = job.segments()
    if job.packed:
        sizes = [job.sizes[ts.start] for ts in segments]
        return scan_packed(advance, segments, state, reverse=reverse, sizes=sizes)[1]
    return scan(advance, segments, state, reverse=reverse)[1]


def _forward(job: Job, kept: list[Tensor], xs: Tensor, tensors: Sequence[Any]) -> Maps:
    """What :func:`_plain` computes; `kept` receives what :func:`_backward` wants."""
    first = tensors[0]
    y = Buffers(first, job.compute).new(sum(job.sizes), job.directions * first.shape[1])
    keep = job.differentiated and not job.recompute
    outputs = [y]
    for one, state in _passes(job, xs, y, tensors, keep):
        h, *others = _forward_direction(job, one, state, kept)
        outputs += [h.clone(), *(s.clone() if keep else s for s in others)]  # no part of y, or of what is kept
    return tuple(outputs)


def _forward_direction(job: Job, one: Pass, state: Maps, kept: list[Tensor]) -> Maps:
    seams: dict[range, Maps] = {}

    def segment(ts: range, state: Maps) -> Maps:
        seams[ts] = state
        if job.recompute and job.differentiated:
            seams[ts] = tuple(s.clone() for s in state)  # what they are parts of is written over, or returned
        return one.forward(ts, state, job.from_zero and len(seams) == 1)

    last = _over_segments(job, segment, state, one.reverse)
    if job.recompute and job.differentiated:
        kept += [s for ts in job.segments() for s in seams[ts]]
    else:
        kept += one.give()
    return last


def _backward(
    job: Job, kept: list[Tensor], wanted: Sequence[bool], y: Tensor, grads: Sequence[Any], inputs: Sequence[Any]
) -> list[Tensor | None]:
    """The gradients of all inputs; None, or anything, for one that is not wanted."""
    xs, *tensors = inputs
    each, kinds, remaining = len(tensors) // job.directions, len(job.cell.states), iter(kept)
    x_grad: Tensor | None = None
    found: list[Tensor | None] = []
    y_grads = [None] * job.directions if grads[0] is None else grads[0].chunk(job.directions, 1)
    for d, (one, state) in enumerate(_passes(job, xs, y, tensors, keep=True)):
        of_direction = wanted[1 + d * each : 1 + (d + 1) * each]
        if wanted[0] and x_grad is None:
            x_grad = one.buffers.new(sum(job.sizes), one.inputs, xs.dtype)
        one.start_backward(x_grad, d == 1, y_grads[d], weights=any(of_direction[kinds:]))
        last = tuple(one.buffers.new(*s.shape[:2]) for s in state)
        for grad, given in zip(last, grads[1 + d * kinds :], strict=False):
            grad.zero_() if given is None else grad.copy_(given)
        found += _backward_direction(job, one, state, remaining, last, any(of_direction[:kinds]))
        found += one.parameter_gradients()
    return [None if x_grad is None else x_grad.view(xs.shape), *found]


def _backward_direction(job: Job, one: Pass, state: Maps, kept: Iterator[Tensor], grads: Maps, to_state: bool) -> Maps:
    """The gradient of the first state from that of the last."""
    first, seams = job.segments()[-1 if one.reverse else 0], {}
    if job.recompute:
        seams = {ts: tuple(itertools.islice(kept, len(state))) for ts in job.segments()}
    else:
        one.take(kept)

    def segment(ts: range, grads: Maps) -> Maps:
        start = seams.get(ts, state)
        if job.recompute:
            one.forward_again(ts, start, job.from_zero and ts == first)
        return one.backward(ts, start, grads, to_start=to_state or ts != first)

    return _over_segments(job, segment, grads, not one.reverse)
