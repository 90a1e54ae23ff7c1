"""Classes of the core family, listed by introspection, and small builders for tests."""

import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from convrnn_zoo import layers
from convrnn_zoo.layers import ConvRNNBase, ConvRNNCellBase

CLASSES = [v for v in vars(layers).values() if isinstance(v, type) and hasattr(v, "ndim")]
CELLS = [cls for cls in CLASSES if issubclass(cls, ConvRNNCellBase)]
SEQUENCES = [cls for cls in CLASSES if issubclass(cls, ConvRNNBase)]
RECURRENT = [cls for cls in CLASSES if not cls.is_linear]
"""Classes with a state-to-state convolution."""


def variants(cls: type) -> list[dict[str, Any]]:
    """Returns every combination of the options of a cell, the default one first.

    Of the norms only the layer norm is included: on a few channels the group norm is the same.
    """
    every = [dict(zip(cls.options, values, strict=True)) for values in itertools.product(*cls.options.values())]
    return [{k: v for k, v in one.items() if v is not None} for one in every if one.get("norm") != "group"]


def over_variants(classes: list[type]) -> list[tuple[type, dict[str, Any]]]:
    return [(cls, options) for cls in classes for options in variants(cls)]


def usual(variant: tuple[type, dict[str, Any]]) -> bool:
    """Returns whether a layer is two-dimensional and has its default options."""
    return variant[0].ndim == 2 and variant[1] == variants(variant[0])[0]


def case_id(value: object) -> str | None:
    """Returns test ids: classes by their name, options by their values."""
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, dict):
        return ",".join(f"{k}={v}" for k, v in value.items()) or "default"
    return None


def space(of: Any, size: int = 4) -> tuple[int, ...]:
    """A small map for a class or a module, its axes of different lengths so that a swap cannot go unseen."""
    return tuple(range(size, size + of.ndim))


def tensors(nested: Any) -> Iterator[Tensor]:
    """The tensors of an output or a state, however it is nested."""
    if isinstance(nested, Tensor):
        yield nested
    elif nested is not None:
        for part in nested:
            yield from tensors(part)


def mapped(function: Any, nested: Any) -> Any:
    """The same nesting with `function` of every tensor."""
    return function(nested) if isinstance(nested, Tensor) else tuple(mapped(function, part) for part in nested)


def example(cls: type, channels: int, *, steps: int = 3, batch: int = 2, size: int = 4, **factory: Any) -> Tensor:
    """An input: one map a sequence for a cell, `steps` of them for a sequence layer."""
    lead = (batch,) if issubclass(cls, ConvRNNCellBase) else (steps, batch)
    return torch.randn(*lead, channels, *space(cls, size), **factory)


def assert_close(actual: Any, expected: Any, tolerance: float) -> None:
    """Largest error below `tolerance` times the largest value (or one), tensor by tensor."""
    for a, e in zip(tensors(actual), tensors(expected), strict=True):
        assert a.shape == e.shape
        if e.numel():
            error = (a - e).abs().max().item() / max(1.0, e.abs().max().item())
            assert error <= tolerance, f"off by {error:.2e}"
