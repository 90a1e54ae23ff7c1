"""Relative errors for each dtype and input scale, compared with those of the plain loop."""

import copy
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor

from convrnn_zoo import layers

from .peers import Output
from .plain import Plain

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
SCALES = tuple(10.0**-n for n in range(8))
SEEDS = 9
_STEPS, _BATCH, _IN, _OUT, _SIZE, _KERNEL = 10, 2, 4, 8, 8, 3


def errors() -> list[dict[str, Any]]:
    """Returns one row per layer, dtype and scale with the errors of output and gradients as ``[ours, plain loop]``.

    An error is the norm of the difference from float64 relative to the norm of the float64 result. For gradients it is
    the largest over the input and all parameters. Medians over several initial weights and inputs are returned.
    """
    return [
        {"layer": name, "dtype": str(dtype).removeprefix("torch."), "scale": scale, **_errors(make, dtype, scale)}
        for name, make in _layers()
        for dtype in DTYPES
        for scale in SCALES
    ]


def _layers() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yields every layer class with each of its options.

    Layers have no bias, which would hide small inputs, and no norm, which would enlarge them.
    """
    for cls in (layers.Conv2dRNN, layers.Conv2dLSTM, layers.Conv2dPeepholeLSTM, layers.Conv2dGRU):
        for option, value in [(o, v) for o, vs in cls.options.items() if o != "norm" for v in vs] or [("", None)]:
            kwargs = {option: value} if option else {}
            name = cls.__name__ + (f", {option}={value!r}" if option else "")
            yield name, partial(cls, _IN, _OUT, _KERNEL, bias=False, **kwargs)


def _errors(make: Callable[..., Any], dtype: torch.dtype, scale: float) -> dict[str, list[float]]:
    errors_by_key: dict[tuple[str, int], list[float]] = {}
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        layer = make(dtype=dtype)
        x = (torch.randn(_STEPS, _BATCH, _IN, _SIZE, _SIZE) * scale).to(dtype)
        cotangent = torch.randn(_STEPS, _BATCH, _OUT, _SIZE, _SIZE).to(dtype)
        exact = copy.deepcopy(layer).double()  # with the rounded weights and input, so that only the computation counts
        y, grads = _outcome(Plain(exact), exact, x.double(), cotangent.double())
        for i, forward in enumerate((Output(layer), Plain(layer))):
            actual_y, actual_grads = _outcome(forward, layer, x, cotangent)
            errors_by_key.setdefault(("output", i), []).append(_relative(actual_y, y))
            grad_errors = [_relative(a, e) for a, e in zip(actual_grads, grads, strict=True) if e.any()]
            errors_by_key.setdefault(("gradient", i), []).append(max(grad_errors))
    return {k: [float(f"{median(errors_by_key[k, i]):.3g}") for i in range(2)] for k in ("output", "gradient")}


def _outcome(forward: Any, layer: Any, x: Tensor, cotangent: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Returns the output and the gradients of input and parameters."""
    x = x.clone().requires_grad_()
    y = forward(x)
    return y.detach(), torch.autograd.grad(y, [x, *layer.parameters()], cotangent)


def _relative(a: Tensor, e: Tensor) -> float:
    return ((a.double() - e).norm() / e.norm()).item()
