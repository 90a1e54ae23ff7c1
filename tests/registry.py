"""What tests over the registry and over all layers share."""

import functools
from collections.abc import Iterable
from typing import Any

import pytest
from torch import nn

import convrnn_zoo


@functools.cache
def on_meta(name: str) -> nn.Module:
    """A network at its defaults, without memory for its weights, built once a process: to read, never to change."""
    return convrnn_zoo.create_model(name, device="meta").eval()


def two_dimensions_first(variants: Iterable[tuple[Any, ...]]) -> list[Any]:
    """Layers with their options, as parameters; those of one and three dimensions behind ``slow``.

    For what takes seconds and does not depend on the dimension, which is data of one and the same code.
    """
    return [pytest.param(*v, marks=() if v[0].ndim == 2 else pytest.mark.slow) for v in variants]
