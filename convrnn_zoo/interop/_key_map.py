"""Shared parts of the converters: descriptions of sources, access to checkpoints, and maps of their keys to ours."""

import logging
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor, nn

from .. import _checks as check
from .._hints import some
from ..layers._base import Equations
from ..models import create_model
from ..pretrained.errors import WeightsError
from ..pretrained.state_dict import FLOATS, name_unexpected
from ._checkpoint import ForeignCheckpoint

logger = logging.getLogger("convrnn_zoo")
NORM_ENDS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
"""Ends of the keys of a batch norm."""


class OptionError(TypeError, ValueError):
    """An option is unknown or has a wrong type. Is also a ValueError, so that the command line shows no traceback."""


@dataclass(frozen=True)
class Source:
    """A project whose checkpoints can be read and, if `export` is set, written."""

    name: str
    title: str
    """The project and its URL."""
    key: str
    """Regular expression that matches a key which only this source has, after any prefix."""
    ranks: tuple[int, ...]
    """Ranks that the tensor under that key may have."""
    key_description: str
    load: Callable[..., nn.Module]
    """``load(checkpoint, **options)``."""
    options: Mapping[str, str]
    """Descriptions of the options that the weights do not contain, by the names that the source uses."""
    export: Callable[..., Mapping[str, Any]] | None = None
    """``export(module, **options)``: the state dict, or arrays by variable path."""
    second_key: str = ""
    """Regular expression of another key that only this source has in addition to `key`."""
    has_head: bool = False
    """Whether `export` writes models of the core family with a classifier for every pixel."""
    checks: Mapping[str, Callable[[str, Any], Any]] = field(default_factory=dict)
    """``check(name, value)`` of each option that is not a string; it raises TypeError or ValueError."""


def check_string(name: str, value: object) -> None:
    """Raises TypeError for an option that is neither a string nor None."""
    if not isinstance(value, str | None):
        raise TypeError(f"{name} must be a string, got {check.describe(value)}; pass a name")


