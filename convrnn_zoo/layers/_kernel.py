"""A step without its convolutions, run over buffers that are made once a pass and used at every step."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ._base import Equations
from ._trace import trace

Maps = tuple[Tensor, ...]


class Pool:
    """Maps like a state, by name and by how many are wanted of its batch: made once, used at every step."""

    def __init__(self, like: Tensor, compute: torch.dtype) -> None:
        self.like = like
        # oneDNN's convolutions are up to twice as fast with channels innermost, but have no double precision;
        # cuDNN takes them so in half precision.
        half = compute in (torch.float16, torch.bfloat16)
        self.inside = half or (like.device.type == "cpu" and compute == torch.float32)
        self._whole: dict[Any, list[Tensor]] = {}
        self._views: dict[Any, Any] = {}

    def map(self, n: int, channels: int, dtype: torch.dtype | None = None) -> Tensor:
        """A new ``(n, channels, *S)``, whatever it holds."""
        size, dtype = self.like.shape[2:], dtype or self.like.dtype
        if not self.inside:
            return self.like.new_empty(n, channels, *size, dtype=dtype)
        return self.like.new_empty(n, *size, channels, dtype=dtype).movedim(-1, 1)

    def states(self, name: str, count: int, n: int) -> list[Tensor]:
        """`count` maps ``(n, C, *S)``, the same ones for a name whatever n."""
        found = self._views.get((name, n))
        if found is None:
            whole = self._whole.get(name)
            if whole is None:
                whole = self._whole[name] = [self.map(*self.like.shape[:2]) for _ in range(count)]
            found = self._views[name, n] = [m[:n] for m in whole]
        return found


class Kernel:
    """The step of `cell`, and its derivative, element by element and in place.

    Args:
        cell: the equations.
        rows: channels of the pre-activations.
        own: the cell's own weights.
        pool: where maps come from.
    """

    def __init__(self, cell: Equations, rows: int, own: Sequence[Tensor], pool: Pool) -> None:
        self.step = trace(cell, rows, pool.like, own)
        self.cell, self.own, self.pool = cell, tuple(own), pool
        self.own_grads = [torch.zeros_like(w) for w in own]

    def _apart(self, gates: Tensor, n: int) -> Tensor:
        """``(k · n, C, *S)``, one dense map after the other, seen as ``(n, k, C, *S)``."""
        return gates.view(self.step.gates, n, *gates.shape[1:]).transpose(0, 1)

    def _gates(self, n: int) -> tuple[Tensor, Sequence[Tensor], Tensor]:
        found = self.pool._views.get(("gates", n))
        if found is None:
            k = self.step.gates
            whole = self.pool._whole.get("gates")
            if whole is None:
                whole = self.pool._whole["gates"] = [self.pool.map(k * len(self.pool.like), self.pool.like.shape[1])]
            gates = whole[0][: k * n]
            found = self.pool._views["gates", n] = (gates, gates.split(n), self._apart(gates, n))
        return found

    def room(self, sizes: Sequence[int]) -> Sequence[Tensor | None]:
        """What :meth:`forward` keeps its gates in, for steps of these batches."""
        k = self.step.gates
        if k == 1:
            return [None] * len(sizes)
        return self.pool.map(k * sum(sizes), self.pool.like.shape[1]).split([k * n for n in sizes])

    def forward(self, convolved: Sequence[Tensor], state: Maps, new: Maps, room: Tensor | None = None) -> Maps:
        """Writes the new state to `new` and returns what :meth:`backward` wants of the gates, kept in `room`."""
        n, k = new[0].shape[0], self.step.gates
        if k == 1:
            whole = convolved[0] if len(convolved) == 1 else torch.cat(list(convolved), 1)
            whole = whole.to(new[0].dtype)
            gates: Sequence[Tensor] = (whole,)
        else:  # one dense map each: element by element, slices of channels are slow
            if room is None:
                whole, gates, apart = self._gates(n)
            else:
                whole, gates, apart = room, room.split(n), self._apart(room, n)
            start = 0
            for part in convolved:
                count = part.shape[1] // new[0].shape[1]
                apart[:, start : start + count].copy_(part.view(n, count, *new[0].shape[1:]))
                start += count
        scratch = self.pool.states("scratch", self.step.scratch[0], n)
        self.step.forward(*gates, *state, *self.own, *new, *scratch)
        return (whole,)

    def backward(self, kept: Maps, state: Maps, grads: Maps, into: Tensor, turn: int) -> list[Tensor | None]:
        """Writes the gradients of the gates to `into`, and returns those of `state`, None where zero.

        They stand in maps that are used again when the same `turn` comes again.
        """
        n, k = into.shape[0], self.step.gates
        to_state = self._to_state(n, turn)
        if k == 1:
            gates: Sequence[Tensor] = (into,)
            apart = None
        else:
            _, gates, apart = self._gates(n)
        own = self.step.backward(
            *(kept if k == 1 else kept[0].split(n)), *state, *self.own, *grads,
            *gates, *(g for g in to_state if g is not None),
            *self.pool.states("scratch back", self.step.scratch[1], n),
        )  # fmt: skip
        if apart is not None:
            into.view(n, k, *state[0].shape[1:]).copy_(apart)
        for total, part in zip(self.own_grads, own, strict=True):
            total.add_(part)
        return to_state

    def _to_state(self, n: int, turn: int) -> list[Tensor | None]:
        found = iter(self.pool.states(f"grads {turn}", sum(self.step.to_state), n))
        return [next(found) if wanted else None for wanted in self.step.to_state]
