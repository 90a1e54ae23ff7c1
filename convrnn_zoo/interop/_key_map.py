"""Shared parts of the converters: sources, the entries of a checkpoint, and maps from its keys to our parameters."""

import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor, nn

from ..layers._base import Equations
from ..models import create_model
from ..pretrained.errors import WeightsError
from ._checkpoint import ForeignCheckpoint, some

Shape = Sequence[int | None]


class OptionError(TypeError, ValueError):
    """An option that a source does not have: a TypeError as of any function, and a ValueError for the command line."""


@dataclass(frozen=True)
class Source:
    """A project whose checkpoints are read, and for some layers written."""

    name: str
    title: str
    """The project and its URL."""
    key: str
    """Regular expression of a key that only this source has. In a larger model, a prefix precedes it."""
    ranks: tuple[int, ...]
    """Ranks that the tensor under that key may have."""
    key_description: str
    """Description of such a key, for messages."""
    load: Callable[..., nn.Module]
    """``load(checkpoint, **options)``."""
    options: Mapping[str, str]
    """Options that the weights do not contain, by the source's own names, with a description of each."""
    export: Callable[..., Mapping[str, Any]] | None = None
    """``export(module, **options)``: the state dict, or arrays by variable path."""
    second_key: str = ""
    """Regular expression of another key that only this source has next to the first one."""
    has_head: bool = False
    """Whether `export` writes models of the core family with a classifier of every pixel."""


@dataclass(frozen=True)
class Recognition:
    """The source of a checkpoint, the reason for it, and the prefix of its keys."""

    source: Source
    reason: str
    prefix: str