# ---- entries ---------------------------------------------------------------------------------------------------
class Entries:
    """The entries (tensors by key) of a checkpoint, to be taken one by one. :meth:`finish` reports all errors."""

    def __init__(self, checkpoint: ForeignCheckpoint, source: str) -> None:
        self.name, self.source = checkpoint.name, source
        self.state, self.left = checkpoint.state, dict(checkpoint.state)
        self.errors: dict[str, list[str]] = defaultdict(list)
        self.dtypes: set[torch.dtype] = set()

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the taken entries. :meth:`finish` checks that all of them have the same dtype."""
        return next(iter(self.dtypes))

    def matches(self, pattern: str) -> list[re.Match[str]]:
        """Returns the full matches of `pattern` among the keys of the entries that are not taken yet."""
        return [m for m in (re.fullmatch(pattern, key) for key in self.left) if m]

    def count(self, pattern: str, example: str) -> int:
        """Returns the largest number in the first group of `pattern`, plus one; raises WeightsError without a match."""
        numbers = [int(m[1][:9]) for m in self.matches(pattern)]
        if not numbers:
            self.fail(f"every {example}")
        return min(max(numbers), len(self.left)) + 1  # a file names no more layers than it has entries

    def axis_size(self, keys: Iterable[str], axis: int, rank: int = 4) -> int | None:
        """Returns the most common size of `axis` among entries with `rank` axes, so that one wrong entry is ignored."""
        sizes = [v.shape[axis] for v in map(self.left.get, keys) if v is not None and v.dim() == rank]
        return statistics.mode(sizes) if sizes else None

    def shape(self, keys: Sequence[str], rank: int) -> list[int | None]:
        """Returns the most common size of each axis among the entries with `rank` axes."""
        return [self.axis_size(keys, axis, rank) for axis in range(rank)]

    def width(self, gates: Mapping[str, int]) -> int:
        """Returns the most common number of channels per gate; `gates` maps entries to their numbers of gates."""
        values = [(self.left.get(key), n) for key, n in gates.items()]
        widths = [len(v) // n for v, n in values if v is not None and v.dim() and len(v) and len(v) % n == 0]
        return statistics.mode(widths) if widths else 1

    def take(self, key: str, shape: Sequence[int | None]) -> Tensor:
        """Takes the entry with a key and a shape, in which None means any size.

        If there is no such entry, records an error for :meth:`finish`, and returns a placeholder with this shape.
        """
        value = self.left.pop(key, None)
        if value is None:
            self.errors["missing"].append(key)
        elif value.dtype not in FLOATS:
            self.errors["of another kind"].append(f"{key} {value.dtype}")
        elif value.dim() == len(shape) and all(w in (None, s) for s, w in zip(value.shape, shape, strict=True)):
            self.dtypes.add(value.dtype)
            return value
        else:
            expected = ", ".join("any" if s is None else str(s) for s in shape)
            self.errors["of another shape"].append(f"{key} {tuple(value.shape)} for ({expected})")
        return torch.empty(()).expand([s or 1 for s in shape])  # stores one number, whatever the shape

    def take_counter(self, key: str) -> Tensor:
        """Takes the counter ``num_batches_tracked`` of a batch norm; 0 if it is missing, since inference ignores it."""
        value = self.left.pop(key, torch.tensor(0))
        if value.dim():
            self.errors["of another shape"].append(f"{key} {tuple(value.shape)} for ()")
        return value

    def drop(self, keys: Sequence[str], description: str) -> None:
        """Removes entries and logs their keys with a description."""
        for key in keys:
            del self.left[key]
        if keys:
            logger.info("%s: left out, %s: %s", self.name, description, some(keys))

    def finish(self) -> None:
        """Raises WeightsError if entries are missing, unexpected, or of a wrong shape, or have several dtypes."""
        if self.left:
            self.errors["unexpected"].append(some(name_unexpected(self.left, self.state)))
        if self.errors:
            self._raise()
        if len(self.dtypes) > 1:
            raise WeightsError(
                f"{self.name}: expected tensors of one floating dtype, got {sorted(map(str, self.dtypes))}; convert "
                "them with .to(torch.float32)"
            )

    def fail(self, missing: str) -> NoReturn:
        """Raises WeightsError for missing entries immediately."""
        self.errors["missing"].append(missing)
        self.errors["got"].append(some(self.left))
        self._raise()

    def _raise(self) -> NoReturn:
        listed = "; ".join(f"{kind}: {', '.join(texts)}" for kind, texts in self.errors.items())
        raise WeightsError(f"{self.name} is not a valid checkpoint of {self.source}: {listed}")


# ---- key maps --------------------------------------------------------------------------------------------------
class KeyMap(NamedTuple):
    """Maps an entry of a checkpoint to our parameter `target`. `gates` are the gates to copy, in our order.

    An empty `target` marks gates that have no effect and are left out; another map copies the other gates of `entry`.
    Several maps to one target fill its rows one after the other. A target with ``weight_xh`` means ``weight_ih`` and
    ``weight_hh``, concatenated along axis 1.
    """

    entry: str
    target: str
    gates: Sequence[int] = (0,)

    @staticmethod
    def module(entry: str, target: str, ends: Sequence[str] = ("weight", "bias")) -> "list[KeyMap]":
        """Maps the entries of a module to those of ours; `ends` are the ends of their keys."""
        return [KeyMap(f"{entry}.{end}", f"{target}.{end}") for end in ends]

    @staticmethod
    def joint(
        entry: str, target: str, convs: Mapping[str, Sequence[int]], suffix: str = "_l0", bias: bool = True
    ) -> "list[KeyMap]":
        """Maps a cell's convolutions of ``[x, h]``; `convs` maps their names to the positions of our gates in them."""
        ends = {"weight": "weight_xh", **({"bias": "bias_ih"} if bias else {})}
        return [
            KeyMap(f"{entry}.{conv}.{end}", f"{target}{ours}{suffix}", gates)
            for conv, gates in convs.items()
            for end, ours in ends.items()
        ]


