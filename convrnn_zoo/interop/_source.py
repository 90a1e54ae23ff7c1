"""The record of a source of checkpoints, and how one is known by its keys."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ._checkpoint import ForeignCheckpoint


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


def recognise(checkpoint: ForeignCheckpoint, sources: Mapping[str, Source]) -> Recognition | None:
    """The first source one of whose keys is in the checkpoint, the shortest prefix first."""
    found = [r for s in sources.values() for k, v in checkpoint.state.items() if (r := _match(s, k, v))]
    return min(found, key=lambda r: len(r.prefix), default=None)


def _match(source: Source, key: str, value: Tensor) -> Recognition | None:
    m = re.fullmatch(f"(?P<prefix>.*?){source.key}", key)
    if m is None or value.dim() not in source.ranks:
        return None
    return Recognition(source, f"{key} {tuple(value.shape)} is {source.knows}", m["prefix"])
