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


class Found(NamedTuple):
    """A recurrent layer of the file: its name, and for each direction where its variables are, and under which keys."""

    name: str
    directions: list[tuple[str, dict[str, str]]]


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
    layer = found.pop(name, Found(name, [("conv_lstm_cell/", {})]))
    if wanted is not None and (left := [*found, *others]):
        logger.info("%s: layer %s read, left out: %s", checkpoint.origin, name, ", ".join(left))
        others = []
    return _sizes(checkpoint, layer, others)


def _layers(state: Mapping[str, Tensor]) -> tuple[dict[str, Found], list[str]]:
    """The recurrent layers by name, and the keys of everything else."""
    cells: dict[str, dict[str, str]] = {}
    others: list[str] = []
    for key in state:
        if m := PATH.fullmatch(key):
            cells.setdefault(m["layer"] + (m["cell"] or ""), {})[m["role"]] = key
        elif not RANDOM.fullmatch(key):
            others.append(key)
    layers: dict[str, dict[str, tuple[str, dict[str, str]]]] = {}
    for cell, keys in cells.items():
        flat = "recurrent_kernel" in keys and state[keys["recurrent_kernel"]].dim() == 2  # LSTM, GRU, SimpleRNN
        if flat or ("recurrent_kernel" not in keys and not re.search(rf"{CELL}/$", cell)):
            others += keys.values()
            continue
        parent, _, last = re.sub(rf"{CELL}/$", "", cell).rstrip("/").rpartition("/")
        if side := SIDE.fullmatch(last):
            layers.setdefault(parent or side["name"], {})[side["side"]] = (cell, keys)
            other = "backward" if side["side"] == "forward" else "forward"
            twin = cell.replace(f"{side['side']}_", f"{other}_")
            layers[parent or side["name"]].setdefault(other, (twin, {}))  # what is missing of it will be named
        else:
            layers[f"{parent}/{last}".strip("/") or "conv_lstm"] = {"only": (cell, keys)}
    return {
        name: Found(name, [sides[s] for s in ("forward", "backward", "only") if s in sides])
        for name, sides in zip(_short(list(layers)), layers.values(), strict=True)
    }, others


def _short(paths: list[str]) -> list[str]:
    """The last part of each path, or the whole where that part alone would be another's as well.

    Example:
        >>> _short(["model/first", "encoder/rnn", "decoder/rnn"])
        ['first', 'encoder/rnn', 'decoder/rnn']
    """
    last = [path.rpartition("/")[2] for path in paths]
    return [path if last.count(name) > 1 else name for path, name in zip(paths, last, strict=True)]


def _sizes(checkpoint: ForeignCheckpoint, layer: Found, others: list[str]) -> Sizes:
    """The arrays of the layer, their shapes agreeing with one another, and nothing beside them."""
    entries = Entries(checkpoint, "keras")
    mine = {key: entries.left[key] for _, keys in layer.directions for key in keys.values()}
    entries.left = dict(mine)
    rank = next((v.dim() for v in mine.values() if v.dim() > 2), 4)
    kernels, recurrents = (
        [keys.get(role, "") for _, keys in layer.directions] for role in ("kernel", "recurrent_kernel")
    )
    *kernel, _, rows = entries.shape([*recurrents, *kernels], rank)
    filters = entries.shape(recurrents, rank)[-2] or (rows and rows // 4)
    rows = 4 * filters if filters else None
    bias = any("bias" in keys for _, keys in layer.directions)
    shapes = {
        "kernel": (*kernel, entries.shape(kernels, rank)[-2], rows),
        "recurrent_kernel": (*kernel, filters, rows),
        **({"bias": (rows,)} if bias else {}),
    }
    arrays = [
        {role: entries.take(keys.get(role, path + role), shape) for role, shape in shapes.items()}
        for path, keys in layer.directions
    ]
    if others:
        entries.fault(
            "beside the recurrent layer",
            f"{some(others)}, of layers that are not converted: pass layer={layer.name!r} to take it alone",
        )
    entries.done()
    shape = arrays[0]["kernel"].shape
    dtype = ForeignCheckpoint(mine, checkpoint.origin).dtype()
    return Sizes(layer.name, tuple(shape[:-2]), shape[-2], shape[-1] // 4, bias, dtype, arrays)