def _gate_counts(maps: Iterable[KeyMap]) -> Counter[str]:
    """Counts the gates of each entry and of each target."""
    return Counter(name for m in maps for name in {m.entry, m.target} for _ in m.gates)


def layer_width(entries: Entries, maps: Sequence[KeyMap], *targets: str) -> int:
    """Returns the most common number of channels per gate of parameters whose names begin with one of `targets`."""
    counts = _gate_counts(maps)
    return entries.width({m.entry: counts[m.entry] for m in maps if m.target.startswith(targets)})


def parameter_shapes(
    entries: Entries, name: str, sizes: Mapping[str, Any], *kernels: Sequence[int]
) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of a model's parameters without allocating them. Raises WeightsError for even `kernels`."""
    check_odd(entries.name, kernels)
    try:
        model = create_model(name, **{**sizes, "device": "meta"})
    except (RuntimeError, OverflowError) as e:  # the sizes exceed any memory
        raise WeightsError(f"{entries.name} has the sizes {dict(sizes)}, too large to build; it is damaged") from e
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}


def gather(entries: Entries, maps: Sequence[KeyMap], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Maps the entries to our parameters. Raises WeightsError if some are missing, left over or do not fit `shapes`."""
    counts = _gate_counts(maps)
    state: dict[str, Tensor] = {}
    taken: dict[str, Tensor] = {}
    parts: dict[str, list[Tensor]] = {}
    for entry, target, gates in maps:
        if not target:
            continue
        if target.endswith(".num_batches_tracked"):
            state[target] = entries.take_counter(entry)
            continue
        if entry not in taken:
            first, *others = (shapes[name] for name in _split_name(target))
            columns = first[1:2] if not others else (first[1] + others[0][1],)
            rows = first[0] // counts[target] * counts[entry]
            taken[entry] = entries.take(entry, (rows, *columns, *first[2:]))
        is_ordered = tuple(gates) == tuple(range(counts[entry]))  # and requires no copy
        chunks = taken[entry].chunk(1 if is_ordered else counts[entry])
        parts.setdefault(target, []).extend(chunks if is_ordered else (chunks[gate] for gate in gates))
    entries.finish()
    for target, values in parts.items():
        value = torch.cat(values) if len(values) > 1 else values[0]
        names = _split_name(target)
        slices: Any = value.split([shapes[name][1] for name in names], 1) if len(names) > 1 else (value,)
        state |= dict(zip(names, slices, strict=True))
    return state


def scatter(maps: Iterable[KeyMap], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Maps our parameters to the entries of a checkpoint: the inverse of :func:`gather`."""
    counts, used = _gate_counts(maps), Counter[str]()
    parts: dict[str, dict[int, Tensor]] = {}
    for entry, target, gates in maps:
        names = _split_name(target)
        value = torch.cat([state[name] for name in names], 1) if len(names) > 1 else state[target]
        rows = value.chunk(counts[target])[used[target] :]
        parts.setdefault(entry, {}).update(zip(gates, rows, strict=False))
        used[target] += len(gates)
    return {entry: torch.cat([gates[i] for i in sorted(gates)]) for entry, gates in parts.items()}


def _split_name(target: str) -> list[str]:
    return [target.replace("_xh", end) for end in ("_ih", "_hh")] if "_xh" in target else [target]


def negate_update_gate(state: Mapping[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    """Negates the rows of the update gate z in the parameters of ConvGRUs, whose names begin with `prefix`.

    The gates are r, z, n. Some sources compute ``h' = (1 - u) h + u n`` with ``u = σ(a)``. Our update gate is then
    ``z = 1 - u = σ(-a)``.
    """
    gates = {key: value.chunk(3) for key, value in state.items() if key.startswith(prefix)}
    return {**state, **{key: torch.cat([r, -z, n]) for key, (r, z, n) in gates.items()}}


# ---- layers ----------------------------------------------------------------------------------------------------
def sum_biases(b_ih: Tensor, b_hh: Tensor) -> Tensor:
    """Returns the sum of two biases; exactly `b_ih`, including negative zeros, where `b_hh` is zero."""
    return torch.where(b_hh == 0, b_ih, b_ih + b_hh)


def same_or_list(values: Sequence[Any]) -> Any:
    """Returns the single value if all layers have the same value, else the list of values."""
    return values[0] if len(set(values)) == 1 else list(values)


def load_layer(layer: nn.Module, state: Mapping[str, Tensor]) -> Any:
    layer.load_state_dict(state, strict=True)
    return layer


def load_model(
    entries: Entries,
    name: str,
    sizes: Mapping[str, Any],
    maps: Sequence[KeyMap],
    *kernels: Sequence[int],
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    adapt: Callable[[dict[str, Tensor]], Mapping[str, Tensor]] = dict,
) -> Any:
    """Builds a registered model with the arguments `sizes` and the entries that `maps` name, in their dtype.

    `shapes` are those of its parameters, if they are not :func:`parameter_shapes`. `adapt` changes the mapped entries.
    """
    state = gather(entries, maps, parameter_shapes(entries, name, sizes, *kernels) if shapes is None else shapes)
    return load_layer(create_model(name, **sizes, dtype=entries.dtype), adapt(state))


def even_kernels(kernels: Iterable[Sequence[int]]) -> list[str]:
    """Describes kernels with an even size k, for which a padding of ``k // 2`` changes the size of the map."""
    return [f"the even kernel {tuple(k)}, which it pads by k // 2" for k in kernels if any(n % 2 == 0 for n in k)]


def check_odd(name: str, kernels: Iterable[Sequence[int]]) -> None:
    """Raises WeightsError for even kernels, whose padding of ``k // 2`` would enlarge the map in every step."""
    if even := even_kernels(kernels):
        raise WeightsError(
            f"{name} has {'; '.join(even)}: the map grows with every step and its source's own forward fails, so "
            "that there are no outputs to agree with; the file is of another model"
        )


def check_exportable(target: str, module: nn.Module, reasons: Iterable[str] = (), **expected: Any) -> None:
    """Raises ValueError with every reason for which `target` cannot express the module.

    `expected` maps attributes of the layer to the only value that the target supports. `reasons` are other reasons.
    """
    layer = getattr(module, "rnn", module)
    values = [(name, getattr(layer, name), only) for name, only in expected.items()]
    differences = [f"{name}={value!r}, and it only has {only!r}" for name, value, only in values if value != only]
    if reasons := [*differences, *reasons]:
        raise ValueError(f"{target} cannot express this {type(module).__name__}: {'; '.join(reasons)}")


def expect_layer(target: str, module: nn.Module, *types: type[nn.Module]) -> Any:
    """Returns the module. Raises ValueError for a module of another type or with options that no target supports."""
    reasons, layer = [], getattr(module, "rnn", module)
    base = next((t for t in types if isinstance(module, t)), None)
    parts = ("step", "join", "conv", "advance", "nonlinearity")
    if base is None:
        reasons.append(f"it only has {' or '.join(t.__name__ for t in types)}")
    elif isinstance(module, Equations) and any(getattr(type(module), p, 0) != getattr(base, p, 0) for p in parts):
        reasons.append(f"its equations differ from those of {base.__name__}")
    elif norm := getattr(layer, "norm", None):
        reasons.append(f"norm={norm!r}, and it has no norms")
    elif isinstance(layer, Equations):
        reasons += ["its initial state is learned"] * layer.learn_initial_state
        reasons += ["it has zoneout, which acts in evaluation as well"] * any(layer.zoneout)
    check_exportable(target, module, reasons)
    return module
