"""A step without its convolution, run over buffers that are made once a pass and used at every step."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ._base import Equations
from ._trace import trace

Maps = tuple[Tensor, ...]


def channels_inside(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether the maps of a pass keep their channels innermost: as oneDNN's convolutions like them, by up to 2×.

    It has none in double precision, and cuDNN takes them so only in half precision.
    """
    half = dtype in (torch.float16, torch.bfloat16)
    return half or (device.type == "cpu" and dtype == torch.float32)


class Kernel:
    """The step of `cell` and its derivative on batches of up to ``len(like)``.

    Args:
        cell: the equations.
        rows: channels of the pre-activations.
        like: a state, for its shape, dtype and device.
        own: the cell's own weights.
        inside: whether maps keep their channels innermost.
    """

    def __init__(self, cell: Equations, rows: int, like: Tensor, own: Sequence[Tensor], inside: bool) -> None:
        self.step = trace(cell, rows, like, own)
        self.like, self.own, self.inside = like, tuple(own), inside
        self.own_grads = [torch.zeros_like(w) for w in own]
        self._pools: dict[tuple[str, int], list[Tensor]] = {}
        self._views: dict[tuple[str, int, int], list[Tensor]] = {}
        self._turn = 0

    def map(self, n: int, channels: int, dtype: torch.dtype | None = None) -> Tensor:
        """An uninitialised ``(n, channels, *S)``."""
        size, dtype = self.like.shape[2:], dtype or self.like.dtype
        if not self.inside:
            return self.like.new_empty(n, channels, *size, dtype=dtype)
        return self.like.new_empty(n, *size, channels, dtype=dtype).movedim(-1, 1)

    def _buffers(self, purpose: str, count: int, n: int) -> list[Tensor]:
        views = self._views.get((purpose, count, n))
        if views is None:
            pool = self._pools.setdefault((purpose, count), [])
            if not pool:
                pool += [self.map(*self.like.shape[:2]) for _ in range(count)]
            views = self._views[purpose, count, n] = [b[:n] for b in pool]
        return views

    def _apart(self, gates: Tensor, into: Tensor) -> Sequence[Tensor]:
        """The gates as one dense map each, copied into `into`; element by element work runs on those at full speed."""
        k, n = self.step.gates, len(gates)
        into.unflatten(0, (k, n)).copy_(gates.unflatten(1, (k, -1)).transpose(0, 1))
        return into.split(n)

    def forward(self, gates: Tensor, state: Maps, h: Tensor, keep: bool) -> tuple[Maps, Tensor]:
        """The new state, its h written into `h`, and what :meth:`backward` wants of the gates if `keep` is set."""
        n, k = len(gates), self.step.gates
        if keep:
            kept, rest = self.map(k * n, h.shape[1]), [self.map(n, h.shape[1]) for _ in state[1:]]
        else:
            self._turn = 1 - self._turn  # the state read is not the one written
            kept = self._buffers("gates", 1, n)[0] if k == 1 else self._gates(n)
            rest = self._buffers("state" + "ab"[self._turn], len(state) - 1, n)
        new = (h, *rest)
        scratch = self._buffers("scratch", self.step.scratch[0], n)
        self.step.forward(*self._apart(gates, kept), *state, *self.own, *new, *scratch)
        return new, kept

    def _gates(self, n: int) -> Tensor:
        views = self._views.get(("gates", 0, n))
        if views is None:
            pool = self._pools.setdefault(("gates", 0), [])
            if not pool:
                pool.append(self.map(self.step.gates * len(self.like), self.like.shape[1]))
            views = self._views["gates", 0, n] = [pool[0][: self.step.gates * n]]
        return views[0]

    def backward(self, kept: Tensor, state: Maps, grads: Maps, into: Tensor) -> list[Tensor | None]:
        """The gradients of `state`, None where zero, from those of the new state; those of the gates into `into`."""
        n, k = len(into), self.step.gates
        self._turn = 1 - self._turn
        wanted = sum(self.step.to_state)
        to_state = iter(self._buffers("grads" + "ab"[self._turn], wanted, n))
        gates = self._gates(n)
        out = [next(to_state) if w else None for w in self.step.to_state]
        written = [g for g in out if g is not None]
        scratch = self._buffers("scratch", self.step.scratch[1], n)
        own = self.step.backward(
            *kept.split(n), *state, *self.own, *grads, *gates.split(n), *written, *scratch
        )
        into.unflatten(1, (k, -1)).copy_(gates.unflatten(0, (k, n)).transpose(0, 1))
        for total, part in zip(self.own_grads, own, strict=True):
            total.add_(part)
        return out
