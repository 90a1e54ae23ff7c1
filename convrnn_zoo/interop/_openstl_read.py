"""How entries of OpenSTL's checkpoints are taken and brought into our order."""

import statistics
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..models import WeightsError
from ._entries import Entries, Shape, odd_kernels, reorder

IFGO = (0, 2, 1, 3)
"""From i, g, f, o to i, f, g, o."""
ST_ORDER = (0, 1, 2, 6, 3, 4, 5)
"""From i, f, g, i', f', g', o to i, f, g, o, i', f', g'."""


class Found(NamedTuple):
    """What a checkpoint turned out to be: the name of the model, its sizes, and its weights by our names."""

    name: str
    sizes: dict[str, Any]
    state: dict[str, Tensor]


def common(entries: Entries, keys: Iterable[str], axis: int) -> Any:
    """The commonest size of an axis among those of the entries that are there and have it; None where none has."""
    found = [v.shape[axis] for v in map(entries.left.get, keys) if v is not None and v.dim() >= 4]
    return statistics.mode(found) if found else None


def width_of(entries: Entries, gates: Mapping[str, int]) -> int:
    """The width that most of these entries have, given how many gates of it stand in each."""
    tensors = ((entries.left.get(key), n) for key, n in gates.items())
    found = [v.shape[0] // n for v, n in tensors if v is not None and v.dim() and v.shape[0] and v.shape[0] % n == 0]
    return statistics.mode(found) if found else 1


def take_all(entries: Entries, shapes: Mapping[str, Shape], *kernels: int) -> dict[str, Tensor]:
    """Every entry by its name and shape, and nothing else; `kernels` are the edges of its square kernels."""
    taken = {key: entries.take(key, shape) for key, shape in shapes.items()}
    entries.done()
    odd_kernels(entries.origin, [(k, k) for k in kernels])
    return taken


def channels_of(entries: Entries, folded: int, patch_size: int) -> int:
    """Channels of a frame, of which `folded` make a patch."""
    if folded % patch_size**2:
        raise WeightsError(
            f"{entries.origin}: its frames have {folded} channels when folded, which are not those of patches of "
            f"{patch_size}×{patch_size} pixels; pass patch_size= as it was trained with"
        )
    return folded // patch_size**2


def channel_before_pixel(weight: Tensor, axis: int, patch_size: int) -> Tensor:
    """The folded channels along an axis, ``(pixel, channel)`` there and ``(channel, pixel)`` here."""
    return weight.unflatten(axis, (patch_size**2, -1)).transpose(axis, axis + 1).flatten(axis, axis + 1)


def spatiotemporal(taken: Mapping[str, Tensor], theirs: str, ours: str) -> dict[str, Tensor]:
    """The weights of an ST-LSTM cell."""
    part = {name: taken[f"{theirs}.conv_{name}.0.weight"] for name in "xhmo"}
    return {
        f"{ours}.weight_ih": reorder(part["x"], ST_ORDER),
        f"{ours}.weight_hh": torch.cat([part["h"], part["m"]]),
        f"{ours}.weight_po": part["o"],
        f"{ours}.weight_cm": taken[f"{theirs}.conv_last.weight"],
    }
