"""Keras's HDF5 files as arrays by variable path, without Keras."""

import logging
import re
from pathlib import Path
from typing import IO, Any, NamedTuple

from .._extras import need
from ..models import WeightsError

logger = logging.getLogger("convrnn_zoo")

CELL_VARIABLES = {"0": "kernel", "1": "recurrent_kernel", "2": "bias"}
"""``.weights.h5`` numbers the variables of a recurrent cell."""
NOT_OF_THE_MODEL = re.compile(r"optimizer(_weights)?|seed_generator(_\d+)?")
"""Groups that hold the state of training or of a random generator."""
DEEPEST = 32
"""Groups in groups; Keras's files have some eight, and a file whose groups hold each other has no end."""


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
            legacy = "layer_names" in root.attrs or "model_weights" in root  # the format that Keras calls so
            _collect(root, (), h5py.HardLink, state, dropped)
    except OSError as e:
        raise WeightsError(f"{origin} is not a valid HDF5 file ({e}); fetch or save it anew") from e
    if legacy:  # a group a layer, in which the paths of its variables begin anew
        state = {path.removeprefix("model_weights/").partition("/")[2]: value for path, value in state.items()}
    if dropped:
        logger.info("%s: left out, not part of the model: %s", origin, ", ".join(dropped))
    return Content(state, attributes)


def _collect(node: Any, path: tuple[str, ...], link: type, state: dict[str, Any], dropped: list[str]) -> None:
    """Every array below `node`; groups bear the names of their layers where the file has them."""
    if foreign := [key for key in node if not isinstance(node.get(key, getlink=True), link)]:
        raise OSError(f"{node.name} leads elsewhere by {', '.join(foreign)}, which Keras never writes")
    if len(path) > DEEPEST:
        raise OSError(f"{node.name} leads elsewhere: its groups hold each other")
    for key, child in node.items():
        if NOT_OF_THE_MODEL.fullmatch(key):
            dropped.append("/".join((*path, key)))
        elif hasattr(child, "items"):
            name = _text(child["vars"].attrs.get("name", key)) if "vars" in child else key
            _collect(child, (*path, name), link, state, dropped)
        elif node.name.endswith("/cell/vars") and key in CELL_VARIABLES:
            state["/".join((*path[:-1], CELL_VARIABLES[key]))] = child[...]
        else:
            state["/".join((*path, key.removesuffix(":0")))] = child[...]


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
