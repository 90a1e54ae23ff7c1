"""Optimizers and learning rate schedules by the names that a recipe uses."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from timm.optim import create_optimizer_v2
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler

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


def adam(
    model: nn.Module, lr: float, layer_decay: float = 1.0, weight_decay: float | None = None
) -> torch.optim.Optimizer:
    """Returns Adam, or AdamW if there is a `weight_decay`.

    Biases, other parameters of one axis (such as those of norms) and those in the model's ``no_weight_decay`` (such as
    peepholes and learned initial states) do not decay. For each layer towards the input, the learning rate is
    multiplied by `layer_decay`. The model's ``group_matcher`` defines the layers.
    """
    name, decay = ("adam", 0.0) if weight_decay is None else ("adamw", weight_decay)
    layers = None if layer_decay == 1 else layer_decay
    optimizer = create_optimizer_v2(model, name, lr=lr, weight_decay=decay, layer_decay=layers)
    for group in optimizer.param_groups:
        group["lr"] *= group.get("lr_scale", 1.0)
    return optimizer


def muon(model: nn.Module, lr: float, layer_decay: float = 1.0) -> torch.optim.Optimizer:
    """Returns timm's Muon, which trains kernels as matrices ``(out, in·taps)`` and other parameters by Adam.

    Muon orthogonalizes the update of every kernel and scales it to the size of an Adam update. In short runs of equal
    time, a forecaster of Moving MNIST reached an MSE of 114 with Muon and 127 with Adam.

    Args:
        model: the model to train.
        layer_decay: must be 1; only Adam supports other values.
        lr: learning rate of the kernels; start with 0.005. With 0.01, the kernels of a longer run diverge.

    Raises:
        ValueError: `layer_decay` is not 1.
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
    if layer_decay != 1:
        raise ValueError('the recipe\'s layer_decay is for optimizer = "adam"; omit it with muon')
    without_decay: set[str] = getattr(model, "no_weight_decay", set)()  # such as norms with four axes
    names = {name for name, p in model.named_parameters() if is_kernel(p)} - without_decay
    kernels: dict[str, Any] = {"params": [p for name, p in model.named_parameters() if name in names]}
    others: dict[str, Any] = {
        "params": [p for name, p in model.named_parameters() if name not in names], "use_fallback": True,
        "lr": ADAM_LR, "weight_decay": 0.0, "nesterov": False, "betas": (0.9, 0.999), "eps": 1e-8,
    }  # fmt: skip
    rule = {"ns_coefficients": "original", "adjust_lr_fn": "match_rms_adamw", "fallback_lr_scale": 1.0}
    try:
        return create_optimizer_v2([kernels, others], "nmuon", lr, DECAY, momentum=0.95, **rule)  # type: ignore[arg-type]
    except (ValueError, TypeError) as e:
        raise ImportError(f"the optimizer muon needs timm 1.0.31 ({e}); run: pip install 'convrnn-zoo[train]'") from e


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {"adam": adam, "muon": muon}
"""``(model, lr, layer_decay)`` to an optimizer."""


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


def one_cycle(
    optimizer: torch.optim.Optimizer, max_steps: int, warmup: float, cycles: tuple[int, ...] = ()
) -> LRScheduler:
    """Returns a scheduler whose rate rises and falls along half cosines, in one cycle or in several `cycles`.

    `cycles` are the numbers of updates of several cycles, which add up to `max_steps`; see :func:`one_cycle_factor`.

    Raises:
        ValueError: the cycles do not add up to `max_steps`.

    Reference:
        Smith, L. and Topin, N. (2019). Super-Convergence: Very Fast Training of Neural Networks Using Large Learning
        Rates. https://arxiv.org/abs/1708.07120
    """
    lengths = cycles or (max_steps,)
    if sum(lengths) != max_steps or min(lengths) < 1:
        raise ValueError(f"the recipe's cycles must add up to its max_steps, {max_steps}, got {list(lengths)}")
    return LambdaLR(optimizer, partial(one_cycle_factor, warmup=warmup, lengths=lengths))


def cosine(
    optimizer: torch.optim.Optimizer, max_steps: int, warmup: float = 0.0, cycles: tuple[int, ...] = ()
) -> LRScheduler:
    """Returns torch's scheduler whose rate falls along half a cosine. Recipes reject `warmup` and `cycles` for it."""
    return CosineAnnealingLR(optimizer, max_steps)


SCHEDULES: dict[str, Callable[[torch.optim.Optimizer, int, float, tuple[int, ...]], LRScheduler]] = {
    "one_cycle": one_cycle,
    "cosine": cosine,
}
"""``(optimizer, max_steps, warmup, cycles)`` to a scheduler."""


def create_schedule(recipe: Any, optimizer: torch.optim.Optimizer) -> LRScheduler:
    """Builds the learning rate scheduler of a forecaster's recipe.

    Raises:
        ValueError: `cycles` do not add up to `max_steps`.
    """
    return SCHEDULES[recipe.schedule](optimizer, recipe.max_steps, recipe.warmup, recipe.cycles)
