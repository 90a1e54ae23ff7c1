"""Helpers for tests over the registry and over all layers."""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from torch import nn

import convrnn_zoo


@functools.cache
def on_meta(name: str) -> nn.Module:
    """A network at its defaults, without memory for its weights, built once a process: to read, never to change."""
    return convrnn_zoo.create_model(name, device="meta").eval()


def without_known_inputs(name: str) -> dict[str, Any]:
    """Arguments of an architecture that then reads frames only, without static maps, future inputs and masks."""
    model: Any = on_meta(name)
    known: dict[str, Any] = {"static_chans": 0, "future_chans": 0} if getattr(model, "known_chans", 0) else {}
    if getattr(model, "input_only", 0):  # whose padding by reflection needs large maps
        known |= {"has_mask": False, "padding_mode": "zeros"}
    return known


def slow_unless(keep: Callable[[Any], Any], values: Iterable[Any]) -> list[Any]:
    """Returns values as parameters, and marks those that `keep` rejects as ``slow``: long tests that repeat others."""
    return [
        pytest.param(*(v if isinstance(v, tuple) else (v,)), marks=() if keep(v) else pytest.mark.slow) for v in values
    ]


def two_dimensions_first(variants: Iterable[Any]) -> list[Any]:
    """Returns layers, with or without options, as parameters; those of one and three dimensions are ``slow``.

    For what takes seconds and does not depend on the dimension, which is data of one and the same code.
    """
    return slow_unless(lambda v: (v[0] if isinstance(v, tuple) else v).ndim == 2, variants)
