"""How entries become parameters of ours: which gates of which entry are the rows of which parameter."""

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..models import WeightsError, create_model
from ._entries import Entries, odd_kernels

KINDS = ("weight", "bias")
ONE = (0,)
Convs = Mapping[str, tuple[str, Sequence[int]]]
"""The convolutions of a cell, by their names there: the end of our name, and our order of the gates."""


class Link(NamedTuple):
    """These gates of an entry of theirs, in this order, are the next rows of a parameter of ours.

    ``weight_xh`` stands for ``weight_ih`` and ``weight_hh`` side by side: one convolution of ``[x, h]``.
    """

    theirs: str
    ours: str
    gates: Sequence[int] = ONE


class Found(NamedTuple):
    """What a checkpoint turned out to be: the name of the model, its sizes, and its weights by our names."""

    name: str
    sizes: dict[str, Any]
    state: dict[str, Tensor]


def links_of(theirs: str, ours: str, convs: Convs, ends: Mapping[str, str]) -> list[Link]:
    """The links of a cell's convolutions; `ends` are theirs, such as ``0.weight``, and how our names begin for them."""
    return [
        # The weight of what sees m is a part of weight_hh; its norm stands alone.
        Link(f"{theirs}.{conv}.{end}", f"{ours}.{kind}_{'hm' if conv == 'conv_m' and 'norm' in kind else name}", gates)
        for conv, (name, gates) in convs.items()
        for end, kind in ends.items()
    ]


def both(theirs: str, ours: str, gates: Sequence[int] = ONE) -> list[Link]:
    """The links of a weight and of its bias."""
    return [Link(f"{theirs}.{kind}", f"{ours}.{kind}", gates) for kind in KINDS]


def _gates(links: Iterable[Link]) -> Counter[str]:
    """How many gates there are in each entry and in each parameter."""
    found: Counter[str] = Counter()
    for theirs, ours, gates in links:
        found.update({theirs: len(gates), ours: len(gates)})
    return found


def width_of(entries: Entries, links: Sequence[Link], *ours: str) -> int:
    """The width that most of the entries tell that make parameters whose names begin so."""
    number = _gates(links)
    of = [(entries.left.get(link.theirs), number[link.theirs]) for link in links if link.ours.startswith(ours)]
    found = [v.shape[0] // n for v, n in of if v is not None and v.dim() and v.shape[0] and v.shape[0] % n == 0]
    return statistics.mode(found) if found else 1


def common(entries: Entries, keys: Iterable[str], axis: int, rank: int = 4) -> int:
    """The commonest size of an axis among the kernels that are there and have so many; 0 where there is none."""
    found = [v.shape[axis] for v in map(entries.left.get, keys) if v is not None and v.dim() == rank]
    return statistics.mode(found) if found else 0


def map_size(entries: Entries, links: Iterable[Link], rank: int = 3) -> list[int]:
    """Height and width of the map that peepholes and norms are for."""
    return [s or 1 for s in entries.shape([link.theirs for link in links], rank)[-2:]]


def channels_of(entries: Entries, axes: Mapping[str, int], patch_size: int, rank: int = 4) -> int:
    """Channels of a frame, which when folded lie along these axes of the entries: the first that is there tells."""
    sizes = (common(entries, [key], axis, rank) for key, axis in axes.items())
    folded = next(filter(None, sizes), patch_size**2)
    if folded % patch_size**2:
        raise WeightsError(
            f"{entries.origin}: its frames have {folded} channels when folded, which are not those of patches of "
            f"{patch_size}×{patch_size} pixels; pass patch_size= as it was trained with"
        )
    return folded // patch_size**2


def meta_model(entries: Entries, name: str, sizes: Mapping[str, Any]) -> nn.Module:
    """Builds a model without values, whose parameters say which shapes entries must have."""
    try:
        return create_model(name, **{**sizes, "device": "meta"})
    except (RuntimeError, OverflowError) as e:  # sizes that no memory has
        raise WeightsError(
            f"{entries.origin} has the sizes {dict(sizes)}, which torch cannot build; it is damaged"
        ) from e


def parameters(entries: Entries, name: str, sizes: Mapping[str, Any], *kernels: Sequence[int]) -> dict[str, Tensor]:
    """Returns the parameters of a model of these sizes, without values, after a check that its kernels are odd."""
    odd_kernels(entries.origin, kernels)
    return dict(meta_model(entries, name, sizes).state_dict())


def gather(entries: Entries, links: Sequence[Link], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The parameters that the links make, of the shapes of those in `like`, of every entry and nothing else."""
    number = _gates(links)
    taken: dict[str, Tensor] = {}
    parts: dict[str, list[Tensor]] = {}
    for theirs, ours, gates in links:
        if theirs not in taken:
            rows, *rest = like[_apart(ours)[0]].shape
            for beside in _apart(ours)[1:]:
                rest[0] += like[beside].shape[1]
            taken[theirs] = entries.take(theirs, (rows // number[ours] * number[theirs], *rest))
        in_order = tuple(gates) == tuple(range(number[theirs]))  # and needs no copy
        chunks = taken[theirs].chunk(1 if in_order else number[theirs])
        parts.setdefault(ours, []).extend(chunks if in_order else (chunks[gate] for gate in gates))
    entries.done()
    state: dict[str, Tensor] = {}
    for ours, values in parts.items():
        whole = torch.cat(values) if len(values) > 1 else values[0]
        names = _apart(ours)
        columns = whole.split([like[key].shape[1] for key in names], 1) if len(names) > 1 else [whole]
        state |= dict(zip(names, columns, strict=True))
    return state


def _apart(ours: str) -> list[str]:
    return [ours.replace("_xh", end) for end in ("_ih", "_hh")] if "_xh" in ours else [ours]


def unfold(state: dict[str, Tensor], patch_size: int, axes: Mapping[str, int]) -> dict[str, Tensor]:
    """Brings folded channels along these axes from ``(pixel, channel)`` there to ``(channel, pixel)`` here."""
    for key, axis in axes.items():
        apart = state[key].unflatten(axis, (patch_size**2, -1))
        state[key] = apart.transpose(axis, axis + 1).flatten(axis, axis + 1)
    return state
