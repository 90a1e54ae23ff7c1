"""States of models: tensors, or tuples of them however nested."""

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

State = Any
"""A tensor, or a tuple of states; every tensor is a map ``(…, N, C, *S)``."""


def mapped(function: Callable[..., Tensor], *states: State) -> State:
    """The same nesting with `function` of every tensor, or of those that stand in one place of several states."""
    if isinstance(states[0], Tensor):
        return function(*states)
    return tuple(mapped(function, *parts) for parts in zip(*states, strict=True))


def named(state: State, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors by where they stand: ``.0.1`` is the second of the first; the empty name is a tensor alone."""
    if isinstance(state, Tensor):
        yield name, state
    else:
        for i, part in enumerate(state):
            yield from named(part, f"{name}.{i}")


def nested(named: dict[str, Tensor]) -> State:
    """The way back from :func:`named`.

    Example:
        >>> nested({".0": 1, ".1.0": 2, ".1.1": 3})
        (1, (2, 3))
    """
    if "" in named:
        return named[""]
    parts: dict[int, dict[str, Tensor]] = {}
    for name, tensor in named.items():
        first, dot, rest = name[1:].partition(".")
        parts.setdefault(int(first), {})[dot + rest] = tensor
    return tuple(nested(parts[i]) for i in sorted(parts))
