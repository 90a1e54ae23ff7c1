"""What every source does with its entries: take them by name and shape, list all that is wrong, move gates about."""

import re
import statistics
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from ..models import WeightsError
from ._checkpoint import ForeignCheckpoint, some

Shape = Sequence[int | None]


class Entries:
    """The entries of a checkpoint, taken one by one; :meth:`done` lists everything that was wrong, at once.

    Example:
        >>> entries = Entries(ForeignCheckpoint({"weight": torch.zeros(4, 2)}, "a state dict"), "example")
        >>> entries.take("weight", (4, None)).shape, entries.take("bias", (4,)).shape
        (torch.Size([4, 2]), torch.Size([4]))
        >>> entries.done()
        Traceback (most recent call last):
            ...
        convrnn_zoo.pretrained.errors.WeightsError: a state dict is not a valid checkpoint of example: missing: bias
    """

    def __init__(self, checkpoint: ForeignCheckpoint, source: str) -> None:
        self.checkpoint, self.origin, self.source = checkpoint, checkpoint.origin, source
        self.left = dict(checkpoint.state)
        self.faults: dict[str, list[str]] = {}

    def fault(self, kind: str, words: str) -> None:
        """Notes something for :meth:`done` to list."""
        self.faults.setdefault(kind, []).append(words)

    def having(self, pattern: str) -> list[re.Match[str]]:
        """Matches of `pattern` among the names not taken yet."""
        return [m for m in (re.fullmatch(pattern, key) for key in self.left) if m]

    def count(self, pattern: str, words: str) -> int:
        """One more than the largest number in the pattern's first group; that there is none ends the reading."""
        found = [int(m[1][:9]) for m in self.having(pattern)]
        if not found:
            self.fail("missing", f"every {words}")
        return min(max(found), len(self.left)) + 1  # a file names no more layers than it has entries

    def shape(self, keys: Iterable[str], rank: int) -> Shape:
        """The commonest shape of `rank` axes among these entries; of unknown sizes where none has the rank.

        So that one entry of a wrong size is not the measure of all.
        """
        shapes = [tuple(v.shape) for v in (self.left.get(key) for key in keys) if v is not None and v.dim() == rank]
        return statistics.mode(shapes) if shapes else (None,) * rank

    def take(self, key: str, shape: Shape) -> Tensor:
        """The entry of that name and shape, None standing for any size; a stand-in where there is no such entry."""
        value = self.left.pop(key, None)
        if value is None:
            self.fault("missing", key)
        elif not value.is_floating_point():
            self.fault("of another kind", f"{key} {value.dtype}")
        elif value.dim() == len(shape) and all(w in (None, s) for s, w in zip(value.shape, shape, strict=True)):
            return value
        else:
            wanted = ", ".join("any" if s is None else str(s) for s in shape)
            self.fault("of another shape", f"{key} {tuple(value.shape)} for ({wanted})")
        return torch.empty(()).expand([s or 1 for s in shape])  # of which there is one number, whatever its size

    def rows(self, keys: Iterable[str], gates: int) -> int | None:
        """The commonest size of axis 0 among these entries that so many gates of one width can share."""
        sizes = [v.shape[0] for v in (self.left.get(key) for key in keys) if v is not None and v.dim()]
        whole = [size for size in sizes if size and size % gates == 0]
        return statistics.mode(whole) if whole else None

    def done(self) -> None:
        """Raises :class:`~convrnn_zoo.WeightsError` if an entry was missing, of another shape, or is left over."""
        if self.left:
            self.fault("unexpected", some(self.left))
        if self.faults:
            self._raise()

    def fail(self, kind: str, words: str) -> NoReturn:
        """Raises it at once, where there is nothing to go on with."""
        self.fault(kind, words)
        self.fault("got", some(self.left))
        self._raise()

    def _raise(self) -> NoReturn:
        listed = "; ".join(f"{kind}: {', '.join(words)}" for kind, words in self.faults.items())
        raise WeightsError(f"{self.origin} is not a valid checkpoint of {self.source}: {listed}")


def odd_kernels(origin: str, kernels: Iterable[Sequence[int]]) -> None:
    """Refuses kernels whose padding of ``k // 2`` would make the map grow from step to step."""
    if even := even_kernels(kernels):
        raise WeightsError(
            f"{origin} has {'; '.join(even)}: the map grows with every step and its source's own forward fails, so "
            "that there are no outputs to agree with; the file is of another model"
        )


def reorder(value: Tensor, order: Sequence[int]) -> Tensor:
    """The gates along axis 0 in another order: place j takes gate ``order[j]``.

    Example:
        >>> reorder(torch.tensor([1, 2, 3, 4]), (0, 1, 3, 2)).tolist()
        [1, 2, 4, 3]
    """
    parts = value.chunk(len(order))
    return torch.cat([parts[j] for j in order])


def one_bias(b_ih: Tensor, b_hh: Tensor) -> Tensor:
    """The sum of the two biases of a gate, bit for bit the first where the second is zero."""
    return torch.where(b_hh == 0, b_ih, b_ih + b_hh)


def same_or_list(values: Sequence[Any]) -> Any:
    """The one value for all layers, or the list of one a layer, as the layers' constructors take them."""
    return values[0] if len(set(values)) == 1 else list(values)


def fill(layer: nn.Module, state: dict[str, Tensor]) -> Any:
    """The layer with these weights, every key and shape agreeing."""
    layer.load_state_dict({k: v.contiguous() for k, v in state.items()}, strict=True)
    return layer


def expect(target: str, module: nn.Module, *kinds: type[nn.Module]) -> Any:
    """The module, or ValueError where it is of none of these kinds, or has norms, which none of the targets has."""
    if not isinstance(module, kinds):
        refuse(target, module, [f"it knows {' or '.join(k.__name__ for k in kinds)} alone"])
    if norm := getattr(module, "norm", None):
        refuse(target, module, [f"norm={norm!r}, and it knows no norms"])
    return module


def even_kernels(kernels: Iterable[Sequence[int]]) -> list[str]:
    """For messages: every kernel that a padding of ``k // 2`` does not keep the map's size with."""
    return [f"the even kernel {tuple(k)}, which it pads by k // 2" for k in kernels if any(n % 2 == 0 for n in k)]


def refuse(target: str, module: nn.Module, reasons: Iterable[str]) -> None:
    """Raises ValueError with every reason for which `target` cannot express the module."""
    if reasons := list(reasons):
        raise ValueError(f"{target} cannot express this {type(module).__name__}: {'; '.join(reasons)}")


def unlike(module: nn.Module, **wanted: Any) -> list[str]:
    """For messages: where attributes of the module differ from what a target allows."""
    return [
        f"{name}={getattr(module, name)!r}, and it knows {value!r} alone"
        for name, value in wanted.items()
        if getattr(module, name) != value
    ]
