"""Reads Keras's HDF5 files as arrays by variable path, without Keras."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from .._extras import need
from ..models import WeightsError

logger = logging.getLogger("convrnn_zoo")

CELL_VARIABLES = {"0": "kernel", "1": "recurrent_kernel", "2": "bias"}
"""``.weights.h5`` numbers the variables of a recurrent cell."""
NOT_OF_THE_MODEL = re.compile(r"optimizer(_weights)?|seed_generator(_\d+)?")
"""Groups that hold the state of training or of a random generator."""
MAX_DEPTH = 32
"""Nested groups. Keras's files have about eight."""
MAX_ATTRIBUTE = 2**24
"""Bytes of an attribute. The longest is Keras's description of a model, some kilobytes per layer."""
READ_ERRORS = (OSError, KeyError, ValueError, TypeError, RuntimeError, OverflowError, MemoryError)
"""Exceptions that h5py raises on damaged files."""


class HDF5Content(NamedTuple):
    """Arrays by variable path, and what the file states about its model."""

    state: dict[str, Any]
    model_config: str | None
    keras_version: str | None


def read_hdf5(file: Path | IO[bytes], origin: str) -> HDF5Content:
    """Reads the arrays of a ``.weights.h5``, old or new, or of a whole model's ``.h5``.

    The file is untrusted. Only datasets whose numbers are all stored inside the file are read. So it can neither read
    other files nor claim more memory than it has bytes.

    Args:
        file: a path, or an open binary file.
        origin: the file's name in messages.

    Raises:
        ImportError: h5py is not installed.
        WeightsError: the file is damaged, or has datasets that Keras does not write.
    """
    h5py = need("h5py", "interop")
    bytes_left = file.stat().st_size if isinstance(file, Path) else file.seek(0, 2)
    state: dict[str, Any] = {}
    dropped: list[str] = []
    try:
        with h5py.File(file, "r") as root:
            model_config, keras_version = (_text(root, name) for name in ("model_config", "keras_version"))
            for path, dataset in _datasets(root, (), {root}, dropped):
                bytes_left -= dataset.nbytes
                _check_stored(dataset, bytes_left, h5py)
                state[path] = dataset[...]
            legacy = "layer_names" in root.attrs or "model_weights" in root  # Keras's own name for that format
    except READ_ERRORS as e:
        reason = " ".join(str(e.args[0] if e.args else "").split()) or type(e).__name__
        raise WeightsError(f"{origin} is not a valid HDF5 file ({reason}); download or save it again") from e
    if legacy:  # each layer has a group, and the paths of its variables are relative to it
        state = {path.removeprefix("model_weights/").partition("/")[2]: value for path, value in state.items()}
    if dropped:
        logger.info("%s: left out, not part of the model: %s", origin, ", ".join(dropped))
    return HDF5Content(state, model_config, keras_version)


def _datasets(group: Any, path: tuple[str, ...], visited: set[Any], dropped: list[str]) -> Iterator[tuple[str, Any]]:
    """Yields every dataset under `group` by variable path, with the names that Keras gave the layers."""
    children = {key: _child(group, key) for key in group}
    for key, child in children.items():
        if NOT_OF_THE_MODEL.fullmatch(key):
            dropped.append("/".join((*path, key)))
            continue
        if child in visited or len(path) > MAX_DEPTH:
            raise OSError(f"{child.name} leads elsewhere: it is linked twice, or its groups contain each other")
        visited.add(child)
        if hasattr(child, "items"):
            name = _text(_child(child, "vars"), "name") if "vars" in child else None
            yield from _datasets(child, (*path, name or key), visited, dropped)
        elif group.name.endswith("/cell/vars") and key in CELL_VARIABLES:
            yield "/".join((*path[:-1], CELL_VARIABLES[key])), child
        else:
            yield "/".join((*path, key.removesuffix(":0"))), child


def _child(group: Any, key: str) -> Any:
    """Returns a member of a group, if it is in the file itself."""
    kind = type(group.get(key, getlink=True)).__name__
    if kind != "HardLink":
        raise OSError(f"{group.name} leads elsewhere by the {kind} {key}, which Keras never writes")
    return group[key]


def _check_stored(dataset: Any, bytes_left: int, h5py: Any) -> None:
    """Raises OSError if a dataset's numbers are not all stored in the file, as they are."""
    layout = dataset.id.get_create_plist()
    stored = (
        layout.get_layout() in (h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED)
        and not layout.get_external_count()  # in other files
        and not layout.get_nfilters()  # a compressed chunk expands without a bound
        and dataset.id.get_storage_size() >= dataset.nbytes
    )
    if dataset.shape is None or dataset.dtype.kind not in "fiuV" or not stored or bytes_left < 0:
        raise OSError(
            f"{dataset.name} of shape {dataset.shape} and {dataset.dtype} is no plain array that the file contains in "
            "full. Virtual, external, compressed and unwritten datasets are not read; `h5repack -f NONE -l CONTI` "
            "makes a plain file from one that you trust"
        )


def _text(node: Any, name: str) -> str | None:
    """Returns a text attribute, or None where there is none."""
    if name not in node.attrs:
        return None
    if node.attrs.get_id(name).get_storage_size() > MAX_ATTRIBUTE:
        raise OSError(f"its attribute {name} has more than {MAX_ATTRIBUTE} bytes")
    value = node.attrs[name]
    return value.decode() if isinstance(value, bytes) else value if isinstance(value, str) else None
