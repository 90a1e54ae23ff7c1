"""The fast way through a layer as an autograd function: in place, with a derivative of its own, by public means."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ._inplace import Buffers, Maps
from ._passes import Pass
from ._plain import Job, over_segments, plain


class Scan(torch.autograd.Function):
    """``apply(job, kept, xs, *tensors)``: what :func:`plain` computes, in place.

    `kept` is an empty list, which receives what the backward pass wants beside inputs and output. What else torch
    does to a function (vmap, forward mode, derivatives of derivatives) it does to :func:`plain`.
    """

    @staticmethod
    def forward(job: Job, kept: list[Tensor], xs: Tensor, *tensors: Any) -> Any:
        with _no_autocast(xs.device.type):
            return _forward(job, kept, xs, tensors)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        job, kept, *tensors = inputs
        ctx.job, ctx.inputs = job, len(tensors)
        ctx.save_for_backward(*tensors, None if job.recompute else output[0], *kept)
        ctx.save_for_forward(*tensors)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        saved, wanted = ctx.saved_tensors, ctx.needs_input_grad[2:]
        inputs, y, kept = saved[: ctx.inputs], saved[ctx.inputs], saved[ctx.inputs + 1 :]
        if _are_batched(grads):
            found = iter(_plain_backward(ctx.job, wanted, *grads, *inputs))
        else:
            found = iter(ScanBackward.apply(ctx.job, list(kept), wanted, y, *grads, *inputs))
        return None, None, *(next(found) if w else None for w in wanted)

    @staticmethod
    def vmap(info: Any, in_dims: Any, job: Job, kept: Any, *tensors: Any) -> Any:
        out = torch.vmap(partial(plain, job), in_dims[2:], randomness=info.randomness)(*tensors)
        return out, (0,) * len(out)

    @staticmethod
    def jvp(ctx: Any, _job: None, _kept: None, *tangents: Any) -> Any:
        return _jvp(partial(plain, ctx.job), ctx.saved_tensors, tangents)


class ScanBackward(torch.autograd.Function):
    """``apply(job, kept, wanted, y, *grads, *inputs)``: the gradients of :class:`Scan` that are wanted."""

    @staticmethod
    def forward(job: Job, kept: list[Tensor], wanted: Sequence[bool], y: Tensor | None, *tensors: Any) -> Any:
        grads, inputs = tensors[: _outputs(job)], tensors[_outputs(job) :]
        with _no_autocast(inputs[0].device.type):
            if not kept and _keeps(job):  # a transform has taken the plain way
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


def _are_batched(grads: Sequence[Tensor | None]) -> bool:
    """Whether a vmap has batched the gradients, as ``is_grads_batched=True`` does without using a function's own vmap.

    A batched tensor cannot be written into an ordinary one, as the in-place backward would.
    """
    for grad in grads:
        if grad is not None:
            one = torch.empty(1, dtype=grad.dtype, device=grad.device)
            try:
                one.copy_(grad.detach().reshape(-1)[:1])
            except RuntimeError:
                return True
    return False


def _no_autocast(device: str) -> AbstractContextManager[Any]:
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


def _keeps(job: Job) -> bool:
    """Whether the backward pass wants more than inputs and output, which are enough for a plain RNN."""
    step = job.cell.in_place
    return job.recompute or len(job.cell.states) > 1 or (step is not None and step.keeps_parts)


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
    """What :class:`ScanBackward` computes, by autograd of :func:`plain`."""
    grads, inputs = tensors[: _outputs(job)], tensors[_outputs(job) :]
    places = [i for i, w in enumerate(wanted) if w]

    def of_wanted(*tensors: Tensor) -> Maps:
        found = dict(zip(places, tensors, strict=True))
        return plain(job, *(found.get(i, t) for i, t in enumerate(inputs)))

    out, back, *_ = torch.func.vjp(of_wanted, *(inputs[i] for i in places))
    return back(tuple(torch.zeros_like(o) if g is None else g for o, g in zip(out, grads, strict=True)))


def _passes(job: Job, xs: Tensor, y: Tensor | None, tensors: Sequence[Any], keep: bool) -> list[tuple[Pass, Maps]]:
    """The pass of each direction, and its first state."""
    ys = [None] * job.directions if y is None else y.chunk(job.directions, 1)
    each = zip(job.by_direction(tensors), ys, strict=True)
    return [
        (Pass(job.cell, w, state, xs, job.sizes, h, reverse=d == 1, compute=job.compute, keep=keep), state)
        for d, ((state, w), h) in enumerate(each)
    ]


def _forward(job: Job, kept: list[Tensor], xs: Tensor, tensors: Sequence[Any]) -> Maps:
    """What :func:`plain` computes; `kept` receives what :func:`_backward` wants."""
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

    last = over_segments(job, segment, state, one.reverse)
    if job.recompute and job.differentiated:
        kept += [s for ts in job.segments() for s in seams[ts]]
    else:
        kept += one.give()
    return last


def _backward(
    job: Job, kept: list[Tensor], wanted: Sequence[bool], y: Tensor | None, grads: Sequence[Any], inputs: Sequence[Any]
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

    return over_segments(job, segment, grads, not one.reverse)
