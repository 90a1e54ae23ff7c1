"""States of layers and models: their forms, how they are checked, and how one form becomes another.

A cell returns one tensor per state. A layer stacks those of its layers and directions, as torch.nn.RNN does; if it has
a width per layer, each state is a tuple with one tensor per layer. A model of several levels returns a list of such
states. Within the package, :class:`LayerStates` are states before stacking.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from .. import _checks as check
from ._run import Maps


class LayerStates(list[Maps]):
    """States as one tuple per layer and direction, in torch's order: l0, l0_reverse, l1, …

    A sequence layer accepts them as `hx` in place of stacked states, and then returns its final states in this form.
    """


def format_names(names: Sequence[str], end: str = "") -> str:
    """Formats the names of the tensors of a state, each with the suffix `end`: ``h_0``, or ``(h_0, c_0)``."""
    text = ", ".join(f"{name}{end}" for name in names)
    return text if len(names) == 1 else f"({text})"


# ---- checks ----------------------------------------------------------------------------------------------------
def check_tensor(owner: str, name: str, h: object, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Returns `h` if it is a tensor of this shape, and of the device and dtype of `like`."""
    if not isinstance(h, Tensor) or tuple(h.shape) != shape:
        error, got = (ValueError, tuple(h.shape)) if isinstance(h, Tensor) else (TypeError, check.describe(h))
        raise error(f"{owner} expected {name} of shape {shape}, got {got}; pass None for a zero state")
    check.device_and_dtype(owner, name, h, like)
    return h


def check_parts(owner: str, hx: object, names: Sequence[str]) -> tuple[Any, ...]:
    """Returns `hx`, a tensor or a tuple of tensors, as a tuple with one entry for each of `names`."""
    if len(names) == 1:
        return (hx,)
    return check_tuple(owner, f"{format_names(names, '_0')} as a tuple", hx, len(names))


def check_tuple(owner: str, expected: str, value: object, n: int) -> tuple[Any, ...]:
    if not isinstance(value, (tuple, list)):
        raise TypeError(f"{owner} expected {expected}, got {check.describe(value)}; pass None for a zero state")
    if len(value) != n:
        raise ValueError(f"{owner} expected {expected}, got {len(value)} entries; pass all {n} or None")
    return tuple(value)


def check_encoded(owner: str, state: object, is_valid: bool) -> None:
    """Raises ValueError unless a state that a forecaster decodes has the form that its ``encode`` returns."""
    if not is_valid:
        got = f"got {check.describe(state)}; pass it unchanged"
        raise ValueError(f"{owner} expected the state that encode returns, {got}")


def split_levels(hx: Any, levels: int) -> list[Any]:
    """Returns a list of one state per level; `hx` is such a list, a single state for one level, or None for zeros."""
    if hx is None or levels == 1:
        return [hx] * levels
    if not isinstance(hx, (list, tuple)) or len(hx) != levels:
        got = f"got {check.describe(hx)}; leave it out for zero states"
        raise ValueError(f"expected the state as a list of {levels}, as the model returns it, {got}")
    return list(hx)


# ---- stacked states --------------------------------------------------------------------------------------------
def unstack(layer: Any, hx: Any, shapes: Sequence[tuple[int, ...]], like: Tensor, unbatched: bool) -> LayerStates:
    """Checks stacked states of a layer, and separates its layers and directions.

    `shapes` are those of one state ``(N, C, *S)`` of each layer. States of an unbatched input have no N.
    """
    owner, names, directions = type(layer).__name__, layer.states, layer.num_directions
    stored = [(directions, *(shape[1:] if unbatched else shape)) for shape in shapes]
    parts = []
    for name, part in zip(names, check_parts(owner, hx, names), strict=True):
        if check.is_int(layer.out_channels):
            shape = (directions * len(stored), *stored[0][1:])
            maps = list(check_tensor(owner, f"{name}_0", part, shape, like).unbind(0))
        else:
            expected = f"{name}_0 as a tuple of {len(stored)} layers, as out_channels is a list"
            each = zip(check_tuple(owner, expected, part, len(stored)), stored, strict=True)
            layers = [check_tensor(owner, f"{name}_0[{i}]", *one, like) for i, one in enumerate(each)]
            maps = [s for each_layer in layers for s in each_layer.unbind(0)]
        parts.append([s.unsqueeze(0) for s in maps] if unbatched else maps)
    return LayerStates(zip(*parts, strict=True))


def stack(layer: Any, states: Sequence[Maps], unbatched: bool) -> Any:
    """Stacks the states of layers and directions: a tensor per state, or a tuple of one tensor per layer."""
    has_one_width, parts = check.is_int(layer.out_channels), []
    for tensors in zip(*states, strict=True):
        maps = [s.squeeze(0) for s in tensors] if unbatched else list(tensors)
        each = len(maps) if has_one_width else layer.num_directions
        layers = [torch.stack(maps[i : i + each]) for i in range(0, len(maps), each)]
        parts.append(layers[0] if has_one_width else tuple(layers))
    return tuple(parts) if len(parts) > 1 else parts[0]


def reorder(states: Sequence[Maps], order: Tensor | None) -> LayerStates:
    """Reorders the sequences in all states by the indices `order`; None keeps their order."""
    return LayerStates(maps if order is None else tuple(s.index_select(0, order) for s in maps) for maps in states)


# ---- states of any form ----------------------------------------------------------------------------------------
# torch.utils._pytree takes a LayerStates for a leaf, and a list for another structure than a tuple of equal length.
def map_tensors(function: Callable[..., Tensor], *states: Any) -> Any:
    """Applies a function to every tensor of a state, or to the corresponding tensors of several states."""
    if isinstance(states[0], Tensor):
        return function(*states)
    return tuple(map_tensors(function, *parts) for parts in zip(*states, strict=True))


def name_tensors(state: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yields the tensors of a state with names: ``.0.1`` is ``state[0][1]``; a state that is one tensor has ``""``."""
    if isinstance(state, Tensor):
        yield name, state
    else:
        for i, part in enumerate(state):
            yield from name_tensors(part, f"{name}.{i}")


def nest_tensors(tensors: dict[str, Tensor]) -> Any:
    """Restores a state from its :func:`name_tensors`: ``{".0": a, ".1.0": b}`` becomes ``(a, (b,))``."""
    if "" in tensors:
        return tensors[""]
    parts: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        first, dot, remainder = name[1:].partition(".")
        parts.setdefault(int(first), {})[dot + remainder] = tensor
    return tuple(nest_tensors(parts[i]) for i in sorted(parts))
