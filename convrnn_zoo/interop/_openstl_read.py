"""How entries of OpenSTL's checkpoints are taken and brought into our order."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..models import WeightsError
from ._entries import Entries, Shape, odd_kernels, reorder

IFGO = (0, 2, 1, 3)
"""From i, g, f, o to i, f, g, o."""
ST_ORDER = (0, 1, 2, 6, 3, 4, 5)
"""From i, f, g, i', f', g', o to i, f, g, o, i', f', g'."""
NORM = (
    r"(?:(?:cell_list|stlstm_layer|stlstm_layer_diff)\.\d+\.conv_[a-z0-9_]+|gradient_highway\.[xz]_concat)"
    r"\.1\.(?:weight|bias)"
)
"""Entries of the norms behind convolutions, of a network trained with ``layer_norm=1``."""
Norms = Mapping[str, tuple[str, Sequence[int]]]
"""Of a cell's convolutions that end in a norm, by their names there: our name, and our order of the gates."""
LSTM_NORMS: Norms = {"conv_x": ("ih", range(4)), "conv_h": ("hh", range(4))}
ST_NORMS: Norms = {
    "conv_x": ("ih", ST_ORDER), "conv_h": ("hh", range(4)), "conv_m": ("hm", range(3)), "conv_o": ("po", range(1)),
}  # fmt: skip


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


def norm_size(entries: Entries) -> Shape | None:
    """Height and width of the map that the norms are for; None where there are none."""
    found = entries.having(NORM)
    return entries.shape([m[0] for m in found], 3)[1:] if found else None


def norm_shapes(norms: Norms, theirs: str, width: int, size: Shape | None) -> dict[str, Shape]:
    """The entries that a cell's norms have, where there are norms."""
    if size is None:
        return {}
    rows = {f"{theirs}.{conv}.1": width * len(order) for conv, (_, order) in norms.items()}
    return {f"{key}.{kind}": (n, *size) for key, n in rows.items() for kind in ("weight", "bias")}


def norm_state(norms: Norms, taken: Mapping[str, Tensor], theirs: str, ours: str) -> dict[str, Tensor]:
    """The scales and shifts of a cell, if it has norms."""
    return {
        f"{ours}.{kind}_norm_{name}": reorder(taken[key], order)
        for conv, (name, order) in norms.items()
        for kind in ("weight", "bias")
        if (key := f"{theirs}.{conv}.1.{kind}") in taken
    }


def norm_sizes(size: Shape | None, patch_size: int) -> dict[str, Any]:
    """What a network with norms for such maps is built with; nothing where it has none."""
    return {} if size is None else {"layer_norm": True, "img_size": [s * patch_size for s in size if s]}


def spatiotemporal(taken: Mapping[str, Tensor], theirs: str, ours: str) -> dict[str, Tensor]:
    """The weights of an ST-LSTM cell."""
    part = {name: taken[f"{theirs}.conv_{name}.0.weight"] for name in "xhmo"}
    return {
        f"{ours}.weight_ih": reorder(part["x"], ST_ORDER),
        f"{ours}.weight_hh": torch.cat([part["h"], part["m"]]),
        f"{ours}.weight_po": part["o"],
        f"{ours}.weight_cm": taken[f"{theirs}.conv_last.weight"],
        **norm_state(ST_NORMS, taken, theirs, ours),
    }
