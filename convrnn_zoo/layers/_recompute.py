"""The fast path with less memory: what the backward pass needs of √T steps at a time is computed again."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ._backward import Backward
from ._joined import Job, Maps, forward, gradients
from ._kernel import Pool
from ._scan import scan, scan_packed


class Piece(NamedTuple):
    """Some steps in a row."""

    job: Job
    xs: Tensor
    rows: slice  # theirs in the output

    def __len__(self) -> int:
        return self.job.sizes[0]


class RecomputedScan(torch.autograd.Function):
    """:class:`JoinedScan`, between whose passes the output and the states at the seams of √T pieces are all there is.

    Reference:
        Chen, T. et al. (2016). Training Deep Nets with Sublinear Memory Cost. https://arxiv.org/abs/1604.06174
    """

    @staticmethod
    def forward(ctx: Any, job: Job, xs: Tensor, weight: Tensor, bias: Tensor | None, *rest: Tensor) -> Any:
        kinds = len(job.cell.states)
        own, seams = rest[kinds:], []
        with torch.autocast(xs.device.type, enabled=False):
            y = Pool(rest[0], job.compute).map(sum(job.sizes), rest[0].shape[1])

            def step(piece: Piece, state: Maps) -> Maps:
                seams.append(tuple(s.clone() for s in state))  # h may be a part of y, which saved would be an error
                return forward(piece.job, piece.xs, weight, bias, (*state, *own), out=y[piece.rows])[1]

            last = _scan(job, step, _pieces(job, xs), rest[:kinds], job.reverse)
        ctx.save_for_backward(xs, weight, bias, *rest, *(s for state in seams for s in state))
        ctx.job, ctx.inputs = job, 3 + len(rest)
        ctx.set_materialize_grads(False)
        return y, *(s.clone() for s in last)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        return gradients(_backward, ctx, grads)


def _backward(
    job: Job, inputs: Sequence[Any], saved: Sequence[Tensor], grads: Sequence[Tensor | None], wanted: Sequence[bool]
) -> list[Tensor | None]:
    kinds = len(job.cell.states)
    xs, weight, bias, *rest = inputs
    pieces, own = _pieces(job, xs), rest[kinds:]
    seams = [saved[i : i + kinds] for i in range(0, len(saved), kinds)]  # as they were come to
    pool = Pool(rest[0], job.compute)
    x_grad = pool.map(sum(job.sizes), weight.shape[1] - rest[0].shape[1], xs.dtype) if wanted[0] else None
    totals: list[Tensor | None] = [None] * (2 + len(own))

    def step(piece: Piece, grads_after: Maps) -> Maps:
        state = (*seams.pop(), *own)
        to_state = [True] * kinds if seams else list(wanted[3 : 3 + kinds])
        record: list[Tensor] = []
        y, _ = forward(piece.job, piece.xs, weight, bias, state, record)
        y_grad = None if grads[0] is None else grads[0][piece.rows]
        of_x, of_weight, of_bias, *of_rest = Backward(
            piece.job, piece.xs, weight, bias, state, [y, *record], (y_grad, *grads_after),
            [*wanted[:3], *to_state, *wanted[3 + kinds :]],
        ).run()  # fmt: skip
        if x_grad is not None and of_x is not None:
            x_grad[piece.rows].copy_(of_x.view_as(x_grad[piece.rows]))
        for i, part in enumerate((of_weight, of_bias, *of_rest[kinds:])):
            total = totals[i]
            totals[i] = part if total is None else total if part is None else total.add_(part)
        return tuple(
            torch.zeros_like(before) if g is None else g for g, before in zip(of_rest, state[:kinds], strict=False)
        )

    last = tuple(
        pool.map(*s.shape[:2]).zero_() if g is None else g for g, s in zip(grads[1:], rest[:kinds], strict=True)
    )
    first = _scan(job, step, pieces, last, not job.reverse)
    return [
        None if x_grad is None else x_grad.view(xs.shape),
        *totals[:2],
        *(g if w else None for g, w in zip(first, wanted[3 : 3 + kinds], strict=True)),
        *totals[2:],
    ]


def _pieces(job: Job, xs: Tensor) -> list[Piece]:
    sizes, packed = job.sizes, job.is_packed(xs)
    steps = math.isqrt(len(sizes) - 1) + 1
    starts = range(0, len(sizes), steps)
    first = starts[-1] if job.reverse else 0
    pieces, row = [], 0
    for a in starts:
        part = sizes[a : a + steps]
        rows = slice(row, row := row + sum(part))
        of_piece = job._replace(sizes=part, from_zero=job.from_zero and a == first)
        pieces.append(Piece(of_piece, xs[rows] if packed else xs[a : a + steps], rows))
    return pieces


def _scan(job: Job, step: Any, pieces: list[Piece], state: Maps, reverse: bool) -> Maps:
    over: Any = scan_packed if job.is_packed(pieces[0].xs) else scan
    return over(step, pieces, state, reverse=reverse)[1]
