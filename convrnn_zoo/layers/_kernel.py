"""A step without its convolutions, run over buffers that are made once a pass and used at every step."""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ._base import Equations
from ._layout import open_together
from ._scan import chunks
from ._trace import trace

Maps = tuple[Tensor, ...]

# The C library keeps small pieces for the next pass, where each 4 KiB of a large one, given back to the system, would
# fault anew at their first touch: a tenth of a training step on large maps.
_PIECE_BYTES = 4 << 20


class Pool:
    """Maps like a state, by name and by how many are wanted of its batch: made once, used at every step."""

    def __init__(self, like: Tensor, compute: torch.dtype) -> None:
        self.like = like
        # oneDNN's convolutions are up to twice as fast with channels innermost, but have no double precision;
        # cuDNN takes them so in half precision.
        half = compute in (torch.float16, torch.bfloat16)
        self.inside = half or (like.device.type == "cpu" and compute == torch.float32)
        self._whole: dict[str, list[Tensor]] = {}
        self._views: dict[tuple[str, int], list[Tensor]] = {}

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
            if name not in self._whole:
                self._whole[name] = [self.map(*self.like.shape[:2]) for _ in range(count)]
            found = self._views[name, n] = [m[:n] for m in self._whole[name]]
        return found


class Gates(NamedTuple):
    """The gates of a step: ``(k · n, C, *S)``, dense maps one after the other."""

    maps: Sequence[Tensor]  # each of them
    apart: Tensor  # all of them, seen as (n, k, C, *S)
    opened: Tensor  # those that open together, (count, n, C, *S)
    tanhs: Sequence[Tensor]  # the ones among these that are a tanh


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
        self._size = tuple(pool.like.shape[1:])
        self._whole: Tensor | None = None
        self._cuts: dict[int, Gates] = {}

    def spans(self, sizes: list[int]) -> list[tuple[int, int]]:
        """Ranges of steps whose maps are kept in one piece."""
        like = self.pool.like
        return chunks(sizes, _PIECE_BYTES // (like[0].numel() * like.element_size() * self.step.gates))

    def room(self, sizes: list[int]) -> tuple[list[Tensor], Iterator[Gates | None]]:
        """What :meth:`forward` keeps its gates in, for steps of these batches: in pieces, and step by step."""
        k, spans = self.step.gates, self.spans(sizes)
        if k == 1:
            return [], itertools.repeat(None)
        wholes = [self.pool.map(k * sum(sizes[a:b]), self.pool.like.shape[1]) for a, b in spans]
        cuts = (self._cut(whole, sizes[a:b]) for whole, (a, b) in zip(wholes, spans, strict=True))
        return wholes, itertools.chain.from_iterable(cuts)

    def kept(self, saved: Sequence[Tensor], sizes: list[int]) -> list[Sequence[Tensor]]:
        """For each step what :meth:`backward` wants of the gates; `saved` is the room, or all that forward returned."""
        k = self.step.gates
        if k > 1:
            batches = [[n for n in sizes[a:b] for _ in range(k)] for a, b in self.spans(sizes)]
            saved = [gate for whole, each in zip(saved, batches, strict=True) for gate in whole.split(each)]
        each = len(saved) // len(sizes)
        return [saved[i : i + each] for i in range(0, len(saved), each)]

    def into(self, gates: Tensor, sizes: Sequence[int]) -> list[Sequence[Tensor]]:
        """For each step the parts of `gates`, ``(Σn, rows, *S)``, that :meth:`backward` writes to."""
        parts = gates.split(gates.shape[1] // self.step.gates, 1)
        return list(zip(*(part.split(list(sizes)) for part in parts), strict=True))

    def _cut(self, whole: Tensor, sizes: Sequence[int]) -> list[Gates]:
        k, opening, start, cuts = self.step.gates, self.step.opening, 0, []
        end = opening.start + len(opening.tanhs)
        maps = iter(whole.split([n for n in sizes for _ in range(k)]))
        for n, steps in itertools.groupby(sizes):
            count = len(list(steps))
            alike = whole[start : start + k * n * count].view(count, k, n, *whole.shape[1:])
            opened = alike[:, opening.start : end]
            for apart, together in zip(alike.transpose(1, 2).unbind(0), opened.unbind(0), strict=True):
                gates = list(itertools.islice(maps, k))
                cuts.append(Gates(gates, apart, together, opening.tanhs_of(gates)))
            start += k * n * count
        return cuts

    def _gates(self, n: int) -> Gates:
        if n not in self._cuts:
            k, (most, channels) = self.step.gates, self.pool.like.shape[:2]
            if self._whole is None:
                self._whole = self.pool.map(k * most, channels)
            (self._cuts[n],) = self._cut(self._whole[: k * n], [n])
        return self._cuts[n]

    def forward(
        self, convolved: Sequence[Tensor], state: Maps, new: Maps, beside: Tensor, room: Gates | None = None
    ) -> Maps:
        """Writes the new state to `new`, and h to `beside` as well, where the next convolution reads it.

        Without room, returns what :meth:`backward` wants of the gates.
        """
        n, k = new[0].shape[0], self.step.gates
        kept: Maps = ()
        maps: Sequence[Tensor]
        tanhs: Sequence[Tensor]
        if k == 1:
            whole = convolved[0] if len(convolved) == 1 else torch.cat(list(convolved), 1)
            whole = whole.to(new[0].dtype)
            maps = kept = (whole,)
            opened, tanhs = whole, self.step.opening.tanhs_of(maps)
        else:  # one dense map each: element by element, slices of channels are slow
            maps, apart, opened, tanhs = room or self._gates(n)
            start = 0
            for part in convolved:
                count = part.shape[1] // self._size[0]
                to = apart if count == k else apart[:, start : start + count]
                to.copy_(part.view(n, count, *self._size))
                start += count
        if self.step.opening.tanhs:
            open_together(opened, tanhs)
        self.step.forward(*maps, *state, *self.own, *new, *self.pool.states("scratch", self.step.scratch[0], n))
        beside.copy_(new[0])
        return kept

    def backward(
        self, kept: Sequence[Tensor], state: Maps, grads: Maps, into: Sequence[Tensor], turn: int
    ) -> list[Tensor | None]:
        """Writes the gradients of the gates to `into`, and returns those of `state`, None where zero.

        They stand in maps that are used again when the same `turn` comes again.
        """
        n = into[0].shape[0]
        to_state = self._to_state(n, turn)
        own = self.step.backward(
            *kept, *state, *self.own, *grads, *into, *(g for g in to_state if g is not None),
            *self.pool.states("scratch back", self.step.scratch[1], n),
        )  # fmt: skip
        for total, part in zip(self.own_grads, own, strict=True):
            total.add_(part)
        return to_state

    def _to_state(self, n: int, turn: int) -> list[Tensor | None]:
        found = iter(self.pool.states(f"grads {turn}", sum(self.step.to_state), n))
        return [next(found) if wanted else None for wanted in self.step.to_state]
