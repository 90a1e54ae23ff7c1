"""Keras's HDF5 files as arrays by variable path, without Keras."""

import logging
import re
from pathlib import Path
from typing import IO, Any, NamedTuple

from .._extras import need
from ..models import WeightsError

logger = logging.getLogger("convrnn_zoo")

CELL_VARIABLES = ("kernel", "recurrent_kernel", "bias")
"""``.weights.h5`` numbers the variables of a recurrent cell, in this order."""
NOT_OF_THE_MODEL = re.compile(r"optimizer(_weights)?|seed_generator(_\d+)?")
"""Groups that hold the state of training or of a random generator."""


class Content(NamedTuple):
    """Arrays by variable path, and the root's attributes that are text."""

    state: dict[str, Any]
    attributes: dict[str, str]


def read_hdf5(file: Path | IO[bytes], origin: str) -> Content:
    """The arrays, such as ``first/conv_lstm_cell/bias``, of a ``.weights.h5``, old or new, or a whole model's ``.h5``.

    Raises:
        ImportError: h5py is not installed.
        WeightsError: not an HDF5 file.
    """
    h5py = need("h5py", "interop")
    state: dict[str, Any] = {}
    dropped: list[str] = []
    try:
        with h5py.File(file, "r") as root:
            attributes = {k: _text(v) for k, v in root.attrs.items() if isinstance(v, str | bytes)}
            if "layer_names" in root.attrs or "model_weights" in root:  # the format that Keras calls legacy
                for name, group in root.get("model_weights", root).items():
                    _collect(group, (), state, dropped)
                    logger.debug("%s: %s read", origin, name)
            else:
                _collect(root, (), state, dropped)
    except OSError as e:
        raise WeightsError(f"{origin} is not a sound HDF5 file ({e}); fetch or save it anew") from e
    if dropped:
        logger.info("%s: left out, not part of the model: %s", origin, ", ".join(dropped))
    return Content(state, attributes)


def _collect(node: Any, path: tuple[str, ...], state: dict[str, Any], dropped: list[str]) -> None:
    """Every array below `node`; groups bear the names of their layers where the file tells them."""
    for key, child in node.items():
        if NOT_OF_THE_MODEL.fullmatch(key):
            dropped.append("/".join((*path, key)))
        elif hasattr(child, "items"):
            name = _text(child["vars"].attrs.get("name", key)) if "vars" in child else key
            _collect(child, (*path, name), state, dropped)
        elif path[-1:] == ("vars",) and node.parent.name.endswith("/cell") and int(key) < len(CELL_VARIABLES):
            state["/".join((*path[:-1], CELL_VARIABLES[int(key)]))] = child[()]
        else:
            state["/".join((*path, key.removesuffix(":0")))] = child[()]


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
