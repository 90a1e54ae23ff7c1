"""Optimizers and learning rates by the names that a recipe gives, and training by them."""

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from timm.optim import create_optimizer_v2
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler

from .fit import fit
from .recipe import ForecasterRecipe, choose
from .start import falling

ADAM_LR = 3e-3
"""Learning rate of what Muon leaves to Adam."""
DECAY = 0.1
"""Weight decay of the kernels: Muon's steps all have one length, and without it the weights would grow for ever."""
START, END = 1 / 25, 1e-4
"""Parts of the highest learning rate at the start and at the end of a cycle."""


def is_kernel(parameter: Tensor) -> bool:
    """Whether Muon is for it: the kernel of a 2-d or 3-d convolution from 16 or more numbers to 16 or more, with taps.

    Biases, peepholes and 1×1 convolutions are Adam's, as Muon's author advises for first and last layers.
    """
    return parameter.dim() > 3 and parameter[0, 0].numel() > 1 and min(len(parameter), parameter[0].numel()) >= 16


def adam(model: nn.Module, lr: float, layer_decay: float = 1.0) -> torch.optim.Optimizer:
    """Adam for every parameter, with a learning rate that falls by the factor `layer_decay` a layer towards the input.

    The layers are timm's groups of the model, by its ``group_matcher``.
    """
    if layer_decay == 1:
        return create_optimizer_v2(model.parameters(), "adam", lr=lr)
    optimizer = create_optimizer_v2(model, "adam", lr=lr, layer_decay=layer_decay)
    falling(optimizer)
    return optimizer


def muon(model: nn.Module, lr: float, layer_decay: float = 1.0) -> torch.optim.Optimizer:
    """timm's Muon for the kernels of a model, each as a matrix ``(out, in·taps)``, and Adam for its other parameters.

    Muon makes the step of every kernel orthogonal; it is as long as one of Adam's would be. In short runs of equal
    time it led a forecaster of Moving MNIST to an MSE of 114 where Adam led it to 127.

    Args:
        model: whose parameters are trained.
        layer_decay: 1; depth is Adam's alone.
        lr: of the kernels; 0.005 is a fair beginning; at 0.01 the kernels of a longer run outgrow it.

    Raises:
        ValueError: another `layer_decay`.
        ImportError: timm is older than 1.0.31, whose Muon cannot follow a schedule with what it leaves to Adam.

    References:
        Jordan, K. et al. (2024). Muon: An optimizer for hidden layers in neural networks.
        https://kellerjordan.github.io/posts/muon/
        Liu, J. et al. (2025). Muon is Scalable for LLM Training. https://arxiv.org/abs/2502.16982

    Example:
        >>> optimizer = muon(nn.Conv2d(16, 16, 3), lr=0.01)
        >>> [(len(g["params"]), g["lr"]) for g in optimizer.param_groups]  # the kernel, and the bias
        [(1, 0.01), (1, 0.003)]
    """
    if layer_decay != 1:
        raise ValueError('the recipe\'s layer_decay is for optimizer = "adam"; leave it out with muon')
    others: dict[str, Any] = {
        "params": [p for p in model.parameters() if not is_kernel(p)], "use_fallback": True,
        "lr": ADAM_LR, "weight_decay": 0.0, "nesterov": False, "betas": (0.9, 0.999), "eps": 1e-8,
    }  # fmt: skip
    kernels: dict[str, Any] = {"params": [p for p in model.parameters() if is_kernel(p)]}
    rule = {"ns_coefficients": "original", "adjust_lr_fn": "match_rms_adamw", "fallback_lr_scale": 1.0}
    try:
        return create_optimizer_v2([kernels, others], "nmuon", lr, DECAY, momentum=0.95, **rule)  # type: ignore[arg-type]
    except (ValueError, TypeError) as e:
        raise ImportError(f"the optimizer muon needs timm 1.0.31 ({e}); run: pip install 'convrnn-zoo[train]'") from e


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {"adam": adam, "muon": muon}
"""``(model, lr, layer_decay)`` to an optimizer."""


def one_cycle_factor(update: int, warmup: float, lengths: tuple[int, ...]) -> float:
    """Part of the highest learning rate at an update: a rise and a fall, each along half a cosine, in every cycle.

    The rate rises for the part `warmup` of a cycle and falls to next to nothing; each cycle is half as high as the
    one before.

    Example:
        >>> [one_cycle_factor(update, 0.5, (4, 4)) for update in (0, 2, 6)]
        [0.04, 1.0, 0.5]
    """
    height = 1.0
    for length in lengths:
        if update < length:
            break
        update, height = update - length, height / 2
    else:  # asked for after the last update, too
        return END
    rise = warmup * length
    low, part = (START, 1 - update / rise) if update < rise else (END, (update - rise) / (length - rise))
    return height * (low + (1 - low) * (1 + math.cos(math.pi * part)) / 2)


def one_cycle(optimizer: torch.optim.Optimizer, recipe: ForecasterRecipe) -> LRScheduler:
    """One cycle of :func:`one_cycle_factor`, or the recipe's several.

    Raises:
        ValueError: the recipe's `cycles` do not add up to its updates.

    Reference:
        Smith, L. and Topin, N. (2019). Super-Convergence: Very Fast Training of Neural Networks Using Large Learning
        Rates. https://arxiv.org/abs/1708.07120
    """
    lengths = recipe.cycles or (recipe.updates,)
    if sum(lengths) != recipe.updates or min(lengths) < 1:
        raise ValueError(f"the recipe's cycles must add up to its {recipe.updates} updates, got {list(lengths)}")
    return LambdaLR(optimizer, partial(one_cycle_factor, warmup=recipe.warmup, lengths=lengths))


SCHEDULES: dict[str, Callable[[torch.optim.Optimizer, ForecasterRecipe], LRScheduler]] = {
    "one_cycle": one_cycle,
    "cosine": lambda optimizer, recipe: CosineAnnealingLR(optimizer, recipe.updates),
}
"""``(optimizer, recipe)`` to a scheduler."""


def fit_updates(
    model: nn.Module,
    recipe: ForecasterRecipe,
    batches: Callable[[range], Iterable[Any]],
    loss: Callable[[nn.Module, Any], Tensor],
    **how: Any,
) -> list[float]:
    """Trains a model by a recipe's optimizer and schedule, a round from checkpoint to checkpoint.

    `batches` makes those of some updates, by their numbers; `how` and what comes back are those of
    :func:`~convrnn_zoo.train.fit.fit`.
    """
    optimizer = choose("optimizer", recipe.optimizer, OPTIMIZERS)(model, recipe.lr, recipe.layer_decay)
    scheduler = choose("schedule", recipe.schedule, SCHEDULES)(optimizer, recipe)

    def a_round(done: int) -> Iterable[Any]:
        return batches(range(done, min(done + recipe.checkpoint_every, recipe.updates)))

    return fit(
        model, a_round, loss, optimizer, scheduler,
        updates=recipe.updates, clip=recipe.clip, title=recipe.weights, **how,
    )  # fmt: skip