# ---- entries ---------------------------------------------------------------------------------------------------
class Entries:
    """The entries of a checkpoint, taken one by one. :meth:`finish` reports all errors at once."""

    def __init__(self, checkpoint: ForeignCheckpoint, source: str) -> None:
        self.checkpoint, self.name, self.source = checkpoint, checkpoint.name, source
        self.left = dict(checkpoint.state)
        self.errors: dict[str, list[str]] = {}
        self.dtypes: set[torch.dtype] = set()

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the taken entries; they have one after :meth:`finish`."""
        return next(iter(self.dtypes))

    def add_error(self, kind: str, text: str) -> None:
        """Adds an error for :meth:`finish` to report."""
        self.errors.setdefault(kind, []).append(text)

    def matches(self, pattern: str) -> list[re.Match[str]]:
        """Returns the matches of `pattern` among the names not taken yet."""
        return [m for m in (re.fullmatch(pattern, key) for key in self.left) if m]

    def count(self, pattern: str, example: str) -> int:
        """Returns one more than the largest number in the pattern's first group, or raises if there is none."""
        numbers = [int(m[1][:9]) for m in self.matches(pattern)]
        if not numbers:
            self.fail("missing", f"every {example}")
        return min(max(numbers), len(self.left)) + 1  # a file names no more layers than it has entries

    def axis_size(self, keys: Iterable[str], axis: int, rank: int = 4) -> int | None:
        """Returns the most common size of an axis among these entries, which one wrong entry does not change.

        None if no entry has that rank.
        """
        sizes = [v.shape[axis] for v in map(self.left.get, keys) if v is not None and v.dim() == rank]
        return statistics.mode(sizes) if sizes else None

    def shape(self, keys: Sequence[str], rank: int) -> Shape:
        """Returns the size of each axis; see :meth:`axis_size`."""
        return [self.axis_size(keys, axis, rank) for axis in range(rank)]

    def width(self, gates: Mapping[str, int]) -> int:
        """Returns the most common number of channels of entries with so many gates each, or 1 if there is none."""
        values = [(self.left.get(key), n) for key, n in gates.items()]
        widths = [len(v) // n for v, n in values if v is not None and v.dim() and len(v) and len(v) % n == 0]
        return statistics.mode(widths) if widths else 1

    def take(self, key: str, shape: Shape) -> Tensor:
        """Takes the entry of that name and shape, in which None is any size.

        If there is none, adds an error and returns a placeholder, of which nothing may be computed before
        :meth:`finish`.
        """
        value = self.left.pop(key, None)
        if value is None:
            self.add_error("missing", key)
        elif not value.is_floating_point():
            self.add_error("of another kind", f"{key} {value.dtype}")
        elif value.dim() == len(shape) and all(w in (None, s) for s, w in zip(value.shape, shape, strict=True)):
            self.dtypes.add(value.dtype)
            return value
        else:
            expected = ", ".join("any" if s is None else str(s) for s in shape)
            self.add_error("of another shape", f"{key} {tuple(value.shape)} for ({expected})")
        return torch.empty(()).expand([s or 1 for s in shape])  # which has one number, whatever its size

    def finish(self) -> None:
        """Raises WeightsError if entries were missing, of another shape or of several dtypes, or are left over."""
        if self.left:
            self.add_error("unexpected", some(self.left))
        if self.errors:
            self._raise()
        if len(self.dtypes) > 1:
            raise WeightsError(
                f"{self.name}: expected tensors of one floating dtype, got {sorted(map(str, self.dtypes))}; convert "
                "them with .to(torch.float32)"
            )

    def fail(self, kind: str, text: str) -> NoReturn:
        """Raises the error at once."""
        self.add_error(kind, text)
        self.add_error("got", some(self.left))
        self._raise()

    def _raise(self) -> NoReturn:
        listed = "; ".join(f"{kind}: {', '.join(texts)}" for kind, texts in self.errors.items())
        raise WeightsError(f"{self.name} is not a valid checkpoint of {self.source}: {listed}")


# ---- key maps --------------------------------------------------------------------------------------------------
ENDS = ("weight", "bias")
FIRST = (0,)
Convs = Mapping[str, tuple[str, Sequence[int]]]
"""The convolutions of a cell by the source's names: the end of our parameter's name, and our order of the gates."""


class KeyMap(NamedTuple):
    """Maps gates of an entry, in this order, to the next rows of one of our parameters.

    ``weight_xh`` is ``weight_ih`` and ``weight_hh`` concatenated along axis 1: one convolution of ``[x, h]``.
    """

    source: str
    target: str
    gates: Sequence[int] = FIRST


def cell_maps(source: str, target: str, convs: Convs, ends: Mapping[str, str]) -> list[KeyMap]:
    """Returns the maps of a cell's convolutions, for ends of the checkpoint's names and starts of our parameters'."""
    maps = []
    for conv, (name, gates) in convs.items():
        for end, kind in ends.items():
            # The weight of the convolution of m is a part of weight_hh; its norm is a separate parameter.
            suffix = "hm" if conv == "conv_m" and "norm" in kind else name
            maps.append(KeyMap(f"{source}.{conv}.{end}", f"{target}.{kind}_{suffix}", gates))
    return maps


def weight_and_bias(source: str, target: str) -> list[KeyMap]:
    """Returns the maps of a module's weight and bias."""
    return [KeyMap(f"{source}.{end}", f"{target}.{end}") for end in ENDS]


def _gate_counts(maps: Iterable[KeyMap]) -> Counter[str]:
    """Counts the gates of each entry and of each parameter."""
    return Counter(name for m in maps for name in {m.source, m.target} for _ in m.gates)


def layer_width(entries: Entries, maps: Sequence[KeyMap], *targets: str) -> int:
    """Returns the most common width of the entries for parameters whose names begin with one of `targets`."""
    counts = _gate_counts(maps)
    return entries.width({m.source: counts[m.source] for m in maps if m.target.startswith(targets)})


def image_size(entries: Entries, maps: Iterable[KeyMap], scale: int, rank: int = 3) -> list[int]:
    """Returns height and width of the frames, whose map for peepholes and norms is smaller by `scale`."""
    return [scale * (s or 1) for s in entries.shape([m.source for m in maps], rank)[-2:]]


def frame_channels(entries: Entries, axes: Mapping[str, int], patch_size: int, rank: int = 4) -> int:
    """Returns the channels of a frame from the axis of an entry with the channels of a patch.

    The first entry of `axes` that exists counts.
    """
    sizes = (entries.axis_size([key], axis, rank) for key, axis in axes.items())
    folded = next(filter(None, sizes), patch_size**2)
    if folded % patch_size**2:
        raise WeightsError(
            f"{entries.name}: its frames have {folded} channels when folded, which are not those of patches of "
            f"{patch_size}×{patch_size} pixels; pass patch_size= as it was trained with"
        )
    return folded // patch_size**2


def parameter_shapes(
    entries: Entries, name: str, sizes: Mapping[str, Any], *kernels: Sequence[int]
) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the parameters of a model, which takes no memory, after a check that kernels are odd."""
    check_odd(entries.name, kernels)
    try:
        model = create_model(name, **{**sizes, "device": "meta"})
    except (RuntimeError, OverflowError) as e:  # more than any memory
        raise WeightsError(f"{entries.name} has the sizes {dict(sizes)}, too large to build; it is damaged") from e
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}


def gather(entries: Entries, maps: Sequence[KeyMap], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Returns the mapped parameters.

    Raises:
        WeightsError: an entry is missing, has another shape than `shapes` requires, or is left over.
    """
    counts = _gate_counts(maps)
    taken: dict[str, Tensor] = {}
    parts: dict[str, list[Tensor]] = {}
    for source, target, gates in maps:
        if source not in taken:
            first, *others = (shapes[name] for name in _split_name(target))
            columns = first[1:2] if not others else (first[1] + others[0][1],)
            rows = first[0] // counts[target] * counts[source]
            taken[source] = entries.take(source, (rows, *columns, *first[2:]))
        is_ordered = tuple(gates) == tuple(range(counts[source]))  # and requires no copy
        chunks = taken[source].chunk(1 if is_ordered else counts[source])
        parts.setdefault(target, []).extend(chunks if is_ordered else (chunks[gate] for gate in gates))
    entries.finish()
    state: dict[str, Tensor] = {}
    for target, values in parts.items():
        value = torch.cat(values) if len(values) > 1 else values[0]
        names = _split_name(target)
        slices: Any = value.split([shapes[name][1] for name in names], 1) if len(names) > 1 else (value,)
        state |= dict(zip(names, slices, strict=True))
    return state


def take_counters(entries: Entries, sources: Mapping[str, str]) -> dict[str, Tensor]:
    """Takes the counters of batch norms, which no forward pass reads, by our names; 0 for those that are missing."""
    counters = {key: entries.left.pop(source, torch.tensor(0)) for key, source in sources.items()}
    for key, value in counters.items():
        if value.dim():
            entries.add_error("of another shape", f"{sources[key]} {tuple(value.shape)} for ()")
    return counters


def scatter(maps: Iterable[KeyMap], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the entries of a checkpoint from our parameters: the inverse of :func:`gather`."""
    counts, used = _gate_counts(maps), Counter[str]()
    parts: dict[str, dict[int, Tensor]] = {}
    for source, target, gates in maps:
        value = torch.cat([state[name] for name in _split_name(target)], 1) if "_xh" in target else state[target]
        rows = value.chunk(counts[target])[used[target] :]
        parts.setdefault(source, {}).update(zip(gates, rows, strict=False))
        used[target] += len(gates)
    return {source: torch.cat([gates[i] for i in sorted(gates)]) for source, gates in parts.items()}


def _split_name(target: str) -> list[str]:
    return [target.replace("_xh", end) for end in ("_ih", "_hh")] if "_xh" in target else [target]


def unpatchify(state: dict[str, Tensor], patch_size: int, axes: Mapping[str, int]) -> dict[str, Tensor]:
    """Permutes the channels of patches along these axes from ``(pixel, channel)`` to ``(channel, pixel)``."""
    for key, axis in axes.items():
        split = state[key].unflatten(axis, (patch_size**2, -1))
        state[key] = split.transpose(axis, axis + 1).flatten(axis, axis + 1)
    return state


# ---- tensors and layers ----------------------------------------------------------------------------------------
def sum_biases(b_ih: Tensor, b_hh: Tensor) -> Tensor:
    """Returns the sum of the two biases of a gate, bit for bit the first where the second is zero."""
    return torch.where(b_hh == 0, b_ih, b_ih + b_hh)


def same_or_list(values: Sequence[Any]) -> Any:
    """Returns one value if all layers have the same, else the list."""
    return values[0] if len(set(values)) == 1 else list(values)


def load_weights(layer: nn.Module, state: Mapping[str, Tensor]) -> Any:
    """Loads a complete state dict and returns the layer."""
    layer.load_state_dict({k: v.contiguous() for k, v in state.items()}, strict=True)
    return layer


def load_model(entries: Entries, name: str, sizes: Mapping[str, Any], state: Mapping[str, Tensor]) -> Any:
    """Builds a registered model with these weights."""
    return load_weights(create_model(name, **sizes, dtype=entries.dtype), state)


def even_kernels(kernels: Iterable[Sequence[int]]) -> list[str]:
    """Describes the even kernels, whose padding of ``k // 2`` changes the size of the map."""
    return [f"the even kernel {tuple(k)}, which it pads by k // 2" for k in kernels if any(n % 2 == 0 for n in k)]


def check_odd(name: str, kernels: Iterable[Sequence[int]]) -> None:
    """Raises WeightsError for kernels whose padding of ``k // 2`` would enlarge the map in every step."""
    if even := even_kernels(kernels):
        raise WeightsError(
            f"{name} has {'; '.join(even)}: the map grows with every step and its source's own forward fails, so "
            "that there are no outputs to agree with; the file is of another model"
        )


def check_exportable(target: str, module: nn.Module, reasons: Iterable[str]) -> None:
    """Raises ValueError with every reason for which `target` cannot express the module."""
    if reasons := list(reasons):
        raise ValueError(f"{target} cannot express this {type(module).__name__}: {'; '.join(reasons)}")


def expect_layer(target: str, module: nn.Module, *types: type[nn.Module]) -> Any:
    """Returns the module, or raises ValueError for another type, or for options that no target has."""
    if not isinstance(module, types):
        check_exportable(target, module, [f"it only has {' or '.join(t.__name__ for t in types)}"])
    if norm := getattr(module, "norm", None):
        check_exportable(target, module, [f"norm={norm!r}, and it has no norms"])
    if isinstance(module, Equations):
        check_exportable(target, module, ["its initial state is learned"] * module.learn_initial_state)
        check_exportable(target, module, ["it has zoneout, which acts in evaluation as well"] * any(module.zoneout))
    return module


def differences(module: nn.Module, **expected: Any) -> list[str]:
    """Describes the attributes of a module that differ from the only values that a target has."""
    return [
        f"{name}={getattr(module, name)!r}, and it only has {value!r}"
        for name, value in expected.items()
        if getattr(module, name) != value
    ]
