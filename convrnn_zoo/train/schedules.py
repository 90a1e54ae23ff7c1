"""Learning rates over the updates, by the name that a recipe gives."""

import math
from collections.abc import Callable

import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler

from .recipe import ForecasterRecipe

FIRST, LAST = 1 / 25, 1e-4
"""Parts of the highest rate at the start and at the end of a cycle."""


def cosine(begin: float, end: float, part: float) -> float:
    """From `begin` to `end` along half a wave."""
    return end + (begin - end) * (1 + math.cos(math.pi * part)) / 2


def one_cycle(optimizer: torch.optim.Optimizer, recipe: ForecasterRecipe) -> LRScheduler:
    """Up for the part `warmup` of a cycle, then down to next to nothing; later cycles, if any, go half as high each.

    Reference:
        Smith, L. and Topin, N. (2019). Super-Convergence: Very Fast Training of Neural Networks Using Large Learning
        Rates. https://arxiv.org/abs/1708.07120

    Raises:
        ValueError: the recipe's `cycles` do not add up to its updates.
    """
    lengths = recipe.cycles or (recipe.updates,)
    if sum(lengths) != recipe.updates or min(lengths) < 1:
        raise ValueError(f"the recipe's cycles must add up to its {recipe.updates} updates, got {list(lengths)}")

    def factor(update: int) -> float:
        height = 1.0
        for length in lengths:
            if update < length:
                break
            update, height = update - length, height / 2
        else:  # asked for after the last update, too
            return LAST
        rise = recipe.warmup * length
        if update < rise:
            return height * cosine(FIRST, 1, update / rise)
        return height * cosine(1, LAST, (update - rise) / (length - rise))

    return LambdaLR(optimizer, factor)


SCHEDULES: dict[str, Callable[[torch.optim.Optimizer, ForecasterRecipe], LRScheduler]] = {
    "one_cycle": one_cycle,
    "cosine": lambda optimizer, recipe: CosineAnnealingLR(optimizer, recipe.updates),
}
"""``(optimizer, recipe)`` to a scheduler."""
