"""Which arrays of a Keras file are a ConvLSTM layer's, and what their shapes tell."""

import logging
import re
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from ..models import WeightsError
from ._checkpoint import ForeignCheckpoint, some
from ._entries import Entries

logger = logging.getLogger("convrnn_zoo")

ROLES = ("kernel", "recurrent_kernel", "bias")
CELL = r"conv_lst_?m_cell[^/]*"
PATH = re.compile(rf"(?P<layer>(?:.*/)?)(?P<cell>{CELL}/)?(?P<role>{'|'.join(ROLES)})(?::0)?")
SIDE = re.compile(r"(?P<side>forward|backward)_(?P<name>[^/]*)")
RANDOM = re.compile(r"(.*/)?seed_generator[^/]*/.*")
Direction = tuple[str, dict[str, str]]
"""Where the variables of a layer's direction are, and under which keys, by role."""


class Sizes(NamedTuple):
    """What the arrays of a layer tell, and the arrays: for each direction by role."""

    name: str
    kernel: tuple[int, ...]
    in_channels: int
    filters: int
    bias: bool
    dtype: torch.dtype
    arrays: list[dict[str, Tensor]]


def take_layer(checkpoint: ForeignCheckpoint, wanted: str | None) -> Sizes:
    """The layer of that name, or the only one.

    Raises:
        WeightsError: no such layer, several or others beside it where none was named, or arrays that do not agree.
    """
    found, others = _layers(checkpoint.state)
    names = ", ".join(sorted(found)) or "none"
    if wanted is None and len(found) > 1:
        raise WeightsError(f"{checkpoint.origin} has the layers {names}; pass layer= with the name of one")
    if wanted is not None and wanted not in found:
        raise WeightsError(f"{checkpoint.origin} has no ConvLSTM layer {wanted!r}; it has {names}")
    name = wanted or next(iter(found), "conv_lstm")
    directions = found.pop(name, [("conv_lstm_cell/", {})])
    if wanted is not None and (left := [*found, *others]):
        logger.info("%s: layer %s read, left out: %s", checkpoint.origin, name, ", ".join(left))
        others = []
    mine = {key: checkpoint.state[key] for _, keys in directions for key in keys.values()}
    entries = Entries(ForeignCheckpoint(mine, checkpoint.origin), "keras")
    rank = next((v.dim() for v in mine.values() if v.dim() > 2), 4)
    kernels, recurrents = ([keys.get(role, "") for _, keys in directions] for role in ("kernel", "recurrent_kernel"))
    *kernel, _, rows = entries.shape([*recurrents, *kernels], rank)
    filters = entries.shape(recurrents, rank)[-2] or (rows and rows // 4)
    rows = 4 * filters if filters else None
    bias = any("bias" in keys for _, keys in directions)
    shapes = {
        "kernel": (*kernel, entries.shape(kernels, rank)[-2], rows),
        "recurrent_kernel": (*kernel, filters, rows),
    } | ({"bias": (rows,)} if bias else {})
    arrays = [
        {role: entries.take(keys.get(role, path + role), shape) for role, shape in shapes.items()}
        for path, keys in directions
    ]
    if others:
        entries.fault(
            "beside the recurrent layer",
            f"{some(others)}, of layers that are not converted: pass layer={name!r} to take it alone",
        )
    entries.done()
    *size, inputs, rows = arrays[0]["kernel"].shape
    return Sizes(name, tuple(size), inputs, rows // 4, bias, entries.checkpoint.dtype(), arrays)


def _layers(state: Mapping[str, Tensor]) -> tuple[dict[str, list[Direction]], list[str]]:
    """The directions of each recurrent layer by its name, and the keys of everything else."""
    cells: dict[str, dict[str, str]] = {}
    others: list[str] = []
    for key in state:
        if m := PATH.fullmatch(key):
            cells.setdefault(m["layer"] + (m["cell"] or ""), {})[m["role"]] = key
        elif not RANDOM.fullmatch(key):
            others.append(key)
    layers: dict[str, dict[str, Direction]] = {}
    for cell, keys in cells.items():
        flat = "recurrent_kernel" in keys and state[keys["recurrent_kernel"]].dim() == 2  # LSTM, GRU, SimpleRNN
        if flat or ("recurrent_kernel" not in keys and not re.search(rf"{CELL}/$", cell)):
            others += keys.values()
            continue
        path = re.sub(rf"{CELL}/$", "", cell).rstrip("/")
        parent, _, last = path.rpartition("/")
        if side := SIDE.fullmatch(last):
            both = layers.setdefault(parent or side["name"], {})
            for end in ("forward", "backward"):  # what is missing of one will be named
                both.setdefault(end, (cell.replace(f"{side['side']}_", f"{end}_"), {}))
            both[side["side"]] = (cell, keys)
        else:
            layers[path or "conv_lstm"] = {"only": (cell, keys)}
    names = _short(list(layers))
    return {name: list(sides.values()) for name, sides in zip(names, layers.values(), strict=True)}, others


def _short(paths: list[str]) -> list[str]:
    """The last part of each path, or the whole where that part alone would be another's as well.

    Example:
        >>> _short(["model/first", "encoder/rnn", "decoder/rnn"])
        ['first', 'encoder/rnn', 'decoder/rnn']
    """
    last = [path.rpartition("/")[2] for path in paths]
    return [path if last.count(name) > 1 else name for path, name in zip(paths, last, strict=True)]
