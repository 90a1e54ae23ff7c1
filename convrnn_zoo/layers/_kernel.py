"""A step without its convolutions, run over buffers that are made once a pass and used at every step."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ._base import Equations
from ._graph import Opening, finish_tanh
from ._scan import chunks
from ._trace import Part, trace

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
        stride = [channels] * len(size)
        for i in range(len(size) - 1, 0, -1):
            stride[i - 1] = stride[i] * size[i]
        return self.like.new_empty_strided((n, channels, *size), (stride[0] * size[0], 1, *stride), dtype=dtype)

    def states(self, name: str, count: int, n: int) -> list[Tensor]:
        """`count` maps ``(n, C, *S)``, the same ones for a name whatever n."""
        found = self._views.get((name, n))
        if found is None:
            if name not in self._whole:
                self._whole[name] = [self.map(*self.like.shape[:2]) for _ in range(count)]
            found = self._views[name, n] = [m[:n] for m in self._whole[name]]
        return found


class Kernel:
    """The step of `cell`, and its derivative, element by element and in place.

    Args:
        cell: the equations.
        parts: the rows of pre-activations that each convolution gives.
        own: the cell's own weights.
        pool: where maps come from.
    """

    def __init__(self, cell: Equations, parts: Sequence[Part], own: Sequence[Tensor], pool: Pool) -> None:
        rows = parts[-1].rows.stop
        self.step = trace(cell, rows, pool.like, own)
        self.cell, self.own, self.pool = cell, tuple(own), pool
        self.own_grads = [torch.zeros_like(w) for w in own]
        self.width = rows // self.step.gates
        self.tanhs = self.step.opening.tanhs
        self.opens = list(_within(self.step.opening, self.width, [part.rows for part in parts]))

    def weights(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Those of the convolutions that give what :meth:`forward` takes."""
        if (factors := self.step.factors) is None:
            return weight, bias
        by_row = factors.view(-1, *[1] * (weight.dim() - 1))
        return weight * by_row, None if bias is None else bias * factors

    def spans(self, sizes: list[int]) -> list[tuple[int, int]]:
        """Ranges of steps whose states are kept in one piece."""
        like = self.pool.like
        return chunks(sizes, _PIECE_BYTES // (like[0].numel() * like.element_size()))

    def into(self, gates: Tensor, sizes: Sequence[int]) -> list[Sequence[Tensor]]:
        """For each step the parts of `gates`, ``(Σn, rows, *S)``, that :meth:`backward` writes to."""
        return list(zip(*(part.split(list(sizes)) for part in gates.split(self.width, 1)), strict=True))

    def _gates(self, convolved: Sequence[Tensor]) -> list[Tensor]:
        if self.step.gates == 1:
            return [convolved[0] if len(convolved) == 1 else torch.cat(list(convolved), 1)]
        return [gate for part in convolved for gate in part.chunk(part.shape[1] // self.width, 1)]

    def forward(self, convolved: Sequence[Tensor], state: Maps, new: Maps, beside: Tensor) -> Maps:
        """Writes the new state to `new`, and h to `beside` as well, where the next convolution reads it.

        Returns what :meth:`backward` wants to be given of the gates.
        """
        dtype = new[0].dtype
        if convolved[0].dtype != dtype:
            convolved = [part.to(dtype) for part in convolved]
        for i, rows in self.opens:
            (convolved[i] if rows is None else convolved[i][:, rows]).sigmoid_()
        gates = self._gates(convolved)
        for i in self.tanhs:
            finish_tanh(gates[i])
        scratch = self.pool.states("scratch", self.step.scratch[0], new[0].shape[0])
        self.step.forward(*gates, *state, *self.own, *new, *scratch)
        beside.copy_(new[0])
        return tuple(convolved) if self.step.keeps else ()

    def backward(
        self, kept: Sequence[Tensor], state: Maps, new: Maps, grads: Maps, into: Sequence[Tensor], turn: int
    ) -> list[Tensor | None]:
        """Writes the gradients of the gates to `into`, and returns those of `state`, None where zero.

        `new` is the state that the step made, `grads` its gradient. What is returned stands in maps that are used
        again when the same `turn` comes again.
        """
        n = into[0].shape[0]
        gates = self._gates(kept) if self.step.keeps else [None] * self.step.gates
        to_state = self._to_state(n, turn)
        own = self.step.backward(
            *gates, *state, *self.own, *grads, *new, *into, *(g for g in to_state if g is not None),
            *self.pool.states("scratch back", self.step.scratch[1], n),
        )  # fmt: skip
        for total, part in zip(self.own_grads, own, strict=True):
            total.add_(part)
        return to_state

    def _to_state(self, n: int, turn: int) -> list[Tensor | None]:
        found = iter(self.pool.states(f"grads {turn}", sum(self.step.to_state), n))
        return [next(found) if wanted else None for wanted in self.step.to_state]


def _within(opening: Opening, width: int, parts: Sequence[slice]) -> Iterator[tuple[int, slice | None]]:
    """Where the gates to be opened are: in which part, and which of its rows if not all."""
    for i, part in enumerate(parts):
        a, b = max(opening.start * width, part.start), min(opening.stop * width, part.stop)
        if a < b:
            yield i, None if slice(a, b) == part else slice(a - part.start, b - part.start)
