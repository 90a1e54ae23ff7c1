"""Optimizers and learning rate schedules by the names that a recipe uses."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from timm.optim import create_optimizer_v2
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler, OneCycleLR

ADAM_LR = 3e-3
"""Learning rate of the parameters that Muon leaves to Adam."""
DECAY = 0.1
"""Weight decay of the kernels: all steps of Muon have one length, and without decay the weights would grow."""
START, END = 1 / 25, 1e-4
"""Fractions of the highest learning rate at the start and at the end of a cycle."""


def is_kernel(parameter: Tensor) -> bool:
    """Returns whether a parameter has the shape that Muon trains: a kernel larger than 1×1, at least 16×16 as a matrix.

    Adam trains the other parameters, as Muon's author recommends for first and last layers.
    """
    return parameter.dim() > 3 and parameter[0, 0].numel() > 1 and min(len(parameter), parameter[0].numel()) >= 16


def muon(model: nn.Module, lr: float, weight_decay: float = DECAY, **arguments: Any) -> torch.optim.Optimizer:
    """Returns timm's Muon, which trains kernels as matrices ``(out, in·taps)`` and other parameters by Adam.

    Muon orthogonalizes the update of every kernel and scales it to the size of an Adam update. In short runs of equal
    time, a forecaster of Moving MNIST reached an MSE of 114 with Muon and 127 with Adam.

    Args:
        model: the model to train.
        lr: learning rate of the kernels; start with 0.005. With 0.01, the kernels of a longer run diverge.
        weight_decay: decay of the kernels. The other parameters do not decay.
        **arguments: further arguments of timm's Muon, such as `momentum`.

    Raises:
        ValueError: the model has no kernel that Muon trains, so that `lr` would have no effect.
        ImportError: timm is older than 1.0.31. Older versions do not schedule the learning rate of Adam's parameters.

    References:
        Jordan, K. et al. (2024). Muon: An optimizer for hidden layers in neural networks.
        https://kellerjordan.github.io/posts/muon/
        Liu, J. et al. (2025). Muon is Scalable for LLM Training. https://arxiv.org/abs/2502.16982

    Example:
        >>> optimizer = muon(nn.Conv2d(16, 16, 3), lr=0.01)
        >>> [(len(g["params"]), g["lr"]) for g in optimizer.param_groups]  # the kernel, and the bias
        [(1, 0.01), (1, 0.003)]
    """
    without_decay: set[str] = getattr(model, "no_weight_decay", set)()  # such as norms with four axes
    names = {name for name, p in model.named_parameters() if is_kernel(p)} - without_decay
    if not names:
        raise ValueError("muon trains the kernels of 2-d and 3-d models, of 16 or more channels; choose adamw")
    kernels: dict[str, Any] = {"params": [p for name, p in model.named_parameters() if name in names]}
    others: dict[str, Any] = {
        "params": [p for name, p in model.named_parameters() if name not in names],
        "use_fallback": True,
        "lr": ADAM_LR,
        "weight_decay": 0.0,
        "nesterov": False,
        "betas": (0.9, 0.999),
        "eps": 1e-8,
    }
    rule = {
        "ns_coefficients": "original",
        "adjust_lr_fn": "match_rms_adamw",
        "fallback_lr_scale": 1.0,
        "momentum": 0.95,
    }
    try:
        return create_optimizer_v2([kernels, others], "nmuon", lr, weight_decay, **{**rule, **arguments})
    except (ValueError, TypeError) as e:
        if arguments:
            raise
        raise ImportError(f"the optimizer muon needs timm 1.0.31 ({e}); run: pip install 'convrnn-zoo[train]'") from e


def create_optimizer(recipe: Any, model: nn.Module) -> torch.optim.Optimizer:
    """Builds the optimizer of a recipe: :func:`muon`, or the optimizer of timm with the name.

    With optimizers of timm, biases, other parameters of one axis (such as those of norms) and those in the model's
    ``no_weight_decay`` (such as peepholes and learned initial states) do not decay. For each layer towards the input,
    the learning rate is multiplied by the recipe's `layer_decay`. The model's ``group_matcher`` defines the layers.

    Raises:
        ValueError: the optimizer does not take one of the recipe's `optimizer_args`, or needs another package.
        ImportError: see :func:`muon`.
    """
    arguments = dict(recipe.optimizer_args)
    try:
        if recipe.optimizer == "muon":
            decay = {} if recipe.weight_decay is None else {"weight_decay": recipe.weight_decay}
            return muon(model, recipe.lr, **decay, **arguments)
        optimizer = create_optimizer_v2(
            model,
            recipe.optimizer,
            lr=recipe.lr,
            weight_decay=recipe.weight_decay or 0.0,
            layer_decay=None if recipe.layer_decay == 1 else recipe.layer_decay,
            **arguments,
        )
    except (TypeError, ValueError, AssertionError, NameError) as e:
        with_args = f" with optimizer_args = {arguments}" if arguments else ""
        raise ValueError(f"the recipe's optimizer = {recipe.optimizer!r}{with_args}: {e}") from e
    for group in optimizer.param_groups:
        group["lr"] *= group.pop("lr_scale", 1.0)
    return optimizer


def one_cycle_factor(update: int, warmup: float, lengths: tuple[int, ...]) -> float:
    """Returns the learning rate at an update as a fraction of the highest rate, for cycles of `lengths` updates.

    The rate rises along half a cosine for the fraction `warmup` of a cycle, and then falls along half a cosine to
    nearly 0. The peak of each cycle is half as high as that of the cycle before.

    Example:
        >>> [one_cycle_factor(update, 0.5, (4, 4)) for update in (0, 2, 6)]
        [0.04, 1.0, 0.5]
    """
    height = 1.0
    for length in lengths:
        if update < length:
            break
        update, height = update - length, height / 2
    else:  # the scheduler also calls it after the last update
        return END
    rise = warmup * length
    low, part = (START, 1 - update / rise) if update < rise else (END, (update - rise) / (length - rise))
    return height * (low + (1 - low) * (1 + math.cos(math.pi * part)) / 2)


def one_cycle(recipe: Any, optimizer: torch.optim.Optimizer, max_steps: int) -> LRScheduler:
    """Returns a scheduler whose rate rises and falls along half cosines, in one cycle or in several `cycles`.

    The recipe's `cycles` are the numbers of updates of several cycles, which add up to `max_steps`; see
    :func:`one_cycle_factor`.

    Raises:
        ValueError: the cycles do not add up to `max_steps`.

    Reference:
        Smith, L. and Topin, N. (2019). Super-Convergence: Very Fast Training of Neural Networks Using Large Learning
        Rates. https://arxiv.org/abs/1708.07120
    """
    lengths = recipe.cycles or (max_steps,)
    if sum(lengths) != max_steps or min(lengths) < 1:
        raise ValueError(f"the recipe's cycles must add up to its number of updates, {max_steps}, got {list(lengths)}")
    return LambdaLR(optimizer, partial(one_cycle_factor, warmup=recipe.warmup, lengths=lengths))


def one_cycle_momentum(recipe: Any, optimizer: torch.optim.Optimizer, max_steps: int) -> LRScheduler:
    """Returns torch's OneCycleLR, which also lowers and raises the momentum, or the first beta, of the optimizer.

    Raises ValueError if the optimizer, such as ``adagrad``, has neither.
    """
    if not {"momentum", "betas"} & optimizer.defaults.keys():
        raise ValueError(
            "the recipe's schedule = 'one_cycle_momentum' changes the momentum of the optimizer, and "
            f"{type(optimizer).__name__} has none; set schedule = 'one_cycle'"
        )
    rates = [group["lr"] for group in optimizer.param_groups]
    return OneCycleLR(optimizer, rates, total_steps=max_steps, pct_start=recipe.warmup)


def cosine(recipe: Any, optimizer: torch.optim.Optimizer, max_steps: int) -> LRScheduler:
    """Returns torch's scheduler whose rate falls along half a cosine."""
    return CosineAnnealingLR(optimizer, max_steps)


SCHEDULES: dict[str, Callable[[Any, torch.optim.Optimizer, int], LRScheduler]] = {
    "one_cycle": one_cycle,
    "one_cycle_momentum": one_cycle_momentum,
    "cosine": cosine,
}
"""Functions ``(recipe, optimizer, max_steps)`` that return a scheduler, by name."""


def create_schedule(recipe: Any, optimizer: torch.optim.Optimizer, max_steps: int) -> LRScheduler:
    """Builds the learning rate scheduler of a recipe.

    Raises ValueError if `cycles` do not add up to `max_steps`, or the optimizer does not suit it.
    """
    return SCHEDULES[recipe.schedule](recipe, optimizer, max_steps)
