"""The record of a source of checkpoints."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn


class OptionError(TypeError, ValueError):
    """An option that a source does not have: a TypeError as of any function, and what the command line can tell."""


@dataclass(frozen=True)
class Source:
    """One code base whose checkpoints are read, and where it can be said in its terms, written."""

    name: str
    title: str
    """The project and its address."""
    key: str
    """A regular expression of a key that no other source has; in a larger model, a prefix stands before it."""
    ranks: tuple[int, ...]
    """The ranks that the tensor under that key may have."""
    knows: str
    """What such a key is, in words."""
    load: Callable[..., nn.Module]
    """``load(checkpoint, **options)``."""
    options: Mapping[str, str]
    """What its weights do not tell, by the name that the source has for it, with words for each."""
    export: Callable[..., Mapping[str, Any]] | None = None
    """``export(module, **options)``: the state dict, or arrays by variable path."""


@dataclass(frozen=True)
class Recognition:
    """Which source a checkpoint is of, how that was known, and what stands before its keys."""

    source: Source
    why: str
    prefix: str
