"""Time: a step taken over a sequence, forward or reversed, padded or packed.

Nothing here knows of convolutions: a step is any function from an input and a state to the next state.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

State = TypeVar("State", bound=tuple[Any, ...])
Step = Callable[[Any, State], State]


def scan(step: Step[State], xs: Sequence[Any], state: State, *, reverse: bool = False) -> tuple[list[Any], State]:
    """``state = step(x, state)`` for every x in turn.

    Returns the first entry of each state, in the order of `xs`, and the last state.

    Example:
        >>> scan(lambda x, state: (state[0] + x,), [1, 2, 3], (0,))
        ([1, 3, 6], (6,))
        >>> scan(lambda x, state: (state[0] + x,), [1, 2, 3], (0,), reverse=True)
        ([6, 5, 3], (6,))
    """
    ys = []
    for x in reversed(xs) if reverse else xs:
        state = step(x, state)
        ys.append(state[0])
    return ys[::-1] if reverse else ys, state


def scan_packed(
    step: Callable[[Any, tuple[Tensor, ...]], tuple[Tensor, ...]],
    xs: Sequence[Any],
    state: tuple[Tensor, ...],
    *,
    reverse: bool = False,
    sizes: Sequence[int] | None = None,
) -> tuple[list[Tensor], tuple[Tensor, ...]]:
    """:func:`scan` over the time steps of a packed sequence.

    Step t holds ``sizes[t]`` sequences, ``len(xs[t])`` by default, never more than the step before it. Forward, a
    sequence that has ended keeps its last state; reversed, it enters with its first state at its own last step.

    Example:
        >>> xs = [torch.tensor([1.0, 10.0]), torch.tensor([2.0])]
        >>> scan_packed(lambda x, s: (s[0] + x,), xs, (torch.zeros(2),))
        ([tensor([ 1., 10.]), tensor([3.])], (tensor([ 3., 10.]),))
    """
    sizes = [len(x) for x in xs] if sizes is None else sizes
    initial, ended = state, []
    state = tuple(s[: sizes[-1 if reverse else 0]] for s in state)

    def resized(x: tuple[Any, int], state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        running, wanted = len(state[0]), x[1]
        if wanted < running:
            ended.append(tuple(s[wanted:] for s in state))
            state = tuple(s[:wanted] for s in state)
        elif wanted > running:
            state = tuple(torch.cat([s, s0[running:wanted]]) for s, s0 in zip(state, initial, strict=True))
        return step(x[0], state)

    ys, state = scan(resized, list(zip(xs, sizes, strict=True)), state, reverse=reverse)
    ended.append(state)
    return ys, tuple(torch.cat(parts) if len(parts) > 1 else parts[0] for parts in zip(*reversed(ended), strict=True))
