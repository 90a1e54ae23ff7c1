"""The registry's networks as tests ask about them: each built once a process, without memory for its weights."""

import functools

from torch import nn

import convrnn_zoo


@functools.cache
def on_meta(name: str) -> nn.Module:
    """A network at its defaults, to read and never to change."""
    return convrnn_zoo.create_model(name, device="meta").eval()
